//! `Tensor`: name, shape and finite f32 or f64 values. The gate: what is wrong with data is said here, and nowhere after.

use std::fmt;
use std::sync::Arc;

use polars::prelude::{
    ChunkedArray, DataType, Float32Chunked, Float32Type, Float64Chunked, Float64Type, IntoSeries, PolarsFloatType,
    PolarsNumericType, Series,
};
use rayon::prelude::*;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::simd::{Eight, Extremes, for_vectors};

/// f32 or f64: what every formula of this crate is generic over. Sealed; the two types are all there are.
pub trait Real:
    sealed::Sealed
    + Copy
    + Send
    + Sync
    + PartialOrd
    + fmt::Debug
    + fmt::Display
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + 'static
{
    /// Which of the two.
    const DTYPE: Dtype;
    /// The number 0.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;
    /// The smallest positive normal number.
    const MIN_NORMAL: Self;
    /// The largest number.
    const MAX: Self;
    /// How the exponent 0 is stored.
    const EXPONENT_OF_ONE: u32;

    /// From f64, rounded to nearest, ties to even.
    fn from_f64(value: f64) -> Self;
    /// To f64, exact.
    fn to_f64(self) -> f64;
    /// |self|.
    fn abs(self) -> Self;
    /// Neither NaN nor ±∞.
    fn is_finite(self) -> bool;
    /// Nearest whole number, ties to even. Only for |self| ≤ 2²² (f32) or 2⁵¹ (f64), which lets it be two additions that
    /// every CPU does several at a time; a general rounding is a function call on baseline x86-64.
    fn round_small(self) -> Self;
    /// A whole number in 0 to 2²³ - 1 as an integer, likewise without a conversion that needs checks.
    fn small_to_u32(self) -> u32;
    /// A whole number in 0 to 2²³ - 1 from an integer, likewise.
    fn from_small(integer: u32) -> Self;
    /// The largest power of two not above |self|; 0 of 0 and of subnormal numbers.
    fn power_of_two_below(self) -> Self;
    /// Its magnitude with the sign of another, of ±0 too.
    fn with_sign_of(self, other: Self) -> Self;
    /// 1 with a minus sign, of ±0 too, else 0.
    fn sign_bit(self) -> u32;
    /// Exponent and the first so many bits of the mantissa, at most 16, side by side as they are stored; the exponent of 1 is
    /// [`Real::EXPONENT_OF_ONE`].
    fn exponent_and_mantissa(self, mantissa_bits: u32) -> u32;
    /// The next number below.
    fn next_below(self) -> Self;
    /// Eight numbers as f64.
    #[doc(hidden)]
    fn eight<V: Eight>(values: &[Self; 8]) -> V;
    /// Eight numbers.
    #[doc(hidden)]
    type Extremes<V: Eight>: Extremes<Self>;
    /// The same values, if they are f32.
    #[doc(hidden)]
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
    /// How many keys there are.
    #[doc(hidden)]
    const KEYS: usize;
    /// A key below [`Real::KEYS`], larger or the same for larger numbers: sign, exponent and the first bits of the mantissa.
    #[doc(hidden)]
    fn key(self) -> usize;
    /// A polars column over the values, without a copy.
    #[doc(hidden)]
    fn into_values(values: Vec<Self>) -> Values;
    /// The values, if they are of this type.
    #[doc(hidden)]
    fn of(values: &Values) -> Option<&[Self]>;
    /// Likewise.
    #[doc(hidden)]
    fn of_slice(slice: Slice<'_>) -> Option<&[Self]>;
    /// These values as a slice of their type.
    #[doc(hidden)]
    fn as_slice(values: &[Self]) -> Slice<'_>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Enough for f32's exponent and some of its mantissa, few enough for a table in the first-level cache.
const KEY_BITS: u32 = 12;

macro_rules! real {
    ($t:ident, $bits:ident, $dtype:ident, $chunked:ident, $two_to_the_mantissa:literal, $eight:expr, $extremes:ty) => {
        impl Real for $t {
            const DTYPE: Dtype = Dtype::$dtype;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const MIN_NORMAL: Self = $t::MIN_POSITIVE;
            const MAX: Self = $t::MAX;
            const EXPONENT_OF_ONE: u32 = $t::MAX_EXP as u32 - 1;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn round_small(self) -> Self {
                // Adding 1.5 · 2^mantissa leaves no room for a fraction, so the addition itself rounds, half to even.
                const MAGIC: $t = 1.5 * $two_to_the_mantissa;
                (self + MAGIC) - MAGIC
            }
            #[inline(always)]
            fn small_to_u32(self) -> u32 {
                ((self + $two_to_the_mantissa).to_bits() & 0x7f_ffff) as u32
            }
            #[inline(always)]
            fn from_small(integer: u32) -> Self {
                // Such integers are the last bits of the numbers from 2^mantissa on.
                let two_to_the_mantissa: Self = $two_to_the_mantissa;
                Self::from_bits(two_to_the_mantissa.to_bits() | integer as $bits) - two_to_the_mantissa
            }
            #[inline(always)]
            fn power_of_two_below(self) -> Self {
                // The bits of infinity are those of the exponent.
                Self::from_bits(self.to_bits() & Self::INFINITY.to_bits())
            }
            #[inline(always)]
            fn with_sign_of(self, other: Self) -> Self {
                self.copysign(other)
            }
            #[inline(always)]
            fn sign_bit(self) -> u32 {
                (self.to_bits() >> (8 * size_of::<$t>() - 1)) as u32
            }
            #[inline(always)]
            fn exponent_and_mantissa(self, mantissa_bits: u32) -> u32 {
                (self.abs().to_bits() >> ($t::MANTISSA_DIGITS - 1 - mantissa_bits)) as u32
            }
            fn next_below(self) -> Self {
                self.next_down()
            }
            #[inline(always)]
            fn eight<V: Eight>(values: &[Self; 8]) -> V {
                $eight(values)
            }
            type Extremes<V: Eight> = $extremes;
            fn as_f32(values: &[Self]) -> Option<&[f32]> {
                f32::of_slice(Self::as_slice(values))
            }
            const KEYS: usize = 1 << KEY_BITS;
            #[inline(always)]
            fn key(self) -> usize {
                let bits = self.to_bits();
                // Of a negative number all bits are turned, of a positive one the sign: then bits rise with numbers.
                let width = 8 * size_of::<$t>() as u32;
                let ordered = if bits >> (width - 1) == 1 { !bits } else { bits | 1 << (width - 1) };
                (ordered >> (width - KEY_BITS)) as usize
            }
            fn into_values(values: Vec<Self>) -> Values {
                Values::$dtype($chunked::from_vec("".into(), values))
            }
            fn of(values: &Values) -> Option<&[Self]> {
                match values {
                    Values::$dtype(array) => Some(contiguous(array)),
                    _ => None,
                }
            }
            fn of_slice(slice: Slice<'_>) -> Option<&[Self]> {
                match slice {
                    Slice::$dtype(values) => Some(values),
                    _ => None,
                }
            }
            fn as_slice(values: &[Self]) -> Slice<'_> {
                Slice::$dtype(values)
            }
        }
    };
}
real!(f32, u32, F32, Float32Chunked, 8_388_608.0, V::of_singles, V::Singles);
real!(f64, u64, F64, Float64Chunked, 4_503_599_627_370_496.0, V::of, V);

/// One contiguous, null-free chunk: polars' own buffer, so a column becomes a tensor, and a tensor a column, without a copy.
#[doc(hidden)]
#[derive(Debug)]
pub enum Values {
    F32(Float32Chunked),
    F64(Float64Chunked),
}

/// The gate leaves one chunk without nulls, so the first chunk is all there is.
fn contiguous<T: PolarsNumericType>(array: &ChunkedArray<T>) -> &[T::Native] {
    array.downcast_iter().next().map_or(&[], |chunk| chunk.values().as_slice())
}

/// Runs one body for whichever type the tensor holds.
macro_rules! with_values {
    ($tensor:expr, |$values:ident| $body:expr) => {
        match $tensor.as_slice() {
            $crate::tensor::Slice::F32($values) => $body,
            $crate::tensor::Slice::F64($values) => $body,
        }
    };
}
pub(crate) use with_values;

/// The values of a tensor, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slice<'a> {
    /// f32 values.
    F32(&'a [f32]),
    /// f64 values.
    F64(&'a [f64]),
}

impl Slice<'_> {
    /// Their type.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named array of finite numbers, row-major (C order), in f32 or f64.
///
/// It owns its values and shares them when cloned (a clone costs no copy), because a notebook cell cannot keep a borrow.
/// f64 data is quantized in f64 and f32 data in f32.
///
/// ```
/// # use quantlens::{Dtype, Tensor};
/// let weights = Tensor::new("weights", &[2, 3], vec![0.5_f32, -1.0, 2.0, 0.0, 1.5, -0.25])?;
/// assert_eq!(weights.dtype(), Dtype::F32);
/// assert_eq!((weights.min(), weights.max()), (-1.0, 2.0));
/// assert_eq!(Tensor::from_vec("bad", vec![1.0, f64::NAN]).unwrap_err().to_string(),
///     "tensor `bad` has NaN at index 1: every value must be finite, remove or replace it first");
/// # Ok::<(), quantlens::Error>(())
/// ```
pub struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Arc<dyn Held>,
    min: f64,
    max: f64,
}

/// The values behind a table of methods: who drops or clones a tensor, as every notebook cell with one does, has nothing of polars' arrays to
/// compile.
trait Held: Send + Sync {
    fn values(&self) -> &Values;
}

impl Held for Values {
    fn values(&self) -> &Values {
        self
    }
}

/// Written out, for what is derived is compiled with every cell that uses it.
impl Clone for Tensor {
    fn clone(&self) -> Self {
        let Self { name, shape, values, min, max } = self;
        Self { name: name.clone(), shape: shape.clone(), values: Arc::clone(values), min: *min, max: *max }
    }
}

impl Tensor {
    /// A tensor of this shape, its last axis contiguous.
    ///
    /// # Errors
    /// [`Error::Empty`] without values, [`Error::Shape`] if the shape does not multiply out to their number,
    /// [`Error::NotFinite`] with the first index that holds NaN or ±∞.
    pub fn new<T: Real>(name: impl Into<String>, shape: &[usize], values: Vec<T>) -> Result<Self> {
        Self::admit(name.into(), shape, T::into_values(values))
    }

    /// A tensor with one axis.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_vec<T: Real>(name: impl Into<String>, values: Vec<T>) -> Result<Self> {
        let shape = [values.len()];
        Self::new(name, &shape, values)
    }

    /// A tensor with one axis, from a copy of the slice.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_slice<T: Real>(name: impl Into<String>, values: &[T]) -> Result<Self> {
        Self::from_vec(name, values.to_vec())
    }

    /// A tensor with one axis, named as the series. A series of one chunk is shared, one of several is joined.
    ///
    /// # Errors
    /// [`Error::ColumnDtype`] unless f32 or f64, [`Error::Null`] with the first null row, and as [`Tensor::new`].
    pub fn from_series(series: &Series) -> Result<Self> {
        let name = series.name().to_string();
        if series.null_count() > 0 {
            let row = series.is_null().iter().position(|null| null == Some(true)).unwrap_or(0);
            return Err(Error::Null { column: name, row });
        }
        let shape = [series.len()];
        match series.dtype() {
            DataType::Float32 => Self::admit(name, &shape, Values::F32(one_chunk::<Float32Type>(series.f32()?))),
            DataType::Float64 => Self::admit(name, &shape, Values::F64(one_chunk::<Float64Type>(series.f64()?))),
            other => Err(Error::ColumnDtype { column: name, dtype: other.to_string() }),
        }
    }

    /// Not generic, so that a notebook cell that makes a tensor has nothing of the gate to compile.
    fn admit(name: String, shape: &[usize], values: Values) -> Result<Self> {
        fn range<T: Real>(name: &str, shape: &[usize], values: &[T]) -> Result<(f64, f64)> {
            if values.is_empty() {
                return Err(Error::Empty { name: name.to_owned() });
            }
            check_shape(name, shape, values.len())?;
            let (min, max) = finite_min_max(name, values)?;
            Ok((min.to_f64(), max.to_f64()))
        }
        let (min, max) = match &values {
            Values::F32(array) => range(&name, shape, contiguous(array))?,
            Values::F64(array) => range(&name, shape, contiguous(array))?,
        };
        Ok(Self { name, shape: shape.to_vec(), min, max, values: Arc::new(values) })
    }

    /// The same values under another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if it does not multiply out to the number of values.
    pub fn with_shape(self, shape: &[usize]) -> Result<Self> {
        check_shape(&self.name, shape, self.len())?;
        Ok(Self { shape: shape.to_vec(), ..self })
    }

    /// The same values under another name.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The name that reports show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of each axis; the last is contiguous.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// f32 or f64.
    pub fn dtype(&self) -> Dtype {
        match self.values.values() {
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
        }
    }

    /// The number of values, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty tensor cannot be made")]
    pub fn len(&self) -> usize {
        with_values!(self, |values| values.len())
    }

    /// The smallest value.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The values, as whichever type they are.
    pub fn as_slice(&self) -> Slice<'_> {
        match self.values.values() {
            Values::F32(array) => Slice::F32(contiguous(array)),
            Values::F64(array) => Slice::F64(contiguous(array)),
        }
    }

    /// The values as `T`; `None` if they are of the other type.
    pub fn values<T: Real>(&self) -> Option<&[T]> {
        T::of(self.values.values())
    }

    /// The values as f64, exact, in a new vector.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        with_values!(self, |values| values.iter().map(|value| value.to_f64()).collect())
    }

    /// The values as a column of the tensor's name, shared.
    pub fn to_series(&self) -> Series {
        let series = match self.values.values() {
            Values::F32(array) => array.clone().into_series(),
            Values::F64(array) => array.clone().into_series(),
        };
        series.with_name(self.name.as_str().into())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, shape, min, max, .. } = self;
        write!(f, "Tensor `{name}` {} {shape:?}, {min} to {max}", self.dtype())
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.shape == other.shape && self.as_slice() == other.as_slice()
    }
}

