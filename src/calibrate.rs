//! `Calibration`: from the values of a block to the range that its codes shall cover.

use std::fmt;

use crate::error::{Error, Result};
use crate::tensor::{Real, min_max};

/// How the range that codes cover is taken from the values.
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
}

impl Calibration {
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Percentile(percentile) if !(percentile > 0.0 && percentile <= 100.0) => Err(Error::Percentile { percentile }),
            _ => Ok(()),
        }
    }

    /// (low, high) of values that may lie to both sides of 0.
    pub(crate) fn range<T: Real>(self, values: impl Iterator<Item = T>) -> (T, T) {
        let mut values: Vec<T> = values.collect();
        match self {
            Self::MinMax => min_max(&values),
            Self::Percentile(p) => {
                let low = percentile(&mut values, (100.0 - p) / 2.0);
                let high = percentile(&mut values, (100.0 + p) / 2.0);
                (low, high)
            }
        }
    }

    /// (-a, a), where a is the magnitude to cover.
    pub(crate) fn magnitude<T: Real>(self, values: impl Iterator<Item = T>) -> (T, T) {
        let mut values: Vec<T> = values.map(T::abs).collect();
        let magnitude = match self {
            Self::MinMax => min_max(&values).1,
            Self::Percentile(p) => percentile(&mut values, p),
        };
        (-magnitude, magnitude)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::MinMax => "minmax".to_owned(),
            Self::Percentile(percentile) => format!("p{percentile}"),
        })
    }
}

/// `numpy.percentile(values, p)`: the value at rank (n - 1)·p/100, interpolated linearly between its neighbours, in f64.
/// Reorders the values; 0 of none.
fn percentile<T: Real>(values: &mut [T], p: f64) -> T {
    let Some(last) = values.len().checked_sub(1) else { return T::ZERO };
    let rank = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    let below = rank.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, |a, b| a.to_f64().total_cmp(&b.to_f64()));
    let high = if above.is_empty() { low } else { min_max(above).0 };
    let (low, high, weight) = (low.to_f64(), high.to_f64(), rank - below as f64);
    // From the nearer end, as numpy does, so that weight 1 gives exactly `high`. Half-differences cannot overflow.
    let step = high / 2.0 - low / 2.0;
    T::from_f64(if weight < 0.5 { low + 2.0 * weight * step } else { high - 2.0 * (1.0 - weight) * step })
}
