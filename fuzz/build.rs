//! The library's files that know of polars, without the lines about it, so that the readers build in seconds.

use std::path::Path;
use std::{env, fs};

fn main() {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../src");
    let out = env::var("OUT_DIR").unwrap();
    let adapt = |name: &str, change: &dyn Fn(&str) -> Option<String>| {
        let path = source.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("//!")).filter_map(change);
        fs::write(Path::new(&out).join(name), lines.collect::<Vec<_>>().join("\n")).unwrap();
    };
    adapt("error.rs", &|line| match line.trim() {
        "use polars::prelude::PolarsError;" | "/// polars refused." | "#[error(transparent)]" | "Polars(#[from] PolarsError)," => None,
        _ => Some(line.to_owned()),
    });
    adapt("ggml.rs", &|line| match line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
        Some("quantizer") => None,
        Some(module) => Some(format!("#[path = {:?}] mod {module};", source.join(format!("ggml/{module}.rs")))),
        None if line.contains("WeightedGgml") => None,
        None => Some(line.to_owned()),
    });
}
