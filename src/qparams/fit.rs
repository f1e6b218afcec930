//! Calibration: from the values of each block to its parameters.

use std::borrow::Cow;

use rayon::prelude::*;

use super::formulas::{Pair, Problem, Smallest, Store, bounded, furthest};
use super::ranges::BlockRanges;
use super::{Ideal, QParams, StoredScales};
use crate::binary::{exponent, power_of_two};
use crate::calibrate::Calibration;
use crate::codec::ScalarCodec;
use crate::divergence::kl_threshold;
use crate::error::{Error, Result};
use crate::format::{Format, Minifloat};
use crate::granularity::Layout;
use crate::optimum::{self, Grid, Optimum, optimal_scale, optimal_scale_and_zero_point};
use crate::sample::Sample;
use crate::scale::{ScaleFormat, ScaleRule, SecondLevel, Target};
use crate::scheme::{Mapping, Scheme, SymmetricRange};
use crate::tensor::{Real, Tensor, larger_magnitude, min_max, with_values};

impl Scheme {
    /// Calibrates: the scale, and the zero point or minimum, of each block of this tensor.
    ///
    /// # Errors
    /// An invalid scheme; [`Error::Axis`]; as cause of an [`Error::At`] with the block: [`Error::RangeOverflow`] where max - min overflows the data's type;
    /// [`Error::ScaleOverflow`] and [`Error::ScaleUnderflow`] where the type that scales are stored in cannot hold one; under the
    /// original's convention, [`Error::ZeroScale`] and [`Error::ZeroPointOverflow`] where its formulas give a scale of 0 (or one
    /// whose reciprocal overflows) or leave 64-bit integers; [`Error::CalibratedToZero`] where a percentile keeps only zeros. Of
    /// several blocks the first one's.
    pub fn qparams(&self, tensor: &Tensor) -> Result<QParams> {
        self.validate()?;
        let layout = Layout::new(self.granularity(), tensor.shape())?;
        with_values!(tensor, |values| {
            // The gate has looked already.
            let range = Some((Real::from_f64(tensor.min()), Real::from_f64(tensor.max())));
            qparams_of(*self, values, &layout, range, None)
        })
        .map_err(|error| error.named(tensor.name(), &self.to_string()))
    }

    /// [`Scheme::qparams`], and what the parameters of each block would be if nothing had to be stored.
    pub(crate) fn qparams_and_ideals(&self, tensor: &Tensor) -> Result<(QParams, Vec<Ideal>)> {
        self.validate()?;
        let layout = Layout::new(self.granularity(), tensor.shape())?;
        with_values!(tensor, |values| {
            let range = Some((Real::from_f64(tensor.min()), Real::from_f64(tensor.max())));
            let blocks = SliceBlocks { values, layout: &layout, range };
            let fits = fits(*self, &blocks)?;
            Ok((of_fits(*self, &fits, None)?, ideals(*self, &blocks, &fits)?))
        })
        .map_err(|error: Error| error.named(tensor.name(), &self.to_string()))
    }
}

/// The parameters of the blocks of these values, which are finite. Their range, if it is known; and that of the whole tensor's magnitudes, where a
/// second level depends on it and they are a part.
pub(crate) fn qparams_of<T: Real>(
    scheme: Scheme,
    values: &[T],
    layout: &Layout,
    range: Option<(T, T)>,
    tensor_magnitude: Option<T>,
) -> Result<QParams> {
    of_blocks(scheme, &SliceBlocks { values, layout, range }, tensor_magnitude)
}

/// The parameters of blocks of which nothing is known but the ranges: for min-max calibration.
pub(crate) fn qparams_of_ranges<T: Real>(scheme: Scheme, ranges: Vec<(T, T)>) -> Result<QParams> {
    of_blocks(scheme, &Ranges(ranges), None)
}

/// The values of each block, in one tensor or in what an observer kept.
pub(super) trait Blocks<T: Real>: Sync {
    fn count(&self) -> usize;
    /// The smallest and the largest value of each block.
    fn ranges(&self) -> Vec<(T, T)>;
    /// All values of a block, and how often each occurs: no counts if each occurs once.
    fn values(&self, block: usize) -> (Cow<'_, [T]>, Vec<u64>);
}

struct Ranges<T>(Vec<(T, T)>);

impl<T: Real> Blocks<T> for Ranges<T> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn ranges(&self) -> Vec<(T, T)> {
        self.0.clone()
    }

    fn values(&self, block: usize) -> (Cow<'_, [T]>, Vec<u64>) {
        (vec![self.0[block].0, self.0[block].1].into(), Vec::new())
    }
}

