//! `Calibration`: from the values of a block to the range that its codes shall cover.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::format::whole_number;
use crate::optimum::MAX_EXPONENT;
use crate::percentile::percentile;
use crate::sample::Sample;
use crate::tensor::{Real, larger_magnitude, limit, min_max};

/// How the range that codes cover is taken from the values of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Calibration {
    /// From the smallest to the largest value: nothing is clipped, and one outlier widens every step.
    MinMax,
    /// The central `percentile` percent of the values, in (0, 100]; the rest is clipped. 100 is [`Calibration::MinMax`].
    ///
    /// Where that leaves only zeros of a block that has other values, there is no range to cover, and calibrating is an error.
    ///
    /// Asymmetric: from the (100 - p)/2-th to the (100 + p)/2-th percentile of x. Symmetric: ± the p-th percentile of |x|.
    /// Both as ONNX Runtime's percentile calibrator splits them, but exact where that one counts 2048 bins. Between two
    /// values the percentile is interpolated linearly, `numpy.percentile`'s default, in f64.
    Percentile(f64),
    /// The scale of least squared error Σ (x - x̂)²: the exact optimum over all scales for this grid and block, rounding to nearest, and with
    /// a zero point over all zero points too; found in f64. Of scales that are stored in a float format or as powers of two it is the best of
    /// those that are stored: among all of them at 8 bits and of powers of two, among the nearest three at 16 bits. With a zero point, and with a second
    /// level of scales, it is rounded to what is stored. A block of zeros is as under [`Calibration::MinMax`].
    ///
    /// It takes some 20 µs for a block of 32 at 4 bits, 0.2 ms at 8 bits, 0.1 s for a million values in one block at 8 bits. A search that would
    /// take more than some ten seconds, as over a million values at 16 bits in one block, is an error.
    Mse,
    /// The scale of least Σ |x - x̂|ᵖ for this p of 1 to 32: below 2 it minds outliers less, above 2 more. At most 10⁻⁶ (of the p-norm) above the
    /// least there is. Otherwise as [`Calibration::Mse`].
    Lp(f64),
    /// ± the magnitude at which clipping loses the least information: the least Kullback–Leibler divergence between the histogram of |x|,
    /// clipped, and the same quantized to as many levels as the format has. Symmetric mappings only.
    ///
    /// TensorRT's procedure (Migacz, "8-bit Inference with TensorRT", 2017) over 2048 bins, or 16 a level if that is more. ONNX Runtime's
    /// default, 128 bins for 128 levels, has one candidate and never clips; PyTorch's `HistogramObserver` tunes for the levels of its type whatever
    /// `quant_min` and `quant_max` say; here the levels are the scheme's.
    Kl,
    /// From mean - k·σ to mean + k·σ, σ being the standard deviation of the block (n in the denominator), but never wider than min-max. Symmetric: ±
    /// the larger magnitude of these two. k is above 0.
    Sigma(f64),
    /// ± mean |x|: BitNet b1.58's "absmean" for ternary weights, and the best scale for binary ones. Symmetric mappings only. On formats with more
    /// levels it clips whatever is above the mean.
    AbsMean,
}

impl Calibration {
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Percentile(percentile) if !(percentile > 0.0 && percentile <= 100.0) => Err(Error::Percentile { percentile }),
            Self::Lp(p) if !(1.0..=MAX_EXPONENT).contains(&p) => {
                Err(Error::Calibration { name: "lp", parameter: p, needs: "a power of 1 to 32, such as 2.4" })
            }
            Self::Sigma(k) if !(k > 0.0 && k.is_finite()) => Err(Error::Calibration {
                name: "sigma",
                parameter: k,
                needs: "a finite number of standard deviations above 0, such as 3",
            }),
            _ => Ok(()),
        }
    }

    /// (low, high) of values that may lie to both sides of 0. Searches look at more than a range and are answered as min-max here.
    pub(crate) fn range<T: Real>(self, sample: Sample<T>) -> (T, T) {
        match self {
            Self::Percentile(p) => {
                let at = |p: f64| percentile(sample, |x| x, p);
                (at((100.0 - p) / 2.0), at((100.0 + p) / 2.0))
            }
            Self::Sigma(k) => {
                let (mean, deviation) = mean_and_deviation(sample);
                let (min, max) = min_max(sample.values);
                (limit(T::from_f64(mean - k * deviation), min, max), limit(T::from_f64(mean + k * deviation), min, max))
            }
            _ => min_max(sample.values),
        }
    }

    /// (-a, a), where a is the magnitude to cover. Likewise.
    pub(crate) fn magnitude<T: Real>(self, sample: Sample<T>) -> (T, T) {
        let magnitudes = || sample.values.iter().map(|x| x.abs()).collect::<Vec<T>>();
        let magnitude = match self {
            Self::Percentile(p) => percentile(sample, T::abs, p),
            Self::AbsMean => T::from_f64(mean_and_deviation(Sample::new(&magnitudes(), sample.counts().unwrap_or_default())).0),
            _ => larger_magnitude(self.range(sample)),
        };
        (-magnitude, magnitude)
    }
}

/// As in a scheme's name: `minmax`, `p99.9`, `mse`, `lp2.4`, `kl`, `sigma3`, `absmean`.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::MinMax => "minmax".to_owned(),
            Self::Percentile(percentile) => format!("p{percentile}"),
            Self::Mse => "mse".to_owned(),
            Self::Lp(p) => format!("lp{p}"),
            Self::Kl => "kl".to_owned(),
            Self::Sigma(k) => format!("sigma{k}"),
            Self::AbsMean => "absmean".to_owned(),
        })
    }
}

impl FromStr for Calibration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |prefix: &str, make: fn(f64) -> Self| text.strip_prefix(prefix).and_then(whole_number).map(make);
        match text {
            "minmax" => Some(Self::MinMax),
            "mse" => Some(Self::Mse),
            "kl" => Some(Self::Kl),
            "absmean" => Some(Self::AbsMean),
            _ => number("lp", Self::Lp).or_else(|| number("sigma", Self::Sigma)).or_else(|| number("p", Self::Percentile)),
        }
        .ok_or_else(|| format!("`{text}` is no calibration: it is minmax, p99.9, mse, lp2.4, kl, sigma3 or absmean"))
    }
}

/// Mean and standard deviation, with n in the denominator, of some values. Sums in f64 in the order of the values, the squares about the mean.
fn mean_and_deviation<T: Real>(sample: Sample<T>) -> (f64, f64) {
    let n = sample.len().max(1) as f64;
    // Scaled, so that the sum of finite numbers is finite.
    let mean = sample.weighted().map(|(x, count)| x.to_f64() / n * count as f64).sum::<f64>();
    let variance = sample.weighted().map(|(x, count)| (x.to_f64() - mean).powi(2) / n * count as f64).sum::<f64>();
    (mean, variance.sqrt())
}
