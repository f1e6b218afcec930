//! `frontier`: error against bits, and how far from the best possible.

use polars::prelude::DataFrame;

use super::Quantizer;
use super::each::{Pair, any, decibels, each_pair, frame, sum, values_and_approximation};
use crate::calibrate::Calibration;
use crate::codebook_search::optimal_levels;
use crate::error::Result;
use crate::format::{Format, Rounding};
use crate::scheme::{Mapping, Scheme};
use crate::source::Source;
use crate::tensor::Tensor;

/// Error against bits: one row per tensor and scheme, which of them are worth their bits, and what nobody could do better than.
///
/// Columns:
///
/// - `tensor`, `scheme`, `bits_per_element` (everything that is stored, in bits), `mse` and `sqnr_db` as in a report;
/// - `is_pareto`: no other scheme of the same tensor has at most as many bits and at most as much error, and less of one. Two with the same bits and
///   error are both on the front or both off it;
/// - `best_scale_mse`: the least mean squared error that this grid of codes could have, with the same blocks sharing a scale, rounding to nearest:
///   each block's scale (and zero point) is the best of all real numbers, found exactly ([`Calibration::Mse`]). Null of casts, which have no
///   scale, of mappings with a minimum and the original's convention, whose best scale is not searched, where the search would take too
///   long, and of quantizers that are no schemes;
/// - `regret_db`: 10 · log₁₀(mse / `best_scale_mse`), at least 0: what the scheme gives away by how it finds and stores its scales. 0 where both
///   are 0, ∞ where only the floor is;
/// - `best_codebook_mse`: the least that any one codebook for the whole tensor with as many levels as the scheme has codes could have: one-dimensional
///   k-means, exact ([`crate::Codebook::optimal`]). Null of quantizers that are no schemes, and where levels × elements is above 2²⁴;
/// - `codebook_regret_db`: 10 · log₁₀(mse / `best_codebook_mse`). Below 0 where scales of their own let blocks do better than one codebook for all;
/// - `gaussian_bound_db` and `laplacian_bound_db`: the SQNR that no code of so many bits an element can exceed, of whatever length and complexity, if
///   the elements were independent with a Gaussian or a Laplacian density of the same mean and variance σ²; NaN of a tensor of zeros:
///
/// ```text
/// D ≥ σ² · 2^(-2R)             Gaussian: attained (Shannon's rate–distortion function)
/// D ≥ (e/π) · σ² · 2^(-2R)     Laplacian: Shannon's lower bound, 0.63 dB better; approached at high rates, unattainable at low ones
/// bound_db = 10 · log₁₀(Σ x² / (n · D)),   R = bits_per_element,   σ² = Σ (x - mean)² / n
/// ```
///
/// - `gaussian_gap_db`: `gaussian_bound_db` - `sqnr_db`. At high rates a uniform quantizer with entropy coding stays 1.53 dB (π·e/6) away,
///   and one of fixed length further. Below 0 where the elements are no independent Gaussian numbers: blocks of different
///   variance, whose scales tell them apart, or a density with heavier tails.
///
/// The Gaussian is the hardest density of its variance to code, so its bound is one that is always attainable in the limit; the Laplacian is nearer to
/// most weights. There is no closed form of its rate–distortion function for squared error; Shannon's lower bound is 2^(2h) · 2^(-2R) / (2πe) with the
/// entropy h = log₂(2e·b), σ² = 2b².
/// Sources: Cover and Thomas, Elements of Information Theory, 2nd edition, theorem 10.3.2 and problem 10.8; Gish and Pierce 1968, "Asymptotically
/// efficient quantizing".
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, frontier};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 256])?;
/// let schemes = [Scheme::symmetric(4), Scheme::symmetric(4).per_group(32), Scheme::symmetric(4).per_group(32).mse_optimal()];
/// let table = frontier(&weights, &schemes)?;
/// // With the best scale the second costs the same and loses less.
/// assert_eq!(table.column("is_pareto")?.bool()?.iter().collect::<Vec<_>>(), [Some(true), Some(false), Some(true)]);
/// assert!(table.column("regret_db")?.f64()?.get(2) < Some(1e-3));
/// assert!(table.column("gaussian_gap_db")?.f64()?.get(2) > Some(1.53));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`].
pub fn frontier<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q]) -> Result<DataFrame> {
    frontier_of(&source, &any(quantizers))
}

struct Row {
    bits_per_element: f64,
    mse: f64,
    sqnr_db: f64,
    is_pareto: bool,
    best_scale_mse: Option<f64>,
    best_codebook_mse: Option<f64>,
    gaussian_bound_db: f64,
}

/// Levels times elements that a search for a codebook is worth: a second or two.
const SEARCHED: usize = 1 << 24;

