//! `blame`, `lorenz` and `concentration`: the few elements and parts that carry most of the error.

use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::Quantizer;
use super::channels::parts;
use super::each::{any, each_pair, frame, sum, values_and_approximation};
use crate::error::{Error, Result};
use crate::granularity::{Granularity, Layout};
use crate::source::Source;

/// The elements with the largest errors: so many rows for each tensor and scheme, the largest squared error first, of equal ones the first in the
/// tensor.
///
/// Columns: `tensor`, `scheme`, `rank` (from 1), `index` (row-major, from 0), `value`, `approximation` (what it comes back as) and `quantization_error` (value less
/// approximation), all in units of the data, `error_share` (its square over Σ (x - x̂)², NaN where that is 0) and `cumulative_share` (that of
/// this element and those above). A tensor with fewer elements has as many rows as it has elements.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Scheme, Tensor, blame};
/// let mut values: Vec<f64> = (0..1000).map(|i| f64::from(i % 10) / 10.0).collect();
/// values[123] = 50.0;
/// let x = Tensor::from_vec("x", values)?;
/// let table = blame(&x, &[Scheme::asymmetric(8).percentile(99.9)], 3)?;
/// // Clipping it is nearly all of the error.
/// assert_eq!(table.column("index")?.u64()?.get(0), Some(123));
/// assert!(table.column("error_share")?.f64()?.get(0) > Some(0.99));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`].
pub fn blame<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q], most: usize) -> Result<DataFrame> {
    blame_of(&source, &any(quantizers), most)
}

struct Blamed {
    rank: u64,
    index: u64,
    value: f64,
    approximation: f64,
    share: f64,
    cumulative: f64,
}

fn blame_of(source: &dyn Source, quantizers: &[&dyn Quantizer], most: usize) -> Result<DataFrame> {
    let pairs = each_pair("blame", source, quantizers, |tensor, quantizer| {
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let squared = |i: usize| (x[i] - y[i]) * (x[i] - y[i]);
        let total = sum(x.len(), squared);
        let mut indices: Vec<usize> = (0..x.len()).collect();
        let order = |a: &usize, b: &usize| squared(*b).total_cmp(&squared(*a)).then(a.cmp(b));
        if most < indices.len() {
            indices.select_nth_unstable_by(most, order);
            indices.truncate(most);
        }
        indices.sort_unstable_by(order);
        let mut carried = 0.0;
        let blamed = |(rank, index): (usize, usize)| {
            carried += squared(index);
            Blamed {
                rank: rank as u64 + 1,
                index: index as u64,
                value: x[index],
                approximation: y[index],
                share: squared(index) / total,
                cumulative: carried / total,
            }
        };
        Ok(indices.into_iter().enumerate().map(blamed).collect())
    })?;
    frame!(&pairs,
        "rank": |row| row.rank,
        "index": |row| row.index,
        "value": |row| row.value,
        "approximation": |row| row.approximation,
        "quantization_error": |row| row.value - row.approximation,
        "error_share": |row| row.share,
        "cumulative_share": |row| row.cumulative,
    )
}

/// The squared errors of the units that a granularity makes, falling.
fn falling(x: &[f64], y: &[f64], granularity: Granularity, shape: &[usize]) -> Result<Vec<f64>> {
    let layout = Layout::new(granularity, shape)?;
    let mut errors: Vec<f64> = if layout.blocks() == x.len() {
        x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).collect()
    } else {
        parts(x, y, &layout).into_iter().map(|part| part.squared_error).collect()
    };
    errors.par_sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(errors)
}

/// How unevenly the error is spread over elements, channels or groups: one row per tensor, scheme and kind of unit. The units are what granularities
/// make; `PerGroup(1)` are the elements.
///
/// Columns:
///
/// - `tensor`, `scheme`, `units` (the granularity's name), `count` (of units);
/// - `gini`: Gini's coefficient of the units' squared errors: twice the area between the Lorenz curve and the diagonal. 0 where all have the same, up to
///   1 - 1/count where one has all. Over elements, errors that are uniform between ±s/2, as the textbook has them, have 1/2. NaN where there
///   is no error;
/// - `top_percent_share`: the share of the squared error that the one percent of the units with the most carry (⌈count / 100⌉ of them);
/// - `units_for_half`: the fewest units that carry half of the squared error together, and `units_for_half_share`, this over `count`.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Granularity, Scheme, Synthetic, concentration};
/// let x = Synthetic::uniform(-1.0, 1.0).seed(1).tensor::<f32>("x", &[64, 256])?;
/// let table = concentration(&x, &[Scheme::symmetric(8)], &[Granularity::PerGroup(1), Granularity::PerAxis(0)])?;
/// let gini = table.column("gini")?.f64()?;
/// assert!((gini.get(0).unwrap() - 0.5).abs() < 0.01);
/// assert!(gini.get(1).unwrap() < 0.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]; [`Error::Nothing`] without units. Where a tensor has no such units, its row says so.
pub fn concentration<Q: Quantizer>(
    source: &(impl Source + ?Sized),
    quantizers: &[Q],
    units: &[Granularity],
) -> Result<DataFrame> {
    concentration_of(&source, &any(quantizers), units)
}

