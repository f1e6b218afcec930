//! `quantlens compare`.

use std::path::PathBuf;

use quantlens::progress::Work;
use quantlens::{Error, Metrics, MetricsAccumulator, Slice, Source, TensorInfo, TileBuffer};
use rayon::prelude::*;

use super::bar::Bar;
use super::output::{self, Output};
use super::report::{Failures, OTHERS};
use super::select::{Selection, select};
use super::table::{Column, Table};
use super::tensors::{TILE, TILES};
use super::terminal::{self, Shown};
use super::{Status, Stop, count, go_on, print, say};

const EXAMPLES: &str = "\
Examples:
  quantlens compare model.safetensors dequantized.safetensors
  quantlens compare model-f16.gguf model-q4_k_m.gguf --sort max_abs_error
  quantlens compare before.npy after.npy
  quantlens compare a.safetensors b.safetensors --tensor '*mlp*' --output difference.csv

Tensors are compared that have the same name in both files; of two files with one tensor each, these two.";

/// Compare two files that hold the same tensors, such as a model and what a quantizer made of it.
///
/// Both are read piece by piece: they may be larger than memory. The first is the reference.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The reference.
    #[arg(value_name = "A")]
    reference: PathBuf,
    /// What is compared with it: values, or a quantized type of GGUF, which is decoded.
    #[arg(value_name = "B")]
    approximation: PathBuf,
    /// Only tensors of the reference whose name matches: `*` stands for any text, `?` for one character. May be repeated.
    #[arg(long, value_name = "GLOB")]
    tensor: Vec<String>,
    /// Order of the rows, worst first.
    #[arg(long, value_name = "COLUMN", default_value = "sqnr_db", value_parser = clap::builder::PossibleValuesParser::new(column_names()))]
    sort: String,
    /// Also write the table to a file, whose ending is .parquet, .csv, .json or .ndjson.
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    output: Option<Output>,
}

const SHOWN: Shown = Shown {
    order: &[
        "tensor",
        "shape",
        "stored_a",
        "stored_b",
        "sqnr_db",
        "relative_error",
        "max_abs_error",
        "rmse",
        "mean_error",
        "cosine",
    ],
    importance: &[
        "tensor",
        "sqnr_db",
        "max_abs_error",
        "stored_b",
        "stored_a",
        "relative_error",
        "shape",
        "rmse",
        "cosine",
        "mean_error",
    ],
    essential: 3,
};

/// A tensor in both files.
struct Pair {
    a: (usize, TensorInfo),
    b: (usize, TensorInfo),
}

pub fn run(args: &Args) -> Result<Status, Stop> {
    output::check(args.output.iter().map(Output::path), &[args.reference.clone(), args.approximation.clone()])?;
    let a = select(std::slice::from_ref(&args.reference), &args.tensor)?;
    let b = select(std::slice::from_ref(&args.approximation), &[])?;
    let (Some(a), Some(b)) = (a.first(), b.first()) else { return Ok(Status::Done) };
    let (pairs, only) = pair(a, b, args.tensor.is_empty());
    if pairs.is_empty() {
        let first = |file: &Selection| file.infos().first().map_or_else(String::new, |info| info.name.clone());
        return Err(Stop::Error(format!(
            "no tensor has the same name in both files: `{}` has `{}` and others, `{}` has `{}` and others",
            a.name(),
            first(a),
            b.name(),
            first(b)
        )));
    }

    let elements = pairs.iter().map(|pair| pair.a.1.elements()).fold(0, usize::saturating_add);
    let bar = Bar::new(elements);
    let mut work = Work::new("compare", elements);
    let mut outcomes = Vec::with_capacity(pairs.len());
    let mut failures = Failures::default();
    for pair in &pairs {
        let outcome = between(a, b, pair, &mut work)?;
        if let Err(error) = &outcome {
            failures.add(error.clone(), 1, format!("`{}`", pair.a.1.name));
        }
        outcomes.push(outcome);
    }
    drop(work);
    drop(bar);
    go_on()?;

    let table = table_of(&pairs, &outcomes);
    let mut order: Vec<usize> = (0..table.height()).collect();
    table.worst_first(&args.sort, &mut order);
    if let Some(output) = &args.output {
        output.write(&table.at(&order))?;
    }
    order.retain(|&row| table.text("error", row).is_empty());
    if !order.is_empty() {
        print(&terminal::text_of(&table.at(&order), &SHOWN, terminal::width()))?;
    }
    for (file, names) in [(a, &only[0]), (b, &only[1])] {
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            say(&format!("Only in `{}`: `{first}`{more}", file.name()));
        }
    }
    if failures.rows == 0 {
        return Ok(Status::Done);
    }
    failures.lines(OTHERS).iter().for_each(|line| say(line));
    say(&format!("error: {} of {} failed", failures.rows, count(table.height(), "row")));
    Ok(Status::PartlyFailed)
}

