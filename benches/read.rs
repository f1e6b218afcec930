//! Reading model files that are in the system's cache, tile by tile, on one thread: GB/s of the file and of the values.
//!
//! `cargo bench --profile dev --bench read` prints a table. Copying as many f32 values in memory is the measure to compare with.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use quantlens::{Ggml, Slice, Source, Synthetic, TileBuffer, open};

const ELEMENTS: usize = 32 << 20;
const TILE: usize = 1 << 18;
const REPEATS: usize = 5;

/// The best of several runs, in seconds: the others were disturbed.
fn seconds(mut body: impl FnMut()) -> f64 {
    let times = (0..REPEATS).map(|_| {
        let start = Instant::now();
        body();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let folder = std::env::temp_dir().join(format!("quantlens-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let tensor = Synthetic::normal(0.0, 1.0).tensor::<f32>("x", &[ELEMENTS / 4096, 4096]).unwrap();
    let Slice::F32(values) = tensor.as_slice() else { unreachable!("it was asked for as f32") };

    let mut copy = vec![0.0_f32; TILE];
    let time = seconds(|| {
        for tile in values.chunks(TILE) {
            copy.copy_from_slice(tile);
            black_box(&copy);
        }
    });
    println!("{:<22} {:>10} {:>12} {:>12}", "", "ms", "file GB/s", "values GB/s");
    let row = |name: &str, time: f64, bytes: usize| {
        println!(
            "{name:<22} {:>10.1} {:>12.2} {:>12.2}",
            time * 1e3,
            bytes as f64 / time / 1e9,
            ELEMENTS as f64 * 4.0 / time / 1e9
        );
    };
    row("copied in memory", time, ELEMENTS * 4);

    let safetensors = |dtype: &str, bytes: &[u8]| {
        let header =
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":[{},4096],"data_offsets":[0,{}]}}}}"#, ELEMENTS / 4096, bytes.len());
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), bytes].concat()
    };
    let gguf = |kind: u32, bytes: &[u8]| {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend([1_u64, 0, 1].iter().flat_map(|number| number.to_le_bytes()));
        file.extend(b"x");
        file.extend(2_u32.to_le_bytes());
        file.extend([4096, ELEMENTS as u64 / 4096].iter().flat_map(|length| length.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend(0_u64.to_le_bytes());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(bytes);
        file
    };
    // What halves stand for does not matter to the time; these are all finite.
    let halves: Vec<u8> = values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16 & 0xbbff).to_le_bytes()).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let files = [
        ("F32", safetensors("F32", &bytes)),
        ("F16", safetensors("F16", &halves)),
        ("BF16", safetensors("BF16", &halves)),
        ("F8_E4M3", safetensors("F8_E4M3", &halves[..ELEMENTS])),
        ("GGUF Q8_0", gguf(8, &Ggml::Q8_0.to_bytes(&tensor).unwrap())),
        ("GGUF Q4_0", gguf(2, &Ggml::Q4_0.to_bytes(&tensor).unwrap())),
        ("GGUF Q4_K", gguf(12, &Ggml::Q4_K.to_bytes(&tensor).unwrap())),
    ];
    for (name, file) in files {
        let path = folder.join("x");
        std::fs::File::create(&path).unwrap().write_all(&file).unwrap();
        let model = open(&path).unwrap();
        let mut buffer = TileBuffer::default();
        let time = seconds(|| {
            for start in (0..ELEMENTS).step_by(TILE) {
                black_box(model.read(0, start..start + TILE, &mut buffer).unwrap());
            }
        });
        row(name, time, file.len());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
