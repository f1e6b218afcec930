//! `what_if`: what would be without the few elements and parts that stand out.

use std::fmt;

use polars::prelude::DataFrame;

use super::Quantizer;
use super::channels::parts;
use super::each::{any, decibels, each_pair, frame, sum, values_and_approximation};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::Minifloat;
use crate::granularity::{Granularity, Layout};
use crate::scheme::Scheme;
use crate::source::Source;
use crate::tensor::Tensor;

/// What is done about the elements that stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    None,
    Clipped,
    SplitOff,
    InF16,
}

impl Remedy {
    const ALL: [Self; 4] = [Self::None, Self::Clipped, Self::SplitOff, Self::InF16];

    /// Bits that are stored of each such element in addition.
    fn bits(self, dtype: Dtype) -> u32 {
        match self {
            Self::None | Self::Clipped => 0,
            Self::SplitOff => dtype.bits(),
            Self::InF16 => 16,
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Clipped => "clipped",
            Self::SplitOff => "split_off",
            Self::InF16 => "in_f16",
        })
    }
}

/// The counterfactual: if a few elements, or a few channels or groups, were clipped, split off or kept in f16, the SQNR would be this. Four rows for each
/// tensor and scheme about elements, and four about parts where a tensor has several of them.
///
/// `share`, between 0 and 1, says how many: ⌈share · count⌉. Of the elements they are those of the largest magnitude in the tensor, for it is those
/// that widen a range, whatever their own errors are; of the parts (channels, groups) those with the most squared error under the scheme. Whatever is done to
/// them, the others are quantized anew without them: in what is quantized each has moved to the nearest value within the range of the others.
///
/// Columns:
///
/// - `tensor`, `scheme`;
/// - `what`: `elements`, or the name of the parts' granularity; `count`: how many of them;
/// - `remedy`: `none` (the scheme as it is), `clipped` (they come back as what they moved to), `split_off` (they are kept in the type of the
///   data, as SpQR, SqueezeLLM and LLM.int8() do), `in_f16` (they are kept in 16 bits, saturating at 65504);
/// - `elements`: how many elements that is;
/// - `sqnr_db` of all elements against the original values, and `gain_db`, its difference from `none`. Where both are ∞ that is 0;
/// - `bits_per_element`: with what is kept, in addition to the codes, and 32 bits for the place of each element or part that is kept.
///
/// Sources: Dettmers et al. 2023, "SpQR", <https://arxiv.org/abs/2306.03078>; Kim et al. 2023, "SqueezeLLM", <https://arxiv.org/abs/2306.07629>;
/// Dettmers et al. 2022, "LLM.int8()", <https://arxiv.org/abs/2208.07339>.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Granularity, Scheme, Synthetic, what_if};
/// let x = Synthetic::normal(0.0, 1.0).outliers(0.001, 30.0).seed(2).tensor::<f32>("x", &[64, 256])?;
/// let table = what_if(&x, &[Scheme::symmetric(4)], 0.002, Granularity::PerAxis(0))?;
/// let remedy = table.column("remedy")?.str()?;
/// let gain_db = table.column("gain_db")?.f64()?;
/// assert_eq!(remedy.get(2), Some("split_off"));
/// assert!(gain_db.get(2) > Some(15.0)); // the outliers owned the range
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]; [`Error::Nothing`] unless `share` is above 0 and below 1. Where a tensor has no such parts, its row says so.
pub fn what_if<Q: Quantizer>(
    source: &(impl Source + ?Sized),
    quantizers: &[Q],
    share: f64,
    parts: Granularity,
) -> Result<DataFrame> {
    what_if_of(&source, &any(quantizers), share, parts)
}

struct WhatIf {
    what: String,
    count: u64,
    remedy: Remedy,
    elements: u64,
    sqnr_db: f64,
    gain_db: f64,
    bits_per_element: f64,
}

