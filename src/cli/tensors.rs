//! `quantlens tensors`.

use std::path::PathBuf;

use quantlens::progress::Work;
use quantlens::{Real, Slice, Source, TensorInfo, TileBuffer};
use rayon::prelude::*;

use super::bar::{Bar, with_prefix};
use super::output::{self, Output};
use super::select::{Selection, select};
use super::table::{Column, Table};
use super::terminal::{self, Shown};
use super::{Status, Stop, count, go_on, print, say};

const EXAMPLES: &str = "\
Examples:
  quantlens tensors model.safetensors
  quantlens tensors model.gguf --tensor 'blk.0.*'
  quantlens tensors model.safetensors --no-range --output tensors.csv";

/// List the tensors of a file: names, shapes, how they are stored, their range; and what is no tensor, and why.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A model file, a folder of shards, or an index of shards.
    file: PathBuf,
    /// Only tensors whose name matches: `*` stands for any text, `?` for one character. May be repeated.
    #[arg(long, value_name = "GLOB")]
    tensor: Vec<String>,
    /// Read no values: the file's header is enough for the rest.
    #[arg(long)]
    no_range: bool,
    /// Also write the table to a file, whose ending is .parquet, .csv, .json or .ndjson.
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    output: Option<Output>,
}

const SHOWN: Shown = Shown {
    order: &["tensor", "shape", "stored", "elements", "min", "max", "not_finite"],
    importance: &["tensor", "shape", "stored", "min", "max", "not_finite", "elements"],
    essential: 3,
};

/// What the values of a tensor say.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// Of the finite values.
    min: f64,
    max: f64,
    /// NaN and infinities.
    not_finite: usize,
}

impl Range {
    const EMPTY: Self = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, not_finite: 0 };

    fn with(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max), not_finite: self.not_finite + other.not_finite }
    }

    fn of(values: Slice<'_>) -> Self {
        fn of<T: Real>(values: &[T]) -> Range {
            values.iter().fold(Range::EMPTY, |range, value| {
                let number = value.to_f64();
                let own = if number.is_finite() {
                    Range { min: number, max: number, not_finite: 0 }
                } else {
                    Range { not_finite: 1, ..Range::EMPTY }
                };
                range.with(own)
            })
        }
        match values {
            Slice::F32(values) => of(values),
            Slice::F64(values) => of(values),
        }
    }
}

pub fn run(args: &Args) -> Result<Status, Stop> {
    output::check(args.output.iter().map(Output::path), std::slice::from_ref(&args.file))?;
    let files = match Selection::all(&args.file)? {
        // Of which the skipped parts are still to be listed.
        empty if empty.infos().is_empty() && args.tensor.is_empty() => vec![empty],
        _ => select(std::slice::from_ref(&args.file), &args.tensor)?,
    };
    let Some(file) = files.first() else { return Ok(Status::Done) };
    let infos = file.infos();
    let mut table = Table::new(vec![
        Column::text("tensor", infos.iter().map(|info| Some(info.name.clone()))),
        Column::text("shape", infos.iter().map(|info| Some(format!("{:?}", info.shape)))),
        Column::text("stored", infos.iter().map(|info| Some(info.stored.clone()))),
        Column::whole("elements", infos.iter().map(|info| Some(info.elements() as i64))),
    ]);
    let mut failures = Vec::new();
    if !args.no_range {
        let mut ranges = Vec::with_capacity(infos.len());
        let bar = Bar::new(file.elements());
        let mut work = Work::new("tensors", file.elements());
        for (number, info) in infos.iter().enumerate() {
            ranges.push(match range(file, number, info, &mut work)? {
                Ok(range) => Some(range),
                Err(error) => {
                    failures.push(error);
                    None
                }
            });
        }
        drop(work);
        drop(bar);
        let bound = |value: fn(&Range) -> f64| {
            ranges.iter().map(move |range| range.as_ref().map(value).filter(|bound| bound.is_finite()))
        };
        table.columns.push(Column::real("min", bound(|range| range.min)));
        table.columns.push(Column::real("max", bound(|range| range.max)));
        table.columns.push(Column::whole("not_finite", ranges.iter().map(|range| range.map(|range| range.not_finite as i64))));
    }
    go_on()?;
    if let Some(output) = &args.output {
        output.write(&table)?;
    }
    let width = terminal::width();
    let mut text = terminal::text_of(&table, &SHOWN, width);
    let skipped = file.skipped();
    if !skipped.is_empty() {
        const SKIPPED: Shown =
            Shown { order: &["skipped", "stored", "reason"], importance: &["skipped", "reason", "stored"], essential: 2 };
        let table = Table::new(vec![
            Column::text("skipped", skipped.iter().map(|skipped| Some(skipped.name.clone()))),
            Column::text("stored", skipped.iter().map(|skipped| Some(skipped.stored.clone()))),
            Column::text("reason", skipped.iter().map(|skipped| Some(skipped.reason.clone()))),
        ]);
        text.push('\n');
        text += &terminal::text_of(&table, &SKIPPED, width);
    }
    print(&text)?;
    let values = with_prefix(file.elements() as f64);
    let tensors = count(infos.len(), "tensor");
    let format = file.format().map(|format| format!("{format}: ")).unwrap_or_default();
    say(&format!("{format}{tensors}, {values} values, {} skipped", skipped.len()));
    for error in &failures {
        say(&format!("failed: {error}"));
    }
    if failures.is_empty() { Ok(Status::Done) } else { Ok(Status::PartlyFailed) }
}

/// Values that are looked at by a thread at once.
pub const TILE: usize = 1 << 18;

/// Tiles after which the work says how far it is.
pub const TILES: usize = 64;

/// The range of a tensor, or why it cannot be read.
fn range(file: &Selection, number: usize, info: &TensorInfo, work: &mut Work) -> Result<Result<Range, String>, Stop> {
    let elements = info.elements();
    let mut all = Range::EMPTY;
    let starts: Vec<usize> = (0..elements).step_by(TILE).collect();
    for starts in starts.chunks(TILES) {
        go_on()?;
        let of_tile = |buffer: &mut TileBuffer, &start: &usize| {
            file.read(number, start..(start + TILE).min(elements), buffer).map(Range::of)
        };
        let ranges: Result<Vec<Range>, _> = starts.par_iter().map_init(TileBuffer::default, of_tile).collect();
        match ranges {
            Ok(ranges) => all = ranges.into_iter().fold(all, Range::with),
            Err(error) => return Ok(Err(error.to_string())),
        }
        work.advance((starts.len() * TILE).min(elements - starts.first().copied().unwrap_or(0)));
    }
    Ok(Ok(all))
}
