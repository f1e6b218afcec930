//! The report of two schemes over 32 M f32 values, and what a user would do without it, in one run: ratios, not absolute claims.
//!
//! `cargo bench --profile dev` prints a table (dev is optimised here, and shares its build with the tests). Where `python3` has numpy, the original notebook's formulas in numpy are timed too.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use quantlens::{Metrics, Scheme, Tensor, report_rows};

const ELEMENTS: usize = 32 << 20;
const REPEATS: usize = 5;

/// The best of several runs, in seconds: the others were disturbed.
fn seconds<R>(mut body: impl FnMut() -> R) -> f64 {
    (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            black_box(body());
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// What one writes by hand: per scheme the range, then codes, values and error in passes of their own, on one thread.
fn by_hand(values: &[f32]) -> [f64; 2] {
    let mean_squared_error =
        |y: &[f32]| values.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>() / values.len() as f64;
    let (min, max) = values.iter().fold((0.0_f32, 0.0_f32), |(min, max), &x| (min.min(x), max.max(x)));
    let scale = (max - min) / 255.0;
    let zero_point = (-min / scale).round_ties_even();
    let codes: Vec<u8> = values.iter().map(|x| ((x / scale).round_ties_even() + zero_point).clamp(0.0, 255.0) as u8).collect();
    let asymmetric: Vec<f32> = codes.iter().map(|&q| (f32::from(q) - zero_point) * scale).collect();
    let scale = max.max(-min) / 127.0;
    let codes: Vec<i8> = values.iter().map(|x| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8).collect();
    let symmetric: Vec<f32> = codes.iter().map(|&q| f32::from(q) * scale).collect();
    [mean_squared_error(&asymmetric), mean_squared_error(&symmetric)]
}

const NUMPY: &str = r#"
import sys, time
import numpy as np
n, repeats = int(sys.argv[1]), int(sys.argv[2])
x = np.random.default_rng(1).normal(size=n).astype(np.float32)
def report():
    scale = (np.max(x) - np.min(x)) / np.float32(255)
    zero = -1 * np.round(np.min(x) / scale)
    q = np.clip(np.round(x / scale + zero), 0, 255).astype(np.int32)
    a = np.mean((x - (q - zero) * scale) ** 2)
    scale = np.max(np.abs(x)) / np.float32(127)
    q = np.clip(np.round(x / scale), -127, 127).astype(np.int32)
    return a, np.mean((x - q * scale) ** 2)
best = float("inf")
for _ in range(repeats):
    start = time.perf_counter()
    report()
    best = min(best, time.perf_counter() - start)
print(best)
"#;

fn numpy() -> Option<f64> {
    let arguments = ["-c", NUMPY, &ELEMENTS.to_string(), "3"];
    let output = Command::new("python3").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn main() {
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(8)];
    let values: Vec<f32> = {
        let tensor = quantlens::Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[ELEMENTS]).expect("valid parameters");
        tensor.values::<f32>().expect("f32").to_vec()
    };
    let tensor = Tensor::from_slice("x", &values).expect("finite values");

    let ours = seconds(|| report_rows(std::slice::from_ref(&tensor), &schemes));
    let with_gate = {
        let mut copies: Vec<Vec<f32>> = (0..REPEATS).map(|_| values.clone()).collect();
        seconds(|| {
            let tensor = Tensor::from_vec("x", copies.pop().unwrap_or_default())?;
            report_rows(&[tensor], &schemes)
        })
    };
    let in_steps = seconds(|| {
        schemes.map(|scheme| {
            let approximation = scheme.quantize(&tensor)?.dequantize()?;
            Metrics::between(&tensor, &approximation)
        })
    });
    let hand = seconds(|| by_hand(&values));

    println!(
        "report of 2 schemes over {} M f32 values, {} threads, best of {REPEATS}",
        ELEMENTS >> 20,
        rayon::current_num_threads()
    );
    println!("{:<58}{:>9}{:>9}", "", "seconds", "ratio");
    let line = |name: &str, time: f64| println!("{name:<58}{time:>9.3}{:>9.2}", time / ours);
    line("report (all metrics, clipping, code counts)", ours);
    line("report, and the check of the values before it", with_gate);
    line("quantize, dequantize, metrics: in steps", in_steps);
    line("by hand: range, codes, values, mse only, one thread", hand);
    match numpy() {
        Some(time) => line("the original's formulas in numpy, mse only", time),
        None => println!("(python3 with numpy was not found: not compared)"),
    }
}
