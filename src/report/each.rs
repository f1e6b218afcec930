//! What the tables that explain a report have in common: each tensor in turn, under each quantizer.

use std::sync::Arc;

use polars::prelude::{Column, IntoColumn, NamedFrom, Series};

use super::Quantizer;
use crate::error::{Error, Result};
use crate::progress::{Work, is_interrupted};
use crate::source::{Source, TensorInfo};
use crate::tensor::Tensor;

/// A column of this name.
pub(super) fn column<V>(name: &str, values: Vec<V>) -> Column
where
    Series: NamedFrom<Vec<V>, [V]>,
{
    Series::new(name.into(), values).into_column()
}

/// What a column of rows needs: the column's name, and a value a row.
macro_rules! columns {
    ($rows:expr, $($name:literal: $value:expr),+ $(,)?) => {
        vec![$($crate::report::each::column($name, $rows.iter().map($value).collect::<Vec<_>>())),+]
    };
}
pub(super) use columns;

/// A cell of a column: a value, or one that may be missing.
pub(super) trait Cell {
    type Value;

    fn cell(self) -> Option<Self::Value>;
}

impl<T> Cell for Option<T> {
    type Value = T;

    fn cell(self) -> Option<T> {
        self
    }
}

macro_rules! cells {
    ($($type:ty),+) => {
        $(impl Cell for $type {
            type Value = Self;

            fn cell(self) -> Option<Self> {
                Some(self)
            }
        })+
    };
}
cells!(bool, f64, i64, u64, String, &str);

/// Quantizers of any types as one kind, so that what a table does is compiled once, and of this too a notebook cell has only the closure.
pub(super) fn any<Q: Quantizer>(quantizers: &[Q]) -> Vec<&dyn Quantizer> {
    fn collected<'a>(len: usize, at: &dyn Fn(usize) -> &'a dyn Quantizer) -> Vec<&'a dyn Quantizer> {
        (0..len).map(at).collect()
    }
    collected(quantizers.len(), &|index| &quantizers[index])
}

/// What a table is about.
///
/// # Errors
/// [`Error::Nothing`] without tensors or quantizers.
pub(super) fn tensors_of(what: &'static str, source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<Vec<TensorInfo>> {
    let infos = source.infos();
    if infos.is_empty() || quantizers.is_empty() {
        let reason = format!("it needs a tensor and a scheme, and has {} and {}", infos.len(), quantizers.len());
        return Err(Error::Nothing { what, reason });
    }
    Ok(infos)
}

/// A tensor under a quantizer: its rows of a table, or why there are none.
pub(super) struct Pair<R> {
    pub(super) tensor: String,
    pub(super) scheme: String,
    pub(super) rows: Result<Vec<R>, String>,
}

/// Runs a step for each tensor, in order, under each quantizer, in order. One tensor at a time is in memory. Where a step fails, or a tensor cannot be read,
/// the others go on.
///
/// # Errors
/// [`Error::Nothing`] without tensors or quantizers; [`Error::Interrupted`] between two steps; where all steps fail [`Error::At`] of the first.
pub(super) fn each_pair<R>(
    what: &'static str,
    source: &dyn Source,
    quantizers: &[&dyn Quantizer],
    mut step: impl FnMut(&Tensor, &dyn Quantizer) -> Result<Vec<R>>,
) -> Result<Vec<Pair<R>>> {
    let infos = tensors_of(what, source, quantizers)?;
    let mut work = Work::new(what, infos.len() * quantizers.len());
    let mut pairs = Vec::with_capacity(infos.len() * quantizers.len());
    let mut first_error = None;
    for (index, info) in infos.iter().enumerate() {
        let tensor = source.tensor_at(index).map_err(Arc::new);
        for quantizer in quantizers {
            let outcome = one_step(&mut work, || match &tensor {
                Ok(tensor) => Ok(step(tensor, quantizer).map_err(Arc::new)),
                Err(unreadable) => Ok(Err(Arc::clone(unreadable))),
            })?;
            let (tensor, scheme) = (info.name.clone(), quantizer.name());
            let rows = match outcome {
                Ok(rows) => Ok(rows),
                Err(cause) if matches!(*cause, Error::Interrupted { .. }) => return Err(work.interrupted()),
                Err(cause) => {
                    let reason = cause.without_names();
                    first_error.get_or_insert_with(|| Error::of(cause, &tensor, &scheme));
                    Err(reason)
                }
            };
            pairs.push(Pair { tensor, scheme, rows });
        }
    }
    match first_error {
        Some(error) if pairs.iter().all(|pair| pair.rows.is_err()) => Err(error),
        _ => Ok(pairs),
    }
}

