//! `uncertainty`: how far a ranking of schemes can be trusted.

use polars::prelude::DataFrame;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Quantizer;
use super::each::{Pair, any, decibels, each_pair, frame, values_and_approximation};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::tensor::Tensor;

/// How [`uncertainty`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How often the elements are drawn anew; 1000 gives an end of an interval to some 2% of its width.
    pub resamples: usize,
    /// The share of the resamples that an interval holds, above 0 and below 1.
    pub confidence: f64,
    /// Of the random numbers: the same seed, the same table.
    pub seed: u64,
}

/// 2000 resamples, 95%, seed 0.
impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 2000, confidence: 0.95, seed: 0 }
    }
}

/// How far can the ranking of schemes on a tensor be trusted, if the tensor is a sample of all the values it could have had? One row per tensor and scheme, in
/// order of rank.
///
/// The bootstrap (Efron 1979): n elements are drawn from the tensor's n with replacement, many times over, and each time every scheme has its SQNR on
/// the elements drawn. All schemes are compared on the same draws. The scales are those of the tensor itself throughout: what is asked is whether
/// other values under these scales would rank the schemes the same. (Calibrating each draw anew would tell little more: a draw has no value
/// beyond those of the tensor, so its range can only shrink.) Of more than 4096 elements, runs of ⌈n/4096⌉ neighbours are drawn together,
/// which also keeps what neighbours have in common.
///
/// Columns:
///
/// - `tensor`, `scheme`, `rank`: 1 for the largest SQNR; of equal ones the scheme that stands first;
/// - `sqnr_db`: over the tensor itself, as in a report, and `low_db` and `high_db`: the percentiles (1 - `confidence`)/2 and (1 + `confidence`)/2 of
///   the draws, and `std_error_db`, their standard deviation (NaN if one of them is infinite);
/// - `probability_best`: the share of the draws in which no scheme has a larger SQNR and none before it in rank as large a one;
/// - `difference_db`, with `difference_low_db` and `difference_high_db`: by how much it is better than the next in rank, and the interval of that. One
///   that contains 0 says that these two cannot be told apart. Null of the last;
/// - `probability_above_next`: the share of the draws in which it is better than the next or as good. Null of the last;
/// - `probability_of_ranking`: the share of the draws in which every scheme is better than the next or as good: that of the whole ranking, the same
///   in each row of a tensor.
///
/// Draws in which all values are 0 have no SQNR and are left out; of a tensor of zeros all is NaN.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Bootstrap, Scheme, Synthetic, uncertainty};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f64>("x", &[500])?;
/// let table = uncertainty(&x, &[Scheme::symmetric(4), Scheme::symmetric(8)], Bootstrap::default())?;
/// assert_eq!(table.column("scheme")?.str()?.get(0), Some("int8-sym"));
/// assert_eq!(table.column("probability_of_ranking")?.f64()?.get(0), Some(1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]; [`Error::Nothing`] without resamples, or for a confidence that is not between 0 and 1.
pub fn uncertainty<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q], bootstrap: Bootstrap) -> Result<DataFrame> {
    uncertainty_of(&source, &any(quantizers), bootstrap)
}

/// As many units as are drawn.
const UNITS: usize = 4096;

/// Of each unit the energy of its values, and of the errors under a scheme.
struct Units {
    signal: Vec<f64>,
    noise: Vec<f64>,
}

struct Row {
    rank: u64,
    sqnr_db: f64,
    interval: (f64, f64),
    std_error_db: f64,
    probability_best: f64,
    next: Option<Next>,
    probability_of_ranking: f64,
}

#[derive(Clone, Copy)]
struct Next {
    difference_db: f64,
    interval: (f64, f64),
    probability_above: f64,
}

fn uncertainty_of(source: &dyn Source, quantizers: &[&dyn Quantizer], bootstrap: Bootstrap) -> Result<DataFrame> {
    let Bootstrap { resamples, confidence, .. } = bootstrap;
    if resamples == 0 || !(confidence > 0.0 && confidence < 1.0) {
        let reason = format!(
            "it needs a resample and a confidence above 0 and below 1, such as 0.95, and has {resamples} and {confidence}"
        );
        return Err(Error::Nothing { what: "uncertainty", reason });
    }
    let units = each_pair("uncertainty", source, quantizers, |tensor, quantizer| Ok(vec![Units::new(tensor, quantizer)?]))?;
    let pairs: Vec<Pair<Row>> = units.chunks(quantizers.len()).flat_map(|of_tensor| ranking(of_tensor, bootstrap)).collect();
    let of_next = |value: fn(Next) -> f64| move |row: &Row| row.next.map(value);
    frame!(&pairs,
        "rank": |row| row.rank,
        "sqnr_db": |row| row.sqnr_db,
        "low_db": |row| row.interval.0,
        "high_db": |row| row.interval.1,
        "std_error_db": |row| row.std_error_db,
        "probability_best": |row| row.probability_best,
        "difference_db": of_next(|next| next.difference_db),
        "difference_low_db": of_next(|next| next.interval.0),
        "difference_high_db": of_next(|next| next.interval.1),
        "probability_above_next": of_next(|next| next.probability_above),
        "probability_of_ranking": |row| row.probability_of_ranking,
    )
}

