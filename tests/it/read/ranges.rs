//! Any range of elements is the same part of the whole.

use proptest::prelude::*;
use quantlens::{Source, TileBuffer, open};

use super::{all_bits, bits, path};

const FILES: &[&str] =
    &["dtypes.safetensors", "arrays.npz", "compressed.npz", "fortran.npy", "fortran_3.npy", "types_v3.gguf", "initializers.onnx"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_range_is_that_part_of_the_tensor(cuts in prop::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 3)) {
        let mut buffer = TileBuffer::default();
        for file in FILES {
            let model = open(path(file)).unwrap();
            for (number, info) in model.infos().into_iter().enumerate() {
                let whole = all_bits(&model, number);
                for (a, b) in &cuts {
                    let (a, b) = ((a * whole.len() as f64) as usize, (b * whole.len() as f64).ceil() as usize);
                    let (a, b) = (a.min(b), a.max(b));
                    let part = bits(model.read(number, a..b, &mut buffer).unwrap());
                    prop_assert_eq!(&part, &whole[a..b], "{} {} {}..{}", file, info.name, a, b);
                }
            }
        }
    }
}

#[test]
fn what_a_tensor_does_not_have_is_an_error() {
    let model = open(path("float32.npy")).unwrap();
    let mut buffer = TileBuffer::default();
    let message = |tensor, range| model.read(tensor, range, &mut TileBuffer::default()).unwrap_err().to_string();
    assert_eq!(message(0, 0..13), "there is no tensor number 0, elements 0 to 13: there are `float32`");
    assert_eq!(message(1, 0..1), "there is no tensor number 1, elements 0 to 1: there are `float32`");
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = 5..4;
    assert_eq!(message(0, reversed), "there is no tensor number 0, elements 5 to 4: there are `float32`");
    assert_eq!(model.read(0, 3..3, &mut buffer).unwrap(), quantlens::Slice::F32(&[]));
}