/// What each row of pairs is about; of a pair without rows only its names and why.
pub(super) type Rows<'a, R> = Vec<(&'a Pair<R>, Option<&'a R>)>;

pub(super) fn rows<R>(pairs: &[Pair<R>]) -> Rows<'_, R> {
    let mut all = Vec::new();
    for pair in pairs {
        match &pair.rows {
            Ok(rows) => all.extend(rows.iter().map(|row| (pair, Some(row)))),
            Err(_) => all.push((pair, None)),
        }
    }
    all
}

/// The frame of the rows of pairs: `tensor` and `scheme`, what a row says, and `error`, which is null but where a pair failed: there all else is.
macro_rules! frame {
    ($pairs:expr, $($name:literal: $value:expr),+ $(,)?) => {{
        let rows = $crate::report::each::rows($pairs);
        let mut columns = $crate::report::each::columns!(rows,
            "tensor": |(pair, _)| pair.tensor.as_str(),
            "scheme": |(pair, _)| pair.scheme.as_str(),
        );
        $(columns.push($crate::report::each::cells(&rows, $name, $value));)+
        columns.push($crate::report::each::column("error", rows.iter().map(|(pair, _)| pair.rows.as_ref().err().map(String::as_str)).collect()));
        Ok(::polars::prelude::DataFrame::new(rows.len(), columns)?)
    }};
}
pub(super) use frame;

/// A column of what the rows say.
pub(super) fn cells<'a, R, C: Cell>(rows: &Rows<'a, R>, name: &str, value: impl Fn(&'a R) -> C) -> Column
where
    Series: NamedFrom<Vec<Option<C::Value>>, [Option<C::Value>]>,
{
    column(name, rows.iter().map(|(_, row)| row.and_then(|row| value(row).cell())).collect())
}

/// Does one step, unless the work was interrupted.
pub(super) fn one_step<R>(work: &mut Work<'static>, step: impl FnOnce() -> Result<R>) -> Result<R> {
    if is_interrupted() {
        return Err(work.interrupted());
    }
    let result = step()?;
    work.done_one();
    Ok(result)
}

/// Values and what they come back as.
///
/// # Errors
/// As the quantizer; [`Error::Length`] if it returned another number of values.
pub(super) fn values_and_approximation(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<(Vec<f64>, Vec<f64>)> {
    let approximation = quantizer.fake_quantize(tensor)?;
    if approximation.len() != tensor.len() {
        return Err(Error::Length { reference: tensor.len(), approximation: approximation.len() });
    }
    Ok((tensor.to_f64_vec(), approximation.to_f64_vec()))
}

/// Values that are added up in turn; sums of as many are added in order, so that they do not depend on the number of threads.
pub(super) const RUN: usize = 4096;

/// Σ of `term` over the indices below `count`.
pub(super) fn sum(count: usize, term: impl Fn(usize) -> f64 + Sync) -> f64 {
    use rayon::prelude::*;
    let runs: Vec<f64> =
        (0..count.div_ceil(RUN)).into_par_iter().map(|run| (run * RUN..((run + 1) * RUN).min(count)).map(&term).sum()).collect();
    runs.into_iter().sum()
}

/// 10 · log₁₀(signal / noise): ∞ without noise, NaN without signal.
pub(super) fn decibels(signal: f64, noise: f64) -> f64 {
    if signal == 0.0 { f64::NAN } else { 10.0 * (signal / noise).log10() }
}
