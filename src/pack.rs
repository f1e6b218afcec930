//! `Packed`: a quantized tensor as bytes, as files and runtimes hold it.

use serde::{Deserialize, Serialize};

use crate::binary::{exponent, power_of_two};
use crate::codec::ScalarCodec;
use crate::convention::Convention;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::{Codebook, Minifloat, Signedness};
use crate::qparams::{QParams, StoredScales};
use crate::quantize::Quantized;
use crate::scale::{ScaleFormat, SecondLevel};
use crate::scheme::{Mapping, Scheme};

/// Which end of a byte is filled first by codes narrower than it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitOrder {
    /// The low bits: ONNX's int4, uint4, int2 and float4e2m1, MX and NVFP4 checkpoints. A code that a byte has no room for goes on in the low bits of
    /// the next.
    LowFirst,
    /// The high bits: bitsandbytes' NF4 and FP4.
    HighFirst,
}

/// The bytes of a quantized tensor, part by part, as checkpoints store them side by side. Together they weigh what
/// [`Scheme::bits_per_element`] says.
///
/// ```
/// # use quantlens::{Dtype, Quantized, Scheme, Tensor};
/// let x = Tensor::from_vec("x", vec![-8.0_f32, 1.0, 7.0])?;
/// let scheme = Scheme::symmetric(4).without_clipping();
/// let quantized = scheme.quantize(&x)?;
/// let packed = quantized.to_bytes()?;
/// assert_eq!(packed.codes, [0x18, 0x07]); // -8 and 1, 7 and padding
/// assert_eq!(packed.scales, 1.0_f32.to_le_bytes());
/// assert_eq!(8.0 * packed.len() as f64 / 3.0, scheme.bits_per_element(&[3], Dtype::F32)?);
/// assert_eq!(Quantized::from_bytes("x", vec![3], scheme, Dtype::F32, &packed)?, quantized);
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Packed {
    /// The codes, row-major, without gaps: signed ones in two's complement, others as bit patterns. Bits after the last are 0.
    pub codes: Vec<u8>,
    /// The scale of each block in the scheme's scale format, little-endian: f32 and f64 as they are, float formats as bit patterns, a power of two as
    /// its exponent in an i8, a double-quantized scale as its code. Empty of a cast.
    pub scales: Vec<u8>,
    /// The zero point of each block, packed as codes are (the original convention's as i64); or its minimum, in the format of the scales, or of
    /// the data where scales are powers of two. Empty where the mapping has neither.
    pub offsets: Vec<u8>,
    /// What stands above the scales: the tensor's scale as f32; or of double quantization the scale of each 256 blocks and then the mean, as f32.
    pub second_level: Vec<u8>,
}

