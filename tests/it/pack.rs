//! Quantized tensors as bytes and back, and what they weigh.

use proptest::prelude::*;
use quantlens::{
    BitOrder, Codebook, Convention, Dtype, Error, Minifloat, Packed, Quantized, ScaleFormat, Scheme, Synthetic, Tensor,
    known_formats,
};

/// Schemes of every kind of code, scale and offset.
fn schemes() -> Vec<Scheme> {
    let own = Codebook::new("pack_test", &[-2.0, -0.5, 0.25, 1.0, 3.0]).unwrap();
    let mut all: Vec<Scheme> = (1..=16).flat_map(|bits| [Scheme::asymmetric(bits), Scheme::asymmetric(bits).signed()]).collect();
    all.extend((2..=16).map(Scheme::symmetric));
    for group in [5, 32] {
        all.extend(
            [
                Scheme::asymmetric(3),
                Scheme::asymmetric(4).signed(),
                Scheme::asymmetric(4).with_float_minimum(),
                Scheme::asymmetric(3).with_float_minimum().with_scale_format(ScaleFormat::F16),
                Scheme::asymmetric(4).with_float_minimum().with_scale_format(ScaleFormat::PowerOfTwo),
                Scheme::asymmetric(4).with_float_minimum().with_convention(Convention::TorchAo),
                Scheme::symmetric(4).with_scale_format(ScaleFormat::BF16),
                Scheme::symmetric(6).with_scale_format(ScaleFormat::PowerOfTwo),
                Scheme::symmetric(8).with_scale_format(ScaleFormat::E8M0),
                Scheme::symmetric(8).with_scale_format(ScaleFormat::F32),
                Scheme::float(Minifloat::E2M3).with_scale_format(ScaleFormat::E4M3),
                Scheme::nf4(),
                Scheme::nf4().double_quantized(),
                Scheme::fp4(),
                Scheme::ternary(),
                Scheme::binary(),
                Scheme::codebook(own),
            ]
            .map(|scheme| scheme.per_group(group)),
        );
    }
    all.extend([
        Scheme::mxfp4(),
        Scheme::mxfp6_e3m2(),
        Scheme::mxfp6_e2m3(),
        Scheme::mxfp8_e5m2(),
        Scheme::mxint8(),
        Scheme::nvfp4(),
        Scheme::nvfp4().with_convention(Convention::TorchAo),
        Scheme::asymmetric(8).with_convention(Convention::Original),
        Scheme::cast(Minifloat::F16),
        Scheme::cast(Minifloat::BF16),
        Scheme::cast(Minifloat::E3M2),
        Scheme::float(Minifloat::E4M3FN).per_block([2, 16]),
        Scheme::symmetric(8).per_group_on(0, 3),
    ]);
    all
}

#[test]
fn bytes_come_back_and_weigh_what_bits_per_element_says() {
    // An odd number of elements, so that every width ends inside a byte.
    let normal = Synthetic::normal(0.0, 0.3).seed(7);
    let tensors = [normal.tensor::<f32>("x", &[7, 45]).unwrap(), normal.tensor::<f64>("x", &[7, 45]).unwrap()];
    for (tensor, scheme) in tensors.iter().flat_map(|tensor| schemes().into_iter().map(move |scheme| (tensor, scheme))) {
        let quantized = scheme.quantize(tensor).unwrap();
        for order in [BitOrder::LowFirst, BitOrder::HighFirst] {
            let packed = quantized.to_bytes_in(order).unwrap();
            let weight = 8.0 * packed.len() as f64 / tensor.len() as f64;
            assert_eq!(weight, scheme.bits_per_element(tensor.shape(), tensor.dtype()).unwrap(), "{scheme}");
            let shape = tensor.shape().to_vec();
            let back = Quantized::from_bytes_in("x", shape, scheme, tensor.dtype(), &packed, order).unwrap();
            assert_eq!(back, quantized, "{scheme}");
        }
    }
}

