//! ggml's types as quantizers: tensors to bytes and back, and a report's row.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Ggml, Weighting, decode_blocks, encode_blocks, round_trip_blocks};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::RowQuantizer;
use crate::report::{Codes, Quantizer, ReportRow, row_of};
use crate::tensor::{Slice, Tensor};

/// Elements that one task handles: the slowest types take some milliseconds for as many.
const TASK_LEN: usize = 1 << 14;

/// What a tensor's rows are to a type: checked to be whole blocks.
#[derive(Clone, Copy)]
struct Rows {
    kind: Ggml,
    elements: usize,
    /// Elements of a row.
    row: usize,
}

impl Rows {
    fn new(kind: Ggml, name: &str, shape: &[usize]) -> Result<Self> {
        let owned = || (name.to_owned(), shape.to_vec());
        // No memory holds more than isize::MAX of anything, so byte counts do not overflow either.
        let elements = shape.iter().try_fold(1_isize, |product, &length| product.checked_mul(isize::try_from(length).ok()?));
        let Some(elements) = elements.map(isize::unsigned_abs) else {
            return Err(Error::TooLarge { shape: shape.to_vec() });
        };
        let (row, block) = (shape.last().copied().unwrap_or(1), kind.block_elements());
        if elements == 0 {
            return Err(Error::Empty { name: name.to_owned() });
        }
        if !row.is_multiple_of(block) {
            let (name, shape) = owned();
            return Err(Error::BlockRow { name, shape, row, block, scheme: kind.to_string() });
        }
        Ok(Self { kind, elements, row })
    }

    /// Bytes of so many elements.
    fn bytes_of(self, elements: usize) -> usize {
        elements / self.kind.block_elements() * self.kind.block_bytes()
    }

    /// Whole blocks that one task handles, in elements.
    fn task(self) -> usize {
        TASK_LEN.min(self.row).next_multiple_of(self.kind.block_elements())
    }

    fn encode(self, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes_of(self.elements)];
        let rows = values.par_chunks(self.row).zip(bytes.par_chunks_mut(self.bytes_of(self.row)));
        rows.with_min_len(TASK_LEN.div_ceil(self.row)).for_each(|(values, bytes)| {
            let weighting = importance.map(|importance| Weighting::of_row(importance, values));
            let tasks = values.par_chunks(self.task()).zip(bytes.par_chunks_mut(self.bytes_of(self.task())));
            tasks.enumerate().for_each(|(index, (values, bytes))| {
                let start = index * self.task();
                encode_blocks(self.kind, values, weighting.map(|by| by.part(start..start + values.len())), bytes);
            });
        });
        bytes
    }

    fn decode(self, name: &str, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
        let mut values = vec![0.0_f32; self.elements];
        let tasks = values.par_chunks_mut(self.task()).zip(bytes.par_chunks(self.bytes_of(self.task())));
        tasks.for_each(|(values, bytes)| decode_blocks(self.kind, bytes, values));
        if let Some(index) = values.par_iter().position_first(|value| !value.is_finite()) {
            return Err(Error::DequantizedOverflow { name: name.to_owned(), index });
        }
        Tensor::new(name, shape, values)
    }
}

/// The values as f32, and what comes of them; f64 values are rounded first, ties to even.
fn with_f32<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> R) -> Result<R> {
    match tensor.as_slice() {
        Slice::F32(values) => Ok(body(values)),
        Slice::F64(values) => {
            let rounded: Vec<f32> = values.par_iter().map(|&value| value as f32).collect();
            match rounded.par_iter().position_first(|value| !value.is_finite()) {
                Some(index) => Err(Error::F32Overflow { name: tensor.name().to_owned(), index, value: values[index] }),
                None => Ok(body(&rounded)),
            }
        }
    }
}

/// A type, and importances or none: what [`Ggml`] and [`WeightedGgml`] share.
#[derive(Clone, Copy)]
struct Encoder<'a> {
    kind: Ggml,
    importance: Option<&'a [f32]>,
}

/// The rows of a tensor in a report.
struct ByRows<'a> {
    encoder: Encoder<'a>,
    /// Elements of a row.
    row: usize,
}