struct Concentration {
    units: String,
    count: u64,
    gini: f64,
    top_percent_share: f64,
    units_for_half: u64,
}

fn concentration_of(source: &dyn Source, quantizers: &[&dyn Quantizer], units: &[Granularity]) -> Result<DataFrame> {
    if units.is_empty() {
        return Err(Error::Nothing { what: "concentration", reason: "it needs at least one kind of units".to_owned() });
    }
    let pairs = each_pair("concentration", source, quantizers, |tensor, quantizer| {
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let of_units = |&granularity: &Granularity| {
            let falling = falling(&x, &y, granularity, tensor.shape())?;
            let count = falling.len();
            let total: f64 = falling.iter().sum();
            let top = falling.iter().take(count.div_ceil(100)).sum::<f64>();
            let mut carried = 0.0;
            let reaches_half = |error: &f64| {
                carried += error;
                carried >= total / 2.0
            };
            Ok(Concentration {
                units: granularity.to_string(),
                count: count as u64,
                gini: gini(&falling),
                top_percent_share: top / total,
                units_for_half: falling.iter().position(reaches_half).map_or(0, |position| position as u64 + 1),
            })
        };
        units.iter().map(of_units).collect()
    })?;
    frame!(&pairs,
        "units": |row| row.units.as_str(),
        "count": |row| row.count,
        "gini": |row| row.gini,
        "top_percent_share": |row| row.top_percent_share,
        "units_for_half": |row| row.units_for_half,
        "units_for_half_share": |row| row.units_for_half as f64 / row.count as f64,
    )
}

/// Σ (n - 1 - 2i)·eᵢ / (n · Σ e) of falling errors, i from 0.
fn gini(falling: &[f64]) -> f64 {
    let n = falling.len() as f64;
    let total: f64 = falling.iter().sum();
    let weighted: f64 = falling.iter().enumerate().map(|(i, error)| (n - 1.0 - 2.0 * i as f64) * error).sum();
    weighted / (n * total)
}

/// The Lorenz curve of the error, from the worst unit on: which share of it do the so-many worst units carry? For each tensor and scheme a row for
/// each of `points` + 1 evenly spaced shares of the units, 0 and 1 among them; the units as for [`concentration`].
///
/// Columns: `tensor`, `scheme`, `units`, `unit_share` and `error_share`, both 0 to 1, between whole units interpolated linearly; `error_share` is NaN where
/// there is no error. (Economists begin with the poorest; the area between curve and diagonal is the same.)
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Granularity, Scheme, Synthetic, lorenz};
/// let x = Synthetic::uniform(-1.0, 1.0).seed(1).tensor::<f32>("x", &[1 << 14])?;
/// let table = lorenz(&x, &[Scheme::symmetric(8)], Granularity::PerGroup(1), 10)?;
/// // Of errors that are uniform, the worst half carries 1 - (1/2)³ of the squares.
/// let share = table.column("error_share")?.f64()?.get(5).unwrap();
/// assert!((share - 0.875).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`concentration`]; [`Error::Nothing`] for no points.
pub fn lorenz<Q: Quantizer>(
    source: &(impl Source + ?Sized),
    quantizers: &[Q],
    units: Granularity,
    points: usize,
) -> Result<DataFrame> {
    lorenz_of(&source, &any(quantizers), units, points)
}

fn lorenz_of(source: &dyn Source, quantizers: &[&dyn Quantizer], units: Granularity, points: usize) -> Result<DataFrame> {
    if points == 0 {
        return Err(Error::Nothing { what: "Lorenz curve", reason: "it needs at least one point".to_owned() });
    }
    let pairs = each_pair("Lorenz curve", source, quantizers, |tensor, quantizer| {
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let falling = falling(&x, &y, units, tensor.shape())?;
        let mut carried = vec![0.0];
        carried.extend(falling.iter().scan(0.0, |carried, error| {
            *carried += error;
            Some(*carried)
        }));
        let total = carried[falling.len()];
        let at = |point: usize| {
            let unit_share = point as f64 / points as f64;
            let position = unit_share * falling.len() as f64;
            let (before, rest) = (position.floor() as usize, position.fract());
            let next = carried.get(before + 1).copied().unwrap_or(total);
            (unit_share, (carried[before] + rest * (next - carried[before])) / total)
        };
        Ok((0..=points).map(at).collect())
    })?;
    let units = units.to_string();
    frame!(&pairs,
        "units": |_| units.as_str(),
        "unit_share": |(unit_share, _)| *unit_share,
        "error_share": |(_, error_share)| *error_share,
    )
}