struct SliceBlocks<'a, T> {
    values: &'a [T],
    layout: &'a Layout,
    /// Of all values, if it is known.
    range: Option<(T, T)>,
}

impl<T: Real> Blocks<T> for SliceBlocks<'_, T> {
    fn count(&self) -> usize {
        self.layout.blocks()
    }

    fn ranges(&self) -> Vec<(T, T)> {
        match self.range {
            Some(range) if self.layout.blocks() == 1 => vec![range],
            _ => {
                let mut ranges = BlockRanges::new(self.layout);
                ranges.look(self.values, 0, self.layout);
                ranges.into_ranges()
            }
        }
    }

    fn values(&self, block: usize) -> (Cow<'_, [T]>, Vec<u64>) {
        let mut runs = self.layout.runs_of(block).map(|run| &self.values[run]);
        let first = runs.next().unwrap_or_default();
        let rest: Vec<&[T]> = runs.collect();
        // Mostly one run, which needs no copy.
        let values = if rest.is_empty() { first.into() } else { [&[first], &rest[..]].concat().concat().into() };
        (values, Vec::new())
    }
}

/// What calibration found for a block.
#[derive(Debug, Clone, Copy)]
enum Fit<T> {
    /// The convention's formulas say the scale for this range.
    Range(T, T),
    /// A search has found it.
    Scale {
        scale: T,
        magnitude: T,
    },
    ScaleAndZeroPoint {
        scale: T,
        zero_point: i64,
    },
}

impl<T: Real> Fit<T> {
    fn magnitude(self) -> T {
        match self {
            Self::Range(min, max) => larger_magnitude((min, max)),
            Self::Scale { magnitude, .. } => magnitude,
            Self::ScaleAndZeroPoint { scale, .. } => scale,
        }
    }
}

/// The parameters of all blocks.
///
/// `tensor_magnitude` is that of the whole tensor, where the blocks are some of it and a scale above theirs depends on it.
pub(super) fn of_blocks<T: Real>(scheme: Scheme, blocks: &impl Blocks<T>, tensor_magnitude: Option<T>) -> Result<QParams> {
    of_fits(scheme, &fits(scheme, blocks)?, tensor_magnitude)
}

fn of_fits<T: Real>(scheme: Scheme, fits: &[Fit<T>], tensor_magnitude: Option<T>) -> Result<QParams> {
    let storage = scheme.scale_storage();
    let stored = match (storage.second, storage.format) {
        (Some(SecondLevel::TensorScale), ScaleFormat::Float(format)) => {
            let magnitudes: Vec<T> = fits.iter().map(|fit| fit.magnitude()).collect();
            Some(StoredScales::tensor(format, scheme.convention(), furthest(scheme), &magnitudes, tensor_magnitude))
        }
        (Some(SecondLevel::DoubleQuantized), _) => {
            // A block of zeros asks for no scale, and its 1 must not move the mean of the others.
            let of_block = |(pair, fit): (Pair<T>, &Fit<T>)| if fit.magnitude() == T::ZERO { 0.0 } else { pair.scale.to_f64() };
            let scales: Vec<f64> = pairs(scheme, fits)?.into_iter().zip(fits).map(of_block).collect();
            Some(StoredScales::double(&scales))
        }
        _ => None,
    };
    let (scales, offsets): (Vec<f64>, Vec<f64>) = match &stored {
        Some(stored) => (stored.scales_in(T::DTYPE), vec![f64::from(scheme.middle_code()); fits.len()]),
        None => pairs(scheme, fits)?.into_iter().map(|pair| (pair.scale.to_f64(), pair.offset.to_f64())).unzip(),
    };
    if let Some(block) = scales.iter().position(|&scale| !(scale > 0.0 && scale.is_finite())) {
        let (scale, format) =
            (scales[block], storage.second.map_or_else(|| storage.format.to_string(), |second| second.to_string()));
        return Err(match scale > 0.0 {
            true => Error::ScaleOverflow { scale, format }.in_block(block),
            false => Error::ScaleUnderflow { scale, format }.in_block(block),
        });
    }
    let is_minimum = scheme.mapping() == Mapping::Minimum;
    let zero_points = if is_minimum { vec![0; scales.len()] } else { offsets.iter().map(|&offset| offset as i64).collect() };
    let minimums = if is_minimum { offsets } else { Vec::new() };
    Ok(QParams { scheme, dtype: T::DTYPE, scales, zero_points, minimums, stored })
}