impl Units {
    fn new(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<Self> {
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let length = x.len().div_ceil(UNITS);
        let error = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
        Ok(Self {
            signal: x.chunks(length).map(|x| x.iter().map(|x| x * x).sum()).collect(),
            noise: x.chunks(length).zip(y.chunks(length)).map(error).collect(),
        })
    }

    /// The SQNR over so many of each unit; none without signal.
    fn sqnr_db(&self, counts: &[u32]) -> Option<f64> {
        let total = |values: &[f64]| values.iter().zip(counts).map(|(value, count)| value * f64::from(*count)).sum::<f64>();
        let signal = total(&self.signal);
        (signal > 0.0).then(|| decibels(signal, total(&self.noise)))
    }
}

/// The rows of a tensor: those that can be ranked by rank, then the others.
fn ranking(pairs: &[Pair<Units>], bootstrap: Bootstrap) -> Vec<Pair<Row>> {
    let ranked: Vec<(&str, &Units)> =
        pairs.iter().flat_map(|pair| pair.rows.iter().flatten().map(|units| (pair.scheme.as_str(), units))).collect();
    let failed = pairs.iter().filter_map(|pair| {
        let error = pair.rows.as_ref().err()?;
        Some(Pair { tensor: pair.tensor.clone(), scheme: pair.scheme.clone(), rows: Err(error.clone()) })
    });
    let count = ranked.first().map_or(0, |(_, units)| units.signal.len());
    let sqnr_db = |counts: &[u32]| ranked.iter().map(|(_, units)| units.sqnr_db(counts)).collect::<Option<Vec<f64>>>();
    let itself = sqnr_db(&vec![1; count]).unwrap_or_else(|| vec![f64::NAN; ranked.len()]);
    let mut order: Vec<usize> = (0..ranked.len()).collect();
    order.sort_by(|&a, &b| itself[b].total_cmp(&itself[a]).then(a.cmp(&b)));
    let draw = |resample: usize| {
        // A stream of its own, so that it is the same whichever thread draws.
        let mut random = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        random.set_stream(resample as u64);
        let mut counts = vec![0_u32; count];
        (0..count).for_each(|_| counts[random.random_range(0..count)] += 1);
        sqnr_db(&counts)
    };
    let draws: Vec<Option<Vec<f64>>> = (0..bootstrap.resamples).into_par_iter().map(draw).collect();
    let draws: Vec<Vec<f64>> = draws.into_iter().flatten().collect();
    let share = |holds: &dyn Fn(&[f64]) -> bool| {
        draws.iter().filter(|draw| holds(draw)).count() as f64 / if draws.is_empty() { f64::NAN } else { draws.len() as f64 }
    };
    let is_ranked = |draw: &[f64]| order.windows(2).all(|pair| draw[pair[0]] >= draw[pair[1]]);
    let probability_of_ranking = share(&is_ranked);
    let row = |(place, &scheme): (usize, &usize)| {
        let values: Vec<f64> = draws.iter().map(|draw| draw[scheme]).collect();
        let is_best = |draw: &[f64]| {
            order
                .iter()
                .enumerate()
                .all(|(other_place, &other)| draw[scheme] > draw[other] || (draw[scheme] == draw[other] && other_place >= place))
        };
        let next = order.get(place + 1).map(|&next| Next {
            difference_db: difference(itself[scheme], itself[next]),
            interval: interval(draws.iter().map(|draw| difference(draw[scheme], draw[next])).collect(), bootstrap.confidence),
            probability_above: share(&|draw| draw[scheme] >= draw[next]),
        });
        let row = Row {
            rank: place as u64 + 1,
            sqnr_db: itself[scheme],
            std_error_db: deviation(&values),
            interval: interval(values, bootstrap.confidence),
            probability_best: share(&is_best),
            next,
            probability_of_ranking,
        };
        let (name, _) = ranked[scheme];
        Pair { tensor: pairs[scheme].tensor.clone(), scheme: name.to_owned(), rows: Ok(vec![row]) }
    };
    order.iter().enumerate().map(row).chain(failed).collect()
}

/// a - b, 0 of two infinities.
fn difference(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { a - b }
}

/// n - 1 in the denominator.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// The percentiles that hold this share between them, each the value of the nearest rank: so that infinities stay what they are.
fn interval(mut values: Vec<f64>, confidence: f64) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return (f64::NAN, f64::NAN) };
    let at = |share: f64| values[(share * last as f64).round() as usize];
    (at((1.0 - confidence) / 2.0), at((1.0 + confidence) / 2.0))
}
