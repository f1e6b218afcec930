//! ggml's block layouts, bit for bit: what llama.cpp stores in GGUF files.
//!
//! Each row of a tensor (its last axis) is cut into blocks of 32, 64 or 256 elements, and a block becomes a fixed number of bytes
//! that hold codes and scales. A layout is closed: its bytes say all there is to say, nothing can be chosen but the type.
//!
//! The arithmetic is that of `quantize_<type>` and `dequantize_row_<type>` of ggml 0.26.0,
//! <https://docs.rs/crate/llama-cpp-sys-2/0.1.161/source/llama.cpp/ggml/src/ggml-quants.c>, in f32 and in the same order of
//! operations, as compiled for x86-64 without fused multiply-add. `tests/it/golden/make_ggml.py` makes the vectors that the
//! bytes are compared with.

mod bits;
mod iq4;
mod k_quants;
mod legacy;
mod micro;
mod quantizer;
mod search;
mod ternary;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::simd::for_vectors;

pub use quantizer::WeightedGgml;

/// What a row's importances make of a block of it.
#[derive(Clone, Copy)]
pub(crate) struct Weighting<'a> {
    /// One for each element of the block.
    pub importance: &'a [f32],
    /// `Σ x² / n` over the row, which the types with blocks of 32 take into account.
    pub row_mean_square: f32,
}

impl<'a> Weighting<'a> {
    /// The importances of a row's elements, and the row.
    pub fn of_row(importance: &'a [f32], row: &[f32]) -> Self {
        Self { importance, row_mean_square: k_quants::sum_of_squares(row) / row.len() as f32 }
    }

    /// The part for these elements of the row.
    pub fn part(self, elements: std::ops::Range<usize>) -> Self {
        Self { importance: &self.importance[elements], ..self }
    }
}

/// How a block of `ELEMENTS` numbers becomes `BYTES` bytes. Slices have exactly these lengths.
pub(crate) trait ByteBlock {
    const ELEMENTS: usize;
    const BYTES: usize;
    /// Width of an element's code.
    const BITS: u32;
    const USES_IMPORTANCE: bool;

    /// Writes every byte of `out`, for any finite numbers: where a scale overflows, what the C writes.
    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]);

    /// The code of each element, unsigned as it is stored.
    fn codes(bytes: &[u8], codes: &mut [u8]);

    /// What the elements stand for, given their codes.
    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]);
}

/// The largest `ByteBlock::ELEMENTS`, a multiple of 4 as all are.
const MAX_ELEMENTS: usize = k_quants::QK_K;

/// No block takes more bytes than its numbers as f32.
const MAX_BYTES: usize = 4 * MAX_ELEMENTS;

for_vectors! {
    fn encode<B: ByteBlock>(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let blocks = x.chunks_exact(B::ELEMENTS).zip(out.chunks_exact_mut(B::BYTES));
        for (index, (x, out)) in blocks.enumerate() {
            let elements = index * B::ELEMENTS..(index + 1) * B::ELEMENTS;
            let weighting = weighting.map(|by| by.part(elements));
            B::encode(x, weighting, out);
        }
    }
}

for_vectors! {
    fn decode<B: ByteBlock>(bytes: &[u8], out: &mut [f32]) {
        let mut codes = [0; MAX_ELEMENTS];
        let codes = &mut codes[..B::ELEMENTS];
        for (bytes, out) in bytes.chunks_exact(B::BYTES).zip(out.chunks_exact_mut(B::ELEMENTS)) {
            B::codes(bytes, codes);
            B::decode_codes(bytes, codes, out);
        }
    }
}

