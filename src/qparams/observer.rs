//! `Observer`: calibration over batches.

use std::borrow::Cow;

use super::QParams;
use super::fit::{Blocks, of_blocks};
use super::histogram::Histogram;
use super::ranges::BlockRanges;
use crate::calibrate::Calibration;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::scheme::Scheme;
use crate::tensor::{Real, Tensor, min_max, spanning};

/// Calibrates over several tensors, as over batches of activations: what they have in common is the number of blocks.
///
/// What it keeps depends on the scheme's calibration. Min-max keeps two numbers a block, or, as a moving average, two numbers
/// that follow the batches. All other calibrations look at every value (an exact percentile, an exact optimum), so those keep all values that they
/// have seen, 4 or 8 bytes each; or, in bounded memory, [a histogram](Observer::histogram) of them.
///
/// ```
/// # use quantlens::{Observer, Scheme, Tensor};
/// let scheme = Scheme::asymmetric(8);
/// let mut observer = Observer::new(scheme)?;
/// observer.observe(&Tensor::from_vec("batch 1", vec![-1.0_f32, 0.5])?)?;
/// let mut other = Observer::new(scheme)?;
/// other.observe(&Tensor::from_vec("batch 2", vec![0.0_f32, 1.55, 0.1])?)?;
/// observer.merge(other)?;
/// assert_eq!(observer.qparams()?.scale(), Some(f64::from(0.01_f32)));
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Observer {
    scheme: Scheme,
    averaging: Option<f64>,
    /// Of a histogram, how many it has at most.
    bins: Option<usize>,
    /// How many blocks the batches have along each axis, but for axes with one.
    blocks: Vec<usize>,
    seen: Seen,
}

#[derive(Debug, Clone)]
enum Seen {
    Nothing,
    F32(Vec<Block<f32>>),
    F64(Vec<Block<f64>>),
}

/// What is kept of a block.
#[derive(Debug, Clone)]
enum Block<T> {
    Range(T, T),
    Values(Vec<T>),
    Histogram(Histogram<T>),
}

impl Observer {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// An invalid scheme.
    pub fn new(scheme: Scheme) -> Result<Self> {
        scheme.validate()?;
        Ok(Self { scheme, averaging: None, bins: None, blocks: Vec::new(), seen: Seen::Nothing })
    }

    /// An observer whose range follows the batches: after the first, `min += c · (batch_min - min)`, and max likewise, in the type of the
    /// data. c is in (0, 1]; PyTorch's `MovingAverageMinMaxObserver` has 0.01.
    ///
    /// # Errors
    /// An invalid scheme; [`Error::Calibration`] for another c; [`Error::Unsupported`] unless the calibration is min-max.
    pub fn moving_average(scheme: Scheme, averaging_constant: f64) -> Result<Self> {
        if !(averaging_constant > 0.0 && averaging_constant <= 1.0) {
            let needs = "the share that a new batch has, above 0 and at most 1, such as 0.01";
            return Err(Error::Calibration { name: "moving average", parameter: averaging_constant, needs });
        }
        if scheme.calibration() != Calibration::MinMax {
            let reason = "a moving average is of smallest and largest values: use min-max calibration";
            return Err(Error::Unsupported { scheme: scheme.to_string(), reason });
        }
        Ok(Self { averaging: Some(averaging_constant), ..Self::new(scheme)? })
    }

    /// An observer that keeps a histogram of each block instead of all values: at most `bins` bins (2 to 2²⁴) with 16 bytes each, and fewer where fewer
    /// have values. Min-max calibration keeps its two numbers, which are all it needs.
    ///
    /// ```text
    /// bin k: k·2ᵉ ≤ x < (k + 1)·2ᵉ          e the smallest integer for which ⌊max/2ᵉ⌋ - ⌊min/2ᵉ⌋ + 1 ≤ bins
    /// ```
    ///
    /// Calibration then takes each value for the middle of its bin, which is at most (max - min)/(bins - 1) away; zeros, the smallest and the largest
    /// value are exact. Percentiles are off by no more than that. KL counts these middles in 2048 bins or more of its own, and needs many times as many
    /// here. As widths are powers of two and bins begin at 0, the wider bins of a new batch are
    /// unions of the old ones, and the parameters are the same bits for any order of batches, any cut into batches, and any order of merging.
    /// PyTorch's `HistogramObserver` spreads old counts over new bins instead, so that its result depends on the order.
    ///
    /// ```
    /// # use quantlens::{Observer, Scheme, Synthetic};
    /// let scheme = Scheme::symmetric(4).mse_optimal();
    /// let mut observer = Observer::histogram(scheme, 2048)?;
    /// let mut exact = Observer::new(scheme)?;
    /// for seed in 0..4 {
    ///     let batch = Synthetic::normal(0.0, 1.0).seed(seed).tensor::<f32>("batch", &[10_000])?;
    ///     observer.observe(&batch)?;
    ///     exact.observe(&batch)?;
    /// }
    /// let (found, best) = (observer.qparams()?.scales()[0], exact.qparams()?.scales()[0]);
    /// assert!((found - best).abs() < 0.02 * best);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// An invalid scheme; [`Error::Calibration`] for another number of bins.
    pub fn histogram(scheme: Scheme, bins: usize) -> Result<Self> {
        if !(2..=1 << 24).contains(&bins) {
            let needs = "2 to 16777216 bins, such as 2048";
            return Err(Error::Calibration { name: "histogram", parameter: bins as f64, needs });
        }
        Ok(Self { bins: Some(bins), ..Self::new(scheme)? })
    }

