//! What a notebook needs, in one dynamic library: quantlens, polars and plotters, and the way they show themselves in a cell.
//!
//! ```text
//! :dep quantlens-prelude = { path = "prelude" }
//! use quantlens_prelude::*;
//! init();
//! ```
//!
//! Only evcxr's own kernel needs the first and the last of these lines.
//!
//! It is a dylib, so that a cell links in milliseconds and all cells share one copy of every static (thread pools, fonts).

#[doc(hidden)]
pub mod cells;
mod describe;
mod session;
mod showing;
mod variables;

pub use chrono;
pub use plotters;
pub use polars;
pub use quantlens;

// What polars has eagerly: types by name, and the traits that have the methods of series and their typed arrays.
pub use describe::Describe;
#[cfg(all(feature = "lazy", feature = "json"))]
pub use polars::prelude::LazyJsonLineReader;
#[cfg(all(feature = "lazy", feature = "parquet"))]
pub use polars::prelude::ScanArgsParquet;
pub use polars::prelude::{
    AnyValue, BooleanChunked, ChunkAgg, ChunkApply, ChunkCompareEq, ChunkCompareIneq, ChunkExpandAtIndex, ChunkFilter, ChunkFull,
    ChunkQuantile, ChunkReverse, ChunkSet, ChunkShift, ChunkShiftFill, ChunkSort, ChunkTake, ChunkUnique, ChunkVar, Column,
    DataFrame, DataType, Field, FillNullStrategy, Float32Chunked, Float64Chunked, IdxCa, IdxSize, Int32Chunked, Int64Chunked,
    IntoColumn, IntoSeries, NamedFrom, NewChunkedArray, PlSmallStr, PolarsError, PolarsResult, QuantileMethod, Schema, Series,
    SortMultipleOptions, SortOptions, StringChunked, UInt32Chunked, UInt64Chunked, UniqueKeepStrategy, df,
};
#[cfg(feature = "lazy")]
pub use polars::prelude::{
    AsOfOptions, AsofStrategy, CsvParseOptions, CsvReadOptions, CsvReader, CsvWriter, DataFrameJoinOps, DataFrameOps,
    DateChunked, DateMethods, DatetimeChunked, DatetimeMethods, DurationChunked, DurationMethods, Expr, Int8Chunked,
    Int16Chunked, IntoLazy, JoinArgs, JoinType, LazyCsvReader, LazyFileListReader, LazyFrame, RankMethod, RankOptions,
    RollingOptionsFixedWindow, RoundMode, SerReader, SerWriter, SeriesMethods, StringMethods, StringNameSpaceImpl,
    StrptimeOptions, StructChunked, TemporalMethods, TimeChunked, TimeMethods, TimeUnit, UInt8Chunked, UInt16Chunked, UnionArgs,
    UnpivotArgsDSL, UnpivotDF, as_struct, col, cols, concat, int_range, len, lit, when,
};
#[cfg(feature = "json")]
pub use polars::prelude::{JsonFormat, JsonReader, JsonWriter};
#[cfg(feature = "parquet")]
pub use polars::prelude::{ParquetCompression, ParquetReader, ParquetWriter};
#[cfg(all(any(feature = "json", feature = "parquet"), not(feature = "lazy")))]
pub use polars::prelude::{SerReader, SerWriter};
#[cfg(feature = "lazy")]
pub use polars::series::ops::NullBehavior;
#[cfg(feature = "sql")]
pub use polars::sql::SQLContext;
pub use quantlens::display::{Content, contents};
pub use quantlens::figure::{Figure, Ink, Marker, Style};
use quantlens::progress::Work;
pub use quantlens::*;
#[cfg(feature = "lazy")]
pub use showing::ShowPlan;
pub use showing::{Html, Json, Latex, Markdown, Png, Show, Svg, show};

/// Asks the user for a line.
///
/// # Panics
/// With `interrupted`, when the cell was interrupted instead of answered.
pub fn get_string(prompt: &str) -> String {
    session::ask(prompt, false)
}

/// Asks the user for a line that is not shown.
///
/// # Panics
/// As [`get_string`].
pub fn get_password(prompt: &str) -> String {
    session::ask(prompt, true)
}

/// Goes through items while a bar shows how far it is.
///
/// ```text
/// for tensor in track("tensors", tensors) { … }
/// ```
///
/// # Panics
/// Between two items, with `interrupted`, when the cell was interrupted.
pub fn track<I>(what: &'static str, items: I) -> impl Iterator<Item = I::Item>
where
    I: IntoIterator<IntoIter: ExactSizeIterator>,
{
    let mut items = items.into_iter();
    let mut work = Work::new(what, items.len());
    let mut is_first = true;
    // The work is over when the iterator is dropped, wherever the loop was left.
    std::iter::from_fn(move || {
        if !is_first {
            work.done_one();
        }
        let item = items.next()?;
        is_first = false;
        session::stop_if_interrupted(&work);
        Some(item)
    })
}

/// How long a piece of work takes: called for about a second, at least three times. Says the median and the range.
///
/// ```text
/// timeit(|| report(&tensors, &schemes))
/// ```
pub fn timeit<T>(work: impl FnMut() -> T) -> String {
    cells::timeit(work)
}

/// Prepares evcxr's own kernel: a panic becomes one message with its place, long work says how far it is, and text tables are wide enough
/// for a report's names. Where quantlens-lab runs the notebook, that is done already, and this does nothing.
pub fn init() {
    session::prepare();
}
