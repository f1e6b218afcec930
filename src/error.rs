//! The one error type. Every variant carries the numbers and says what to do.

use std::sync::Arc;

use polars::prelude::PolarsError;

use crate::dtype::Dtype;

/// The result of a quantlens call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with data, a scheme or given parameters. Nothing is repaired silently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is wrong at a place: with a tensor, under a scheme, in a block, as far as they are known. What is wrong, [`Error::cause`] tells: all other
    /// variants say nothing of schemes and blocks.
    #[error("{}: {cause}", at(tensor.as_deref(), scheme.as_deref(), *block))]
    At {
        /// The tensor's name.
        tensor: Option<String>,
        /// The scheme's, or another quantizer's, name.
        scheme: Option<String>,
        /// The block (channel, group or rectangle), from 0, row by row.
        block: Option<usize>,
        /// What is wrong.
        cause: Arc<Error>,
    },

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

    /// A shape with more elements than can be counted.
    #[error("shape {shape:?} has more elements than can be counted")]
    TooLarge {
        /// The shape asked for.
        shape: Vec<usize>,
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
        /// `symmetric`, `asymmetric`, `minimum` or `cast`.
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

    /// A parameter of a calibration that means nothing.
    #[error("{name} calibration takes {needs}, not {parameter}")]
    Calibration {
        /// The calibration.
        name: &'static str,
        /// The parameter given.
        parameter: f64,
        /// What it must be.
        needs: &'static str,
    },

    /// A float format that cannot be.
    #[error(
        "a float format of {exponent_bits} exponent and {mantissa_bits} mantissa bits with a bias of {bias} cannot be: {reason}"
    )]
    Minifloat {
        /// Exponent bits asked for.
        exponent_bits: u32,
        /// Mantissa bits asked for.
        mantissa_bits: u32,
        /// The bias asked for.
        bias: i32,
        /// What excludes it.
        reason: &'static str,
    },

    /// A codebook that cannot be, or whose name is taken.
    #[error("codebook `{name}` cannot be: {reason}")]
    Codebook {
        /// Its name.
        name: String,
        /// What excludes it.
        reason: String,
    },

    /// A scale that is larger than the type it is stored in holds.
    #[error(
        "a scale of {scale:?} is needed, which is more than {format} holds: store scales in another format, or give the tensor a scale of its own"
    )]
    ScaleOverflow {
        /// The scale it needs.
        scale: f64,
        /// The format scales are stored in.
        format: String,
    },

    /// A scale that is so small that the type it is stored in makes it 0.
    #[error(
        "a scale of {scale:?} is needed, which is less than {format} holds: store scales in another format, or give the tensor a scale of its own"
    )]
    ScaleUnderflow {
        /// The scale it needs.
        scale: f64,
        /// The format scales are stored in.
        format: String,
    },

    /// A minimum that is larger than the type it is stored in holds.
    #[error("the minimum is {minimum:?}, which is more than {format} holds: store scales and minimums in another format")]
    MinimumOverflow {
        /// Its minimum.
        minimum: f64,
        /// The format scales and minimums are stored in.
        format: String,
    },

    /// A part of a packed tensor that is too long or too short.
    #[error("the {part} of a tensor of shape {shape:?} under `{scheme}` take {needed} bytes, not {bytes}")]
    PackedLength {
        /// The part: codes, scales, zero points or minimums, second level.
        part: &'static str,
        /// The scheme's name.
        scheme: String,
        /// The tensor's shape.
        shape: Vec<usize>,
        /// The bytes it takes.
        needed: u64,
        /// The bytes given.
        bytes: usize,
    },

    /// Scales that differ from what is stored of their second level.
    #[error("the scales given are not those that the second level of `{scheme}` says: give both as they were written")]
    StoredScales {
        /// The scheme's name.
        scheme: String,
    },

    /// Batches that divide into other blocks than those before.
    #[error(
        "this batch has {blocks:?} blocks along its axes, but those before had {expected:?}: calibrate batches of one shape, or per tensor"
    )]
    BatchBlocks {
        /// Blocks of this batch along each axis that has several.
        blocks: Vec<usize>,
        /// The same of those before.
        expected: Vec<usize>,
    },

    /// Observers that cannot be made one.
    #[error(
        "observers of `{scheme}` and `{other}` cannot be merged: they must be of one scheme, with as many bins if they keep histograms, and no moving averages, which depend on order"
    )]
    Merge {
        /// The scheme of the one.
        scheme: String,
        /// The scheme of the other.
        other: String,
    },

    /// Rows that are no whole blocks of a type that has no shorter ones.
    #[error(
        "tensor `{name}`, shape {shape:?}, has rows of {row} values, but `{scheme}` stores blocks of {block}: pad the last axis to a multiple of it, or take a type of smaller blocks"
    )]
    BlockRow {
        /// The tensor's name.
        name: String,
        /// The tensor's shape.
        shape: Vec<usize>,
        /// Elements of a row, the last axis.
        row: usize,
        /// Elements of a block.
        block: usize,
        /// The type's name.
        scheme: String,
    },

    /// Not as many bytes as the blocks of a shape take.
    #[error("tensor `{name}` was given {bytes} bytes, but takes {needed} as `{scheme}`: they are of another shape or type")]
    BlockBytes {
        /// The tensor's name.
        name: String,
        /// The type's name.
        scheme: String,
        /// Bytes that the shape takes.
        needed: usize,
        /// Bytes given.
        bytes: usize,
    },

    /// An f64 value for a type that computes in f32, which does not hold it.
    #[error(
        "tensor `{name}` has {value:?} at index {index}, which overflows f32, what this type computes in: scale the values down"
    )]
    F32Overflow {
        /// The tensor's name.
        name: String,
        /// The first such element, in row-major order.
        index: usize,
        /// Its value.
        value: f64,
    },

    /// An importance that is no weight.
    #[error("importance {value} at index {index} is not possible: importances are finite and at least 0")]
    Importance {
        /// The first such importance.
        index: usize,
        /// Its value.
        value: f32,
    },

    /// Not one importance for each element of a row.
    #[error("tensor `{name}` has rows of {row} values, but {importances} importances were given: there must be one for each")]
    ImportanceLength {
        /// The tensor's name.
        name: String,
        /// Importances given.
        importances: usize,
        /// Elements of a row, the last axis.
        row: usize,
    },

    /// A search for the best scale that would take too long.
    #[error(
        "the best scale for {elements} values was not found in time (the best so far may be off by a share of {gap:.1e}): take smaller blocks or fewer bits"
    )]
    SearchTooLong {
        /// Its values.
        elements: usize,
        /// How far the error of the best scale found may be above the least, relative to it; infinite if nothing is known.
        gap: f64,
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
    #[error("axis {axis} does not exist in shape {shape:?}, whose axes are counted from 0")]
    Axis {
        /// The axis asked for.
        axis: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },

    /// A text that is no scheme.
    #[error(
        "`{text}` is no scheme: {reason}; one looks like `uint8-asym`, `int4-sym-g128`, `e4m3fn-axis0`, `mxfp4` or `nf4-g64`"
    )]
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
        "the range {min:?} to {max:?} gives a scale of {scale:?} under the original's formula, which nothing can be divided by: use the onnx convention, which widens the range to contain 0"
    )]
    ZeroScale {
        /// The scale: 0, or so small that its reciprocal overflows.
        scale: f64,
        /// The smallest value of the block.
        min: f64,
        /// The largest value of the block.
        max: f64,
    },

    /// A percentile that keeps nothing but zeros of a block that has more: no step size follows from it.
    #[error("calibration {calibration} keeps only zeros, though there are other values: keep a larger share")]
    CalibratedToZero {
        /// The calibration's name.
        calibration: String,
    },

    /// A zero point that no 64-bit integer holds.
    #[error(
        "the range {min:?} to {max:?} needs a zero point of {zero_point:?}, which is outside 64-bit integers: its range is too small for its distance from 0"
    )]
    ZeroPointOverflow {
        /// The smallest value of the block.
        min: f64,
        /// The largest value of the block.
        max: f64,
        /// The zero point computed.
        zero_point: f64,
    },

    /// A dequantized value is larger than the largest number of the data type, or became ±∞ or NaN in a format that does not saturate.
    #[error(
        "tensor `{name}` at index {index} dequantizes to no finite number: scale the values down, cast them to f64, or let codes saturate"
    )]
    DequantizedOverflow {
        /// The tensor's name.
        name: String,
        /// The first such element, in row-major order.
        index: usize,
    },

    /// Two parts of the same data that both have an element.
    #[error("element {element} is in both parts: each element belongs to one accumulator")]
    Overlap {
        /// The first such element of the later part, from 0.
        element: u64,
    },

    /// A written accumulator that cannot be one.
    #[error("this is no accumulator of metrics: {what}")]
    Accumulator {
        /// What is wrong with it.
        what: &'static str,
    },

    /// A code that stands for no number: NaN or an infinity of a float format, or a bit pattern that a codebook does not use.
    #[error(
        "element {index} of `{name}` has code {code}, which is no number in {format}: let codes saturate, or look at where it came from"
    )]
    NoNumber {
        /// The tensor.
        name: String,
        /// The first such element, in row-major order.
        index: usize,
        /// Its code.
        code: i32,
        /// The format.
        format: String,
    },

    /// A given scale that nothing can be divided by. Powers of two, and scales below a second level, may have a reciprocal that is not finite.
    #[error("scale {scale:?} cannot be used: a scale is finite, above 0, with a finite reciprocal in {dtype}")]
    Scale {
        /// The scale given.
        scale: f64,
        /// The type computed in.
        dtype: Dtype,
    },

    /// A given zero point that is not a code.
    #[error("zero point {zero_point} is outside {quant_min} to {quant_max}")]
    ZeroPoint {
        /// The zero point given.
        zero_point: i64,
        /// The smallest code.
        quant_min: i32,
        /// The largest code.
        quant_max: i32,
    },

    /// A given zero point where the mapping fixes it.
    #[error("zero point {zero_point} is not possible under `{scheme}`, which has it at {fixed}")]
    FixedZeroPoint {
        /// The scheme's name.
        scheme: String,
        /// The zero point given.
        zero_point: i64,
        /// Where it is.
        fixed: i64,
    },

    /// A given minimum that is no number.
    #[error("minimum {minimum:?} cannot be used: it must be finite")]
    Minimum {
        /// The minimum given.
        minimum: f64,
    },

    /// A given zero point that the type computed in rounds to another number.
    #[error("zero point {zero_point} is not exact in {dtype}: no code would be where it says")]
    ZeroPointInexact {
        /// The zero point given.
        zero_point: i64,
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

    /// A source was asked for a tensor, or elements of one, that it does not have.
    #[error("there is no tensor {wanted}: there are {there_are}")]
    NoTensor {
        /// The name or the number.
        wanted: String,
        /// The first names there are.
        there_are: String,
    },

    /// A budget that no selection of schemes keeps.
    #[error("{bits_per_element} bits an element are not enough: with the fewest bits for each tensor it is {fewest}")]
    Budget {
        /// What all tensors may cost, in bits an element.
        bits_per_element: f64,
        /// What they cost at least.
        fewest: f64,
    },

    /// The text of a rule that is none.
    #[error("`{text}` is no rule: {reason}; a rule is as `sqnr_db >= 30 where scheme == \"int8-sym\" and bits <= 8`")]
    ParseRule {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A table that lacks a column that is asked for, or has it with another type.
    #[error("the table has no column `{column}` of {wanted}: its columns are {there_are}")]
    NoColumn {
        /// The column's name.
        column: String,
        /// What it would have to hold.
        wanted: &'static str,
        /// The columns that there are.
        there_are: String,
    },

    /// Parts of a report that are not of all values of a tensor, or of some twice.
    #[error("parts of the report of tensor `{name}` are of {seen} values, but it has {elements}: add each of its values once")]
    Parts {
        /// The tensor's name.
        name: String,
        /// Elements of the tensor.
        elements: usize,
        /// Elements that the parts are of.
        seen: u64,
    },

    /// A part of a report that no measuring gives: it was damaged on its way, or is of another tensor.
    #[error("this is no part of the report of tensor `{name}`: {reason}")]
    DamagedPart {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// Blocks so large that they do not fit in memory at once, which this calibration needs.
    #[error(
        "calibration {calibration} looks at all values of a block at once, and blocks have up to {elements} here: take smaller blocks, such as g128, or give it an Observer::histogram"
    )]
    NeedsWhole {
        /// The calibration's name.
        calibration: String,
        /// Elements of the largest block.
        elements: usize,
    },

    /// A file of tensors that cannot be read, or a tensor in one.
    #[error("{path}{}: {reason}", place(tensor.as_deref(), *offset))]
    File {
        /// The file.
        path: String,
        /// The tensor it is about; of a very long name the begin.
        tensor: Option<String>,
        /// The byte of the file, from 0, where something is wrong.
        offset: Option<u64>,
        /// What is wrong, and what to do.
        reason: String,
    },

    /// Long work was asked to stop, by [`crate::progress::interrupt`].
    #[error("the {what} was interrupted after {done} of {total} {unit}")]
    Interrupted {
        /// The work.
        what: &'static str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
        /// What a step is: a row, or a value under a scheme.
        unit: &'static str,
    },

    /// A figure could not be drawn.
    #[error("the figure could not be drawn: {0}")]
    Draw(String),

    /// A figure could not be written.
    #[error("could not write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said: a [`std::io::Error`].
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A table could not be written in a format.
    #[error("the table could not be written: {reason}")]
    Table {
        /// Why, and what to do.
        reason: String,
    },

    /// polars refused: a [`PolarsError`].
    #[error(transparent)]
    Polars(Box<dyn std::error::Error + Send + Sync>),
}

