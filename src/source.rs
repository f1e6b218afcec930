//! `Source`: named tensors whose values are read piece by piece, in memory or in files.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::tensor::{Slice, Tensor};

/// What is known of a tensor before any of its values is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name. Names of one source may repeat; tables show each.
    pub name: String,
    /// The length of each axis; a single number has none.
    pub shape: Vec<usize>,
    /// What its values are computed in: f64 where they are stored so, else f32.
    pub dtype: Dtype,
    /// How its values are stored, in the file format's own words: `BF16`, `Q4_K`, `<f2`. Of a tensor in memory `f32` or `f64`.
    pub stored: String,
}

impl TensorInfo {
    /// The number of values: the product of the shape, saturating (sources check that it does not overflow).
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &length| product.saturating_mul(length))
    }
}

/// What a source holds besides its tensors, and why it is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// How it is stored, in the file format's own words, such as `I64`.
    pub stored: String,
    /// Why it is left out, such as `integers are no weights`.
    pub reason: String,
}

/// Room that a source may decode values into, kept from one piece to the next.
#[derive(Debug, Default)]
pub struct TileBuffer {
    /// As they are stored.
    pub bytes: Vec<u8>,
    /// Decoded.
    pub f32: Vec<f32>,
    /// Decoded.
    pub f64: Vec<f64>,
}

/// Named tensors in an order, whose values are read piece by piece, so that they need not fit in memory: what [`crate::report()`] and the tables
/// around it are of. A [`Tensor`], a slice, an array or a vector of tensors, a reference to any of these, and an opened model file are sources; your
/// own type is another.
///
/// ```
/// # use quantlens::{Source, Tensor};
/// let x = Tensor::from_vec("x", vec![0.5, 1.0])?;
/// let y = Tensor::from_vec("y", vec![2.0_f32])?;
/// let pair = [x, y];
/// assert_eq!(pair.infos()[1].name, "y");
/// assert_eq!(pair.tensor("y")?.len(), 1);
/// # Ok::<(), quantlens::Error>(())
/// ```
pub trait Source: Sync {
    /// The tensors, in their order, without reading values.
    fn infos(&self) -> Vec<TensorInfo>;

    /// Values of the tensor of this number (its place in [`Source::infos`]), in row-major order: `elements` counts from 0. They are of the type that
    /// its [`TensorInfo::dtype`] says, as many as asked for, and not yet checked to be finite: who uses them does that.
    ///
    /// # Errors
    /// What reading says; [`Error::NoTensor`] where there is no such tensor or it has fewer elements.
    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>>;

    /// What is there besides: parts of a file that are no tensors of numbers.
    fn skipped(&self) -> Vec<Skipped> {
        Vec::new()
    }

    /// The tensor of this number, if it is in memory as one: then nothing is read.
    fn held(&self, _index: usize) -> Option<Tensor> {
        None
    }

    /// The whole tensor of this number, in memory.
    ///
    /// # Errors
    /// As [`Source::read`]; as [`Tensor::new`], by which NaN and infinities are found.
    fn tensor_at(&self, index: usize) -> Result<Tensor> {
        let infos = self.infos();
        let info = infos.get(index).ok_or_else(|| no_tensor(format!("number {index}"), &infos))?;
        let mut buffer = TileBuffer::default();
        match self.read(index, 0..info.elements(), &mut buffer)? {
            Slice::F32(values) => Tensor::new(&info.name, &info.shape, values.to_vec()),
            Slice::F64(values) => Tensor::new(&info.name, &info.shape, values.to_vec()),
        }
    }

    /// The first tensor of this name, in memory.
    ///
    /// # Errors
    /// [`Error::NoTensor`] with the nearest names there are; as [`Source::tensor_at`].
    fn tensor(&self, name: &str) -> Result<Tensor> {
        self.tensor_at(index_of(name, &self.infos())?)
    }
}

