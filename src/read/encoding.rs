//! `Encoding`: how numbers are stored as bytes, and what they are as f32 or f64.

use crate::dtype::Dtype;
use crate::format::Minifloat;
use crate::ggml::{Ggml, decode_blocks};
use crate::simd::for_vectors;

use super::input::Order;

/// How a tensor's values are stored. Every f32 and f64 is exactly the number stored: integers of more than 16 bits become f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    F64(Order),
    F32(Order),
    F16(Order),
    Bf16(Order),
    /// A float of 8 bits.
    Minifloat(Minifloat),
    /// Blocks of ggml's.
    Ggml(Ggml),
    I8,
    U8,
    I16(Order),
    U16(Order),
    I32(Order),
    U32(Order),
    I64(Order),
    U64(Order),
}

/// A whole number that f64 does not hold: its place among those decoded, and itself.
pub(super) struct Inexact {
    pub index: usize,
    pub value: i128,
}

/// The largest block.
pub(super) const MAX_BLOCK: usize = 256;

impl Encoding {
    /// What the values are computed in.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F64(_) | Self::I32(_) | Self::U32(_) | Self::I64(_) | Self::U64(_) => Dtype::F64,
            _ => Dtype::F32,
        }
    }

    /// Elements of a block and its bytes: the least that can be decoded.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Ggml(kind) => (kind.block_elements(), kind.block_bytes()),
            Self::Minifloat(_) | Self::I8 | Self::U8 => (1, 1),
            Self::F16(_) | Self::Bf16(_) | Self::I16(_) | Self::U16(_) => (1, 2),
            Self::F32(_) | Self::I32(_) | Self::U32(_) => (1, 4),
            Self::F64(_) | Self::I64(_) | Self::U64(_) => (1, 8),
        }
    }

    /// Whether the bytes are this machine's f32.
    pub fn is_native_f32(self) -> bool {
        self == Self::F32(NATIVE)
    }

    /// Whether the bytes are this machine's f64.
    pub fn is_native_f64(self) -> bool {
        self == Self::F64(NATIVE)
    }

    /// The numbers of whole blocks; only where [`Encoding::dtype`] is f32.
    pub fn decode_f32(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32(order) => each(order, bytes, out, f32::from_le_bytes, f32::from_be_bytes),
            Self::F16(Order::Little) => f16_to_f32(bytes, out),
            Self::F16(Order::Big) => each(Order::Big, bytes, out, f16_le, |bytes| f16_value(u16::from_be_bytes(bytes))),
            Self::Bf16(order) => bf16_to_f32(order, bytes, out),
            Self::Minifloat(format) => {
                let table: [f32; 256] = std::array::from_fn(|code| format.decode(code as u32) as f32);
                out.iter_mut().zip(bytes).for_each(|(out, &code)| *out = table[usize::from(code)]);
            }
            Self::Ggml(kind) => decode_blocks(kind, bytes, out),
            Self::I8 => out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte.cast_signed())),
            Self::U8 => out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte)),
            Self::I16(order) => each(order, bytes, out, |x| i16::from_le_bytes(x).into(), |x| i16::from_be_bytes(x).into()),
            Self::U16(order) => each(order, bytes, out, |x| u16::from_le_bytes(x).into(), |x| u16::from_be_bytes(x).into()),
            Self::F64(_) | Self::I32(_) | Self::U32(_) | Self::I64(_) | Self::U64(_) => {}
        }
    }

    /// The numbers; only where [`Encoding::dtype`] is f64.
    pub fn decode_f64(self, bytes: &[u8], out: &mut [f64]) -> Result<(), Inexact> {
        match self {
            Self::F64(order) => each(order, bytes, out, f64::from_le_bytes, f64::from_be_bytes),
            Self::I32(order) => each(order, bytes, out, |x| i32::from_le_bytes(x).into(), |x| i32::from_be_bytes(x).into()),
            Self::U32(order) => each(order, bytes, out, |x| u32::from_le_bytes(x).into(), |x| u32::from_be_bytes(x).into()),
            Self::I64(order) => {
                let number = |x| if order == Order::Little { i64::from_le_bytes(x) } else { i64::from_be_bytes(x) };
                return wide(bytes, out, |x| number(x).into(), |x| number(x) as f64);
            }
            Self::U64(order) => {
                let number = |x| if order == Order::Little { u64::from_le_bytes(x) } else { u64::from_be_bytes(x) };
                return wide(bytes, out, |x| number(x).into(), |x| number(x) as f64);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(target_endian = "little")]
const NATIVE: Order = Order::Little;
#[cfg(target_endian = "big")]
const NATIVE: Order = Order::Big;

/// Numbers of `N` bytes each.
#[inline(always)]
fn each<T, const N: usize>(order: Order, bytes: &[u8], out: &mut [T], little: impl Fn([u8; N]) -> T, big: impl Fn([u8; N]) -> T) {
    let pairs = out.iter_mut().zip(bytes.as_chunks::<N>().0);
    match order {
        Order::Little => pairs.for_each(|(out, bytes)| *out = little(*bytes)),
        Order::Big => pairs.for_each(|(out, bytes)| *out = big(*bytes)),
    }
}

/// Numbers of 64 bits, which not every f64 holds.
fn wide(bytes: &[u8], out: &mut [f64], exact: impl Fn([u8; 8]) -> i128, nearest: impl Fn([u8; 8]) -> f64) -> Result<(), Inexact> {
    for (index, (out, bytes)) in out.iter_mut().zip(bytes.as_chunks().0).enumerate() {
        *out = nearest(*bytes);
        let value = exact(*bytes);
        if *out as i128 != value {
            return Err(Inexact { index, value });
        }
    }
    Ok(())
}

/// The number that these bits of an f16 stand for, exact. No branch, so that several are done at a time.
#[inline(always)]
fn f16_value(bits: u16) -> f32 {
    const TO_BIAS: f32 = f32::from_bits((127 + 112) << 23); // 2^112, the difference of the two formats' biases
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // With f16's exponent in place of f32's, subnormal ones too, the number is 2^112 times too small.
    let finite = (f32::from_bits(magnitude) * TO_BIAS).to_bits();
    let special = magnitude | 0x7f80_0000;
    f32::from_bits(sign | if magnitude >= 0x0f80_0000 { special } else { finite })
}

#[inline(always)]
fn f16_le(bytes: [u8; 2]) -> f32 {
    f16_value(u16::from_le_bytes(bytes))
}

for_vectors! {
    fn f16_to_f32<>(bytes: &[u8], out: &mut [f32]) {
        each(Order::Little, bytes, out, f16_le, f16_le);
    }
}

/// The upper half of an f32.
fn bf16_to_f32(order: Order, bytes: &[u8], out: &mut [f32]) {
    let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    each(order, bytes, out, |x| value(u16::from_le_bytes(x)), |x| value(u16::from_be_bytes(x)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bit pattern of 16 bits, against the definition.
    #[test]
    fn halves_are_what_their_format_says() {
        let codes: Vec<u16> = (0..=u16::MAX).collect();
        for (format, little, big) in [
            (Minifloat::F16, Encoding::F16(Order::Little), Encoding::F16(Order::Big)),
            (Minifloat::BF16, Encoding::Bf16(Order::Little), Encoding::Bf16(Order::Big)),
        ] {
            for (encoding, bytes) in [
                (little, codes.iter().flat_map(|code| code.to_le_bytes()).collect::<Vec<_>>()),
                (big, codes.iter().flat_map(|code| code.to_be_bytes()).collect()),
            ] {
                let mut out = vec![0.0; codes.len()];
                encoding.decode_f32(&bytes, &mut out);
                for (code, value) in codes.iter().zip(out) {
                    let expected = format.decode(u32::from(*code)) as f32;
                    assert!(
                        value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                        "{encoding:?} {code:#x}"
                    );
                }
            }
        }
    }
}
