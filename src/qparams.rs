//! `QParams`: scale and zero point of each block, computed as the scheme's convention does, or given.

mod fit;
mod formulas;
mod histogram;
mod observer;
mod ranges;
mod second_level;

use serde::{Deserialize, Serialize};

use crate::codec::{Codec, Each, Shared, decode_patterns, middle_between};
use crate::convention::Convention;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::scheme::{Mapping, Scheme};
use crate::tensor::Real;

pub(crate) use fit::{qparams_of, qparams_of_ranges};
pub use observer::Observer;
pub(crate) use ranges::BlockRanges;
pub(crate) use second_level::StoredScales;

/// The parameters of a quantization: a scale for each block, a zero point or a minimum where the mapping has one, and the scheme they belong to.
///
/// Computed by [`Scheme::qparams`] or an [`Observer`], or given ([`QParams::new`]) for static quantization. Blocks are in row-major order: one
/// per tensor; one per index of the axis; one per group or rectangle, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedQParams")]
pub struct QParams {
    scheme: Scheme,
    dtype: Dtype,
    scales: Vec<f64>,
    zero_points: Vec<i64>,
    /// Of a mapping with a float minimum, what is stored of each block.
    minimums: Vec<f64>,
    /// What is stored instead of the scales where there is a second level.
    stored: Option<StoredScales>,
}

/// The parameters of a block in real numbers, before anything is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ideal {
    /// The range that calibration says to cover; none where a search found a scale.
    pub(crate) calibrated: Option<(f64, f64)>,
    /// The part of it that the values fill: from the smallest to the largest value, no further than it.
    pub(crate) inside: (f64, f64),
    /// What the convention's formula gives, not held above the smallest that it allows: 0 of a range of nothing, and then the offset means nothing.
    pub(crate) scale: f64,
    /// The zero point of the same formula, a whole number; of a mapping with a minimum what is stored of it.
    pub(crate) offset: f64,
}

#[derive(Deserialize)]
struct UncheckedQParams {
    scheme: Scheme,
    dtype: Dtype,
    scales: Vec<f64>,
    zero_points: Vec<i64>,
    #[serde(default)]
    minimums: Vec<f64>,
    #[serde(default)]
    stored: Option<StoredScales>,
}

impl TryFrom<UncheckedQParams> for QParams {
    type Error = Error;

    fn try_from(raw: UncheckedQParams) -> Result<Self> {
        Self::from_parts(raw.scheme, raw.dtype, raw.scales, raw.zero_points, raw.minimums, raw.stored)
    }
}

impl QParams {
    /// Given parameters. `dtype` is the type of the data they are for; a scale is rounded to it. The zero points of a mapping without one are 0, or
    /// the middle code of unsigned symmetric ones.
    ///
    /// # Errors
    /// [`Error::QParamsCount`] unless there is one zero point per scale and at least one; as cause of an [`Error::At`] with the block: [`Error::Scale`] unless each scale is
    /// finite and above 0 in `dtype`, its reciprocal too unless it is a power of two or has a second level; [`Error::ZeroPoint`] unless each
    /// zero point is a code (of the original convention, any integer that `dtype` holds exactly, else [`Error::ZeroPointInexact`]);
    /// [`Error::FixedZeroPoint`] for one that the mapping fixes elsewhere; [`Error::Unsupported`] for a float minimum, see
    /// [`QParams::with_minimums`]; an invalid scheme.
    pub fn new(scheme: Scheme, dtype: Dtype, scales: Vec<f64>, zero_points: Vec<i64>) -> Result<Self> {
        if scheme.mapping() == Mapping::Minimum {
            let reason = "it has minimums instead of zero points: use QParams::with_minimums";
            return Err(Error::Unsupported { scheme: scheme.to_string(), reason });
        }
        Self::check(scheme, dtype, scales, zero_points, Vec::new())
    }

    /// Given parameters of a mapping with a float minimum: a scale and a minimum for each block, in units of the data, rounded to `dtype`. Under
    /// torchao's convention the number is its float zero point, what the code in the middle means.
    ///
    /// # Errors
    /// As [`QParams::new`]; [`Error::Minimum`] unless each minimum is finite; [`Error::Unsupported`] for any other mapping.
    pub fn with_minimums(scheme: Scheme, dtype: Dtype, scales: Vec<f64>, minimums: Vec<f64>) -> Result<Self> {
        if scheme.mapping() != Mapping::Minimum {
            let reason = "it has no minimums: use QParams::new";
            return Err(Error::Unsupported { scheme: scheme.to_string(), reason });
        }
        let zero_points = vec![0; minimums.len()];
        Self::check(scheme, dtype, scales, zero_points, minimums)
    }

