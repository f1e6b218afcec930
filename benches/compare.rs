//! quantlens' side of `compare.py`: times on the array that the script has made, printed as JSON.
//!
//! Its one argument is the folder with `x.npy`; the bytes of Q4_0 and Q4_K go there, for the script to compare.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use quantlens::{Ggml, Quantizer, Scheme, Source, Tensor, open, quantizer, report_rows, sweep};
use serde_json::{Map, Value, json};

/// The best of several runs, in seconds: the others were disturbed.
fn seconds<R>(repeats: usize, mut body: impl FnMut() -> R) -> f64 {
    seconds_after(repeats, || (), |()| body())
}

/// The same of work on what is prepared for each run.
fn seconds_after<P, R>(repeats: usize, mut prepare: impl FnMut() -> P, mut body: impl FnMut(P) -> R) -> f64 {
    let times = (0..repeats).map(|_| {
        let prepared = prepare();
        let start = Instant::now();
        black_box(body(prepared));
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn compare(folder: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    const REPEATS: usize = 9;
    let x = open(folder.join("x.npy"))?.tensor_at(0)?;
    let values = x.values::<f32>().ok_or("x.npy is not of f32")?.to_vec();
    // The K types are slow: a sixteenth of the rows.
    let few = values[..values.len() / 16].to_vec();
    let few = Tensor::new("few", &[x.shape()[0] / 16, x.shape()[1]], few)?;
    let two = [Scheme::asymmetric(8), Scheme::symmetric(8)];

    let mut times = Map::new();
    times.insert("two".to_owned(), json!(seconds(REPEATS, || report_rows(&x, &two))));
    // As the alternatives start: nobody has looked for NaN yet, and the range is not known.
    let report_of_values = |values| Tensor::new("x", x.shape(), values).and_then(|x| report_rows(&x, &two));
    times.insert("two, from values".to_owned(), json!(seconds_after(REPEATS, || values.clone(), report_of_values)));
    times.insert("sweep of 2".to_owned(), json!(seconds(REPEATS, || sweep(&x, &two, 8..=8))));
    times.insert("sweep of 14".to_owned(), json!(seconds(REPEATS, || sweep(&x, &two, 2..=8))));
    times.insert("percentile".to_owned(), json!(seconds(REPEATS, || Scheme::symmetric(8).percentile(99.9).qparams(&x))));
    for name in [
        "int8-sym",
        "int8-sym-axis0",
        "int8-sym-axis1",
        "int4-sym-g128",
        "int4-sym-g32",
        "mxfp4",
        "nvfp4",
        "nf4-g64",
        "e4m3fn-axis0",
        "q4_0",
    ] {
        let quantizers: [Box<dyn Quantizer>; 1] = [quantizer(name)?];
        times.insert(name.to_owned(), json!(seconds(REPEATS, || report_rows(&x, &quantizers))));
    }
    times.insert("q4_k".to_owned(), json!(16.0 * seconds(1, || report_rows(&few, &[Ggml::Q4_K]))));
    times.insert("q4_0 bytes".to_owned(), json!(seconds(REPEATS, || Ggml::Q4_0.to_bytes(&x))));

    std::fs::write(folder.join("q4_0"), Ggml::Q4_0.to_bytes(&x)?)?;
    std::fs::write(folder.join("q4_k"), Ggml::Q4_K.to_bytes(&few)?)?;
    let original = two.map(|scheme| scheme.with_convention(quantlens::Convention::Original));
    let mse = |schemes: &[Scheme]| {
        Ok::<_, quantlens::Error>(report_rows(&x, schemes)?.iter().map(|row| row.metrics.mse).collect::<Vec<_>>())
    };
    let percentile = Scheme::symmetric(8).percentile(99.9).qparams(&x)?.scale().map(|scale| scale * 127.0);
    Ok(json!({ "seconds": times, "mse": mse(&two)?, "original mse": mse(&original)?, "percentile": percentile }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo adds `--bench`.
    match std::env::args().skip(1).find(|argument| !argument.starts_with("--")) {
        Some(folder) => println!("{}", compare(Path::new(&folder))?),
        None => eprintln!("run it by benches/compare.py, which makes the array"),
    }
    Ok(())
}
