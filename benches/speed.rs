use quantlens::{Quantizer, Scheme, Synthetic, quantizer, report_rows, sweep};
use std::time::Instant;

fn cpu_seconds() -> f64 {
    let mut total = 0u64;
    for entry in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    }
    total as f64 * 1e-9
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let n = 16 << 20;
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096, n / 4096]).unwrap();
    let names = [
        "uint8-asym",
        "int8-sym",
        "int4-sym",
        "int4-sym-g128",
        "int4-sym-g32",
        "int8-sym-axis0",
        "int8-sym-axis1",
        "e4m3fn",
        "e4m3fn-axis0",
        "mxfp4",
        "nvfp4",
        "nf4-g64",
        "mxfp8-e4m3",
        "q4_0",
        "q8_0",
        "q4_k",
        "uint8-asym-p99.9",
        "int16-sym",
    ];
    let time = |name: &str, schemes: usize, body: &dyn Fn()| {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            return;
        }
        let (mut best, mut wall) = (f64::INFINITY, f64::INFINITY);
        let reps = if name.contains("_k") { 1 } else { 5 };
        for _ in 0..reps {
            let (start, cpu) = (Instant::now(), cpu_seconds());
            body();
            best = best.min(cpu_seconds() - cpu);
            wall = wall.min(start.elapsed().as_secs_f64());
        }
        println!(
            "{name:24} {:6.3} ns cpu an element and scheme, {:6.3} ns wall, {:6.2} G/s",
            best * 1e9 / n as f64 / schemes as f64,
            wall * 1e9 / n as f64 / schemes as f64,
            n as f64 * schemes as f64 / wall * 1e-9
        );
    };
    for name in names {
        let q: Vec<Box<dyn Quantizer>> = vec![quantizer(name).unwrap()];
        time(name, 1, &|| {
            report_rows(&x, &q).unwrap();
        });
    }
    time("two", 2, &|| {
        report_rows(&x, &[Scheme::asymmetric(8), Scheme::symmetric(8)]).unwrap();
    });
    time("sweep14", 14, &|| {
        sweep(&x, &[Scheme::asymmetric(8), Scheme::symmetric(8)], 2..=8).unwrap();
    });
}
