//! `quantlens report`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use quantlens::{Metrics, Quantizer, ReportRow, Source, frame_of_rows, report_rows};

use super::bar::Bar;
use super::output::{self, Output};
use super::select::{DEFAULT, Schemes, Selection, select_for};
use super::table::{Column, Table, Values};
use super::terminal::{self, Shown};
use super::{Status, Stop, channels, count, go_on, html, print, say, summary};

const EXAMPLES: &str = "\
Examples:
  quantlens report model.safetensors
  quantlens report model.safetensors --scheme int4-sym-g32,nvfp4 --scheme q4_k
  quantlens report model.safetensors --tensor '*attention*' --tensor 'embed?ings.*' --rows 0
  quantlens report model.safetensors --channels --tensor '*.query.weight' --scheme int8-sym
  quantlens report model.gguf --sort max_abs_error --output report.parquet
  quantlens report model-folder/ --html report.html
  quantlens report layer1.npy layer2.npy --output report.ndjson

A row says how far the values of a tensor that come back under a scheme are from those stored (sqnr_db: the signal's power over the error's, in decibels; higher is better), and what an element really costs (bits_per_element: with scales and padding).";

/// Tell which tensors suffer under which scheme.
///
/// The tensors of a file are read piece by piece: a file may be larger than memory.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model files, folders of shards, or indices of shards.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to quantize; several by commas or by repeating it. `quantlens schemes` lists names. Without it, eight schemes of 8 and 4
    /// bits where they fit.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scheme: Vec<String>,
    /// Only tensors whose name matches: `*` stands for any text, `?` for one character. May be repeated.
    #[arg(long, value_name = "GLOB")]
    tensor: Vec<String>,
    /// A row for each index of the first axis (an output channel of a weight) instead of each tensor. Holds a tensor in memory.
    #[arg(long)]
    channels: bool,
    /// Order of all rows, worst first, instead of by SQNR under each scheme.
    #[arg(long, value_name = "COLUMN", value_parser = PossibleValuesParser::new(sortable()), hide_possible_values = true)]
    sort: Option<String>,
    /// How many rows of each scheme are printed; 0 prints all. Files have all.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    rows: usize,
    /// Also write all rows to a file, whose ending is .parquet, .csv, .json or .ndjson.
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    output: Option<Output>,
    /// Also make a page with figures and a table, which needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure on the cluster of the scheduler at this address (quantlens-ballista), whose executors see the files at the same paths. A file
    /// may be a URL then, as s3://bucket/folder.
    #[cfg(feature = "cluster")]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "channels")]
    cluster: Option<String>,
}

/// Columns as the library's report has them.
fn column_names() -> Vec<&'static str> {
    let before = [
        "tensor",
        "dtype",
        "shape",
        "elements",
        "scheme",
        "format",
        "bits",
        "granularity",
        "calibration",
        "bits_per_element",
        "scale",
        "zero_point",
    ];
    let metrics = Metrics::COLUMNS.map(|(name, _)| name);
    let after = ["clipped_fraction", "levels_used", "code_entropy_bits", "error"];
    before.into_iter().chain(metrics).chain(after).collect()
}

fn sortable() -> Vec<&'static str> {
    let others = column_names().into_iter().chain(channels::column_names());
    let mut names = vec!["file"];
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What the terminal shows of rows, of tensors and of channels.
pub const SHOWN: Shown = Shown {
    order: &[
        "file",
        "tensor",
        "channel",
        "shape",
        "scheme",
        "bits_per_element",
        "min",
        "max",
        "sqnr_db",
        "relative_error",
        "max_abs_error",
        "rmse",
        "cosine",
        "clipped_fraction",
        "levels_used",
        "code_entropy_bits",
    ],
    importance: &[
        "tensor",
        "scheme",
        "sqnr_db",
        "channel",
        "file",
        "bits_per_element",
        "max_abs_error",
        "relative_error",
        "min",
        "max",
        "shape",
        "clipped_fraction",
        "levels_used",
        "rmse",
        "code_entropy_bits",
        "cosine",
    ],
    essential: 5,
};