fn pairs<T: Real>(scheme: Scheme, fits: &[Fit<T>]) -> Result<Vec<Pair<T>>> {
    let codec = match scheme.scale_format() {
        ScaleFormat::Float(float) if float != Minifloat::E8M0 => Some(ScalarCodec::new(float)),
        _ => None,
    };
    let furthest = furthest(scheme);
    let pair = |fit: &Fit<T>| {
        let stored = Stored { scheme, codec: codec.as_ref(), magnitude: fit.magnitude(), furthest };
        match *fit {
            Fit::Range(min, max) => Problem { scheme, min, max, furthest, smallest: Smallest::OfConvention }.solve(&stored),
            Fit::Scale { scale, .. } => {
                let middle = T::from_f64(scheme.middle_code().into());
                Ok(Pair { scale: stored.store(searched(scheme, scale))?, offset: middle })
            }
            Fit::ScaleAndZeroPoint { scale, zero_point } => {
                Ok(Pair { scale: stored.store(searched(scheme, scale))?, offset: T::from_f64(zero_point as f64) })
            }
        }
    };
    fits.iter().enumerate().map(|(block, fit)| pair(fit).map_err(|error| error.in_block(block))).collect()
}

/// What nothing was stored of. A search for scales that are stored in few bits looks among those: here it is asked again, for the best of all; where that
/// takes too long, the answer is what it found.
fn ideals<T: Real>(scheme: Scheme, blocks: &impl Blocks<T>, found: &[Fit<T>]) -> Result<Vec<Ideal>> {
    let is_search = found.iter().any(|fit| !matches!(fit, Fit::Range(..)));
    let again = if is_search && scheme.scale_format() != ScaleFormat::Data {
        fits(scheme.with_exact_scales(), blocks).ok()
    } else {
        None
    };
    let furthest = furthest(scheme);
    let ideal = |(fit, (min, max)): (&Fit<T>, (T, T))| match *fit {
        Fit::Range(low, high) => {
            let (low, high, min, max) = (low.to_f64(), high.to_f64(), min.to_f64(), max.to_f64());
            let problem = Problem { scheme, min: low, max: high, furthest, smallest: Smallest::Any };
            let Pair { scale, offset } = problem.solve(&AsItIs)?;
            // A symmetric range may reach beyond the values, and may leave all of them outside.
            let inside = (low.max(min).min(high.min(max)), high.min(max));
            Ok(Ideal { calibrated: Some((low, high)), inside, scale, offset })
        }
        Fit::Scale { scale, .. } => {
            let (scale, offset) = (scale.to_f64(), scheme.middle_code().into());
            Ok(Ideal { calibrated: None, inside: (min.to_f64(), max.to_f64()), scale, offset })
        }
        Fit::ScaleAndZeroPoint { scale, zero_point } => {
            let inside = (min.to_f64(), max.to_f64());
            Ok(Ideal { calibrated: None, inside, scale: scale.to_f64(), offset: zero_point as f64 })
        }
    };
    let pairs = again.as_deref().unwrap_or(found).iter().zip(blocks.ranges());
    pairs.enumerate().map(|(block, pair)| ideal(pair).map_err(|error: Error| error.in_block(block))).collect()
}

/// Nothing is lost in storing.
struct AsItIs;

impl Store<f64> for AsItIs {
    fn store(&self, scale: f64) -> Result<f64> {
        Ok(scale)
    }

    fn store_minimum(&self, minimum: f64) -> Result<f64> {
        Ok(minimum)
    }
}

/// A scale that a search has found, not below the smallest of the convention.
fn searched<T: Real>(scheme: Scheme, scale: T) -> T {
    if scheme.scale_format().is_power_of_two() { scale } else { bounded(scheme.convention(), scale) }
}

fn fits<T: Real>(scheme: Scheme, blocks: &impl Blocks<T>) -> Result<Vec<Fit<T>>> {
    if scheme.calibration() == Calibration::MinMax {
        return Ok(blocks.ranges().into_iter().map(|(min, max)| Fit::Range(min, max)).collect());
    }
    let levels = search_levels(scheme);
    let fit = |block| {
        let (values, counts) = blocks.values(block);
        fit(scheme, Sample::new(&values, &counts), &levels).map_err(|error| error.in_block(block))
    };
    let fits: Vec<Result<Fit<T>>> = (0..blocks.count()).into_par_iter().map(fit).collect();
    // Collected in order first: of several errors the first block's is told, whichever thread came first.
    fits.into_iter().collect()
}

/// The values of a grid that is no run of integers, rising, without a second 0.
fn search_levels(scheme: Scheme) -> Vec<f64> {
    match scheme.format() {
        Format::Int { .. } => Vec::new(),
        format => format.distinct_values(),
    }
}