/// The number of the first tensor of this name.
fn index_of(name: &str, infos: &[TensorInfo]) -> Result<usize> {
    infos.iter().position(|info| info.name == name).ok_or_else(|| no_tensor(format!("`{name}`"), infos))
}

/// The error for a tensor that a source does not have.
pub(crate) fn no_tensor(wanted: String, infos: &[TensorInfo]) -> Error {
    const SHOWN: usize = 5;
    let mut names = infos.iter().take(SHOWN).map(|info| format!("`{}`", info.name)).collect::<Vec<_>>().join(", ");
    if infos.len() > SHOWN {
        names += &format!(" and {} more", infos.len() - SHOWN);
    }
    Error::NoTensor { wanted, there_are: if names.is_empty() { "none".to_owned() } else { names } }
}

impl Tensor {
    pub(crate) fn info(&self) -> TensorInfo {
        TensorInfo {
            name: self.name().to_owned(),
            shape: self.shape().to_vec(),
            dtype: self.dtype(),
            stored: self.dtype().to_string(),
        }
    }
}

impl Source for [Tensor] {
    fn infos(&self) -> Vec<TensorInfo> {
        self.iter().map(Tensor::info).collect()
    }

    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, _: &'a mut TileBuffer) -> Result<Slice<'a>> {
        let values = self.get(tensor).and_then(|tensor| match tensor.as_slice() {
            Slice::F32(values) => values.get(elements.clone()).map(Slice::F32),
            Slice::F64(values) => values.get(elements.clone()).map(Slice::F64),
        });
        values
            .ok_or_else(|| no_tensor(format!("number {tensor}, elements {} to {}", elements.start, elements.end), &self.infos()))
    }

    fn skipped(&self) -> Vec<Skipped> {
        Vec::new()
    }

    fn held(&self, index: usize) -> Option<Tensor> {
        // Shared, not copied.
        self.get(index).cloned()
    }

    fn tensor_at(&self, index: usize) -> Result<Tensor> {
        self.held(index).ok_or_else(|| no_tensor(format!("number {index}"), &self.infos()))
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        self.tensor_at(index_of(name, &self.infos())?)
    }
}

/// What holds tensors in memory is a source as the slice of them is. Every method, also those that the trait has: a notebook cell would compile
/// the trait's own for each array.
macro_rules! source_of_slice {
    ($({$($generics:tt)*})? $type:ty, |$own:ident| $slice:expr) => {
        impl $(<$($generics)*>)? Source for $type {
            fn infos(&self) -> Vec<TensorInfo> {
                let $own = self;
                $slice.infos()
            }

            fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
                let $own = self;
                $slice.read(tensor, elements, buffer)
            }

            fn skipped(&self) -> Vec<Skipped> {
                let $own = self;
                $slice.skipped()
            }

            fn held(&self, index: usize) -> Option<Tensor> {
                let $own = self;
                $slice.held(index)
            }

            fn tensor_at(&self, index: usize) -> Result<Tensor> {
                let $own = self;
                $slice.tensor_at(index)
            }

            fn tensor(&self, name: &str) -> Result<Tensor> {
                let $own = self;
                $slice.tensor(name)
            }
        }
    };
}
source_of_slice!(Tensor, |own| std::slice::from_ref(own));
source_of_slice!(Vec<Tensor>, |own| own.as_slice());
source_of_slice!({const N: usize} [Tensor; N], |own| own.as_slice());

impl<S: Source + ?Sized> Source for &S {
    fn infos(&self) -> Vec<TensorInfo> {
        (**self).infos()
    }

    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
        (**self).read(tensor, elements, buffer)
    }

    fn skipped(&self) -> Vec<Skipped> {
        (**self).skipped()
    }

    fn held(&self, index: usize) -> Option<Tensor> {
        (**self).held(index)
    }

    fn tensor_at(&self, index: usize) -> Result<Tensor> {
        (**self).tensor_at(index)
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        (**self).tensor(name)
    }
}