for_vectors! {
    /// Whole blocks there and back, a block at a time; adds to the counts of codes, of which there are at most 256.
    fn round_trip<B: ByteBlock>(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [f32], counts: &mut [u64]) {
        let (mut bytes, mut codes) = ([0; MAX_BYTES], [0; MAX_ELEMENTS]);
        let (bytes, codes) = (&mut bytes[..B::BYTES], &mut codes[..B::ELEMENTS]);
        // In turn, so that one increment does not wait for the last of the same code.
        let mut tables = [[0_u32; 256]; 4];
        let blocks = x.chunks_exact(B::ELEMENTS).zip(out.chunks_exact_mut(B::ELEMENTS));
        for (index, (x, out)) in blocks.enumerate() {
            let elements = index * B::ELEMENTS..(index + 1) * B::ELEMENTS;
            B::encode(x, weighting.map(|by| by.part(elements)), bytes);
            B::codes(bytes, codes);
            B::decode_codes(bytes, codes, out);
            for codes in codes.as_chunks::<4>().0 {
                for (table, &code) in tables.iter_mut().zip(codes) {
                    table[usize::from(code)] = table[usize::from(code)].wrapping_add(1);
                }
            }
        }
        for (code, count) in counts.iter_mut().enumerate() {
            *count += tables.iter().map(|table| u64::from(table[code % 256])).sum::<u64>();
        }
    }
}