fn fit<T: Real>(scheme: Scheme, sample: Sample<T>, levels: &[f64]) -> Result<Fit<T>> {
    let calibration = scheme.calibration();
    let (min, max) = min_max(sample.values);
    let counts = sample.counts().unwrap_or_default();
    let power = match calibration {
        Calibration::Mse => 2.0,
        Calibration::Lp(p) => p,
        _ => {
            let (low, high) = match (calibration, scheme.mapping()) {
                (Calibration::Kl, _) => {
                    let magnitudes: Vec<f64> = sample.values.iter().map(|x| x.abs().to_f64()).collect();
                    let magnitudes = Sample::new(&magnitudes, counts);
                    // A block of zeros has no histogram.
                    let threshold = T::from_f64(kl_threshold(magnitudes, magnitude_levels(scheme)).unwrap_or(0.0));
                    (-threshold, threshold)
                }
                (_, Mapping::Symmetric) => calibration.magnitude(sample),
                _ => calibration.range(sample),
            };
            let keeps_only_zeros = low == T::ZERO && high == T::ZERO && (min < T::ZERO || max > T::ZERO);
            return if keeps_only_zeros {
                Err(Error::CalibratedToZero { calibration: calibration.to_string() })
            } else {
                Ok(Fit::Range(low, high))
            };
        }
    };
    let values: Vec<f64> = sample.values.iter().map(|x| x.to_f64()).collect();
    let values = Sample::new(&values, counts);
    let magnitude = larger_magnitude((min, max));
    let (quant_min, quant_max) = (scheme.quant_min(), scheme.quant_max());
    if scheme.mapping() == Mapping::Asymmetric {
        let found = optimal_scale_and_zero_point(values, quant_min.into(), quant_max.into(), power);
        return Ok(match proven(found, values.values.len())? {
            Some(found) => Fit::ScaleAndZeroPoint { scale: T::from_f64(found.scale), zero_point: found.zero_point },
            None => Fit::Range(min, max),
        });
    }
    let middle = scheme.middle_code();
    let grid = match scheme.format() {
        Format::Int { .. } => Grid::Uniform { min: quant_min - middle, max: quant_max - middle },
        _ => Grid::Listed(levels),
    };
    let scale = if scheme.scale_format().is_power_of_two() {
        optimum::best_of(values, grid, powers_of_two(scheme, magnitude.to_f64()).into_iter(), power)
    } else {
        let exact = proven(optimal_scale(values, grid, power), values.values.len())?.map(|found| found.scale);
        exact.map(|exact| {
            let stored = stored_scales(scheme, exact);
            optimum::best_of(values, grid, stored.into_iter(), power).unwrap_or(exact)
        })
    };
    Ok(match scale {
        Some(scale) => Fit::Scale { scale: T::from_f64(scale), magnitude: T::from_f64(scale * furthest(scheme)) },
        None => Fit::Range(min, max),
    })
}

/// A search that ended early has found something, but not what was asked for.
fn proven(found: Option<Optimum>, elements: usize) -> Result<Option<Optimum>> {
    match found {
        Some(Optimum { gap, .. }) if gap > optimum::TOLERANCE => Err(Error::SearchTooLong { elements, gap }),
        found => Ok(found),
    }
}

/// From the power of two that clips nothing down to one at which nearly everything is clipped. None where the first is beyond what is stored, which
/// then is an error as without a search.
fn powers_of_two(scheme: Scheme, magnitude: f64) -> Vec<f64> {
    if magnitude == 0.0 {
        return Vec::new();
    }
    let (smallest, largest) = scheme.scale_format().exponents();
    let (smallest, largest) = (smallest - scheme.fraction_bits(), largest - scheme.fraction_bits());
    let top = exponent(magnitude) - exponent(furthest(scheme)) + 1;
    if top - 1 > largest {
        return Vec::new();
    }
    (0..=24).map(|below| power_of_two((top - below).clamp(smallest, largest))).collect()
}

/// The scales that a float format has for a block, of which the best is not always the one nearest to the best of all: every one of 8 bits, and of
/// more bits those around it. None where it has none as small or as large, and where scales are relative to another.
fn stored_scales(scheme: Scheme, exact: f64) -> Vec<f64> {
    let (ScaleFormat::Float(format), None) = (scheme.scale_format(), scheme.second_level()) else { return Vec::new() };
    let Some((code, _)) = ScalarCodec::new(format).encode(exact).filter(|(_, nearest)| *nearest > 0.0) else { return Vec::new() };
    let codes = if format.bits() <= 8 { 0..=format.largest_code() } else { code - 1..=(code + 1).min(format.largest_code()) };
    codes.map(|code| format.decode(code)).filter(|scale| *scale > 0.0).collect()
}