impl RowQuantizer for ByRows<'_> {
    fn period(&self) -> usize {
        // How important an element is depends on its row.
        if self.encoder.importance().is_some() { self.row } else { self.encoder.kind.block_elements() }
    }

    fn codes_in_all(&self) -> usize {
        256
    }

    fn round_trip(&self, values: &[f32], approximation: &mut [f32], counts: &mut [u64]) {
        let kind = self.encoder.kind;
        match self.encoder.importance() {
            None => round_trip_blocks(kind, values, None, approximation, counts),
            Some(importance) => {
                for (row, approximation) in values.chunks(self.row).zip(approximation.chunks_mut(self.row)) {
                    round_trip_blocks(kind, row, Some(Weighting::of_row(importance, row)), approximation, counts);
                }
            }
        }
    }
}

impl<'a> Encoder<'a> {
    /// The importances, where they matter.
    fn importance(self) -> Option<&'a [f32]> {
        self.importance.filter(|_| self.kind.uses_importance())
    }

    /// The rows of a tensor of this name and shape, for which there is an importance each.
    fn rows(self, name: &str, shape: &[usize]) -> Result<Rows> {
        let rows = Rows::new(self.kind, name, shape)?;
        match self.importance {
            Some(importance) if importance.len() != rows.row => {
                Err(Error::ImportanceLength { name: name.to_owned(), importances: importance.len(), row: rows.row })
            }
            _ => Ok(rows),
        }
    }

    fn to_bytes(self, tensor: &Tensor) -> Result<(Rows, Vec<u8>)> {
        let rows = self.rows(tensor.name(), tensor.shape())?;
        let bytes = with_f32(tensor, |values| rows.encode(values, self.importance()))?;
        Ok((rows, bytes))
    }

    /// The tensor as it comes back, in its own type.
    fn round_trip(self, tensor: &Tensor) -> Result<Tensor> {
        let (rows, bytes) = self.to_bytes(tensor)?;
        let decoded = rows.decode(tensor.name(), tensor.shape(), &bytes)?;
        match tensor.dtype() {
            Dtype::F32 => Ok(decoded),
            Dtype::F64 => Tensor::new(tensor.name(), tensor.shape(), decoded.to_f64_vec()),
        }
    }

    fn bits_per_element(self, shape: &[usize]) -> Result<f64> {
        Rows::new(self.kind, &format!("{shape:?}"), shape)?;
        Ok((self.kind.block_bytes() * 8) as f64 / self.kind.block_elements() as f64)
    }

    fn by_rows(self, name: &str, shape: &[usize]) -> Result<(Codes, Box<dyn RowQuantizer + 'a>)> {
        let rows = self.rows(name, shape)?;
        let codes = Codes {
            format: self.kind.to_string(),
            bits: self.kind.bits(),
            granularity: format!("g{}", self.kind.block_elements()),
            calibration: None,
        };
        Ok((codes, Box::new(ByRows { encoder: self, row: rows.row })))
    }
}