const SUMMARY: Shown = Shown {
    order: &["scheme", "bits_per_element", "rows", "median_sqnr_db", "worst_sqnr_db", "worst_tensor", "worst_channel"],
    importance: &["scheme", "worst_sqnr_db", "worst_tensor", "worst_channel", "median_sqnr_db", "bits_per_element", "rows"],
    essential: 4,
};

/// What was measured.
#[derive(Default)]
pub struct Measured {
    /// A row for each tensor or channel and scheme, those that failed among them.
    pub table: Table,
    pub failures: Failures,
    /// The schemes' names, in the order in which they were asked for.
    pub schemes: Vec<String>,
    /// Tensors that the default schemes are left out for, with how many of them.
    pub left_out: usize,
    /// Tensors of one axis that are not listed: measured, but for channels, which they have none of.
    pub vectors: usize,
}

/// Rows that failed, by why.
#[derive(Default)]
pub struct Failures {
    pub rows: usize,
    reasons: Vec<Reason>,
}

struct Reason {
    text: String,
    rows: usize,
    /// The first of them: a tensor under a scheme, a tensor, a file.
    first: String,
}

impl Failures {
    pub fn add(&mut self, reason: String, rows: usize, first: String) {
        self.rows += rows;
        match self.reasons.iter_mut().find(|known| known.text == reason) {
            Some(known) => known.rows += rows,
            None => self.reasons.push(Reason { text: reason, rows, first }),
        }
    }

    /// The first few reasons, each a line, and where to find the others.
    pub fn lines(&self, others: &str) -> Vec<String> {
        const SHOWN: usize = 5;
        let line = |Reason { text, rows, first }: &Reason| {
            let whose = if *rows == 1 { first.clone() } else { format!("{rows} rows, the first is {first}") };
            format!("failed: {text} ({whose})")
        };
        let mut lines: Vec<String> = self.reasons.iter().take(SHOWN).map(line).collect();
        let rows: usize = self.reasons.iter().skip(SHOWN).map(|reason| reason.rows).sum();
        if rows > 0 {
            lines.push(format!("failed: {} for other reasons: {others}", count(rows, "more row")));
        }
        lines
    }

    pub fn first(&self) -> Option<String> {
        self.reasons.first().map(|reason| format!("{} ({})", reason.text, reason.first))
    }
}

/// How a failed row is named.
pub fn subject(tensor: &str, scheme: &str) -> String {
    format!("`{tensor}` under `{scheme}`")
}

/// Where a report has what a few lines have no room for.
pub const OTHERS: &str = "see the column `error` of --output";

pub fn run(args: &Args) -> Result<Status, Stop> {
    let schemes = Schemes::new(&args.scheme)?;
    // Before work that takes long.
    args.check_sort()?;
    output::check(args.output.iter().map(Output::path).chain(args.html.as_deref()), &args.files)?;
    let files = select_for(args.cluster(), &args.files, &args.tensor)?;
    let mut measured =
        if args.channels { channels::measure(&files, &schemes)? } else { measure(&files, &schemes, args.cluster())? };
    go_on()?;
    let (all, failed) = (measured.table.height(), measured.failures.rows);
    if all == 0 || failed == all {
        let nothing = "none of the default schemes fits a tensor that was asked for: name one with --scheme";
        return Err(Stop::Error(measured.failures.first().unwrap_or_else(|| nothing.to_owned())));
    }
    if let Some(output) = &args.output {
        // As they stand in the file, unless asked for otherwise.
        let Measured { table, schemes, .. } = &measured;
        let sorted = args.sort.as_deref().map(|sort| order(table, schemes, Some(sort)));
        output.write(&sorted.map_or_else(|| table.clone(), |sorted| table.at(&sorted)))?;
    }
    if args.tensor.is_empty() && !args.channels {
        measured.leave_out_vectors();
    }
    let Measured { table, failures, schemes, .. } = &measured;
    let order = order(table, schemes, args.sort.as_deref());
    let summaries = summary::by_scheme(table, schemes);
    if let Some(path) = &args.html {
        let page = html::page(&measured, &files, &summaries, &order)?;
        output::write(path, |to| to.write_all(page.as_bytes()).map_err(|error| error.to_string()))?;
    }

    let width = terminal::width();
    let mut text = String::new();
    if table.height() > summaries.len() && args.sort.is_none() {
        text += &terminal::text_of(&summary::table_of(&summaries, table), &SUMMARY, width);
        text.push('\n');
    }
    let printed = first_of_each(table, &order, args.rows);
    text += &terminal::text_of(&without_file(&table.at(&printed), &files), &SHOWN, width);
    print(&text)?;

    if printed.len() < order.len() {
        let which = if args.rows == 1 { "worst".to_owned() } else { format!("{} worst", args.rows) };
        say(&format!("The {which} of each scheme, {} of {} rows: --rows 0 prints all.", printed.len(), order.len()));
    }
    measured.missing(&files).iter().for_each(|line| say(line));
    if failures.rows == 0 {
        return Ok(Status::Done);
    }
    failures.lines(OTHERS).iter().for_each(|line| say(line));
    say(&format!("error: {failed} of {} failed", count(all, "row")));
    Ok(Status::PartlyFailed)
}