/// In a box, like the system's errors: every notebook cell with a `?` compiles what drops an error, and theirs would be half of it.
impl From<PolarsError> for Error {
    fn from(error: PolarsError) -> Self {
        Self::Polars(Box::new(error))
    }
}

impl Error {
    /// What is wrong, without the place: of [`Error::At`] its cause, else the error itself.
    ///
    /// ```
    /// # use quantlens::{Convention, Error, Scheme, Tensor};
    /// let constant = Tensor::from_vec("w", vec![3.0, 3.0])?;
    /// let error = Scheme::asymmetric(8).with_convention(Convention::Original).qparams(&constant).unwrap_err();
    /// assert!(matches!(error.cause(), Error::ZeroScale { min: 3.0, max: 3.0, .. }));
    /// assert_eq!(error.block(), Some(0));
    /// assert!(error.to_string().starts_with("tensor `w` under `uint8-asym-original`, block 0: the range 3.0 to 3.0 gives a scale of 0.0"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cause(&self) -> &Self {
        match self {
            Self::At { cause, .. } => cause.cause(),
            cause => cause,
        }
    }

    /// The block (channel, group or rectangle) that it is about, from 0, row by row, if it is about one.
    pub fn block(&self) -> Option<usize> {
        match self {
            Self::At { block, .. } => *block,
            _ => None,
        }
    }

    /// The same, in this block.
    pub(crate) fn in_block(self, block: usize) -> Self {
        Self::At { tensor: None, scheme: None, block: Some(block), cause: Arc::new(self) }
    }

    /// The error of a piece of a tensor, with blocks numbered as in the tensor: the piece's first has this number.
    pub(crate) fn in_blocks_from(mut self, first: usize) -> Self {
        if let Self::At { block: Some(block), .. } = &mut self {
            *block += first;
        }
        self
    }

    /// The same with the names of the tensor and the scheme, if it is about a place in them.
    pub(crate) fn named(mut self, name: &str, scheme_name: &str) -> Self {
        if let Self::At { tensor, scheme, .. } = &mut self {
            tensor.get_or_insert_with(|| name.to_owned());
            scheme.get_or_insert_with(|| scheme_name.to_owned());
        }
        self
    }

    /// The error of a tensor under a scheme, whatever it is about.
    pub(crate) fn of(cause: Arc<Self>, name: &str, scheme_name: &str) -> Self {
        let (block, cause) = match &*cause {
            Self::At { block, cause, .. } => (*block, Arc::clone(cause)),
            _ => (None, cause),
        };
        Self::At { tensor: Some(name.to_owned()), scheme: Some(scheme_name.to_owned()), block, cause }
    }

    /// What stands in a row that has the names already.
    pub(crate) fn without_names(&self) -> String {
        match self {
            Self::At { block: Some(block), cause, .. } => format!("block {block}: {cause}"),
            error => error.cause().to_string(),
        }
    }
}

/// The place of [`Error::At`].
fn at(tensor: Option<&str>, scheme: Option<&str>, block: Option<usize>) -> String {
    let names = match (tensor, scheme) {
        (Some(tensor), Some(scheme)) => Some(format!("tensor `{tensor}` under `{scheme}`")),
        (Some(tensor), None) => Some(format!("tensor `{tensor}`")),
        (None, scheme) => scheme.map(|scheme| format!("`{scheme}`")),
    };
    let block = block.map(|block| format!("block {block}"));
    [names, block].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Which part of a file an error is about.
fn place(tensor: Option<&str>, offset: Option<u64>) -> String {
    let tensor = tensor.map(|name| format!(", tensor `{name}`")).unwrap_or_default();
    let offset = offset.map(|offset| format!(", byte {offset}")).unwrap_or_default();
    tensor + &offset
}
