//! `check` and `diff`: reports against rules, and against each other.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use polars::prelude::{Column, DataFrame, DataType};
use serde::{Deserialize, Serialize};

use super::each::{column, columns};
use crate::error::{Error, Result};

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `<`
    Below,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Longer ones first, so that none is the beginning of one after it.
const COMPARISONS: [(Comparison, &str); 6] = [
    (Comparison::AtLeast, ">="),
    (Comparison::AtMost, "<="),
    (Comparison::Equal, "=="),
    (Comparison::NotEqual, "!="),
    (Comparison::Above, ">"),
    (Comparison::Below, "<"),
];

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(COMPARISONS.iter().find(|(comparison, _)| comparison == self).map_or("", |(_, sign)| sign))
    }
}

impl Comparison {
    /// False where the value is NaN: it is not known.
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::Below => value < bound,
            Self::Equal => value == bound,
            Self::NotEqual => !value.is_nan() && value != bound,
        }
    }
}

/// What a column is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A number: ±∞ too, but not NaN.
    Number(f64),
    /// A text, in double quotes.
    Text(String),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

/// A column, how it is compared, and with what: `bits <= 8`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The column's name.
    pub column: String,
    /// How.
    pub comparison: Comparison,
    /// With what. Texts are equal or not; no other comparison is for them.
    pub operand: Operand,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.column, self.comparison, self.operand)
    }
}

/// What a report's rows must fulfil: a condition, for all rows or for those where others hold. As text, and back:
///
/// ```text
/// sqnr_db >= 30
/// sqnr_db >= 30 where scheme == "int8-sym"
/// max_abs_error < 0.01 where tensor == "lm_head.weight" and bits <= 8
/// ```
///
/// The comparisons are `>=`, `<=`, `>`, `<`, `==` and `!=`. Names of columns are letters, digits, `_` and `:`; numbers are as Rust reads an f64, `inf` too;
/// texts stand in double quotes, `\"` and `\\` in them for `"` and `\`.
///
/// ```
/// # use quantlens::Rule;
/// let rule: Rule = r#"sqnr_db >= 30 where scheme == "int8-sym""#.parse()?;
/// assert_eq!((rule.condition.column.as_str(), rule.only_where.len()), ("sqnr_db", 1));
/// assert_eq!(rule.to_string().parse::<Rule>()?, rule);
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rule {
    /// What must hold.
    pub condition: Condition,
    /// In which rows: those in which all of these hold.
    pub only_where: Vec<Condition>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.condition)?;
        for (number, condition) in self.only_where.iter().enumerate() {
            write!(f, " {} {condition}", if number == 0 { "where" } else { "and" })?;
        }
        Ok(())
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for Rule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: String| Error::ParseRule { text: text.to_owned(), reason };
        let (condition, mut rest) = parse_condition(text).map_err(refuse)?;
        let mut only_where = Vec::new();
        while !rest.trim().is_empty() {
            let word = if only_where.is_empty() { "where" } else { "and" };
            let after = rest.trim_start().strip_prefix(word).filter(|after| after.starts_with(char::is_whitespace));
            let after = after.ok_or_else(|| refuse(format!("`{}` is not `{word}` and a condition", rest.trim())))?;
            let (condition, after) = parse_condition(after).map_err(refuse)?;
            only_where.push(condition);
            rest = after;
        }
        Ok(Self { condition, only_where })
    }
}

impl Rule {
    /// The rows of a report that the rule is about: those in which all conditions after `where` hold.
    ///
    /// # Errors
    /// [`Error::NoColumn`] as [`check`].
    pub fn rows(&self, report: &DataFrame) -> Result<Vec<usize>> {
        let cells = |condition| Ok((condition, Condition::cells(condition, report)?));
        let wheres = self.only_where.iter().map(cells).collect::<Result<Vec<_>>>()?;
        let is_meant = |row: &usize| wheres.iter().all(|(condition, cells)| condition.holds(cells, *row));
        Ok((0..report.height()).filter(is_meant).collect())
    }
}

/// A condition at the beginning of a text, and what comes after.
fn parse_condition(text: &str) -> Result<(Condition, &str), String> {
    let text = text.trim_start();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let (column, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    if column.is_empty() {
        return Err(format!("`{text}` does not begin with the name of a column"));
    }
    let rest = rest.trim_start();
    let found = COMPARISONS.iter().find_map(|(comparison, sign)| Some((*comparison, rest.strip_prefix(sign)?)));
    let (comparison, rest) =
        found.ok_or_else(|| format!("after `{column}` comes no comparison, which is >=, <=, >, <, == or !="))?;
    let rest = rest.trim_start();
    let (operand, rest) = match rest.strip_prefix('"') {
        Some(quoted) => parse_text(quoted).ok_or_else(|| format!("the text after `{column} {comparison}` has no end"))?,
        None => {
            let (word, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            let number = word.parse().ok().filter(|number: &f64| !number.is_nan());
            let number = number.ok_or_else(|| format!("`{word}` is neither a number nor a text in double quotes"))?;
            (Operand::Number(number), rest)
        }
    };
    if matches!(operand, Operand::Text(_)) && !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
        return Err(format!("texts are == or !=, not {comparison}"));
    }
    Ok((Condition { column: column.to_owned(), comparison, operand }, rest))
}

/// What stands before the closing quote, and what after it.
fn parse_text(quoted: &str) -> Option<(Operand, &str)> {
    let (mut text, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Operand::Text(text), &quoted[at + 1..])),
            '\\' => text.push(characters.next().filter(|(_, escaped)| matches!(escaped, '"' | '\\'))?.1),
            other => text.push(other),
        }
    }
    None
}