/// Rows of zeros among others. Unsigned symmetric codes of ONNX have zero point 0 there, which is not stored: the codes move to the middle.
#[test]
fn blocks_of_zeros_come_back_as_zeros() {
    let mut values = Synthetic::normal(0.0, 0.3).seed(8).tensor::<f32>("x", &[9, 32]).unwrap().to_f64_vec();
    values[..64].fill(0.0);
    values[160..192].fill(0.0);
    let x = Tensor::new("x", &[9, 32], values.iter().map(|&x| x as f32).collect()).unwrap();
    let names = ["uint8-sym-axis0", "uint4-sym-g4", "uint3-sym-g32-sf16", "uint8-sym-axis0-pytorch", "uint4-sym-g8-aiedge"];
    let named = names.map(|name| name.parse::<Scheme>().unwrap());
    for scheme in schemes().into_iter().chain(named).filter(|scheme| scheme.convention() != Convention::Original) {
        let quantized = scheme.quantize(&x).unwrap();
        let packed = quantized.to_bytes().unwrap();
        let back = Quantized::from_bytes("x", vec![9, 32], scheme, Dtype::F32, &packed).unwrap();
        assert_eq!(back.dequantize().unwrap(), quantized.dequantize().unwrap(), "{scheme}");
        assert_eq!(back.to_bytes().unwrap(), packed, "{scheme}");
        assert!(!names.contains(&scheme.to_string().as_str()) || back.dequantize().unwrap().to_f64_vec()[..64] == [0.0; 64]);
    }
    let byte = named[0].quantize(&x).unwrap();
    assert_eq!((byte.qparams().zero_points()[0], byte.codes().get(0)), (0, Some(0)));
    assert_eq!(byte.to_bytes().unwrap().codes[..64], [128; 64]);
}

#[test]
fn nibbles_lie_as_runtimes_have_them() {
    let x = Tensor::from_vec("x", vec![-8.0_f32, 7.0, 1.0]).unwrap();
    let int4 = Scheme::symmetric(4).without_clipping().quantize(&x).unwrap();
    assert_eq!(int4.to_bytes().unwrap().codes, [0x78, 0x01]);
    assert_eq!(int4.to_bytes_in(BitOrder::HighFirst).unwrap().codes, [0x87, 0x10]);
    // bitsandbytes: the first element in the high bits. -8 / 8 is code 0, 7 / 8 code 15, 1 / 8 code 9.
    let nf4 = Scheme::nf4().quantize(&x).unwrap();
    assert_eq!(nf4.codes().to_vec(), [0, 15, 9]);
    assert_eq!(nf4.to_bytes().unwrap().codes, [0x0f, 0x90]);
    // Two bits: the first code in the lowest bits; three bits: a code across two bytes.
    let x = Tensor::from_vec("x", vec![0.0_f32, 1.0, 2.0, 3.0, 3.0]).unwrap();
    assert_eq!(Scheme::asymmetric(2).quantize(&x).unwrap().to_bytes().unwrap().codes, [0b11_10_01_00, 0b11]);
    let x = Tensor::from_vec("x", vec![0.0_f32, 7.0, 5.0, 1.0]).unwrap();
    assert_eq!(Scheme::asymmetric(3).quantize(&x).unwrap().to_bytes().unwrap().codes, [0b01_111_000, 0b0011]);
}

#[test]
fn scales_are_written_in_their_format() {
    let x = Tensor::from_vec("x", vec![6.0_f32; 32]).unwrap();
    let scales = |scheme: Scheme| scheme.quantize(&x).unwrap().to_bytes().unwrap().scales;
    assert_eq!(scales(Scheme::mxfp4()), [127]);
    // 6 is 1.5 · 2², so the shared scale is 2² and the code 96, which stands for 1.5.
    assert_eq!(scales(Scheme::mxint8()), [129]);
    assert_eq!(scales(Scheme::float(Minifloat::E2M1).with_scale_format(ScaleFormat::F16)), [0x00, 0x3c]);
    assert_eq!(scales(Scheme::float(Minifloat::E2M1).with_scale_format(ScaleFormat::BF16)), [0x80, 0x3f]);
    assert_eq!(scales(Scheme::float(Minifloat::E2M1).with_scale_format(ScaleFormat::E4M3)), [0x38]);
    assert_eq!(scales(Scheme::float(Minifloat::E2M1)), 1.0_f32.to_le_bytes());
    assert!(scales(Scheme::cast(Minifloat::E2M1)).is_empty());
    let nvfp4 = Scheme::nvfp4().quantize(&x).unwrap().to_bytes().unwrap();
    assert_eq!((nvfp4.scales, nvfp4.second_level), (vec![0x7e, 0x7e], (6.0_f32 / 2688.0).to_le_bytes().to_vec()));
}

