//! From numbers to codes and back, block by block.
//!
//! ```text
//! scale, zero_point  from a block's range, as the scheme's convention computes them
//! q = clamp(round(x / scale) + zero_point, quant_min, quant_max)
//! x̂ = (q - zero_point) · scale
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::codec::{Codec, decode_patterns, round_trip};
use crate::codes::{Codes, Width, widen, with_codes};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::qparams::{BlockParams, EachBuffers, QParams};
use crate::scheme::Scheme;
use crate::tensor::{Real, TASK_LEN, Tensor, with_values};

/// Runs one body with those of a segment among all parameters, a [`crate::qparams::BlockParams`]: of one block, or a block's for each element.
/// The buffers, an [`crate::qparams::EachBuffers`], are for the latter.
macro_rules! for_params {
    ($all:expr, $segment:expr, $buffers:expr, |$params:ident| $body:expr) => {
        match $segment.belonging {
            $crate::granularity::Belonging::Shared => {
                let $params = $all.shared($segment.block);
                $body
            }
            $crate::granularity::Belonging::Runs { length, passed } => {
                let $params = $all.each($segment.block, length, passed, $buffers, $segment.elements.len());
                $body
            }
        }
    };
}
pub(crate) use for_params;

impl Scheme {
    /// Quantizes: parameters from the tensor's own values, and a code for each element.
    ///
    /// ```
    /// # use quantlens::{Scheme, Tensor};
    /// let x = Tensor::from_vec("x", vec![-1.0, 0.0, 0.25, 2.0])?;
    /// let q = Scheme::asymmetric(8).quantize(&x)?;
    /// assert_eq!(q.codes().to_vec(), [0, 85, 106, 255]);
    /// assert_eq!(q.qparams().zero_point(), Some(85));
    /// assert_eq!(q.dequantize()?, Scheme::asymmetric(8).fake_quantize(&x)?);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Scheme::qparams`].
    pub fn quantize(&self, tensor: &Tensor) -> Result<Quantized> {
        quantize_with(tensor, &self.qparams(tensor)?)
    }

    /// Quantizes and dequantizes in one pass: the tensor as the codes will have it. The same numbers as
    /// `quantize(…)?.dequantize()`, without the codes.
    ///
    /// # Errors
    /// As [`Scheme::qparams`]; [`Error::DequantizedOverflow`] at the edge of the type.
    pub fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        fake_quantize_with(tensor, &self.qparams(tensor)?)
    }
}

/// Quantizes with given parameters: static quantization. What lies outside their range is clipped.
///
/// # Errors
/// [`Error::DtypeMismatch`] if they are for the other type; [`Error::QParamsCount`] if this shape has another number of blocks.
pub fn quantize_with(tensor: &Tensor, qparams: &QParams) -> Result<Quantized> {
    check_dtype(tensor, qparams)?;
    let layout = qparams.layout(tensor.shape())?;
    let codes = with_values!(tensor, |values| encode(values, qparams, &layout));
    let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
    Ok(Quantized { name, shape, qparams: qparams.clone(), codes })
}

/// Quantizes and dequantizes with given parameters, in one pass.
///
/// # Errors
/// As [`quantize_with`]; [`Error::DequantizedOverflow`] where (q - zero_point) · scale overflows.
pub fn fake_quantize_with(tensor: &Tensor, qparams: &QParams) -> Result<Tensor> {
    check_dtype(tensor, qparams)?;
    let layout = qparams.layout(tensor.shape())?;
    with_values!(tensor, |values| {
        let mut output = vec![Default::default(); values.len()];
        let (codec, params) = (Codec::new(qparams.scheme()), qparams.in_type());
        for_each_task(&mut output, |start, output| fake_quantize_task(values, start, &codec, &params, &layout, output));
        Tensor::new(tensor.name(), tensor.shape(), output).map_err(overflow_of)
    })
}

/// A product that overflowed, said as such: the caller's own values were finite.
fn overflow_of(error: Error) -> Error {
    match error {
        Error::NotFinite { name, index, .. } => Error::DequantizedOverflow { name, index },
        other => other,
    }
}