    /// All that is kept, as it was written.
    pub(crate) fn from_parts(
        scheme: Scheme,
        dtype: Dtype,
        scales: Vec<f64>,
        zero_points: Vec<i64>,
        minimums: Vec<f64>,
        stored: Option<StoredScales>,
    ) -> Result<Self> {
        let params = Self::check(scheme, dtype, scales, zero_points, minimums)?;
        let fits = |stored: &StoredScales| stored.fits(scheme.second_level()) && stored.scales_in(dtype) == params.scales;
        match stored {
            Some(stored) if !fits(&stored) => Err(Error::StoredScales { scheme: scheme.to_string() }),
            stored => Ok(Self { stored, ..params }),
        }
    }

    fn check(scheme: Scheme, dtype: Dtype, scales: Vec<f64>, zero_points: Vec<i64>, minimums: Vec<f64>) -> Result<Self> {
        scheme.validate()?;
        let is_minimum = scheme.mapping() == Mapping::Minimum;
        let offsets = if is_minimum { minimums.len() } else { zero_points.len() };
        if scales.is_empty() || scales.len() != offsets || is_minimum == minimums.is_empty() {
            let blocks = scales.len().max(1);
            return Err(Error::QParamsCount { scales: scales.len(), zero_points: offsets, blocks });
        }
        let in_dtype = |values: Vec<f64>| match dtype {
            Dtype::F32 => values.into_iter().map(|value| f64::from(value as f32)).collect(),
            Dtype::F64 => values,
        };
        let (scales, minimums): (Vec<f64>, Vec<f64>) = (in_dtype(scales), in_dtype(minimums));
        if let Some(block) = minimums.iter().position(|minimum| !minimum.is_finite()) {
            return Err(Error::Minimum { minimum: minimums[block] }.in_block(block));
        }
        if scheme.mapping() == Mapping::Cast && scales.iter().any(|&scale| scale != 1.0) {
            return Err(Error::Unsupported { scheme: scheme.to_string(), reason: "a cast has no scale: give 1" });
        }
        let largest_reciprocal = match dtype {
            Dtype::F32 => f64::from(f32::MAX),
            Dtype::F64 => f64::MAX,
        };
        // MX has powers of two below that, and a second level may make smaller ones.
        let may_be_small = scheme.scale_format().is_power_of_two() || scheme.second_level().is_some();
        let usable = |scale: f64| scale.is_finite() && scale > 0.0 && (may_be_small || 1.0 / scale <= largest_reciprocal);
        if let Some(block) = scales.iter().position(|&scale| !usable(scale)) {
            return Err(Error::Scale { scale: scales[block], dtype }.in_block(block));
        }
        let (quant_min, quant_max) = (scheme.quant_min(), scheme.quant_max());
        // A zero point that the type computed in cannot hold would be another one in the formula.
        let exact = |zero_point: i64| match dtype {
            Dtype::F32 => zero_point as f32 as i64 == zero_point && (zero_point as f32) < i64::MAX as f32,
            Dtype::F64 => zero_point as f64 as i64 == zero_point && (zero_point as f64) < i64::MAX as f64,
        };
        if let Some(block) = zero_points.iter().position(|&zero_point| !exact(zero_point)) {
            return Err(Error::ZeroPointInexact { zero_point: zero_points[block], dtype }.in_block(block));
        }
        let is_code = |zero_point: i64| (i64::from(quant_min)..=i64::from(quant_max)).contains(&zero_point);
        let confined = scheme.convention() != Convention::Original;
        if let Some(block) = zero_points.iter().position(|&zero_point| confined && !is_code(zero_point)) {
            return Err(Error::ZeroPoint { zero_point: zero_points[block], quant_min, quant_max }.in_block(block));
        }
        let fixed = i64::from(scheme.middle_code());
        // Of a block that becomes all zero ONNX says 1 and 0, or the code nearest to it.
        let of_nothing = match scheme.convention() {
            Convention::Onnx => i64::from(quant_min.max(0)),
            _ => fixed,
        };
        let is_wrong = |(&zero_point, &scale): (&i64, &f64)| zero_point != fixed && !(scale == 1.0 && zero_point == of_nothing);
        let is_fixed = scheme.mapping() != Mapping::Asymmetric;
        if let Some(block) = zero_points.iter().zip(&scales).position(|block| is_fixed && is_wrong(block)) {
            let (scheme, zero_point) = (scheme.to_string(), zero_points[block]);
            return Err(Error::FixedZeroPoint { scheme, zero_point, fixed }.in_block(block));
        }
        Ok(Self { scheme, dtype, scales, zero_points, minimums, stored: None })
    }

