//! The tables that explain a report: each against its formula, one element at a time.

mod allocate;
mod blame;
mod channels;
mod check;
mod failing;
mod figures;
mod frontier;
mod ledger;
mod levels;
mod lint;
mod noise;
mod uncertainty;

use std::path::Path;

use polars::prelude::DataFrame;
use quantlens::{Quantizer, Synthetic, Tensor};

use crate::NOTEBOOK;

/// A number of a frame; NaN where it is null.
pub fn number(frame: &DataFrame, column: &str, row: usize) -> f64 {
    use polars::prelude::DataType;
    let column = frame.column(column).unwrap().cast(&DataType::Float64).unwrap();
    column.f64().unwrap().get(row).unwrap_or(f64::NAN)
}

pub fn is_null(frame: &DataFrame, column: &str, row: usize) -> bool {
    frame.column(column).unwrap().get(row).unwrap().is_null()
}

pub fn text(frame: &DataFrame, column: &str, row: usize) -> String {
    frame.column(column).unwrap().str().unwrap().get(row).unwrap_or("null").to_owned()
}

/// A part of a real model's weights, that the notebooks have.
pub fn weights(name: &str, shape: &[usize]) -> Tensor {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("notebooks/data/minilm-l6.{name}.f32"));
    let bytes = std::fs::read(path).unwrap();
    let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Tensor::new(name, shape, values).unwrap()
}

pub fn all_weights() -> Vec<Tensor> {
    vec![
        weights("query.weight", &[384, 384]),
        weights("word_embeddings", &[256, 384]),
        weights("output.dense", &[128, 1536]),
        weights("layer_norm", &[384]),
    ]
}

pub fn notebook() -> Tensor {
    Tensor::from_vec("original", NOTEBOOK.to_vec()).unwrap()
}

/// Tensors of two axes that have something of everything: both types, one sign, zeros, a constant row, outliers, tiny and huge values.
pub fn synthetic() -> Vec<Tensor> {
    let shape = [12, 40];
    let mut mixed =
        Synthetic::laplace(0.1, 1.0).outliers(0.01, 10.0).seed(4).tensor::<f64>("mixed", &shape).unwrap().to_f64_vec();
    mixed[..40].fill(0.0);
    mixed[40..80].fill(-0.7);
    mixed[80..120].iter_mut().for_each(|x| *x *= 1e-9);
    let in_f32 = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    vec![
        Tensor::new("mixed32", &shape, in_f32(&mixed)).unwrap(),
        Tensor::new("mixed64", &shape, mixed).unwrap(),
        Synthetic::uniform(3.0, 5.0).seed(5).tensor::<f32>("above", &shape).unwrap(),
        Synthetic::normal(-3.0, 0.5).seed(6).tensor::<f64>("below", &shape).unwrap(),
        notebook().with_shape(&[4, 5]).unwrap(),
    ]
}

/// Σ (x - x̂)², one after the other.
pub fn squared_error(tensor: &Tensor, quantizer: &dyn Quantizer) -> f64 {
    let y = quantizer.fake_quantize(tensor).unwrap().to_f64_vec();
    tensor.to_f64_vec().iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum()
}

pub fn close(a: f64, b: f64, relative: f64) -> bool {
    a == b || (a - b).abs() <= relative * a.abs().max(b.abs())
}