/// The tensors of both, in the order of the first, and the names of those that are in one only.
fn pair(a: &Selection, b: &Selection, all_of_a: bool) -> (Vec<Pair>, [Vec<String>; 2]) {
    let (of_a, of_b) = (a.infos(), b.infos());
    if let ([one], [other]) = (&of_a[..], &of_b[..]) {
        return (vec![Pair { a: (0, one.clone()), b: (0, other.clone()) }], [Vec::new(), Vec::new()]);
    }
    let (mut pairs, mut only_a) = (Vec::new(), Vec::new());
    // Names may repeat; then the first belongs to the first.
    let mut taken = vec![false; of_b.len()];
    let mut places = std::collections::HashMap::<&str, Vec<usize>>::new();
    for (number, info) in of_b.iter().enumerate().rev() {
        places.entry(&info.name).or_default().push(number);
    }
    for (number, info) in of_a.into_iter().enumerate() {
        match places.get_mut(info.name.as_str()).and_then(Vec::pop) {
            Some(other) => {
                taken[other] = true;
                pairs.push(Pair { b: (other, of_b[other].clone()), a: (number, info) });
            }
            None => only_a.push(info.name),
        }
    }
    // Where not all of the reference was asked for, the others of the approximation are not missing.
    let only_b = of_b.iter().zip(&taken).filter(|(_, taken)| all_of_a && !**taken).map(|(info, _)| info.name.clone()).collect();
    (pairs, [only_a, only_b])
}

/// The metrics of a pair, or why there are none.
fn between(a: &Selection, b: &Selection, pair: &Pair, work: &mut Work) -> Result<Result<Metrics, String>, Stop> {
    let (x, y) = (&pair.a.1, &pair.b.1);
    let elements = x.elements();
    if x.shape != y.shape {
        work.advance(elements);
        return Ok(Err(format!("tensor `{}` has shape {:?} in one file and {:?} in the other", x.name, x.shape, y.shape)));
    }
    let of_tile = |(for_x, for_y): &mut (TileBuffer, TileBuffer), &start: &usize| {
        let tile = start..(start + TILE).min(elements);
        let mut part = MetricsAccumulator::starting_at(start as u64);
        let x_values = a.read(pair.a.0, tile.clone(), for_x)?;
        check_finite(x_values, x, start, a)?;
        let y_values = b.read(pair.b.0, tile, for_y)?;
        check_finite(y_values, y, start, b)?;
        match (x_values, y_values) {
            (Slice::F32(x), Slice::F32(y)) => part.push(x, y),
            (Slice::F32(x), Slice::F64(y)) => part.push(x, y),
            (Slice::F64(x), Slice::F32(y)) => part.push(x, y),
            (Slice::F64(x), Slice::F64(y)) => part.push(x, y),
        }?;
        Ok::<_, Error>(part)
    };
    let mut all = MetricsAccumulator::default();
    let starts: Vec<usize> = (0..elements).step_by(TILE).collect();
    for starts in starts.chunks(TILES) {
        go_on()?;
        let parts: Result<Vec<_>, _> = starts.par_iter().map_init(Default::default, of_tile).collect();
        let merged = parts.and_then(|parts| parts.into_iter().try_for_each(|part| all.merge(part)));
        if let Err(error) = merged {
            return Ok(Err(error.to_string()));
        }
        work.advance((starts.len() * TILE).min(elements - starts.first().copied().unwrap_or(0)));
    }
    Ok(all.metrics().ok_or_else(|| format!("tensor `{}` is empty", x.name)))
}

fn check_finite(values: Slice<'_>, info: &TensorInfo, start: usize, file: &Selection) -> quantlens::Result<()> {
    let found = match values {
        Slice::F32(values) => values.iter().position(|value| !value.is_finite()).map(|at| (at, f64::from(values[at]))),
        Slice::F64(values) => values.iter().position(|value| !value.is_finite()).map(|at| (at, values[at])),
    };
    match found {
        Some((at, value)) => {
            let name = format!("{}` of `{}", info.name, file.name());
            Err(Error::NotFinite { name, index: start + at, value })
        }
        None => Ok(()),
    }
}

fn table_of(pairs: &[Pair], outcomes: &[Result<Metrics, String>]) -> Table {
    let text = |name, value: fn(&Pair) -> String| Column::text(name, pairs.iter().map(|pair| Some(value(pair))));
    let mut columns = vec![
        text("tensor", |pair| pair.a.1.name.clone()),
        text("shape", |pair| format!("{:?}", pair.a.1.shape)),
        text("stored_a", |pair| pair.a.1.stored.clone()),
        text("stored_b", |pair| pair.b.1.stored.clone()),
        Column::whole("elements", pairs.iter().map(|pair| Some(pair.a.1.elements() as i64))),
    ];
    let metric = |outcome: &Result<Metrics, String>, value: fn(&Metrics) -> f64| outcome.as_ref().ok().map(value);
    columns
        .extend(Metrics::COLUMNS.map(|(name, value)| Column::real(name, outcomes.iter().map(|outcome| metric(outcome, value)))));
    columns.push(Column::text("error", outcomes.iter().map(|outcome| outcome.as_ref().err().cloned())));
    Table::new(columns)
}

fn column_names() -> Vec<&'static str> {
    table_of(&[], &[]).columns.iter().map(|column| column.name).collect()
}