impl Ggml {
    fn encoder(self) -> Encoder<'static> {
        Encoder { kind: self, importance: None }
    }

    /// The bytes of a tensor's blocks, row after row, as they stand in a GGUF file. f64 values are rounded to f32 first.
    ///
    /// Scales that overflow f16 are written as the C writes them, as ±∞ or NaN.
    ///
    /// # Errors
    /// [`Error::BlockRow`] unless rows (the last axis) are whole blocks: ggml has no shorter ones, and llama.cpp stores such
    /// tensors in another type. [`Error::F32Overflow`] with the first f64 value that no f32 holds.
    pub fn to_bytes(self, tensor: &Tensor) -> Result<Vec<u8>> {
        self.encoder().to_bytes(tensor).map(|(_, bytes)| bytes)
    }

    /// The f32 tensor that bytes stand for, of this name and shape.
    ///
    /// # Errors
    /// [`Error::BlockRow`] unless rows are whole blocks, [`Error::BlockBytes`] unless there are as many bytes as the shape needs,
    /// [`Error::DequantizedOverflow`] with the first element that is ±∞ or NaN, [`Error::Empty`] and [`Error::TooLarge`] for shapes
    /// without or with too many elements.
    pub fn from_bytes(self, name: impl Into<String>, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
        let name = name.into();
        let rows = Rows::new(self, &name, shape)?;
        let needed = rows.bytes_of(rows.elements);
        if bytes.len() != needed {
            return Err(Error::BlockBytes { name, scheme: self.to_string(), needed, bytes: bytes.len() });
        }
        rows.decode(&name, shape, bytes)
    }

    /// This type with an importance for each element of a row, the same for all rows: what llama.cpp calls an importance matrix
    /// and makes of the squares of a layer's inputs. Errors of important elements count more when scales are searched for. Types
    /// that do not use them ([`Ggml::uses_importance`]) store the same bytes as without.
    ///
    /// # Errors
    /// [`Error::Importance`] with the first that is negative, ±∞ or NaN.
    pub fn with_importance(self, importance: impl Into<Arc<[f32]>>) -> Result<WeightedGgml> {
        let importance = importance.into();
        match importance.iter().position(|&value| !(value.is_finite() && value >= 0.0)) {
            Some(index) => Err(Error::Importance { index, value: importance[index] }),
            None => Ok(WeightedGgml { kind: self, importance }),
        }
    }
}

impl Quantizer for Ggml {
    fn name(&self) -> String {
        self.to_string()
    }

    /// `8 · block_bytes / block_elements`.
    ///
    /// # Errors
    /// [`Error::BlockRow`] unless rows are whole blocks.
    fn bits_per_element(&self, shape: &[usize], _dtype: Dtype) -> Result<f64> {
        self.encoder().bits_per_element(shape)
    }

    /// Through [`Ggml::to_bytes`] and [`Ggml::from_bytes`], with their errors; in the tensor's type.
    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        self.encoder().round_trip(tensor)
    }

    fn report_row(&self, tensor: &Tensor) -> Result<ReportRow> {
        row_of(tensor, self)
    }

    fn by_rows(&self, name: &str, shape: &[usize]) -> Option<Result<(Codes, Box<dyn RowQuantizer + '_>)>> {
        Some(self.encoder().by_rows(name, shape))
    }
}

/// A type of ggml's with importances, made by [`Ggml::with_importance`]. Its name ends in `-imatrix`.
///
/// ```
/// # use quantlens::{Ggml, Quantizer, Tensor};
/// let x = Tensor::new("x", &[2, 32], (0..64).map(|i| (i * i % 37) as f32).collect())?;
/// let weighted = Ggml::Q4_0.with_importance(vec![1.0; 32])?;
/// assert_eq!(weighted.name(), "q4_0-imatrix");
/// assert_eq!(weighted.to_bytes(&x)?.len(), 2 * 18);
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedGgml {
    kind: Ggml,
    importance: Arc<[f32]>,
}

impl WeightedGgml {
    /// The type.
    pub fn kind(&self) -> Ggml {
        self.kind
    }

    /// One importance for each element of a row.
    pub fn importance(&self) -> &[f32] {
        &self.importance
    }

    fn encoder(&self) -> Encoder<'_> {
        Encoder { kind: self.kind, importance: Some(&self.importance) }
    }

    /// As [`Ggml::to_bytes`], with the importances.
    ///
    /// # Errors
    /// As [`Ggml::to_bytes`]; [`Error::ImportanceLength`] unless rows are as long as there are importances.
    pub fn to_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        self.encoder().to_bytes(tensor).map(|(_, bytes)| bytes)
    }
}

impl Quantizer for WeightedGgml {
    fn name(&self) -> String {
        format!("{}-imatrix", self.kind)
    }

    fn bits_per_element(&self, shape: &[usize], _dtype: Dtype) -> Result<f64> {
        self.encoder().bits_per_element(shape)
    }

    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        self.encoder().round_trip(tensor)
    }

    fn report_row(&self, tensor: &Tensor) -> Result<ReportRow> {
        row_of(tensor, self)
    }

    fn by_rows(&self, name: &str, shape: &[usize]) -> Option<Result<(Codes, Box<dyn RowQuantizer + '_>)>> {
        Some(self.encoder().by_rows(name, shape))
    }
}