fn one_chunk<T: PolarsFloatType>(array: &ChunkedArray<T>) -> ChunkedArray<T> {
    array.rechunk().into_owned()
}

fn check_shape(name: &str, shape: &[usize], elements: usize) -> Result<()> {
    let needed = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length)).unwrap_or(usize::MAX);
    if needed == elements { Ok(()) } else { Err(Error::Shape { name: name.to_owned(), shape: shape.to_vec(), needed, elements }) }
}

/// Elements that one task handles: large enough to be worth a thread, small enough to share work evenly.
pub(crate) const TASK_LEN: usize = 1 << 18;

/// Smallest and largest value, in one pass that also finds what is not finite.
fn finite_min_max<T: Real>(name: &str, values: &[T]) -> Result<(T, T)> {
    let ((min, max), finite) = values
        .par_chunks(TASK_LEN)
        .map(|task| {
            // Each piece twice, the second time from the first-level cache.
            let pieces = task.chunks(1 << 12).map(|piece| (min_max(piece), all_finite(piece)));
            pieces.reduce(|a, b| (spanning(a.0, b.0), a.1 & b.1)).unwrap_or(((T::ZERO, T::ZERO), true))
        })
        .reduce_with(|a, b| (spanning(a.0, b.0), a.1 && b.1))
        .unwrap_or(((T::ZERO, T::ZERO), true));
    if !finite && let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { name: name.to_owned(), index, value: values[index].to_f64() });
    }
    Ok((min, max))
}