fn frontier_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<DataFrame> {
    // Schemes with as many levels have the same best codebook of a tensor.
    let mut codebooks = Vec::new();
    let mut pairs = each_pair("frontier", source, quantizers, |tensor, quantizer| {
        if std::ptr::addr_eq(quantizer, quantizers[0]) {
            codebooks.clear();
        }
        Ok(vec![row(tensor, quantizer, &mut codebooks)?])
    })?;
    pairs.chunks_mut(quantizers.len()).for_each(mark_pareto);
    let regret = |floor: fn(&Row) -> Option<f64>| move |row: &Row| floor(row).map(|floor| ratio_db(row.mse, floor));
    // 10 · log₁₀(π / e)
    let laplacian_gain_db = 10.0 * (std::f64::consts::PI / std::f64::consts::E).log10();
    frame!(&pairs,
        "bits_per_element": |row| row.bits_per_element,
        "mse": |row| row.mse,
        "sqnr_db": |row| row.sqnr_db,
        "is_pareto": |row| row.is_pareto,
        "best_scale_mse": |row| row.best_scale_mse,
        "regret_db": regret(|row| row.best_scale_mse),
        "best_codebook_mse": |row| row.best_codebook_mse,
        "codebook_regret_db": regret(|row| row.best_codebook_mse),
        "gaussian_bound_db": |row| row.gaussian_bound_db,
        "laplacian_bound_db": |row| row.gaussian_bound_db + laplacian_gain_db,
        "gaussian_gap_db": |row| row.gaussian_bound_db - row.sqnr_db,
    )
}

/// 10 · log₁₀(error / floor), 0 if both are 0.
fn ratio_db(error: f64, floor: f64) -> f64 {
    if error == floor { 0.0 } else { 10.0 * (error / floor).log10() }
}

fn mark_pareto(pairs: &mut [Pair<Row>]) {
    let mut rows: Vec<&mut Row> = pairs.iter_mut().flat_map(|pair| pair.rows.as_mut()).flatten().collect();
    let points: Vec<(f64, f64)> = rows.iter().map(|row| (row.bits_per_element, row.mse)).collect();
    for (row, own) in rows.iter_mut().zip(&points) {
        let beats = |other: &(f64, f64)| other.0 <= own.0 && other.1 <= own.1 && other != own;
        row.is_pareto = !points.iter().any(beats);
    }
}

fn row(tensor: &Tensor, quantizer: &dyn Quantizer, codebooks: &mut Vec<(usize, Option<f64>)>) -> Result<Row> {
    let bits_per_element = quantizer.bits_per_element(tensor.shape(), tensor.dtype())?;
    let (x, y) = values_and_approximation(tensor, quantizer)?;
    let n = x.len();
    let elements = n as f64;
    let noise = sum(n, |i| (x[i] - y[i]) * (x[i] - y[i]));
    drop(y);
    let (mse, scheme) = (noise / elements, quantizer.as_scheme());
    let best_scale_mse = match scheme {
        Some(scheme) => best_scale_mse(scheme, tensor, &x)?,
        None => None,
    };
    let best_codebook_mse = scheme.and_then(|scheme| {
        let levels = levels(scheme);
        if let Some((_, known)) = codebooks.iter().find(|(known, _)| *known == levels) {
            return *known;
        }
        let found = (levels.saturating_mul(n) <= SEARCHED).then(|| codebook_mse(&x, levels));
        codebooks.push((levels, found));
        found
    });
    let signal = sum(n, |i| x[i] * x[i]);
    let mean = sum(n, |i| x[i]) / elements;
    let variance = sum(n, |i| (x[i] - mean) * (x[i] - mean)) / elements;
    // In decibels, for 2^(-2R) may vanish.
    let gaussian_bound_db = decibels(signal, variance * elements) + 20.0 * bits_per_element * 2_f64.log10();
    Ok(Row {
        bits_per_element,
        mse,
        sqnr_db: decibels(signal, noise),
        is_pareto: false,
        // The floor is in real numbers, the scheme in those of its type, whose rounding may do better by a hair.
        best_scale_mse: best_scale_mse.map(|floor| floor.min(mse)),
        best_codebook_mse,
        gaussian_bound_db,
    })
}

/// The least error of the same codes and blocks over all scales.
fn best_scale_mse(scheme: Scheme, tensor: &Tensor, x: &[f64]) -> Result<Option<f64>> {
    if matches!(scheme.mapping(), Mapping::Cast | Mapping::Minimum) {
        return Ok(None);
    }
    let scheme = scheme.with_exact_scales().mse_optimal();
    let is_nearest =
        !matches!(scheme.rounding(), Rounding::TowardZero | Rounding::Down | Rounding::Up | Rounding::Stochastic { .. });
    let scheme = if is_nearest { scheme } else { scheme.with_rounding(Rounding::HalfToEven) };
    debug_assert_eq!(scheme.calibration(), Calibration::Mse);
    if scheme.validate().is_err() {
        return Ok(None);
    }
    match scheme.fake_quantize(tensor) {
        Ok(best) => {
            let y = best.to_f64_vec();
            Ok(Some(sum(x.len(), |i| (x[i] - y[i]) * (x[i] - y[i])) / x.len() as f64))
        }
        Err(error) if matches!(error.cause(), crate::error::Error::SearchTooLong { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many different numbers a code can mean.
fn levels(scheme: Scheme) -> usize {
    match scheme.format() {
        // The original's lower bound is below what its bits hold.
        Format::Int { .. } => (scheme.quant_max() - scheme.quant_min().max(scheme.format().code_range().0)) as usize + 1,
        format => format.distinct_values().len(),
    }
}

/// The mean squared error under the best codebook of so many levels.
pub(super) fn codebook_mse(x: &[f64], levels: usize) -> f64 {
    let levels = optimal_levels(x, levels);
    let nearest = |x: f64| {
        let above = levels.partition_point(|&level| level < x);
        let at = |position: usize| levels.get(position).map_or(f64::INFINITY, |level| (x - level).abs());
        at(above).min(at(above.wrapping_sub(1)))
    };
    sum(x.len(), |i| nearest(x[i]).powi(2)) / x.len() as f64
}