/// A row a type: its documentation, variant, name, and the [`ByteBlock`] that says the rest.
macro_rules! types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal as $block:ty;)*) => {
        /// A type of ggml's. Its name parses back: `"q4_k".parse::<Ggml>()`.
        ///
        /// d, m and dmin are f16 (f32 while codes are computed, unless it says otherwise), c is an element's code, s and t are
        /// codes of a group's scale and minimum. Where d overflows f16 (elements beyond some 65504 times the largest code)
        /// elements come back as ±∞ or NaN, which is an error here; where it vanishes they come back as 0.
        ///
        /// ```
        /// # use quantlens::{Ggml, Quantizer, Tensor};
        /// let x = Tensor::new("x", &[2, 32], (0..64).map(|i| i as f32 - 20.0).collect())?;
        /// let bytes = Ggml::Q8_0.to_bytes(&x)?;
        /// assert_eq!(bytes.len(), 2 * 34);
        /// assert_eq!(Ggml::Q8_0.from_bytes("x", &[2, 32], &bytes)?, Ggml::Q8_0.fake_quantize(&x)?);
        /// assert_eq!("q8_0".parse::<Ggml>()?, Ggml::Q8_0);
        /// # Ok::<(), quantlens::Error>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(non_camel_case_types, reason = "the names that the types are known by")]
        #[non_exhaustive]
        pub enum Ggml {
            $($(#[$doc])* $variant,)*
        }

        impl Ggml {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            const fn name_of(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Elements of a block; rows are a multiple of it.
            pub const fn block_elements(self) -> usize {
                match self { $(Self::$variant => <$block>::ELEMENTS,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Self::$variant => <$block>::BYTES,)* }
            }

            /// Width of an element's code in bits, without its share of scales. TQ1_0's codes take 1.6 bits and count as 2.
            pub const fn bits(self) -> u32 {
                match self { $(Self::$variant => <$block>::BITS,)* }
            }

            /// Whether importances change what is stored; ggml ignores them for Q8_0, MXFP4, NVFP4, TQ1_0 and TQ2_0.
            pub const fn uses_importance(self) -> bool {
                match self { $(Self::$variant => <$block>::USES_IMPORTANCE,)* }
            }
        }

        /// Whole blocks of one row to bytes.
        pub(crate) fn encode_blocks(kind: Ggml, x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
            match kind { $(Ggml::$variant => encode::<$block>(x, weighting, out),)* }
        }

        /// What whole blocks stand for.
        pub(crate) fn decode_blocks(kind: Ggml, bytes: &[u8], out: &mut [f32]) {
            match kind { $(Ggml::$variant => decode::<$block>(bytes, out),)* }
        }

        /// What whole blocks come back as, adding to the counts of codes as they are stored, unsigned (Q8_0's as two's complement).
        pub(crate) fn round_trip_blocks(kind: Ggml, x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [f32], counts: &mut [u64]) {
            match kind { $(Ggml::$variant => round_trip::<$block>(x, weighting, out, counts),)* }
        }
    };
}

types! {
    /// Blocks of 32 in 18 bytes: `x = d · (c - 8)`, d = m / -8 with m the element of largest magnitude. 4.5 bits an element.
    Q4_0 = "q4_0" as legacy::Symmetric<4>;
    /// Blocks of 32 in 20 bytes: `x = d · c + m`, m the smallest element, d = (max - m) / 15. 5 bits an element.
    Q4_1 = "q4_1" as legacy::Affine<4>;
    /// As Q4_0 with codes of 5 bits: `x = d · (c - 16)`, d = m / -16. 5.5 bits an element.
    Q5_0 = "q5_0" as legacy::Symmetric<5>;
    /// As Q4_1 with codes of 5 bits: d = (max - m) / 31. 6 bits an element.
    Q5_1 = "q5_1" as legacy::Affine<5>;
    /// Blocks of 32 in 34 bytes: `x = d · c`, d = max |x| / 127, c a signed byte. 8.5 bits an element.
    Q8_0 = "q8_0" as legacy::Q8_0;
    /// Blocks of 256 in 84 bytes, in groups of 16: `x = d · s · c - dmin · t`, s and t of 4 bits. 2.625 bits an element.
    Q2_K = "q2_k" as k_quants::Q2K;
    /// Blocks of 256 in 110 bytes, in groups of 16: `x = d · (s - 32) · (c - 4)`, s of 6 bits. 3.4375 bits an element.
    Q3_K = "q3_k" as k_quants::Q3K;
    /// Blocks of 256 in 144 bytes, in groups of 32: `x = d · s · c - dmin · t`, s and t of 6 bits. 4.5 bits an element.
    Q4_K = "q4_k" as k_quants::Affine32<4>;
    /// As Q4_K with codes of 5 bits. 5.5 bits an element.
    Q5_K = "q5_k" as k_quants::Affine32<5>;
    /// Blocks of 256 in 210 bytes, in groups of 16: `x = d · s · (c - 32)`, s a signed byte. 6.5625 bits an element.
    Q6_K = "q6_k" as k_quants::Q6K;
    /// Blocks of 32 in 18 bytes: `x = d · v[c]`, v = -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113.
    /// 4.5 bits an element. Without importances it is `quantize_iq4_nl`, which files are made with, not
    /// `quantize_row_iq4_nl_ref`, which tries fewer scales and leaves the codes of all-zero blocks to chance.
    IQ4_NL = "iq4_nl" as iq4::Iq4Nl;
    /// Blocks of 256 in 136 bytes, in groups of 32: `x = d · (s - 32) · v[c]` with v of IQ4_NL, s of 6 bits. 4.25 bits an
    /// element.
    IQ4_XS = "iq4_xs" as iq4::Iq4Xs;
    /// Blocks of 32 in 17 bytes: E2M1 elements under a power of two, `2^(⌊log₂ max|x|⌋ - 2)`, the logarithm rounded to f32 first.
    /// 4.25 bits an element. Of two values as near it takes the one of lower magnitude, where OCP's MXFP4 takes the even one; the
    /// byte 255 is a scale, not NaN.
    MXFP4 = "ggml-mxfp4" as micro::Mxfp4;
    /// Blocks of 64 in 36 bytes, in groups of 16: E2M1 elements under a UE4M3 scale of max |x| / 6, which vanishes below 2⁻¹⁰ and
    /// is 448, the largest, from 248 on. Without the tensor's scale, which llama.cpp stores elsewhere. 4.5 bits an element.
    NVFP4 = "ggml-nvfp4" as micro::Nvfp4;
    /// Blocks of 256 in 54 bytes: `x = d · (c - 1)`, c of 0 to 2, d = max |x|; five codes to a byte. 1.6875 bits an element.
    TQ1_0 = "tq1_0" as ternary::Tq1_0;
    /// As TQ1_0 with four codes to a byte. 2.0625 bits an element.
    TQ2_0 = "tq2_0" as ternary::Tq2_0;
}

impl fmt::Display for Ggml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name_of())
    }
}

impl FromStr for Ggml {
    type Err = Error;

    /// # Errors
    /// [`Error::ParseScheme`] unless it is the name of one, in lower case.
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name_of() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name_of()).collect();
            Error::ParseScheme { text: text.to_owned(), reason: format!("ggml's types are {}", names.join(", ")) }
        })
    }
}