fn check_dtype(tensor: &Tensor, qparams: &QParams) -> Result<()> {
    let (expected, found) = (qparams.dtype(), tensor.dtype());
    if expected == found { Ok(()) } else { Err(Error::DtypeMismatch { expected, found }) }
}

fn for_each_task<C: Send>(output: &mut [C], task: impl Fn(usize, &mut [C]) + Sync) {
    output.par_chunks_mut(TASK_LEN).enumerate().for_each(|(index, chunk)| task(index * TASK_LEN, chunk));
}

fn encode<T: Real>(values: &[T], qparams: &QParams, layout: &Layout) -> Codes {
    macro_rules! codes {
        ($variant:ident, $t:ty) => {
            Codes::$variant(encode_to(values, qparams, layout, |code| code as $t))
        };
    }
    match Width::of(qparams.scheme()) {
        Width::I8 => codes!(I8, i8),
        Width::U8 => codes!(U8, u8),
        Width::I16 => codes!(I16, i16),
        Width::U16 => codes!(U16, u16),
        Width::I32 => codes!(I32, i32),
    }
}

/// Values that fit the first-level cache with their codes.
const BUFFER: usize = 1024;

fn encode_to<T: Real, C: Copy + Default + Send>(
    values: &[T],
    qparams: &QParams,
    layout: &Layout,
    narrow: impl Fn(i32) -> C + Sync,
) -> Vec<C> {
    let quant_min = qparams.scheme().quant_min();
    let mut output = vec![C::default(); values.len()];
    let (codec, params) = (Codec::new(qparams.scheme()), qparams.in_type());
    for_each_task(&mut output, |start, output| {
        encode_task(values, start, &codec, &params, layout, quant_min, &narrow, output);
    });
    output
}

fn fake_quantize_task<T: Real>(
    values: &[T],
    start: usize,
    codec: &Codec<T>,
    all_params: &BlockParams<T>,
    layout: &Layout,
    output: &mut [T],
) {
    let (mut patterns, mut buffers) = ([0; BUFFER], EachBuffers::default());
    for segment in layout.segments(start..start + output.len()).flat_map(|segment| segment.pieces(BUFFER)) {
        let output = &mut output[segment.elements.start - start..segment.elements.end - start];
        let (index, values, patterns) =
            (segment.elements.start, &values[segment.elements.clone()], &mut patterns[..output.len()]);
        for_params!(all_params, segment, &mut buffers, |params| round_trip(codec, values, index, params, output, patterns));
    }
}

#[expect(clippy::too_many_arguments, reason = "a task needs them all")]
fn encode_task<T: Real, C: Copy>(
    values: &[T],
    start: usize,
    codec: &Codec<T>,
    all_params: &BlockParams<T>,
    layout: &Layout,
    quant_min: i32,
    narrow: &impl Fn(i32) -> C,
    output: &mut [C],
) {
    let (mut approximation, mut patterns, mut buffers) = ([T::ZERO; BUFFER], [0; BUFFER], EachBuffers::default());
    for segment in layout.segments(start..start + output.len()).flat_map(|segment| segment.pieces(BUFFER)) {
        let output = &mut output[segment.elements.start - start..segment.elements.end - start];
        let (index, values, patterns) =
            (segment.elements.start, &values[segment.elements.clone()], &mut patterns[..output.len()]);
        let approximation = &mut approximation[..output.len()];
        for_params!(all_params, segment, &mut buffers, |params| round_trip(
            codec,
            values,
            index,
            params,
            approximation,
            patterns
        ));
        for (output, &pattern) in output.iter_mut().zip(&*patterns) {
            *output = narrow((pattern as i32).wrapping_add(quant_min));
        }
    }
}