fn what_if_of(source: &dyn Source, quantizers: &[&dyn Quantizer], share: f64, granularity: Granularity) -> Result<DataFrame> {
    if !(share > 0.0 && share < 1.0) {
        let reason = format!("it needs a share of elements above 0 and below 1, such as 0.001, and has {share}");
        return Err(Error::Nothing { what: "what if", reason });
    }
    let pairs = each_pair("what if", source, quantizers, |tensor, quantizer| {
        let layout = Layout::new(granularity, tensor.shape())?;
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let few = |count: usize| ((share * count as f64).ceil() as usize).clamp(1, count);
        let (mut sets, mut rows) = (Vec::new(), Vec::new());
        if few(x.len()) < x.len() {
            let mut indices: Vec<usize> = (0..x.len()).collect();
            let count = few(x.len());
            let order = |a: &usize, b: &usize| x[*b].abs().total_cmp(&x[*a].abs()).then(a.cmp(b));
            indices.select_nth_unstable_by(count, order);
            indices.truncate(count);
            sets.push(("elements".to_owned(), count, indices));
        }
        if few(layout.blocks()) < layout.blocks() {
            let mut worst: Vec<(f64, usize)> =
                parts(&x, &y, &layout).iter().enumerate().map(|(part, sums)| (sums.squared_error, part)).collect();
            worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let count = few(layout.blocks());
            let indices = worst[..count].iter().flat_map(|(_, part)| layout.runs_of(*part).flatten()).collect();
            sets.push((granularity.to_string(), count, indices));
        }
        let bits_per_element = quantizer.bits_per_element(tensor.shape(), tensor.dtype())?;
        for (what, count, indices) in sets {
            let noises = remedied(tensor, quantizer, &x, &y, &indices)?;
            let signal = sum(x.len(), |i| x[i] * x[i]);
            let as_it_is = decibels(signal, noises[0]);
            for (remedy, noise) in Remedy::ALL.into_iter().zip(noises) {
                let bits = match remedy.bits(tensor.dtype()) {
                    0 => 0,
                    bits => indices.len() as u64 * u64::from(bits) + 32 * count as u64,
                };
                let sqnr_db = decibels(signal, noise);
                rows.push(WhatIf {
                    what: what.clone(),
                    count: count as u64,
                    remedy,
                    elements: indices.len() as u64,
                    sqnr_db,
                    gain_db: if sqnr_db == as_it_is { 0.0 } else { sqnr_db - as_it_is },
                    bits_per_element: bits_per_element + bits as f64 / x.len() as f64,
                });
            }
        }
        Ok(rows)
    })?;
    frame!(&pairs,
        "what": |row| row.what.as_str(),
        "count": |row| row.count,
        "remedy": |row| row.remedy.to_string(),
        "elements": |row| row.elements,
        "sqnr_db": |row| row.sqnr_db,
        "gain_db": |row| row.gain_db,
        "bits_per_element": |row| row.bits_per_element,
    )
}

/// Σ (x - x̂)² under each remedy for these elements.
fn remedied(
    tensor: &Tensor,
    quantizer: &dyn Quantizer,
    x: &[f64],
    y: &[f64],
    indices: &[usize],
) -> Result<[f64; Remedy::ALL.len()]> {
    let mut is_kept = vec![false; x.len()];
    indices.iter().for_each(|&index| is_kept[index] = true);
    let others = || x.iter().zip(&is_kept).filter(|(_, is_kept)| !**is_kept).map(|(x, _)| *x);
    let (low, high) = (others().fold(f64::INFINITY, f64::min), others().fold(f64::NEG_INFINITY, f64::max));
    let moved: Vec<f64> = x.iter().zip(&is_kept).map(|(x, is_kept)| if *is_kept { x.clamp(low, high) } else { *x }).collect();
    let (name, shape) = (tensor.name(), tensor.shape());
    let moved = match tensor.dtype() {
        // Every number is one of the tensor's.
        Dtype::F32 => Tensor::new(name, shape, moved.into_iter().map(|x| x as f32).collect())?,
        Dtype::F64 => Tensor::new(name, shape, moved)?,
    };
    let (_, clipped) = values_and_approximation(&moved, quantizer)?;
    let in_f16 = Scheme::cast(Minifloat::F16).fake_quantize(tensor)?.to_f64_vec();
    let squared = |i: usize, y: f64| (x[i] - y) * (x[i] - y);
    Ok(Remedy::ALL.map(|remedy| {
        sum(x.len(), |i| match remedy {
            Remedy::None => squared(i, y[i]),
            Remedy::SplitOff if is_kept[i] => 0.0,
            Remedy::InF16 if is_kept[i] => squared(i, in_f16[i]),
            _ => squared(i, clipped[i]),
        })
    }))
}
