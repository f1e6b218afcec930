//! What the tables that explain a report have in common: each tensor in turn, under each quantizer.

use polars::prelude::{Column, IntoColumn, NamedFrom, Series};

use super::Quantizer;
use crate::error::{Error, Result};
use crate::progress::{Work, is_interrupted};
use crate::source::Source;
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

/// Quantizers of any types as one kind, so that what a table does is compiled once.
pub(super) fn any<Q: Quantizer>(quantizers: &[Q]) -> Vec<&dyn Quantizer> {
    quantizers.iter().map(|quantizer| quantizer as &dyn Quantizer).collect()
}

/// Runs a step for each tensor, in order, under each quantizer, in order. One tensor at a time is in memory.
///
/// # Errors
/// [`Error::Nothing`] without tensors or quantizers; [`Error::Interrupted`] between two steps; [`Error::At`] with the names of the first step that fails.
pub(super) fn each_pair(
    what: &'static str,
    source: &dyn Source,
    quantizers: &[&dyn Quantizer],
    mut step: impl FnMut(&Tensor, &dyn Quantizer) -> Result<()>,
) -> Result<()> {
    let tensors = source.infos().len();
    if tensors == 0 || quantizers.is_empty() {
        let reason = format!("it needs a tensor and a scheme, and has {tensors} and {}", quantizers.len());
        return Err(Error::Nothing { what, reason });
    }
    let mut work = Work::new(what, tensors * quantizers.len());
    for index in 0..tensors {
        let tensor = source.tensor_at(index)?;
        for quantizer in quantizers {
            one_step(&mut work, || step(&tensor, quantizer)).map_err(|error| of_row(error, tensor.name(), *quantizer))?;
        }
    }
    Ok(())
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

/// The error of a tensor under a quantizer, with their names.
fn of_row(error: Error, tensor: &str, quantizer: &dyn Quantizer) -> Error {
    match error {
        interrupted @ Error::Interrupted { .. } => interrupted,
        cause => Error::of(std::sync::Arc::new(cause), tensor, &quantizer.name()),
    }
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
