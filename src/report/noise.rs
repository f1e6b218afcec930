//! `noise`: is the error what the textbook's model assumes?

use std::fmt;

use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::Quantizer;
use super::each::{any, each_pair, frame, sum, values_and_approximation};
use crate::error::Result;
use crate::format::Format;
use crate::granularity::Layout;
use crate::scheme::Mapping;
use crate::source::Source;
use crate::statistics::{chi_squared_above, kolmogorov_above, normal_two_sided};
use crate::tensor::Tensor;

/// An assumption of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assumption {
    Uniform,
    Power,
    Unbiased,
    White,
    Uncorrelated,
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uniform => "uniform",
            Self::Power => "power",
            Self::Unbiased => "unbiased",
            Self::White => "white",
            Self::Uncorrelated => "uncorrelated",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Fails,
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
        })
    }
}

/// Is the error what the textbook's model says, noise that is uniform between ±s/2, unbiased, white and independent of the signal? Then its power is
/// s²/12, and each bit is worth 6.02 dB. Five rows for each tensor and scheme, one an assumption. With e = x - x̂, s the scale of the element's block,
/// n elements:
///
/// | `assumption` | `statistic` | `effect`, and what it is where the assumption holds | `p_value` of the statistic |
/// |--|--|--|--|
/// | `uniform` | √n · D, D the largest distance between the distribution of e/s and that of uniform numbers between ±1/2 | D, 0 | Kolmogorov's distribution |
/// | `power` | (mean (e/s)² - 1/12) / √(1/180n) | 10 · log₁₀(mean e² / mean s²/12), 0 dB | normal, both sides |
/// | `unbiased` | √n · ē/σ, σ the standard deviation of e | ē / √(mean e²), 0 | normal, both sides |
/// | `white` | Ljung and Box's Q over the lags 1 to m = min(20, n/5), in row-major order | the autocorrelation of the largest magnitude among them, 0 | χ² with m degrees of freedom |
/// | `uncorrelated` | √n · r | r, the correlation of e and x, 0 | normal, both sides |
///
/// Columns: `tensor`, `scheme`, `assumption`, `statistic`, `effect`, `p_value` (the probability of a statistic at least as far out if the assumption
/// held), `verdict`. The effect of `power` is what SQNR = 10 · log₁₀(Σ x² / Σ s²/12) gives away: the SQNR is so many dB less than the model says.
///
/// The verdict is `fails` where the p-value is below 0.001 and the effect large enough to matter: 0.02 in magnitude, of `power` 0.1 dB. A million
/// elements show any difference, also one that changes nothing, hence the second condition. It is `undecided` where the statistic is
/// not defined: fewer than 8 elements, no error at all, or a constant signal; and where a test so small could not have found the effect: the p-value is
/// above 0.001, but the effect is as large as that. Else it `holds`: at this number of elements nothing speaks against it.
///
/// `uniform` and `power` are about integers and their steps; of other formats, of casts and of quantizers that are no schemes they are null and
/// `undecided`.
///
/// Sources: Bennett 1948, "Spectra of quantized signals"; Widrow and Kollár 2008, Quantization Noise, on when the model holds; Ljung and Box 1978, "On
/// a measure of lack of fit in time series models".
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, noise};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f64>("x", &[1 << 16])?;
/// let table = noise(&x, &[Scheme::symmetric(8), Scheme::symmetric(2)])?;
/// let verdict = table.column("verdict")?.str()?;
/// assert!((0..5).all(|row| verdict.get(row) == Some("holds")));
/// // With a step as large as the signal the error is the signal, mostly.
/// assert_eq!(verdict.get(5 + 4), Some("fails"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`].
pub fn noise<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q]) -> Result<DataFrame> {
    noise_of(&source, &any(quantizers))
}

/// What a test found: none where it is not defined.
struct Finding {
    assumption: Assumption,
    statistic: Option<f64>,
    effect: Option<f64>,
    p_value: Option<f64>,
}

/// Below this probability an assumption is given up.
const SIGNIFICANT: f64 = 0.001;

/// Below these effects it does not matter.
const MATTERS: f64 = 0.02;
const MATTERS_DB: f64 = 0.1;

/// Fewer numbers say nothing.
const FEWEST: usize = 8;

/// Lags that whiteness is looked for at.
const LAGS: usize = 20;

impl Finding {
    fn new(assumption: Assumption, statistic: f64, effect: f64, p_value: f64) -> Self {
        if statistic.is_nan() || p_value.is_nan() {
            return Self::undefined(assumption);
        }
        Self { assumption, statistic: Some(statistic), effect: Some(effect), p_value: Some(p_value) }
    }

    fn undefined(assumption: Assumption) -> Self {
        Self { assumption, statistic: None, effect: None, p_value: None }
    }

    fn verdict(&self) -> Verdict {
        let (Some(p_value), Some(effect)) = (self.p_value, self.effect) else { return Verdict::Undecided };
        let matters = if self.assumption == Assumption::Power { MATTERS_DB } else { MATTERS };
        match (p_value < SIGNIFICANT, effect.abs() >= matters) {
            (true, true) => Verdict::Fails,
            (false, true) => Verdict::Undecided,
            _ => Verdict::Holds,
        }
    }
}