    /// Looks at the next batch.
    ///
    /// # Errors
    /// [`Error::Axis`] and the like if the scheme cannot divide this shape; [`Error::BatchBlocks`] if its blocks are not those of the batches
    /// before, as many along each axis; [`Error::DtypeMismatch`] if they were of the other type. What was seen before stays.
    pub fn observe(&mut self, batch: &Tensor) -> Result<()> {
        let layout = Layout::new(self.scheme.granularity(), batch.shape())?;
        let keeps_range = self.scheme.calibration() == Calibration::MinMax;
        fn look<T: Real>(values: &[T], layout: &Layout, keeps_range: bool, bins: Option<usize>) -> Vec<Block<T>> {
            if keeps_range {
                let mut ranges = BlockRanges::new(layout);
                ranges.look(values, 0, layout);
                return ranges.into_ranges().into_iter().map(|(min, max)| Block::Range(min, max)).collect();
            }
            let of_block = |block| {
                let values: Vec<T> = layout.runs_of(block).flat_map(|run| &values[run]).copied().collect();
                bins.map_or_else(|| Block::Values(values.clone()), |bins| Block::Histogram(Histogram::new(&values, bins)))
            };
            (0..layout.blocks()).map(of_block).collect()
        }
        let next = match batch.dtype() {
            Dtype::F32 => Seen::F32(look(batch.values().unwrap_or(&[]), &layout, keeps_range, self.bins)),
            Dtype::F64 => Seen::F64(look(batch.values().unwrap_or(&[]), &layout, keeps_range, self.bins)),
        };
        self.join(next, layout.blocks_on_axes())
    }

    /// Adds what another observer of the same scheme has seen after this one.
    ///
    /// # Errors
    /// [`Error::Merge`] for another scheme or number of bins, and for moving averages, which depend on the order of the batches; as [`Observer::observe`].
    pub fn merge(&mut self, other: Self) -> Result<()> {
        if self.scheme != other.scheme || self.bins != other.bins || self.averaging.is_some() || other.averaging.is_some() {
            return Err(Error::Merge { scheme: self.scheme.to_string(), other: other.scheme.to_string() });
        }
        self.join(other.seen, other.blocks)
    }

    fn join(&mut self, next: Seen, blocks: Vec<usize>) -> Result<()> {
        if !matches!(self.seen, Seen::Nothing) && !matches!(next, Seen::Nothing) && blocks != self.blocks {
            return Err(Error::BatchBlocks { blocks, expected: self.blocks.clone() });
        }
        match (&mut self.seen, next) {
            (_, Seen::Nothing) => Ok(()),
            (seen @ Seen::Nothing, next) => {
                *seen = next;
                self.blocks = blocks;
                Ok(())
            }
            (Seen::F32(seen), Seen::F32(next)) => {
                join(seen, next, self.averaging, self.bins);
                Ok(())
            }
            (Seen::F64(seen), Seen::F64(next)) => {
                join(seen, next, self.averaging, self.bins);
                Ok(())
            }
            (Seen::F32(_), Seen::F64(_)) => Err(Error::DtypeMismatch { expected: Dtype::F32, found: Dtype::F64 }),
            (Seen::F64(_), Seen::F32(_)) => Err(Error::DtypeMismatch { expected: Dtype::F64, found: Dtype::F32 }),
        }
    }

    /// The parameters for all that was seen.
    ///
    /// # Errors
    /// [`Error::Nothing`] before the first batch; as [`Scheme::qparams`].
    pub fn qparams(&self) -> Result<QParams> {
        match &self.seen {
            Seen::Nothing => {
                Err(Error::Nothing { what: "observer", reason: "it has seen no batch: let it observe one first".to_owned() })
            }
            Seen::F32(blocks) => of_blocks(self.scheme, blocks, None),
            Seen::F64(blocks) => of_blocks(self.scheme, blocks, None),
        }
    }
}

/// Both have as many blocks.
fn join<T: Real>(blocks: &mut [Block<T>], next: Vec<Block<T>>, averaging: Option<f64>, bins: Option<usize>) {
    for (block, next) in blocks.iter_mut().zip(next) {
        match (block, next, averaging) {
            (Block::Range(min, max), Block::Range(next_min, next_max), Some(c)) => {
                let c = T::from_f64(c);
                *min = *min + c * (next_min - *min);
                *max = *max + c * (next_max - *max);
            }
            (Block::Range(min, max), Block::Range(next_min, next_max), None) => {
                (*min, *max) = spanning((*min, *max), (next_min, next_max));
            }
            (Block::Values(values), Block::Values(next), _) => values.extend(next),
            (Block::Histogram(histogram), Block::Histogram(next), _) => histogram.merge(next, bins.unwrap_or(2)),
            // One observer keeps one kind.
            _ => {}
        }
    }
}

impl<T: Real> Blocks<T> for Vec<Block<T>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn ranges(&self) -> Vec<(T, T)> {
        self.iter()
            .map(|block| match block {
                Block::Range(min, max) => (*min, *max),
                Block::Values(values) => min_max(values),
                Block::Histogram(histogram) => histogram.range(),
            })
            .collect()
    }

    fn values(&self, block: usize) -> (Cow<'_, [T]>, Vec<u64>) {
        match &self[block] {
            Block::Range(min, max) => (vec![*min, *max].into(), Vec::new()),
            Block::Values(values) => (values.into(), Vec::new()),
            Block::Histogram(histogram) => {
                let (values, counts) = histogram.sample();
                (values.into(), counts)
            }
        }
    }
}