/// How many magnitudes the grid has, 0 among them: 128 for int8.
fn magnitude_levels(scheme: Scheme) -> usize {
    match scheme.format() {
        Format::Int { .. } => (scheme.quant_max() - scheme.middle_code()) as usize + 1,
        format => {
            let mut magnitudes: Vec<f64> = format.distinct_values().into_iter().map(f64::abs).collect();
            magnitudes.sort_by(f64::total_cmp);
            magnitudes.dedup();
            magnitudes.len()
        }
    }
}

/// How a block's scale is stored.
struct Stored<'a, T> {
    scheme: Scheme,
    /// Of scales in a float format.
    codec: Option<&'a ScalarCodec>,
    /// Of the block's values, as calibrated.
    magnitude: T,
    /// Of the grid, as [`furthest`] says.
    furthest: f64,
}

impl<T: Real> Store<T> for Stored<'_, T> {
    fn store(&self, scale: T) -> Result<T> {
        let format = self.scheme.scale_format();
        if format.is_power_of_two() {
            return self.power_of_two(scale);
        }
        let (value, name) = (scale.to_f64(), || format.to_string());
        match self.nearest(scale) {
            Some(stored) if stored > T::ZERO => Ok(stored),
            Some(_) => Err(Error::ScaleUnderflow { scale: value, format: name() }),
            None => Err(Error::ScaleOverflow { scale: value, format: name() }),
        }
    }

    fn store_minimum(&self, minimum: T) -> Result<T> {
        let format = self.scheme.scale_format();
        let stored = if format.is_power_of_two() { Some(minimum) } else { self.nearest(minimum) };
        let overflow = || Error::MinimumOverflow { minimum: minimum.to_f64(), format: format.to_string() };
        stored.ok_or_else(overflow)
    }
}

impl<T: Real> Stored<'_, T> {
    /// The nearest number of the format that scales are stored in; `None` beyond its largest.
    fn nearest(&self, value: T) -> Option<T> {
        match (self.codec, self.scheme.scale_format()) {
            (Some(codec), _) => codec.encode(value.to_f64()).map(|(_, stored)| T::from_f64(stored)),
            (None, ScaleFormat::F32) => {
                Some(value.to_f64() as f32).filter(|stored| stored.is_finite()).map(|stored| T::from_f64(stored.into()))
            }
            _ => Some(value),
        }
    }

    /// The power of two that the rule says; one that a search found is one already.
    fn power_of_two(&self, scale: T) -> Result<T> {
        let rule = self.scheme.scale_rule();
        let is_searched = matches!(self.scheme.calibration(), Calibration::Mse | Calibration::Lp(_));
        let is_symmetric = self.scheme.mapping() == Mapping::Symmetric;
        // Without clipping, amax may belong to either end of the codes: there the formula's own scale counts.
        let of_amax = is_symmetric && self.scheme.symmetric_range() != SymmetricRange::NoClipping;
        let (amax, quotient, target) = if of_amax && !is_searched {
            let largest = self.furthest;
            let mantissa_bits = match self.scheme.format() {
                Format::Int { bits, .. } => bits.saturating_sub(2),
                Format::Float(float) => float.mantissa_bits(),
                Format::Codebook(_) => 0,
            };
            let quotient = self.magnitude / T::from_f64(largest);
            (self.magnitude.to_f64(), quotient.to_f64(), Target { largest, mantissa_bits })
        } else {
            (scale.to_f64(), scale.to_f64(), Target { largest: 1.0, mantissa_bits: 0 })
        };
        let rule = match rule {
            ScaleRule::Even if !of_amax => ScaleRule::Nearest,
            _ if is_searched && is_symmetric => ScaleRule::Nearest,
            rule => rule,
        };
        let (smallest, largest) = self.scheme.scale_format().exponents();
        // Of an integer the shared scale is that of its fraction: MXINT8's code 64 is 1.
        let fraction_bits = self.scheme.fraction_bits();
        let wanted = if amax == 0.0 { smallest } else { rule.exponent(amax, quotient, target) + fraction_bits };
        if wanted > largest {
            let (scale, format) = (power_of_two(wanted), self.scheme.scale_format().to_string());
            return Err(Error::ScaleOverflow { scale, format });
        }
        Ok(T::from_f64(power_of_two(wanted.max(smallest) - fraction_bits)))
    }
}
