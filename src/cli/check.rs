//! `quantlens check`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polars::prelude::{DataFrame, DataType};
use quantlens::{Comparison, Operand, Rule, check, is_saved_table, load_table};

use super::output::{self, Output};
use super::report::measure;
use super::select::{Schemes, select};
use super::table::{Cell, Column, Table};
use super::terminal::{self, Shown};
use super::{Status, Stop, count, go_on, print, say};

const EXAMPLES: &str = r#"Examples:
  quantlens check model.safetensors --rule 'sqnr_db >= 30 where scheme == "int8-sym-axis0"'
  quantlens check model.safetensors --tensor '*.weight' --scheme nvfp4,mxfp4 --rule 'sqnr_db >= 16'
  quantlens check report.json --rule 'max_abs_error < 0.01 where tensor == "lm_head.weight"'

A rule compares a column of the report with a number or a text in double quotes, by >=, <=, >, <, == or !=, in all rows or in those where other conditions hold: `where … and …`. A value that is not known (of a row that failed, or NaN) breaks it, and so does a rule that is about no row. It is about tensors of one axis, too (biases, norms), which `quantlens report` does not list: choose others by --tensor.

The exit status is 0 if all rules are kept; 1 if one is broken or a row failed."#;

/// Tell which rows of a report break a rule.
///
/// A report is measured of a model file, or read from a file that `quantlens report --output` or the library's `save_table` wrote.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model files, or saved reports.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What must hold. May be repeated.
    #[arg(long = "rule", required = true, value_name = "RULE")]
    rules: Vec<Rule>,
    /// How to quantize a model; several by commas or by repeating it. Without it, the schemes that the rules name by
    /// `scheme == "…"`, or, if they name none, those of `quantlens report`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scheme: Vec<String>,
    /// Only tensors of a model whose name matches: `*` stands for any text, `?` for one character. May be repeated.
    #[arg(long, value_name = "GLOB")]
    tensor: Vec<String>,
    /// Also write the broken rules to a file, whose ending is .parquet, .csv, .json or .ndjson.
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    output: Option<Output>,
}

const SHOWN: Shown = Shown {
    order: &["file", "tensor", "channel", "scheme", "metric", "value", "bound", "rule"],
    importance: &["tensor", "scheme", "metric", "value", "bound", "channel", "file", "rule"],
    essential: 7,
};

/// A row that breaks a rule, or a rule that is about no row.
struct Broken {
    file: String,
    rule: String,
    /// In the report, from 0; `None` of a rule that is about none.
    row: Option<usize>,
    tensor: Option<String>,
    channel: Option<i64>,
    scheme: Option<String>,
    metric: String,
    value: Option<String>,
    bound: String,
}

pub fn run(args: &Args) -> Result<Status, Stop> {
    output::check(args.output.iter().map(Output::path), &args.files)?;
    let names = schemes_of(args)?;
    let (mut broken, mut rows, mut failed) = (Vec::new(), 0, 0);
    for file in &args.files {
        let (report, failures) = report_of(file, args, &names)?;
        go_on()?;
        rows += report.height();
        failed += failures;
        broken.extend(broken_in(file, &report, &args.rules)?);
    }
    if let Some(output) = &args.output {
        output.write(&table_of(&broken))?;
    }
    let rules = count(args.rules.len(), "rule");
    if broken.is_empty() {
        print(&format!("{rules} kept by {}\n", count(rows, "row")))?;
    } else {
        print_broken(&broken, args.files.len())?;
        let is_broken = |rule: &&Rule| broken.iter().any(|broken| broken.rule == rule.to_string());
        let breaking: BTreeSet<_> = broken.iter().filter_map(|broken| Some((&broken.file, broken.row?))).collect();
        let by = match breaking.len() {
            0 => String::new(),
            number => format!(", by {number} of {}", count(rows, "row")),
        };
        say(&format!("error: {} of {rules} broken{by}", args.rules.iter().filter(is_broken).count()));
    }
    if failed > 0 {
        say(&format!("error: {} failed", count(failed, "row")));
    }
    Ok(if broken.is_empty() && failed == 0 { Status::Done } else { Status::PartlyFailed })
}

/// The rows that break rules as a table, then the rules that are about no row.
fn print_broken(broken: &[Broken], files: usize) -> Result<(), Stop> {
    let mut table = table_of(broken);
    let rows: Vec<usize> = (0..broken.len()).filter(|&number| broken[number].row.is_some()).collect();
    table.columns.retain(|column| files > 1 || column.name != "file");
    table.columns.retain(|column| column.name != "channel" || broken.iter().any(|broken| broken.channel.is_some()));
    if !rows.is_empty() {
        print(&terminal::text_of(&table.at(&rows), &SHOWN, terminal::width()))?;
    }
    for Broken { file, rule, .. } in broken.iter().filter(|broken| broken.row.is_none()) {
        let of_file = if files > 1 { format!(" of `{file}`") } else { String::new() };
        say(&format!("no row{of_file} is what the rule is about: {rule}"));
    }
    Ok(())
}