fn decode_task<T: Real, C: Copy>(
    codes: &[C],
    start: usize,
    codec: &Codec<T>,
    all_params: &BlockParams<T>,
    layout: &Layout,
    pattern: &impl Fn(C) -> i32,
    output: &mut [T],
) {
    let (mut patterns, mut buffers) = ([0; BUFFER], EachBuffers::default());
    for segment in layout.segments(start..start + output.len()).flat_map(|segment| segment.pieces(BUFFER)) {
        let output = &mut output[segment.elements.start - start..segment.elements.end - start];
        let patterns = &mut patterns[..output.len()];
        for (found, &code) in patterns.iter_mut().zip(&codes[segment.elements.clone()]) {
            *found = pattern(code) as u32;
        }
        for_params!(all_params, segment, &mut buffers, |params| decode_patterns(codec, patterns, params, output));
    }
}

/// A quantized tensor: codes, the parameters that give them meaning, name and shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedQuantized")]
pub struct Quantized {
    name: String,
    shape: Vec<usize>,
    qparams: QParams,
    codes: Codes,
}

#[derive(Deserialize)]
struct UncheckedQuantized {
    name: String,
    shape: Vec<usize>,
    qparams: QParams,
    codes: Codes,
}

impl TryFrom<UncheckedQuantized> for Quantized {
    type Error = Error;

    fn try_from(raw: UncheckedQuantized) -> Result<Self> {
        Self::from_integers(raw.name, raw.shape, raw.qparams, raw.codes.to_vec().into_iter().map(i64::from))
    }
}

impl Quantized {
    /// A quantized tensor from codes that somebody else made.
    ///
    /// # Errors
    /// [`Error::Empty`] without codes; [`Error::CodeOutOfRange`] with the first code the scheme does not have; [`Error::Shape`] unless
    /// there is one code per element; [`Error::Axis`]; [`Error::QParamsCount`] if the shape has another number of blocks.
    pub fn from_integers(
        name: impl Into<String>,
        shape: Vec<usize>,
        qparams: QParams,
        codes: impl Iterator<Item = i64>,
    ) -> Result<Self> {
        let name = name.into();
        let codes = Codes::from_integers(qparams.scheme(), codes)?;
        if codes.len() == 0 {
            return Err(Error::Empty { name });
        }
        let needed = qparams.layout(&shape)?.elements();
        if codes.len() != needed {
            return Err(Error::Shape { name, shape, needed, elements: codes.len() });
        }
        Ok(Self { name, shape, qparams, codes })
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Scale and zero point of each block.
    pub fn qparams(&self) -> &QParams {
        &self.qparams
    }

    /// One code per element, row-major.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The values the codes stand for, `(q - zero_point) · scale`, in the type that was quantized.
    ///
    /// # Errors
    /// [`Error::DequantizedOverflow`] where the product overflows, as it may for data at the edge of its type; [`Error::NoNumber`] for a code of NaN or
    /// ∞, which a float format that does not saturate gives, and for one that a codebook does not use.
    pub fn dequantize(&self) -> Result<Tensor> {
        match self.qparams.dtype() {
            Dtype::F32 => self.decode::<f32>(),
            Dtype::F64 => self.decode::<f64>(),
        }
    }

    fn decode<T: Real>(&self) -> Result<Tensor> {
        let layout = self.qparams.layout(&self.shape)?;
        let mut output = vec![T::ZERO; self.codes.len()];
        let (codec, params) = (Codec::new(self.qparams.scheme()), self.qparams.in_type());
        let quant_min = self.qparams.scheme().quant_min();
        with_codes!(&self.codes, |codes| for_each_task(&mut output, |start, output| {
            let pattern = |code| widen(code).wrapping_sub(quant_min);
            decode_task(codes, start, &codec, &params, &layout, &pattern, output);
        }));
        Tensor::new(self.name.as_str(), &self.shape, output).map_err(|error| match error {
            Error::NotFinite { name, index, .. } if !self.is_number(index) => {
                let (code, format) = (self.codes.get(index).unwrap_or_default(), self.qparams.scheme().format().to_string());
                Error::NoNumber { name, index, code, format }
            }
            other => overflow_of(other),
        })
    }

    fn is_number(&self, index: usize) -> bool {
        let format = self.qparams.scheme().format();
        self.codes.get(index).is_some_and(|code| format.decode(code).is_finite())
    }
}