/// The columns of a frame that a condition is about.
enum Cells {
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

impl Condition {
    fn cells(&self, frame: &DataFrame) -> Result<Cells> {
        match &self.operand {
            Operand::Number(_) => numbers(frame, &self.column).map(Cells::Numbers),
            Operand::Text(_) => texts(frame, &self.column).map(Cells::Texts),
        }
    }

    /// A null fulfils nothing.
    fn holds(&self, cells: &Cells, row: usize) -> bool {
        match (cells, &self.operand) {
            (Cells::Numbers(values), Operand::Number(bound)) => {
                values[row].is_some_and(|value| self.comparison.holds(value, *bound))
            }
            (Cells::Texts(values), Operand::Text(text)) => {
                values[row].as_ref().is_some_and(|value| (value == text) == (self.comparison == Comparison::Equal))
            }
            _ => false,
        }
    }
}

fn no_column(frame: &DataFrame, column: &str, wanted: &'static str) -> Error {
    let there_are = frame.get_column_names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Error::NoColumn { column: column.to_owned(), wanted, there_are }
}

fn is_number(dtype: &DataType) -> bool {
    dtype.is_primitive_numeric() || *dtype == DataType::Boolean
}

/// A column of numbers as f64; of booleans, 0 and 1.
pub(crate) fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    match frame.column(name) {
        Ok(column) if is_number(column.dtype()) => Ok(column.cast(&DataType::Float64)?.f64()?.to_vec()),
        _ => Err(no_column(frame, name, "numbers")),
    }
}

/// A column of texts.
pub(crate) fn texts(frame: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    match frame.column(name) {
        Ok(column) if *column.dtype() == DataType::String => {
            Ok(column.str()?.iter().map(|text| text.map(ToOwned::to_owned)).collect())
        }
        _ => Err(no_column(frame, name, "texts")),
    }
}

/// The rows of a report that break rules: one row for each, rule by rule, empty where all are kept. For continuous integration: assert that it is empty,
/// and show it where it is not.
///
/// Columns: `rule` (as text), `tensor` and `scheme` (null where the frame lacks them), `row` (of the report, from 0), `metric` (the rule's column), `comparison`, `bound`
/// (a number, or null of a text), `value` (likewise), and `message`, all of that in a sentence.
///
/// A null or NaN breaks a rule about its column, whatever it is compared with: what is not known is not kept. In a rule's `where` it holds of nothing. A rule
/// that is about no row is kept; [`Rule::rows`] tells.
///
/// ```
/// # use quantlens::{Rule, Scheme, Synthetic, check, report};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096])?;
/// let table = report(&x, &[Scheme::symmetric(8), Scheme::symmetric(4)])?;
/// let rules: [Rule; 2] = ["sqnr_db >= 30".parse()?, r#"sqnr_db >= 30 where scheme == "int8-sym""#.parse()?];
/// let broken = check(&table, &rules)?;
/// assert_eq!(broken.height(), 1);
/// assert_eq!(broken.column("scheme")?.str()?.get(0), Some("int4-sym"));
/// assert!(broken.column("message")?.str()?.get(0).unwrap().starts_with("x under int4-sym: sqnr_db is "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NoColumn`] where a rule is about a column that is not there, or that holds texts where the rule has a number or the reverse.
pub fn check(report: &DataFrame, rules: &[Rule]) -> Result<DataFrame> {
    let rows_of = |name: &str| texts(report, name).unwrap_or_else(|_| vec![None; report.height()]);
    let (tensors, schemes) = (rows_of("tensor"), rows_of("scheme"));
    let mut broken: Vec<Broken> = Vec::new();
    for rule in rules {
        let cells = rule.condition.cells(report)?;
        for row in rule.rows(report)? {
            if rule.condition.holds(&cells, row) {
                continue;
            }
            let (value, shown) = match &cells {
                Cells::Numbers(values) => (values[row], values[row].map(|value| value.to_string())),
                Cells::Texts(values) => (None, values[row].clone()),
            };
            let shown = shown.unwrap_or_else(|| "null".to_owned());
            broken.push(Broken { rule, row, value, shown });
        }
    }
    let rows = broken;
    let columns = columns!(rows,
        "rule": |broken| broken.rule.to_string(),
        "tensor": |broken| tensors[broken.row].as_deref(),
        "scheme": |broken| schemes[broken.row].as_deref(),
        "row": |broken| broken.row as u64,
        "metric": |broken| broken.rule.condition.column.as_str(),
        "comparison": |broken| broken.rule.condition.comparison.to_string(),
        "bound": |broken| match broken.rule.condition.operand {
            Operand::Number(bound) => Some(bound),
            Operand::Text(_) => None,
        },
        "value": |broken| broken.value,
        "message": |broken| broken.message(tensors[broken.row].as_deref(), schemes[broken.row].as_deref()),
    );
    Ok(DataFrame::new(rows.len(), columns)?)
}

