//! Error metrics, from one pass over reference and approximation.
//!
//! The error of an element is `x - x̂`, reference less approximation, in f64. Sums are taken in f64 over fixed blocks of 4096
//! elements in 8 lanes, and blocks are added in a fixed tree. So the result has the same bits for any chunking of the data and any
//! number of threads, and stays within 1e-12 (relative) of a compensated sum at 16 million values. (A signed sum that nearly cancels, as
//! `mean_error`'s may, is as accurate in relation to the sum of magnitudes.)

mod accumulator;
mod lanes;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::simd::for_vectors;
use crate::tensor::{Real, TASK_LEN, Tensor, with_values};

pub use accumulator::MetricsAccumulator;
pub(crate) use lanes::{Lanes, sum_of_squares};

/// How far an approximation x̂ is from its reference x; n elements, sums over all of them.
///
/// In JSON an infinity is the string `"inf"` or `"-inf"` and an undefined number `"nan"`, for JSON has no numbers for them.
/// (`serde_json` reads every f64 back exactly with its feature `float_roundtrip`.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The number of elements, n.
    pub elements: u64,
    /// Mean squared error, `Σ (xᵢ-x̂ᵢ)² / n`, in squared units of the data; 0 is lossless. What the original notebook calls
    /// the quantization error.
    #[serde(with = "any_f64")]
    pub mse: f64,
    /// Root mean squared error, `√mse`, in units of the data. (Not `√Σ(xᵢ-x̂ᵢ)² / n`, which llama.cpp's tests call rmse.)
    #[serde(with = "any_f64")]
    pub rmse: f64,
    /// Mean absolute error, `Σ |xᵢ-x̂ᵢ| / n`, in units of the data.
    #[serde(with = "any_f64")]
    pub mae: f64,
    /// The largest `|xᵢ-x̂ᵢ|`, in units of the data.
    #[serde(with = "any_f64")]
    pub max_abs_error: f64,
    /// The bias, `Σ (xᵢ-x̂ᵢ) / n`, in units of the data; above 0 where the approximation is too small.
    #[serde(with = "any_f64")]
    pub mean_error: f64,
    /// `‖x-x̂‖ / ‖x‖`, Euclidean norms; 0 is lossless, NaN where x is all zero.
    #[serde(with = "any_f64")]
    pub relative_error: f64,
    /// Signal-to-quantization-noise ratio in decibels, larger is better:
    ///
    /// ```text
    ///              Σ xᵢ²
    /// 10 · log₁₀ ───────────
    ///            Σ (xᵢ-x̂ᵢ)²
    /// ```
    ///
    /// +∞ where nothing was lost, NaN where x is all zero. The same number as torchao's `compute_error` and ONNX Runtime's
    /// `compute_signal_to_quantization_noice_ratio`.
    #[serde(with = "any_f64")]
    pub sqnr_db: f64,
    /// Cosine similarity, `Σ xᵢx̂ᵢ / (‖x‖·‖x̂‖)`, -1 to 1; NaN where either is all zero. The numerator is taken from the other sums,
    /// `Σ xᵢx̂ᵢ = (Σ xᵢ² + Σ x̂ᵢ² - Σ (xᵢ-x̂ᵢ)²) / 2`, so that its rounding error is a few times 1e-16 of the larger of the first two: nothing to a
    /// cosine that is near 1, and absolute, not relative, to one that is near 0.
    #[serde(with = "any_f64")]
    pub cosine: f64,
}

impl Metrics {
    /// Its numbers, each with the name of its column, in the order of all tables that have them.
    ///
    /// ```
    /// # use quantlens::{Metrics, Tensor};
    /// let x = Tensor::from_vec("x", vec![3.0, -4.0])?;
    /// let m = Metrics::between(&x, &x)?;
    /// let (name, value) = Metrics::COLUMNS[0];
    /// assert_eq!((name, value(&m)), ("mse", 0.0));
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "a name and a function")]
    pub const COLUMNS: [(&'static str, fn(&Self) -> f64); 8] = [
        ("mse", |metrics| metrics.mse),
        ("rmse", |metrics| metrics.rmse),
        ("mae", |metrics| metrics.mae),
        ("max_abs_error", |metrics| metrics.max_abs_error),
        ("mean_error", |metrics| metrics.mean_error),
        ("relative_error", |metrics| metrics.relative_error),
        ("sqnr_db", |metrics| metrics.sqnr_db),
        ("cosine", |metrics| metrics.cosine),
    ];

    /// Compares two tensors element by element, whatever their shapes and types.
    ///
    /// Squares are in f64: of f32 data they are always exact enough, of f64 data beyond 1e±154 they overflow to ∞ or vanish,
    /// and the metrics built on them with them.
    ///
    /// ```
    /// # use quantlens::{Metrics, Tensor};
    /// let x = Tensor::from_vec("x", vec![3.0, -4.0])?;
    /// let y = Tensor::from_vec("y", vec![3.0, -3.0])?;
    /// let m = Metrics::between(&x, &y)?;
    /// assert_eq!((m.mse, m.mae, m.max_abs_error, m.mean_error, m.relative_error), (0.5, 0.5, 1.0, -0.5, 0.2));
    /// assert_eq!(Metrics::between(&x, &x)?.sqnr_db, f64::INFINITY);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if they differ in length.
    pub fn between(reference: &Tensor, approximation: &Tensor) -> Result<Self> {
        let mut accumulator = MetricsAccumulator::default();
        with_values!(reference, |x| with_values!(approximation, |y| accumulator.push_parallel(x, y)))?;
        accumulator.metrics().ok_or_else(|| Error::Empty { name: reference.name().to_owned() })
    }
}

