//! Scales above the scales: NVFP4's tensor scale, and double quantization.

use serde::{Deserialize, Serialize};

use crate::codec::ScalarCodec;
use crate::convention::Convention;
use crate::dtype::Dtype;
use crate::format::{Codebook, Minifloat};
use crate::scale::SecondLevel;
use crate::tensor::Real;

/// What is stored instead of the blocks' scales.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredScales {
    /// A block's scale is `block_scales[block] · tensor_scale`, a product in the data's type.
    Tensor { tensor_scale: f64, block_scales: Vec<f64> },
    /// A block's scale is `map[codes[block]] · group_scales[block / 256] + mean`, in f32.
    Double { mean: f64, group_scales: Vec<f64>, codes: Vec<u8> },
}

impl StoredScales {
    /// Whether it is what a scheme with this second level stores: as many numbers as there are blocks, and f32 ones where f32 is stored.
    pub(crate) fn fits(&self, second: Option<SecondLevel>) -> bool {
        let is_f32 = |number: &f64| f64::from(*number as f32) == *number;
        match self {
            Self::Tensor { tensor_scale, .. } => second == Some(SecondLevel::TensorScale) && is_f32(tensor_scale),
            Self::Double { mean, group_scales, codes } => {
                second == Some(SecondLevel::DoubleQuantized)
                    && group_scales.len() == codes.len().div_ceil(SecondLevel::GROUP)
                    && group_scales.iter().chain([mean]).all(is_f32)
            }
        }
    }

    /// The scales of the blocks, for data of this type.
    pub(crate) fn scales_in(&self, dtype: Dtype) -> Vec<f64> {
        match dtype {
            Dtype::F32 => self.scales::<f32>(),
            Dtype::F64 => self.scales::<f64>(),
        }
    }

    fn scales<T: Real>(&self) -> Vec<f64> {
        match self {
            Self::Tensor { tensor_scale, block_scales } => {
                let product = |&scale: &f64| (T::from_f64(scale) * T::from_f64(*tensor_scale)).to_f64();
                block_scales.iter().map(product).collect()
            }
            Self::Double { mean, group_scales, codes } => {
                let scale = |(block, &code): (usize, &u8)| {
                    let group = group_scales.get(block / SecondLevel::GROUP).copied().unwrap_or(0.0) as f32;
                    f64::from(double_quantized(code, group, *mean as f32))
                };
                codes.iter().enumerate().map(scale).collect()
            }
        }
    }

    /// NVFP4: the scales of blocks relative to one for the tensor, from the largest magnitude of each; `largest` is the element format's.
    /// See [`crate::Scheme::nvfp4`] for the formulas. `amax` is that of the tensor, where these are not all of its blocks.
    pub(crate) fn tensor<T: Real>(
        format: Minifloat,
        convention: Convention,
        largest: f64,
        magnitudes: &[T],
        amax: Option<T>,
    ) -> Self {
        let of_all = || magnitudes.iter().fold(T::ZERO, |amax, &magnitude| if magnitude > amax { magnitude } else { amax });
        let amax = amax.unwrap_or_else(of_all);
        let (largest, largest_scale) = (T::from_f64(largest), T::from_f64(format.largest()));
        let tensor_scale = match (amax / (largest * largest_scale)).to_f64() as f32 {
            // A tensor of zeros has nothing to scale. One whose scale vanishes in f32 gets the smallest there is.
            0.0 if amax == T::ZERO => 1.0,
            tensor_scale => f64::from(tensor_scale.max(f32::from_bits(1))),
        };
        let second = T::from_f64(tensor_scale);
        let smallest = match convention {
            Convention::TorchAo => format.smallest_normal(),
            _ => format.smallest(),
        };
        let of_block = |&magnitude: &T| {
            let relative = match convention {
                Convention::TorchAo => magnitude / largest / second,
                _ => match magnitude / (largest * second) {
                    // A block of zeros, or one that is nothing beside the others.
                    relative if relative == T::ZERO => T::ONE,
                    relative => relative,
                },
            };
            // Rounding may carry the largest past the format's largest.
            relative.to_f64().clamp(smallest, largest_scale.to_f64())
        };
        let relative: Vec<f64> = magnitudes.iter().map(of_block).collect();
        Self::Tensor { tensor_scale, block_scales: ScalarCodec::new(format).nearest(&relative) }
    }

    /// What torchao multiplies by: the reciprocals one after the other, which is not quite the reciprocal of the product.
    pub(crate) fn torchao_reciprocal<T: Real>(&self, block: usize) -> Option<T> {
        match self {
            Self::Tensor { tensor_scale, block_scales } => {
                let block_scale = T::from_f64(block_scales.get(block).copied()?);
                Some(T::ONE / T::from_f64(*tensor_scale) / block_scale)
            }
            Self::Double { .. } => None,
        }
    }

    /// bitsandbytes' `quantize_4bit(…, compress_statistics=True)`: the mean is taken off, and groups of 256 go to the dynamic map. A block of zeros
    /// has scale 0.
    ///
    /// A scale that would come out as 0 or below, which bitsandbytes allows, gets the next code that does not. If all scales are 0 they become 1.
    pub(crate) fn double(scales: &[f64]) -> Self {
        if scales.iter().all(|&scale| scale == 0.0) {
            return Self::double(&vec![1.0; scales.len()]);
        }
        let mean = (scales.iter().map(|scale| scale / scales.len() as f64).sum::<f64>()) as f32;
        let mut group_scales = Vec::new();
        let mut codes = Vec::with_capacity(scales.len());
        for group in scales.chunks(SecondLevel::GROUP) {
            let residues: Vec<f32> = group.iter().map(|&scale| scale as f32 - mean).collect();
            let magnitude = residues.iter().fold(0.0_f32, |largest, residue| largest.max(residue.abs()));
            group_scales.push(f64::from(magnitude));
            let relative = |residue: f32| if magnitude == 0.0 { 0.0 } else { residue / magnitude };
            let is_positive = |code: u8| double_quantized(code, magnitude, mean) > 0.0;
            codes.extend(residues.into_iter().map(|residue| {
                let nearest = nearest_dynamic(relative(residue));
                (nearest..=u8::MAX).find(|&code| is_positive(code)).unwrap_or(nearest)
            }));
        }
        Self::Double { mean: f64::from(mean), group_scales, codes }
    }
}

/// The scale that a code of the dynamic map stands for.
fn double_quantized(code: u8, group_scale: f32, mean: f32) -> f32 {
    let level = Codebook::DYNAMIC.levels().get(usize::from(code)).copied().unwrap_or(0.0) as f32;
    level * group_scale + mean
}

/// The code of the nearest value of the dynamic map; a tie goes to the smaller.
fn nearest_dynamic(x: f32) -> u8 {
    let levels = Codebook::DYNAMIC.levels();
    // The first whose threshold to the next is not passed.
    let (mut low, mut high) = (0, levels.len() - 1);
    while low < high {
        let middle = low.midpoint(high);
        if f64::from(x) > Codebook::DYNAMIC.threshold(middle) { low = middle + 1 } else { high = middle }
    }
    low as u8
}
