//! What a scheme's codes and parameters cost.

use super::{Mapping, Scheme};
use crate::convention::Convention;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::granularity::Layout;
use crate::scale::SecondLevel;

impl Scheme {
    /// Bits an element costs in a tensor of this shape, all bytes counted: codes, for each block a scale and what else the mapping stores, and
    /// what stands above the scales.
    ///
    /// ```text
    /// 8 · (⌈elements · bits / 8⌉ + ⌈blocks · scale_bits / 8⌉ + ⌈blocks · offset_bits / 8⌉ + second level) / elements
    /// ```
    ///
    /// scale_bits is that of [`Scheme::scale_format`], of a double-quantized scale 8. offset_bits is the width of a code for a zero
    /// point, scale_bits for a minimum (the data's where scales are powers of two), else 0: the zero point of a symmetric mapping is fixed by the format and costs nothing. The
    /// original's zero point is not confined to the codes and counts 64 bits, which is what holds it here; its symmetric codes below what
    /// `bits` hold are not counted as wider. A tensor scale is 4 bytes; double quantization has 4 bytes for each 256 blocks and 4 for the
    /// tensor. A cast stores codes alone. It is what the bytes of [`crate::Quantized::to_bytes`] weigh.
    ///
    /// # Errors
    /// An invalid scheme, an axis the shape does not have, a shape without elements.
    pub fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> Result<f64> {
        let (elements, blocks) = self.counts(shape)?;
        Ok(8.0 * self.stored_bytes(elements, blocks, dtype).total() as f64 / elements as f64)
    }

    /// Elements and blocks of a shape.
    pub(crate) fn counts(&self, shape: &[usize]) -> Result<(usize, usize)> {
        self.validate()?;
        let layout = Layout::new(self.granularity, shape)?;
        Ok((layout.elements(), layout.blocks()))
    }

    /// How many bytes each part of a quantized tensor takes.
    pub(crate) fn stored_bytes(&self, elements: usize, blocks: usize, dtype: Dtype) -> StoredBytes {
        let bytes = |count: usize, bits: u32| (count as u64 * u64::from(bits)).div_ceil(8);
        let codes = bytes(elements, self.bits());
        if self.mapping == Mapping::Cast {
            return StoredBytes { codes, ..StoredBytes::default() };
        }
        let scale_bits = match self.scale.second {
            Some(SecondLevel::DoubleQuantized) => 8,
            _ => self.scale.format.bits(dtype.bits()),
        };
        let offset_bits = match (self.mapping, self.convention) {
            (Mapping::Symmetric | Mapping::Cast, _) => 0,
            (Mapping::Asymmetric, Convention::Original) => i64::BITS,
            (Mapping::Asymmetric, _) => self.bits(),
            (Mapping::Minimum, _) if self.scale.format.is_power_of_two() => dtype.bits(),
            (Mapping::Minimum, _) => self.scale.format.bits(dtype.bits()),
        };
        let second_level = match self.scale.second {
            None => 0,
            Some(SecondLevel::TensorScale) => 4,
            Some(SecondLevel::DoubleQuantized) => 4 + 4 * blocks.div_ceil(SecondLevel::GROUP) as u64,
        };
        StoredBytes { codes, scales: bytes(blocks, scale_bits), offsets: bytes(blocks, offset_bits), second_level }
    }
}

/// Bytes of the parts of a quantized tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoredBytes {
    pub(crate) codes: u64,
    pub(crate) scales: u64,
    pub(crate) offsets: u64,
    pub(crate) second_level: u64,
}

impl StoredBytes {
    pub(crate) fn total(self) -> u64 {
        self.codes + self.scales + self.offsets + self.second_level
    }
}