for_vectors! {
    /// Whether none is NaN or infinite.
    pub(crate) fn all_finite<T: Real>(values: &[T]) -> bool {
        // No branch an element, so that several are done at a time.
        values.iter().fold(true, |finite, x| finite & x.is_finite())
    }
}

/// The magnitude of the end of a range that is further from 0.
pub(crate) fn larger_magnitude<T: Real>((low, high): (T, T)) -> T {
    if low.abs() > high.abs() { low.abs() } else { high.abs() }
}

/// The (min, max) of two pieces from those of each.
#[inline(always)]
pub(crate) fn spanning<T: Real>(a: (T, T), b: (T, T)) -> (T, T) {
    (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 })
}

for_vectors! {
    /// Smallest and largest value of a slice without NaN; (0, 0) of an empty one.
    pub(crate) fn min_max<T: Real>(values: &[T]) -> (T, T) {
        min_max_in::<V, T>(values)
    }
}

/// [`min_max`] within a function that is compiled for these vectors.
#[inline(always)]
pub(crate) fn min_max_in<V: Eight, T: Real>(values: &[T]) -> (T, T) {
    let Some(&first) = values.first() else { return (T::ZERO, T::ZERO) };
    let start = T::Extremes::<V>::of(&[first; 8]);
    // Two of each, so that neither waits for the last.
    let (mut min, mut max) = ([start; 2], [start; 2]);
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (half, values) in chunk.as_chunks::<8>().0.iter().enumerate() {
            let values = T::Extremes::<V>::of(values);
            min[half] = values.or_smaller(min[half]);
            max[half] = values.or_larger(max[half]);
        }
    }
    let (mut min, mut max) = (min[1].or_smaller(min[0]).array(), max[1].or_larger(max[0]).array());
    // By halves, of which several steps are done at once.
    for half in [4, 2, 1] {
        for lane in 0..half {
            (min[lane], max[lane]) = spanning((min[lane], max[lane]), (min[lane + half], max[lane + half]));
        }
    }
    rest.iter().fold((min[0], max[0]), |range, &x| spanning(range, (x, x)))
}

/// x, or the bound that it is beyond.
#[inline(always)]
pub(crate) fn limit<T: Real>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}