struct Broken<'a> {
    rule: &'a Rule,
    row: usize,
    value: Option<f64>,
    shown: String,
}

impl Broken<'_> {
    fn message(&self, tensor: Option<&str>, scheme: Option<&str>) -> String {
        let whose = match (tensor, scheme) {
            (Some(tensor), Some(scheme)) => format!("{tensor} under {scheme}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => format!("row {}", self.row),
        };
        let Condition { column, comparison, operand } = &self.rule.condition;
        format!("{whose}: {column} is {}, not {comparison} {operand}", self.shown)
    }
}

/// What changed from one report to another: rows are matched by tensor and scheme.
///
/// One row for each of `a`, in order, then for each of `b` that `a` lacks. Columns: `tensor`, `scheme`, `is_in` (`both`, `a` or `b`), and for
/// each column of numbers that both have, `name:a`, `name:b` and `name:delta`, b less a: 0 where both are the same, infinite ones too; null where a
/// side lacks the row or the number. Of several rows with the same tensor and scheme the first is matched with the first, the second with the
/// second. Any two tables with columns `tensor` and `scheme` can be compared: [`crate::ledger`], [`crate::frontier`].
///
/// ```
/// # use quantlens::{Scheme, Synthetic, diff, report};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096])?;
/// let before = report(&x, &[Scheme::symmetric(8), Scheme::symmetric(4)])?;
/// let after = report(&x, &[Scheme::symmetric(8), Scheme::symmetric(2)])?;
/// let table = diff(&before, &after)?;
/// assert_eq!(table.column("is_in")?.str()?.iter().collect::<Vec<_>>(), [Some("both"), Some("a"), Some("b")]);
/// assert_eq!(table.column("sqnr_db:delta")?.f64()?.to_vec(), [Some(0.0), None, None]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NoColumn`] unless both have columns `tensor` and `scheme` of texts.
pub fn diff(a: &DataFrame, b: &DataFrame) -> Result<DataFrame> {
    let (of_a, of_b) = (keys(a)?, keys(b)?);
    let places: HashMap<&Key, usize> = of_b.iter().enumerate().map(|(row, key)| (key, row)).collect();
    let mut rows: Vec<(&Key, Option<usize>, Option<usize>)> =
        of_a.iter().enumerate().map(|(row, key)| (key, Some(row), places.get(key).copied())).collect();
    let known: std::collections::HashSet<&Key> = of_a.iter().collect();
    rows.extend(of_b.iter().enumerate().filter(|(_, key)| !known.contains(key)).map(|(row, key)| (key, None, Some(row))));
    let mut columns: Vec<Column> = columns!(rows,
        "tensor": |row| row.0.0.as_deref(),
        "scheme": |row| row.0.1.as_deref(),
        "is_in": |row| match row {
            (_, Some(_), Some(_)) => "both",
            (_, Some(_), None) => "a",
            _ => "b",
        },
    );
    for name in a.get_column_names() {
        let (Ok(of_a), Ok(of_b)) = (numbers(a, name), numbers(b, name)) else { continue };
        let side = |values: &[Option<f64>], row: Option<usize>| row.and_then(|row| values[row]);
        let pairs: Vec<[Option<f64>; 2]> = rows.iter().map(|row| [side(&of_a, row.1), side(&of_b, row.2)]).collect();
        let delta = |pair: &[Option<f64>; 2]| match *pair {
            [Some(a), Some(b)] => Some(if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { b - a }),
            _ => None,
        };
        columns.push(column(&format!("{name}:a"), pairs.iter().map(|pair| pair[0]).collect()));
        columns.push(column(&format!("{name}:b"), pairs.iter().map(|pair| pair[1]).collect()));
        columns.push(column(&format!("{name}:delta"), pairs.iter().map(delta).collect()));
    }
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// A row's tensor, its scheme, and how many such rows come before it.
type Key = (Option<String>, Option<String>, usize);

fn keys(frame: &DataFrame) -> Result<Vec<Key>> {
    let mut counts: HashMap<(Option<String>, Option<String>), usize> = HashMap::new();
    let pairs = texts(frame, "tensor")?.into_iter().zip(texts(frame, "scheme")?);
    Ok(pairs
        .map(|(tensor, scheme)| {
            let count = counts.entry((tensor.clone(), scheme.clone())).or_default();
            *count += 1;
            (tensor, scheme, *count - 1)
        })
        .collect())
}