    /// The scheme they belong to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The type of the data they are for.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The scale of each block, in units of the data: of integers the step between neighbouring codes, of other formats what the format's own
    /// values are multiplied by. As it is stored, and with the second level multiplied in. f32 scales are held exactly.
    pub fn scales(&self) -> &[f64] {
        &self.scales
    }

    /// The zero point of each block: the code that means 0. 0 where there are minimums, and for float formats and codebooks.
    pub fn zero_points(&self) -> &[i64] {
        &self.zero_points
    }

    /// What is stored of each block under a mapping with a float minimum: what code 0 means, in units of the data, and under torchao's convention
    /// what the code in the middle means. Empty for other mappings.
    pub fn minimums(&self) -> &[f64] {
        &self.minimums
    }

    /// The same parameters under another scheme with as many blocks, unchecked: for what-if comparisons. A minimum and what torchao keeps instead,
    /// the value of the middle code, become each other.
    pub(crate) fn under(&self, scheme: Scheme) -> Self {
        fn moved<T: Real>(qparams: &QParams, toward_minimum: T) -> Vec<f64> {
            let moved = |(&offset, &scale)| T::from_f64(offset) - toward_minimum * T::from_f64(scale);
            qparams.minimums.iter().zip(&qparams.scales).map(|pair| moved(pair).to_f64()).collect()
        }
        let has_middle = |scheme: Scheme| scheme.convention() == Convention::TorchAo;
        let sign = match (has_middle(self.scheme), has_middle(scheme)) {
            (true, false) => 1.0,
            (false, true) => -1.0,
            _ => return Self { scheme, ..self.clone() },
        };
        let steps: f64 = middle_between(scheme);
        let minimums = match self.dtype {
            Dtype::F32 => moved(self, (sign * steps) as f32),
            Dtype::F64 => moved(self, sign * steps),
        };
        Self { scheme, minimums, ..self.clone() }
    }

    /// The f32 scale above those of the blocks, where the scheme has one (NVFP4's S).
    pub fn tensor_scale(&self) -> Option<f64> {
        match self.stored {
            Some(StoredScales::Tensor { tensor_scale, .. }) => Some(tensor_scale),
            _ => None,
        }
    }

    pub(crate) fn stored_scales(&self) -> Option<&StoredScales> {
        self.stored.as_ref()
    }

    /// The scale, where there is one for all; else `None`.
    pub fn scale(&self) -> Option<f64> {
        single(&self.scales)
    }

    /// The zero point, where there is one for all; else `None`.
    pub fn zero_point(&self) -> Option<i64> {
        single(&self.zero_points)
    }

    /// What codes of the first block stand for, computed in the data's type; ±∞ where that overflows.
    pub(crate) fn decode_codes(&self, codes: &[i32]) -> Vec<f64> {
        fn decode<T: Real>(qparams: &QParams, codes: &[i32]) -> Vec<f64> {
            let patterns: Vec<u32> = codes.iter().map(|code| (code - qparams.scheme.quant_min()) as u32).collect();
            let mut values = vec![T::ZERO; codes.len()];
            let codec = Codec::new(qparams.scheme);
            decode_patterns(&codec, &patterns, qparams.in_type().shared(0), &mut values);
            values.into_iter().map(T::to_f64).collect()
        }
        match self.dtype {
            Dtype::F32 => decode::<f32>(self, codes),
            Dtype::F64 => decode::<f64>(self, codes),
        }
    }

    /// The blocks of this shape, if these parameters are for it.
    pub(crate) fn layout(&self, shape: &[usize]) -> Result<Layout> {
        let layout = Layout::new(self.scheme.granularity(), shape)?;
        if layout.blocks() == self.scales.len() {
            Ok(layout)
        } else {
            let (scales, zero_points) = (self.scales.len(), self.zero_points.len());
            Err(Error::QParamsCount { scales, zero_points, blocks: layout.blocks() })
        }
    }