impl Measured {
    /// Takes the rows of tensors with one axis away. Biases and norms are no weights that anybody quantizes, and would top every list of the worst. They stay where
    /// nothing else was measured.
    fn leave_out_vectors(&mut self) {
        let table = &self.table;
        let is_vector = |row: &usize| !table.text("shape", *row).contains(',');
        let (vectors, rows): (Vec<usize>, Vec<usize>) = (0..table.height()).partition(is_vector);
        if rows.iter().any(|&row| table.text("error", row).is_empty()) {
            let names: std::collections::BTreeSet<_> =
                vectors.iter().map(|&row| (table.text("file", row), table.text("tensor", row))).collect();
            (self.vectors, self.table) = (names.len(), table.at(&rows));
        }
    }

    /// What of the files no row is about, each a line.
    pub fn missing(&self, files: &[Selection]) -> Vec<String> {
        let mut lines = self.not_listed();
        let skipped: usize = files.iter().map(|file| file.skipped().len()).sum();
        if skipped > 0 {
            lines.push(format!("{} of the files skipped: `quantlens tensors` says why.", count(skipped, "part")));
        }
        lines
    }

    /// What of the tensors no row is about, each a line.
    pub fn not_listed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.vectors > 0 {
            let why = match self.table.column("channel") {
                Some(_) => "fewer than two axes not listed: they have no channels, leave out --channels",
                None => "one axis (biases, norms) not listed: --tensor '*' lists all",
            };
            lines.push(format!("{} with {why}.", count(self.vectors, "tensor")));
        }
        if self.left_out > 0 {
            lines.push(format!(
                "{} left out where one of the default schemes does not fit, or costs as much as the values: name schemes to see why.",
                count(self.left_out, "row")
            ));
        }
        lines
    }
}

/// The rows that were measured, worst first.
fn order(table: &Table, schemes: &[String], sort: Option<&str>) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..table.height()).filter(|&row| table.text("error", row).is_empty()).collect();
    match sort {
        Some(name) => table.worst_first(name, &mut rows),
        None => {
            table.worst_first("sqnr_db", &mut rows);
            rows.sort_by_key(|&row| schemes.iter().position(|scheme| *scheme == table.text("scheme", row)));
        }
    }
    rows
}

/// So many rows of each scheme, or all.
pub fn first_of_each(table: &Table, order: &[usize], most: usize) -> Vec<usize> {
    let mut taken = std::collections::HashMap::<&str, usize>::new();
    let is_shown = |row: &usize| {
        let taken = taken.entry(table.text("scheme", *row)).or_default();
        *taken += 1;
        most == 0 || *taken <= most
    };
    order.iter().copied().filter(is_shown).collect()
}

/// Nobody needs to be told which file where there is one.
pub fn without_file(table: &Table, files: &[Selection]) -> Table {
    let columns = table.columns.iter().filter(|column| files.len() > 1 || column.name != "file");
    Table::new(columns.cloned().collect())
}