impl Metrics {
    /// Those of elements that could not be compared.
    pub(crate) fn unknown(elements: u64) -> Self {
        let nan = f64::NAN;
        Self {
            elements,
            mse: nan,
            rmse: nan,
            mae: nan,
            max_abs_error: nan,
            mean_error: nan,
            relative_error: nan,
            sqnr_db: nan,
            cosine: nan,
        }
    }
}

/// Elements to a block. A task handles a whole number of them.
pub(crate) const BLOCK: usize = 4096;
const _: () = assert!(TASK_LEN.is_multiple_of(BLOCK));

/// The sums that all metrics come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    elements: u64,
    #[serde(with = "any_f64")]
    squared_error: f64,
    #[serde(with = "any_f64")]
    absolute_error: f64,
    #[serde(with = "any_f64")]
    error: f64,
    #[serde(with = "any_f64")]
    max_abs_error: f64,
    #[serde(with = "any_f64")]
    squared_reference: f64,
    #[serde(with = "any_f64")]
    squared_approximation: f64,
}

impl Sums {
    /// Sums of at most [`BLOCK`] elements. Element i is added in lane i mod 8, lanes in a fixed tree.
    pub(crate) fn of<T: Real, U: Real>(x: &[T], y: &[U]) -> Self {
        sums(x, y)
    }

    fn plus(self, later: Self) -> Self {
        Self {
            elements: self.elements + later.elements,
            squared_error: self.squared_error + later.squared_error,
            absolute_error: self.absolute_error + later.absolute_error,
            error: self.error + later.error,
            max_abs_error: self.max_abs_error.max(later.max_abs_error),
            squared_reference: self.squared_reference + later.squared_reference,
            squared_approximation: self.squared_approximation + later.squared_approximation,
        }
    }

    fn metrics(self) -> Metrics {
        let elements = self.elements as f64;
        let mse = self.squared_error / elements;
        let (signal, noise) = (self.squared_reference, self.squared_error);
        // Halved first, so that squares of nearly the largest size do not overflow here.
        let product = (signal / 2.0 - noise / 2.0) + self.squared_approximation / 2.0;
        Metrics {
            elements: self.elements,
            mse,
            rmse: mse.sqrt(),
            mae: self.absolute_error / elements,
            max_abs_error: self.max_abs_error,
            mean_error: self.error / elements,
            relative_error: if signal == 0.0 { f64::NAN } else { root_of_quotient(noise, signal) },
            sqnr_db: if signal == 0.0 { f64::NAN } else { decibels(signal, noise) },
            // Rounding may carry it past 1 by an ulp.
            cosine: (product / root_of_product(signal, self.squared_approximation)).clamp(-1.0, 1.0),
        }
    }
}

for_vectors! {
    fn sums<T: Real, U: Real>(x: &[T], y: &[U]) -> Sums {
        let mut lanes = Lanes::default();
        lanes.add::<V, T, U>(x, y);
        lanes.sums(sum_of_squares::<V, T>(x))
    }
}

/// √(a/b), where the quotient is a normal number or truly 0; else √a/√b, which neither overflows nor vanishes.
fn root_of_quotient(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if quotient.is_normal() || a == 0.0 { quotient.sqrt() } else { a.sqrt() / b.sqrt() }
}

/// 10·log₁₀(a/b), likewise.
fn decibels(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if quotient.is_normal() || b == 0.0 { 10.0 * quotient.log10() } else { 10.0 * (a.log10() - b.log10()) }
}

/// √(a·b), exact for a = b, where the product is a normal number; else √a·√b, which neither overflows nor vanishes.
fn root_of_product(a: f64, b: f64) -> f64 {
    let product = a * b;
    if product.is_normal() { product.sqrt() } else { a.sqrt() * b.sqrt() }
}

/// Shannon entropy `-Σ pᵢ·log₂ pᵢ` in bits, pᵢ being each count's share of all; 0 of none.
pub(crate) fn entropy_bits(counts: &[u64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let of_share = |share: f64| -share * share.log2();
    counts.iter().filter(|&&count| count > 0).map(|&count| of_share(count as f64 / total)).sum()
}

/// JSON has no infinities and no NaN: they are strings, everything else a number.
pub(crate) mod any_f64 {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Named(String),
    }

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        let number = if value.is_finite() { Number::Finite(*value) } else { Number::Named(value.to_string().to_lowercase()) };
        number.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Number::deserialize(deserializer)? {
            Number::Finite(value) => Ok(value),
            Number::Named(name) => match name.as_str() {
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                "nan" => Ok(f64::NAN),
                _ => Err(serde::de::Error::custom(format!("`{name}` is no number: it is one, or inf, -inf or nan"))),
            },
        }
    }
}