impl Packed {
    /// All bytes.
    pub fn len(&self) -> usize {
        self.codes.len() + self.scales.len() + self.offsets.len() + self.second_level.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Quantized {
    /// As bytes, codes in the order that is usual for the format: high bits first for [`Codebook::NF4`] and [`Codebook::FP4`], as bitsandbytes packs
    /// them, low bits first for all others.
    ///
    /// # Errors
    /// [`Error::CodeOutOfRange`] for a code of the original's symmetric mapping that the format's bits do not hold. [`Error::StoredScales`] for a
    /// scheme with a second level whose parameters were given without it, and for a given scale that the scale format does not have.
    pub fn to_bytes(&self) -> Result<Packed> {
        self.to_bytes_in(usual_order(self.qparams().scheme()))
    }

    /// As [`Quantized::to_bytes`], codes in this order.
    ///
    /// # Errors
    /// As [`Quantized::to_bytes`].
    pub fn to_bytes_in(&self, order: BitOrder) -> Result<Packed> {
        let (qparams, scheme) = (self.qparams(), self.qparams().scheme());
        let (quant_min, quant_max) = scheme.format().code_range();
        let mut codes = self.codes().to_vec();
        self.move_to_the_middle(&mut codes)?;
        if let Some(index) = codes.iter().position(|code| !(quant_min..=quant_max).contains(code)) {
            return Err(Error::CodeOutOfRange { code: codes[index].into(), index, quant_min, quant_max });
        }
        let codes = pack(codes.into_iter().map(|code| code as u64), scheme.bits(), order);
        if scheme.mapping() == Mapping::Cast {
            return Ok(Packed { codes, ..Packed::default() });
        }
        let inexact = || Error::StoredScales { scheme: scheme.to_string() };
        let store = Storage::of_scales(scheme, qparams.dtype());
        let pack_scales = |scales: &[f64]| -> Result<Vec<u8>> {
            let patterns = store.patterns(scales).ok_or_else(inexact)?;
            Ok(pack(patterns.into_iter(), store.bits(), BitOrder::LowFirst))
        };
        let floats = |numbers: &[f64]| numbers.iter().flat_map(|&number| (number as f32).to_le_bytes()).collect::<Vec<u8>>();
        let (scales, second_level) = match (scheme.second_level(), qparams.stored_scales()) {
            (None, _) => (pack_scales(qparams.scales())?, Vec::new()),
            (Some(_), Some(StoredScales::Tensor { tensor_scale, block_scales })) => {
                (pack_scales(block_scales)?, floats(&[*tensor_scale]))
            }
            (Some(_), Some(StoredScales::Double { mean, group_scales, codes })) => {
                (codes.clone(), [floats(group_scales), floats(&[*mean])].concat())
            }
            (Some(_), None) => return Err(inexact()),
        };
        let offsets = match (scheme.mapping(), scheme.convention()) {
            (Mapping::Asymmetric, convention) => {
                let bits = if convention == Convention::Original { i64::BITS } else { scheme.bits() };
                pack(qparams.zero_points().iter().map(|&zero_point| zero_point as u64), bits, BitOrder::LowFirst)
            }
            (Mapping::Minimum, _) => {
                let store = Storage::of_minimums(scheme, qparams.dtype());
                let patterns = store.patterns(qparams.minimums()).ok_or_else(inexact)?;
                pack(patterns.into_iter(), store.bits(), BitOrder::LowFirst)
            }
            _ => Vec::new(),
        };
        Ok(Packed { codes, scales, offsets, second_level })
    }

    /// A zero point that the mapping fixes is not stored, so it must be the same in all blocks. Under ONNX's unsigned symmetric codes it is 0 in a
    /// block of zeros, where the others have the middle: there codes and zero point rise together, and mean the same values as before.
    fn move_to_the_middle(&self, codes: &mut [i32]) -> Result<()> {
        let qparams = self.qparams();
        let (scheme, middle) = (qparams.scheme(), qparams.scheme().middle_code());
        if scheme.mapping() != Mapping::Symmetric || qparams.zero_points().iter().all(|&point| point == i64::from(middle)) {
            return Ok(());
        }
        let layout = qparams.layout(self.shape())?;
        for segment in layout.segments(0..codes.len()).flat_map(|segment| segment.each()) {
            let rise = middle - qparams.zero_points()[segment.block] as i32;
            codes[segment.elements].iter_mut().for_each(|code| *code += rise);
        }
        Ok(())
    }

    /// What bytes stand for; the other way of [`Quantized::to_bytes`]. `dtype` is the type of the data that it was and will be.
    ///
    /// # Errors
    /// [`Error::PackedLength`] for a part that has another number of bytes than this scheme takes for this shape; as [`QParams::new`] for scales and
    /// zero points that cannot be; as [`Quantized::from_integers`] for codes and shapes. Bits after the last code are not looked at.
    pub fn from_bytes(name: impl Into<String>, shape: Vec<usize>, scheme: Scheme, dtype: Dtype, packed: &Packed) -> Result<Self> {
        Self::from_bytes_in(name, shape, scheme, dtype, packed, usual_order(scheme))
    }

    /// As [`Quantized::from_bytes`], codes in this order.
    ///
    /// # Errors
    /// As [`Quantized::from_bytes`].
    pub fn from_bytes_in(
        name: impl Into<String>,
        shape: Vec<usize>,
        scheme: Scheme,
        dtype: Dtype,
        packed: &Packed,
        order: BitOrder,
    ) -> Result<Self> {
        let (elements, blocks) = scheme.counts(&shape)?;
        let needed = scheme.stored_bytes(elements, blocks, dtype);
        for (part, bytes, needed) in [
            ("codes", &packed.codes, needed.codes),
            ("scales", &packed.scales, needed.scales),
            ("zero points or minimums", &packed.offsets, needed.offsets),
            ("second level", &packed.second_level, needed.second_level),
        ] {
            if bytes.len() as u64 != needed {
                let scheme = scheme.to_string();
                return Err(Error::PackedLength { part, scheme, shape, needed, bytes: bytes.len() });
            }
        }
        let qparams = unpack_qparams(scheme, dtype, blocks, packed)?;
        let signedness = scheme.format().signedness();
        let codes = unpack(&packed.codes, elements, scheme.bits(), order).map(|code| signed(code, scheme.bits(), signedness));
        Self::from_integers(name, shape, qparams, codes)
    }
}

fn unpack_qparams(scheme: Scheme, dtype: Dtype, blocks: usize, packed: &Packed) -> Result<QParams> {
    if scheme.mapping() == Mapping::Cast {
        return QParams::new(scheme, dtype, vec![1.0], vec![0]);
    }
    let store = Storage::of_scales(scheme, dtype);
    let float = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    let second_level: Vec<f64> = packed.second_level.as_chunks::<4>().0.iter().map(float).collect();
    let scales =
        || unpack(&packed.scales, blocks, store.bits(), BitOrder::LowFirst).map(|pattern| store.value(pattern)).collect();
    let stored = match (scheme.second_level(), second_level.split_last()) {
        (Some(SecondLevel::TensorScale), Some((&tensor_scale, _))) => {
            Some(StoredScales::Tensor { tensor_scale, block_scales: scales() })
        }
        (Some(SecondLevel::DoubleQuantized), Some((&mean, group_scales))) => {
            Some(StoredScales::Double { mean, group_scales: group_scales.to_vec(), codes: packed.scales.clone() })
        }
        _ => None,
    };
    let scales = stored.as_ref().map_or_else(scales, |stored| stored.scales_in(dtype));
    let (zero_points, minimums) = match (scheme.mapping(), scheme.convention()) {
        (Mapping::Asymmetric, convention) => {
            let (bits, signedness) = match convention {
                Convention::Original => (i64::BITS, Signedness::Signed),
                _ => (scheme.bits(), scheme.format().signedness()),
            };
            let points = unpack(&packed.offsets, blocks, bits, BitOrder::LowFirst);
            (points.map(|point| signed(point, bits, signedness)).collect(), Vec::new())
        }
        (Mapping::Minimum, _) => {
            let store = Storage::of_minimums(scheme, dtype);
            let patterns = unpack(&packed.offsets, blocks, store.bits(), BitOrder::LowFirst);
            (vec![0; blocks], patterns.map(|pattern| store.value(pattern)).collect())
        }
        _ => (vec![scheme.middle_code().into(); blocks], Vec::new()),
    };
    QParams::from_parts(scheme, dtype, scales, zero_points, minimums, stored)
}

fn usual_order(scheme: Scheme) -> BitOrder {
    let is_bitsandbytes = scheme.format() == Codebook::NF4.into() || scheme.format() == Codebook::FP4.into();
    if is_bitsandbytes { BitOrder::HighFirst } else { BitOrder::LowFirst }
}

/// How a number that belongs to a block is written.
#[derive(Clone, Copy)]
enum Storage {
    F32,
    F64,
    Float(Minifloat),
    /// 2^exponent; the exponent is written with this added, in this format's way.
    PowerOfTwo {
        format: ScaleFormat,
        fraction_bits: i32,
    },
}

impl Storage {
    fn of_data(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
        }
    }

    fn of_scales(scheme: Scheme, dtype: Dtype) -> Self {
        match scheme.scale_format() {
            ScaleFormat::Data => Self::of_data(dtype),
            ScaleFormat::F32 => Self::F32,
            ScaleFormat::Float(float) if float != Minifloat::E8M0 => Self::Float(float),
            format => Self::PowerOfTwo { format, fraction_bits: scheme.fraction_bits() },
        }
    }

    fn of_minimums(scheme: Scheme, dtype: Dtype) -> Self {
        if scheme.scale_format().is_power_of_two() { Self::of_data(dtype) } else { Self::of_scales(scheme, dtype) }
    }

    fn bits(self) -> u32 {
        match self {
            Self::F32 => 32,
            Self::F64 => 64,
            Self::Float(float) => float.bits(),
            Self::PowerOfTwo { .. } => 8,
        }
    }

    /// What is written of each number; `None` if one cannot be written so.
    fn patterns(self, values: &[f64]) -> Option<Vec<u64>> {
        let codec = if let Self::Float(float) = self { Some(ScalarCodec::new(float)) } else { None };
        values.iter().map(|&value| self.pattern(value, codec.as_ref())).collect()
    }

    fn pattern(self, value: f64, codec: Option<&ScalarCodec>) -> Option<u64> {
        let pattern = match self {
            Self::F32 => (value as f32).to_bits().into(),
            Self::F64 => value.to_bits(),
            Self::Float(_) => codec?.encode(value)?.0.into(),
            Self::PowerOfTwo { format, fraction_bits } => {
                let stored = exponent(value) + fraction_bits;
                let (smallest, largest) = format.exponents();
                if !(smallest..=largest).contains(&stored) {
                    return None;
                }
                let bias = if format == ScaleFormat::E8M0 { 127 } else { 0 };
                ((stored + bias) as u8).into()
            }
        };
        (self.value(pattern) == value).then_some(pattern)
    }

    fn value(self, pattern: u64) -> f64 {
        match self {
            Self::F32 => f32::from_bits(pattern as u32).into(),
            Self::F64 => f64::from_bits(pattern),
            Self::Float(float) => float.decode(pattern as u32),
            Self::PowerOfTwo { format: ScaleFormat::E8M0, .. } if pattern == 255 => f64::NAN,
            Self::PowerOfTwo { format: ScaleFormat::E8M0, fraction_bits } => power_of_two(pattern as i32 - 127 - fraction_bits),
            Self::PowerOfTwo { fraction_bits, .. } => power_of_two(i32::from(pattern as u8 as i8) - fraction_bits),
        }
    }
}

/// Codes of so many bits, at most 64, side by side. Higher bits are dropped.
fn pack(codes: impl Iterator<Item = u64>, bits: u32, order: BitOrder) -> Vec<u8> {
    let mask = u64::MAX >> (u64::BITS - bits);
    let mut bytes = Vec::with_capacity((codes.size_hint().0 * bits as usize).div_ceil(8));
    // Bits not yet written: fewer than 8 and a code.
    let (mut pending, mut count) = (0_u128, 0);
    for code in codes {
        let code = u128::from(code & mask);
        pending = match order {
            BitOrder::LowFirst => pending | code << count,
            BitOrder::HighFirst => pending << bits | code,
        };
        count += bits;
        while count >= 8 {
            count -= 8;
            match order {
                BitOrder::LowFirst => {
                    bytes.push(pending as u8);
                    pending >>= 8;
                }
                BitOrder::HighFirst => {
                    bytes.push((pending >> count) as u8);
                    pending &= (1 << count) - 1;
                }
            }
        }
    }
    if count > 0 {
        bytes.push(match order {
            BitOrder::LowFirst => pending as u8,
            BitOrder::HighFirst => (pending << (8 - count)) as u8,
        });
    }
    bytes
}

/// The first `count` codes of so many bits, at most 64. 0 past the end of the bytes.
fn unpack(bytes: &[u8], count: usize, bits: u32, order: BitOrder) -> impl Iterator<Item = u64> {
    let mut bytes = bytes.iter();
    let (mut pending, mut available) = (0_u128, 0);
    (0..count).map(move |_| {
        while available < bits {
            let byte = u128::from(bytes.next().copied().unwrap_or(0));
            pending = match order {
                BitOrder::LowFirst => pending | byte << available,
                BitOrder::HighFirst => pending << 8 | byte,
            };
            available += 8;
        }
        available -= bits;
        match order {
            BitOrder::LowFirst => {
                let code = pending & ((1 << bits) - 1);
                pending >>= bits;
                code as u64
            }
            BitOrder::HighFirst => {
                let code = pending >> available;
                pending &= (1 << available) - 1;
                code as u64
            }
        }
    })
}

/// The whole number that the low bits are, in two's complement if it has a sign.
fn signed(pattern: u64, bits: u32, signedness: Signedness) -> i64 {
    let unused = u64::BITS - bits;
    match signedness {
        Signedness::Signed => (pattern << unused) as i64 >> unused,
        Signedness::Unsigned => pattern as i64,
    }
}