impl Args {
    /// Whether there will be such a column.
    fn check_sort(&self) -> Result<(), Stop> {
        let names = if self.channels { channels::column_names() } else { column_names() };
        match self.sort.as_deref() {
            Some(name) if name != "file" && !names.contains(&name) => {
                let names = names.join(", ");
                Err(Stop::Usage(format!("there is no column `{name}` here to sort by: there are file, {names}")))
            }
            _ => Ok(()),
        }
    }

    /// The scheduler of the cluster to measure on.
    fn cluster(&self) -> Option<&str> {
        #[cfg(feature = "cluster")]
        return self.cluster.as_deref();
        #[cfg(not(feature = "cluster"))]
        None
    }
}

/// The rows of a file, from here or from a cluster.
fn rows_of(file: &Selection, quantizers: &[&dyn Quantizer], cluster: Option<&str>) -> Result<Vec<ReportRow>, Stop> {
    match cluster {
        #[cfg(feature = "cluster")]
        Some(scheduler) => super::cluster::rows(scheduler, file, quantizers),
        _ => Ok(report_rows(file, quantizers)?),
    }
}

/// A report of each file, from a cluster if one is named.
pub fn measure(files: &[Selection], schemes: &Schemes, cluster: Option<&str>) -> Result<Measured, Stop> {
    let fitting: Vec<Vec<&dyn Quantizer>> = files.iter().map(|file| fitting(file, schemes)).collect();
    let steps = files.iter().zip(&fitting).map(|(file, quantizers)| file.elements().saturating_mul(quantizers.len()));
    let _bar = Bar::new(steps.fold(0, usize::saturating_add));
    let mut names = Vec::new();
    let mut rows: Vec<ReportRow> = Vec::new();
    let mut measured = Measured { schemes: schemes.names(), ..Measured::default() };
    for (file, quantizers) in files.iter().zip(&fitting) {
        let infos = file.infos();
        measured.left_out += (schemes.quantizers.len() - quantizers.len()) * infos.len();
        if quantizers.is_empty() {
            continue;
        }
        let found = match rows_of(file, quantizers, cluster) {
            Ok(found) => found,
            // All of this file; there may be others.
            Err(Stop::Error(reason)) => {
                measured.failures.add(reason, infos.len() * quantizers.len(), format!("in `{}`", file.name()));
                continue;
            }
            Err(stop) => return Err(stop),
        };
        let stored_bits = file.stored_bits();
        let tensors = infos.iter().zip(stored_bits);
        let subjects = tensors.flat_map(|(info, bits)| quantizers.iter().map(move |quantizer| (info, bits, quantizer)));
        for (row, (info, bits, quantizer)) in found.into_iter().zip(subjects) {
            if schemes.are_default && !Schemes::fits(*quantizer, info, bits) {
                measured.left_out += 1;
                continue;
            }
            if let Some(error) = &row.error {
                let of_file = if files.len() > 1 { format!(" in `{}`", file.name()) } else { String::new() };
                measured.failures.add(error.clone(), 1, subject(&row.tensor, &row.scheme) + &of_file);
            }
            names.push(Some(file.name()));
            rows.push(row);
        }
    }
    measured.table = Table::of_frame(&frame_of_rows(&rows)?, &column_names())?;
    measured.table.columns.insert(0, Column { name: "file", values: Values::Text(names) });
    Ok(measured)
}

/// The default schemes that fit none of a file's tensors are not measured at all; those that were asked for are, and say why not.
pub fn fitting<'a>(file: &Selection, schemes: &'a Schemes) -> Vec<&'a dyn Quantizer> {
    let (infos, stored_bits) = (file.infos(), file.stored_bits());
    let fits_one =
        |quantizer: &dyn Quantizer| infos.iter().zip(&stored_bits).any(|(info, bits)| Schemes::fits(quantizer, info, *bits));
    let quantizers = schemes.quantizers.iter().map(|quantizer| &**quantizer);
    quantizers.filter(|quantizer| !schemes.are_default || fits_one(*quantizer)).collect()
}

const _: () = assert!(DEFAULT.len() == 8, "the help says eight");