    /// All parameters in the type they are computed in.
    pub(crate) fn in_type<T: Real>(&self) -> BlockParams<T> {
        let scales: Vec<T> = self.scales.iter().map(|&scale| T::from_f64(scale)).collect();
        let reciprocal = |(block, &scale): (usize, &T)| {
            let by_parts = || self.stored.as_ref()?.torchao_reciprocal(block);
            let reciprocal = by_parts().unwrap_or(T::ONE / scale);
            // Of a scale that a second level made subnormal it overflows, and 0 times infinity is no code.
            if reciprocal.is_finite() { reciprocal } else { T::MAX }
        };
        let reciprocals = scales.iter().enumerate().map(reciprocal).collect();
        let offsets = match self.minimums.is_empty() {
            true => self.zero_points.iter().map(|&zero_point| T::from_f64(zero_point as f64)).collect(),
            false => self.minimums.iter().map(|&minimum| T::from_f64(minimum)).collect(),
        };
        BlockParams { scales, reciprocals, offsets }
    }
}

/// The parameters of all blocks, in the type they are computed in.
#[derive(Debug)]
pub(crate) struct BlockParams<T> {
    scales: Vec<T>,
    reciprocals: Vec<T>,
    offsets: Vec<T>,
}

impl<T: Real> BlockParams<T> {
    /// Those of one block.
    #[inline(always)]
    pub(crate) fn shared(&self, block: usize) -> Shared<T> {
        Shared { scale: self.scales[block], reciprocal: self.reciprocals[block], offset: self.offsets[block] }
    }

    /// Those of each of `count` elements, of which each run of `length` is of the next block; of the first run some have passed before.
    #[inline(always)]
    pub(crate) fn each<'a>(
        &'a self,
        mut block: usize,
        length: usize,
        passed: usize,
        buffers: &'a mut EachBuffers<T>,
        count: usize,
    ) -> Each<'a, T> {
        if length == 1 {
            let blocks = block..block + count;
            let (scales, reciprocals) = (&self.scales[blocks.clone()], &self.reciprocals[blocks.clone()]);
            return Each { scales, reciprocals, offsets: &self.offsets[blocks] };
        }
        let EachBuffers(scales, reciprocals, offsets) = buffers;
        for buffer in [&mut *scales, &mut *reciprocals, &mut *offsets] {
            buffer.resize(count, T::ZERO);
        }
        if passed == 0 && length.is_multiple_of(WIDE) && count.is_multiple_of(length) {
            let runs =
                scales.chunks_exact_mut(length).zip(reciprocals.chunks_exact_mut(length)).zip(offsets.chunks_exact_mut(length));
            for (index, ((scales, reciprocals), offsets)) in runs.enumerate() {
                let Shared { scale, reciprocal, offset } = self.shared(block + index);
                fill_wide(scales, scale);
                fill_wide(reciprocals, reciprocal);
                fill_wide(offsets, offset);
            }
            return Each { scales, reciprocals, offsets };
        }
        let (mut at, mut end) = (0, length - passed);
        while at < count {
            let Shared { scale, reciprocal, offset } = self.shared(block);
            let run = at..end.min(count);
            scales[run.clone()].fill(scale);
            reciprocals[run.clone()].fill(reciprocal);
            offsets[run].fill(offset);
            (at, end, block) = (end, end + length, block + 1);
        }
        Each { scales, reciprocals, offsets }
    }
}

const WIDE: usize = 16;

/// Of a multiple of so many numbers: without the tests that a run of any length needs.
#[inline(always)]
fn fill_wide<T: Copy>(numbers: &mut [T], number: T) {
    for numbers in numbers.as_chunks_mut::<WIDE>().0 {
        *numbers = [number; WIDE];
    }
}

/// Where [`BlockParams::each`] puts its numbers: scales, reciprocals, offsets.
pub(crate) struct EachBuffers<T>(Vec<T>, Vec<T>, Vec<T>);

impl<T> Default for EachBuffers<T> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new(), Vec::new())
    }
}

fn single<N: Copy>(values: &[N]) -> Option<N> {
    match values {
        [value] => Some(*value),
        _ => None,
    }
}