fn noise_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<DataFrame> {
    let pairs = each_pair("noise", source, quantizers, |tensor, quantizer| Ok(findings(tensor, quantizer)?.into()))?;
    frame!(&pairs,
        "assumption": |finding| finding.assumption.to_string(),
        "statistic": |finding| finding.statistic,
        "effect": |finding| finding.effect,
        "p_value": |finding| finding.p_value,
        "verdict": |finding| finding.verdict().to_string(),
    )
}

fn findings(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<[Finding; 5]> {
    let (x, y) = values_and_approximation(tensor, quantizer)?;
    let count = x.len();
    let n = count as f64;
    let errors: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
    drop(y);
    let mean_of = |values: &[f64]| sum(count, |i| values[i]) / n;
    let (mean, mean_x) = (mean_of(&errors), mean_of(&x));
    let mean_square = sum(count, |i| errors[i] * errors[i]) / n;
    let variance = sum(count, |i| (errors[i] - mean) * (errors[i] - mean)) / n;
    if count < FEWEST || mean_square == 0.0 {
        use Assumption::{Power, Unbiased, Uncorrelated, Uniform, White};
        return Ok([Uniform, Power, Unbiased, White, Uncorrelated].map(Finding::undefined));
    }
    let steps = steps(tensor, quantizer)?;
    let (uniform, power) = match &steps {
        Some(steps) => (uniform(&errors, steps), power(&errors, steps, mean_square)),
        None => (Finding::undefined(Assumption::Uniform), Finding::undefined(Assumption::Power)),
    };
    let z = mean * (n / variance).sqrt();
    let unbiased = Finding::new(Assumption::Unbiased, z, mean / mean_square.sqrt(), normal_two_sided(z));
    let covariance = sum(count, |i| (errors[i] - mean) * (x[i] - mean_x)) / n;
    let variance_x = sum(count, |i| (x[i] - mean_x) * (x[i] - mean_x)) / n;
    let r = covariance / (variance.sqrt() * variance_x.sqrt());
    let z = r * n.sqrt();
    let uncorrelated = Finding::new(Assumption::Uncorrelated, z, r, normal_two_sided(z));
    Ok([uniform, power, unbiased, white(&errors, mean, variance), uncorrelated])
}

/// The step of each element, where codes are evenly spaced.
fn steps(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<Option<Vec<f64>>> {
    let Some(scheme) = quantizer.as_scheme() else { return Ok(None) };
    if !matches!(scheme.format(), Format::Int { .. }) || scheme.mapping() == Mapping::Cast {
        return Ok(None);
    }
    let qparams = scheme.qparams(tensor)?;
    let layout = Layout::new(scheme.granularity(), tensor.shape())?;
    let mut steps = vec![0.0; tensor.len()];
    for segment in layout.segments(0..tensor.len()).flat_map(|segment| segment.each()) {
        steps[segment.elements].fill(qparams.scales()[segment.block]);
    }
    Ok(Some(steps))
}

/// Kolmogorov and Smirnov's test of e/s against uniform numbers between ±1/2.
fn uniform(errors: &[f64], steps: &[f64]) -> Finding {
    let mut relative: Vec<f64> = errors.iter().zip(steps).map(|(error, step)| error / step).collect();
    relative.par_sort_unstable_by(f64::total_cmp);
    let n = relative.len() as f64;
    let distance = relative.iter().enumerate().fold(0.0_f64, |distance, (below, relative)| {
        let expected = (relative + 0.5).clamp(0.0, 1.0);
        distance.max(expected - below as f64 / n).max((below as f64 + 1.0) / n - expected)
    });
    Finding::new(Assumption::Uniform, n.sqrt() * distance, distance, kolmogorov_above(distance, n))
}

/// (e/s)² of uniform numbers has mean 1/12 and variance 1/80 - 1/144 = 1/180.
fn power(errors: &[f64], steps: &[f64], mean_square: f64) -> Finding {
    let n = errors.len() as f64;
    let relative = sum(errors.len(), |i| (errors[i] / steps[i]).powi(2)) / n;
    let expected = sum(errors.len(), |i| steps[i] * steps[i]) / n / 12.0;
    let z = (relative - 1.0 / 12.0) * (180.0 * n).sqrt();
    Finding::new(Assumption::Power, z, 10.0 * (mean_square / expected).log10(), normal_two_sided(z))
}

/// Q = n(n + 2) Σ rₖ² / (n - k).
fn white(errors: &[f64], mean: f64, variance: f64) -> Finding {
    let count = errors.len();
    let (n, lags) = (count as f64, LAGS.min(count / 5));
    let correlation = |lag: usize| sum(count - lag, |i| (errors[i] - mean) * (errors[i + lag] - mean)) / (n * variance);
    let correlations: Vec<f64> = (1..=lags).map(correlation).collect();
    let q: f64 = (1..).zip(&correlations).map(|(lag, r)| r * r / (n - f64::from(lag))).sum::<f64>() * n * (n + 2.0);
    let largest = correlations.iter().fold(0.0_f64, |largest, r| if r.abs() > largest.abs() { *r } else { largest });
    Finding::new(Assumption::White, q, largest, chi_squared_above(q, lags as f64))
}