/// The schemes that models are measured under; none are those of a report.
fn schemes_of(args: &Args) -> Result<Vec<String>, Stop> {
    if !args.scheme.is_empty() {
        return Ok(args.scheme.clone());
    }
    let named = |rule: &Rule| {
        rule.only_where.iter().find_map(|condition| match (&condition.operand, condition.comparison) {
            (Operand::Text(name), Comparison::Equal) if condition.column == "scheme" => Some(name.clone()),
            _ => None,
        })
    };
    let names: Vec<String> = args.rules.iter().filter_map(named).collect();
    match args.rules.iter().find(|rule| named(rule).is_none()) {
        Some(rule) if !names.is_empty() => Err(Stop::Error(format!(
            "the rule `{rule}` is about every scheme, others are about some: say which to measure by --scheme"
        ))),
        _ => Ok(names),
    }
}

/// A report that was saved, or is measured now; and how many of its rows failed now.
fn report_of(file: &Path, args: &Args, names: &[String]) -> Result<(DataFrame, usize), Stop> {
    if is_saved_table(file) {
        if !args.scheme.is_empty() || !args.tensor.is_empty() {
            return Err(Stop::Error(format!(
                "`{}` is a saved report, of which --scheme and --tensor choose nothing: add `where` to the rule",
                file.display()
            )));
        }
        return Ok((load_table(file)?, 0));
    }
    let files = select(std::slice::from_ref(&file.to_owned()), &args.tensor)?;
    let measured = measure(&files, &Schemes::new(names)?, None)?;
    let lines = measured.failures.lines("see what `quantlens report` says");
    lines.iter().chain(&measured.missing(&files)).for_each(|line| say(line));
    Ok((measured.table.frame()?, measured.failures.rows))
}

fn broken_in(file: &Path, report: &DataFrame, rules: &[Rule]) -> Result<Vec<Broken>, Stop> {
    let failed = |error: quantlens::Error| Stop::Error(format!("{}: {error}", file.display()));
    let channels = report.column("channel").and_then(|column| column.cast(&DataType::Int64)).ok();
    let channels = channels.as_ref().and_then(|column| column.i64().ok());
    let mut all = Vec::new();
    for rule in rules {
        let condition = &rule.condition;
        let about = |row: Option<usize>, tensor: Option<&str>, scheme: Option<&str>, value: Option<String>| Broken {
            file: file.display().to_string(),
            rule: rule.to_string(),
            row,
            tensor: tensor.map(str::to_owned),
            channel: row.and_then(|row| channels?.get(row)),
            scheme: scheme.map(str::to_owned),
            metric: condition.column.clone(),
            value,
            bound: format!("{} {}", condition.comparison, condition.operand),
        };
        if rule.rows(report).map_err(failed)?.is_empty() {
            all.push(about(None, None, None, None));
        }
        let names = ["tensor", "scheme", "row", "value"];
        let broken = Table::of_frame(&check(report, std::slice::from_ref(rule)).map_err(failed)?, &names)?;
        for number in 0..broken.height() {
            let row = broken.number("row", number) as usize;
            let text = |name: &str| Some(broken.text(name, number)).filter(|text| !text.is_empty());
            let value = match broken.cell("value", number) {
                Cell::Real(value) => value.to_string(),
                // A text, or nothing.
                _ => text_at(report, &condition.column, row).unwrap_or_else(|| "null".to_owned()),
            };
            all.push(about(Some(row), text("tensor"), text("scheme"), Some(value)));
        }
    }
    Ok(all)
}

/// The text in a row of a column, if it is one.
fn text_at(report: &DataFrame, column: &str, row: usize) -> Option<String> {
    report.column(column).ok()?.str().ok()?.get(row).map(str::to_owned)
}

fn table_of(broken: &[Broken]) -> Table {
    let text = |name, value: fn(&Broken) -> Option<String>| Column::text(name, broken.iter().map(value));
    Table::new(vec![
        text("file", |broken| Some(broken.file.clone())),
        Column::whole("row", broken.iter().map(|broken| broken.row.map(|row| row as i64))),
        text("tensor", |broken| broken.tensor.clone()),
        Column::whole("channel", broken.iter().map(|broken| broken.channel)),
        text("scheme", |broken| broken.scheme.clone()),
        text("metric", |broken| Some(broken.metric.clone())),
        text("value", |broken| broken.value.clone()),
        text("bound", |broken| Some(broken.bound.clone())),
        text("rule", |broken| Some(broken.rule.clone())),
    ])
}
