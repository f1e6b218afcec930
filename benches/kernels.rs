//! The measuring pass, one scheme or several at a time, over 16 Mi f32 values: items a second are values under a scheme.
//!
//! `cargo bench --bench kernels` (`--profile dev` shares the tests' build); names as arguments choose.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use quantlens::{Metrics, Quantizer, Scheme, Synthetic, Tensor, quantizer, report_rows, sweep};

const ELEMENTS: usize = 16 << 20;

fn main() {
    divan::main();
}

fn tensor() -> Tensor {
    Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096, ELEMENTS / 4096]).expect("valid parameters")
}

/// A report's row.
#[divan::bench(sample_count = 7, args = [
    "uint8-asym", "int8-sym", "int4-sym", "int8-sym-axis0", "int8-sym-axis1", "int4-sym-g128", "int4-sym-g32", "mxfp4", "nvfp4", "nf4-g64",
    "e4m3fn", "e4m3fn-axis0", "e4m3fn-b128x128", "int16-sym", "uint8-asym-p99.9", "q4_0", "q8_0",
])]
fn row(bencher: Bencher, name: &str) {
    let x = tensor();
    let quantizers: [Box<dyn Quantizer>; 1] = [quantizer(name).expect("a name there is")];
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| report_rows(black_box(&x), &quantizers));
}

/// ggml's K types search for their scales, which takes a hundred times as long.
#[divan::bench(sample_count = 1, args = ["q4_k", "q6_k"])]
fn searched_row(bencher: Bencher, name: &str) {
    row(bencher, name);
}

/// 2 to 8 bits, asymmetric and symmetric: 14 schemes in one pass.
#[divan::bench(sample_count = 7)]
fn sweep_of_14(bencher: Bencher) {
    let x = tensor();
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(8)];
    bencher.counter(ItemsCount::new(14 * ELEMENTS)).bench_local(|| sweep(black_box(&x), &schemes, 2..=8));
}

/// Codes alone.
#[divan::bench(sample_count = 7)]
fn quantize(bencher: Bencher) {
    let x = tensor();
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| Scheme::symmetric(8).quantize(black_box(&x)));
}

/// Metrics alone, of values that were quantized before.
#[divan::bench(sample_count = 7)]
fn metrics_between(bencher: Bencher) {
    let x = tensor();
    let y = Scheme::symmetric(8).fake_quantize(&x).expect("finite values");
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| Metrics::between(black_box(&x), black_box(&y)));
}