#[test]
fn wrong_bytes_say_what_is_wrong() {
    let x = Tensor::from_vec("x", vec![1.0_f32, -2.0, 3.0]).unwrap();
    let read = |scheme: Scheme, packed: &Packed| Quantized::from_bytes("x", vec![3], scheme, Dtype::F32, packed);
    let scheme = Scheme::asymmetric(4);
    let packed = scheme.quantize(&x).unwrap().to_bytes().unwrap();
    for (part, broken) in [
        ("codes", Packed { codes: vec![1], ..packed.clone() }),
        ("scales", Packed { scales: vec![], ..packed.clone() }),
        ("zero points or minimums", Packed { offsets: vec![1, 2], ..packed.clone() }),
        ("second level", Packed { second_level: vec![0; 4], ..packed.clone() }),
    ] {
        assert!(matches!(read(scheme, &broken), Err(Error::PackedLength { part: named, .. }) if named == part), "{part}");
    }
    let nan = Packed { scales: f32::NAN.to_le_bytes().to_vec(), ..packed };
    assert!(fails!(read(scheme, &nan), Error::Scale { .. }, in block 0));
    // -8 is no code of a restricted range.
    let restricted = Scheme::symmetric(4).restricted_range();
    let packed = Packed { codes: vec![0x81, 0x00], scales: 1.0_f32.to_le_bytes().to_vec(), ..Packed::default() };
    assert!(matches!(read(restricted, &packed), Err(Error::CodeOutOfRange { code: -8, index: 1, .. })));
    // E8M0's NaN is no scale.
    let x = vec![1.0_f32; 32];
    let mut packed = Scheme::mxfp4().quantize(&Tensor::from_vec("x", x).unwrap()).unwrap().to_bytes().unwrap();
    packed.scales[0] = 255;
    let read = Quantized::from_bytes("x", vec![32], Scheme::mxfp4(), Dtype::F32, &packed);
    assert!(fails!(read, Error::Scale { .. }));
}

#[test]
fn every_known_format_is_a_quantizer_and_costs_what_it_says() {
    let table = known_formats().unwrap();
    let names = table.column("name").unwrap().str().unwrap();
    let bits = table.column("bits_per_element").unwrap().f64().unwrap();
    let weights = Synthetic::normal(0.0, 0.02).seed(3).tensor::<f32>("w", &[256, 512]).unwrap();
    for (name, bits) in names.iter().zip(bits.iter()) {
        let (name, bits) = (name.unwrap(), bits.unwrap());
        let quantizer = quantlens::quantizer(name).unwrap();
        assert_eq!(quantizer.name(), name);
        let row = quantizer.report_row(&weights).unwrap();
        assert!(row.metrics.sqnr_db > 1.5, "{name}: {}", row.metrics.sqnr_db);
        assert!(row.levels_used.is_some() && row.code_entropy_bits.is_some_and(|entropy| entropy <= bits), "{name}");
    }
    let message = |name: &str| quantlens::quantizer(name).err().unwrap().to_string();
    assert!(message("q9_k").contains("no type of ggml's"), "{}", message("q9_k"));
    assert!(message("int4").contains("no mapping"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_tensor(
        codes in prop::collection::vec(any::<u8>(), 8),
        scales in prop::collection::vec(any::<u8>(), 0..9),
        offsets in prop::collection::vec(any::<u8>(), 0..9),
        second_level in prop::collection::vec(any::<u8>(), 0..9),
        which in any::<prop::sample::Index>(),
    ) {
        let packed = Packed { codes, scales, offsets, second_level };
        let schemes = schemes();
        let scheme = schemes[which.index(schemes.len())];
        if let Ok(quantized) = Quantized::from_bytes("x", vec![2, 8], scheme, Dtype::F32, &packed) {
            // Whatever it says, it says it the same way again.
            prop_assert_eq!(quantized.to_bytes_in(BitOrder::LowFirst).is_ok(), true);
            let _ = quantized.dequantize();
        }
    }
}

/// NaN of a float format, and a bit pattern that the codebook does not use.
#[test]
fn codes_without_a_number_are_told() {
    for (scheme, code) in
        [(Scheme::float(Minifloat::E4M3FN), 0x7f), (Scheme::ternary(), 3), (Scheme::cast(Minifloat::E5M2), 0xfc)]
    {
        let scales = if scheme == Scheme::cast(Minifloat::E5M2) { Vec::new() } else { 1.0_f32.to_le_bytes().to_vec() };
        let shift = if scheme.bits() == 2 { 2 } else { 8 };
        let codes = (1_u32 | code << shift).to_le_bytes()[..(2 * scheme.bits() as usize).div_ceil(8)].to_vec();
        let packed = Packed { codes, scales, ..Packed::default() };
        let quantized = Quantized::from_bytes("w", vec![2], scheme, Dtype::F32, &packed).unwrap();
        let error = quantized.dequantize().unwrap_err();
        assert!(matches!(error, Error::NoNumber { index: 1, code: found, .. } if found == code as i32), "{scheme}: {error}");
    }
}
