//! The one error type. Every variant carries the numbers and says what to do.

use polars::prelude::PolarsError;

use crate::dtype::Dtype;

/// The result of a quantlens call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with data, a scheme or given parameters. Nothing is repaired silently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor without values.
    #[error("tensor `{name}` is empty: give it at least one value")]
    Empty {
        /// The tensor's name.
        name: String,
    },

    /// NaN or an infinity among the values. `index` counts from 0 in row-major (C) order.
    #[error("tensor `{name}` has {value} at index {index}: every value must be finite, remove or replace it first")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// The first such element, in row-major order.
        index: usize,
        /// What stands there: NaN, inf or -inf.
        value: f64,
    },

    /// A null in a column. `row` counts from 0.
    #[error("column `{column}` is null in row {row}: fill or drop its nulls first")]
    Null {
        /// The column's name.
        column: String,
        /// The first null row.
        row: usize,
    },

    /// The shape does not multiply out to the number of values.
    #[error("tensor `{name}` has {elements} values, but shape {shape:?} needs {needed}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The shape asked for.
        shape: Vec<usize>,
        /// What the shape multiplies out to; `usize::MAX` when it overflows.
        needed: usize,
        /// The number of values there are.
        elements: usize,
    },

    /// A column that is neither f32 nor f64.
    #[error("column `{column}` is {dtype}: cast it to f32 or f64 first")]
    ColumnDtype {
        /// The column's name.
        column: String,
        /// The polars data type found.
        dtype: String,
    },

    /// A column of codes that is not of an integer type.
    #[error("column `{column}` is {dtype}: codes are whole numbers, cast it to an integer type first")]
    NotCodes {
        /// The column's name.
        column: String,
        /// The polars data type found.
        dtype: String,
    },

    /// A frame with no float column, asked for a report.
    #[error("the frame has no f32 or f64 column among its {columns} columns: cast one first")]
    NoFloatColumn {
        /// The number of columns there are.
        columns: usize,
    },

    /// Codes that are not whole numbers or do not fit the format.
    #[error("code {code} at index {index} is outside {quant_min} to {quant_max}: these codes belong to another scheme")]
    CodeOutOfRange {
        /// The first such code.
        code: i64,
        /// Where it stands, in row-major order.
        index: usize,
        /// The smallest code the scheme has.
        quant_min: i32,
        /// The largest code the scheme has.
        quant_max: i32,
    },

    /// A width that the mapping cannot have.
    #[error("{mapping} quantization takes {min} to {max} bits, not {bits}")]
    BitsOutOfRange {
        /// The width asked for.
        bits: u32,
        /// The narrowest width allowed.
        min: u32,
        /// The widest width allowed.
        max: u32,
        /// `symmetric` or `asymmetric`.
        mapping: &'static str,
    },

    /// Axes of the scheme that exclude each other.
    #[error("scheme `{scheme}` cannot be: {reason}")]
    Unsupported {
        /// The scheme's name.
        scheme: String,
        /// What excludes what, and what to use instead.
        reason: &'static str,
    },

    /// A percentile that keeps nothing, or more than everything.
    #[error("percentile {percentile} is not in (0, 100]: it is the share of the data to keep, such as 99.9")]
    Percentile {
        /// The percentile asked for.
        percentile: f64,
    },

    /// A group of no elements.
    #[error("group_size 0 is not possible: a group has at least 1 element")]
    GroupSize,

    /// An axis that the shape does not have. Axes count from 0.
    #[error("axis {axis} does not exist in shape {shape:?}, which has {} axes, counted from 0", shape.len())]
    Axis {
        /// The axis asked for.
        axis: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },

    /// A text that is no scheme.
    #[error("`{text}` is no scheme: {reason}; one looks like `uint8-asym`, `int4-sym-g128` or `int8-sym-axis0-pytorch`")]
    ParseScheme {
        /// The text given.
        text: String,
        /// The part that could not be read.
        reason: String,
    },

    /// `max - min` is larger than the largest number of the data type.
    #[error("the range {min:?} to {max:?} overflows {dtype}: scale the values down, or cast them to f64")]
    RangeOverflow {
        /// The smallest value of the block.
        min: f64,
        /// The largest value of the block.
        max: f64,
        /// The type computed in.
        dtype: Dtype,
    },

    /// The formula gives a scale of 0 (a constant block, a range too small for the type), which nothing can be divided by.
    #[error(
        "block {block}, {min:?} to {max:?}, gives a scale of {scale:?} under the original's formula, which nothing can be divided by: use the onnx convention, which widens the range to contain 0"
    )]
    ZeroScale {
        /// The scale: 0, or so small that its reciprocal overflows.
        scale: f64,
        /// The block (channel or group), from 0.
        block: usize,
        /// The smallest value of the block.
        min: f64,
        /// The largest value of the block.
        max: f64,
    },

    /// A percentile that keeps nothing but zeros of a block that has more: no step size follows from it.
    #[error("calibration {calibration} keeps only zeros of block {block}, which has other values too: keep a larger share")]
    CalibratedToZero {
        /// The block (channel or group), from 0.
        block: usize,
        /// The calibration's name.
        calibration: String,
    },

    /// A zero point that no 64-bit integer holds.
    #[error(
        "block {block}, {min:?} to {max:?}, needs a zero point of {zero_point:?}, which is outside 64-bit integers: its range is too small for its distance from 0"
    )]
    ZeroPointOverflow {
        /// The block (channel or group), from 0.
        block: usize,
        /// The smallest value of the block.
        min: f64,
        /// The largest value of the block.
        max: f64,
        /// The zero point computed.
        zero_point: f64,
    },

    /// `(q - zero_point) · scale` is larger than the largest number of the data type.
    #[error(
        "tensor `{name}` at index {index} dequantizes to more than its type holds: scale the values down, or cast them to f64"
    )]
    DequantizedOverflow {
        /// The tensor's name.
        name: String,
        /// The first such element, in row-major order.
        index: usize,
    },

    /// A given scale that nothing can be divided by.
    #[error("scale {scale:?} of block {block} cannot be used: a scale is finite, above 0, with a finite reciprocal in {dtype}")]
    Scale {
        /// The scale given.
        scale: f64,
        /// The block it belongs to, from 0.
        block: usize,
        /// The type computed in.
        dtype: Dtype,
    },

    /// A given zero point that is not a code.
    #[error("zero point {zero_point} of block {block} is outside {quant_min} to {quant_max}")]
    ZeroPoint {
        /// The zero point given.
        zero_point: i64,
        /// The block it belongs to, from 0.
        block: usize,
        /// The smallest code.
        quant_min: i32,
        /// The largest code.
        quant_max: i32,
    },

    /// A given zero point that the type computed in rounds to another number.
    #[error("zero point {zero_point} of block {block} is not exact in {dtype}: no code would be where it says")]
    ZeroPointInexact {
        /// The zero point given.
        zero_point: i64,
        /// The block it belongs to, from 0.
        block: usize,
        /// The type computed in.
        dtype: Dtype,
    },

    /// Not one scale and zero point per block.
    #[error("{scales} scales and {zero_points} zero points were given, but this needs {blocks} of each")]
    QParamsCount {
        /// Scales given.
        scales: usize,
        /// Zero points given.
        zero_points: usize,
        /// Blocks of the shape under the scheme.
        blocks: usize,
    },

    /// Parameters computed for the other float type.
    #[error("the parameters are for {expected}, the data is {found}: cast one of them")]
    DtypeMismatch {
        /// What the parameters are for.
        expected: Dtype,
        /// What the data is.
        found: Dtype,
    },

    /// Two things compared element by element differ in length.
    #[error("reference has {reference} values, approximation {approximation}: they must match one to one")]
    Length {
        /// Values of the reference.
        reference: usize,
        /// Values of the approximation.
        approximation: usize,
    },

    /// A clamp with its bounds the wrong way round, or NaN.
    #[error("clamp bounds {lower} to {upper} are not in order")]
    ClampBounds {
        /// The lower bound given.
        lower: f64,
        /// The upper bound given.
        upper: f64,
    },

    /// Parameters of a synthetic distribution that describe none.
    #[error("{parameter} = {value} is not possible for synthetic data: {needs}")]
    Synthetic {
        /// The parameter's name.
        parameter: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        needs: &'static str,
    },

    /// A table or figure that is too large to be of use, or asked about nothing.
    #[error("{what}: {reason}")]
    Nothing {
        /// The table or figure.
        what: &'static str,
        /// What it needs.
        reason: String,
    },

    /// A table or figure of what each code stands for, asked of several blocks, where it stands for several values.
    #[error(
        "under `{scheme}` a code stands for another value in each of this tensor's {blocks} blocks: take a scheme with one block"
    )]
    SeveralBlocks {
        /// The scheme's name.
        scheme: String,
        /// The number of blocks.
        blocks: usize,
    },

    /// Long work was asked to stop, by [`crate::progress::interrupt`].
    #[error("the {what} was interrupted after {done} of {total} rows")]
    Interrupted {
        /// The work.
        what: &'static str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },

    /// A figure could not be drawn.
    #[error("the figure could not be drawn: {0}")]
    Draw(String),

    /// A figure could not be written.
    #[error("could not write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// polars refused.
    #[error(transparent)]
    Polars(#[from] PolarsError),
}
