//! `allocate`: a scheme for each tensor under a budget of bits for all.

use polars::prelude::DataFrame;

use super::Quantizer;
use super::each::{Pair, any, columns, decibels, each_pair, sum, values_and_approximation};
use crate::error::{Error, Result};
use crate::source::Source;

/// What [`allocate`] makes small: a sum over the tensors.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Objective {
    /// Σ (x - x̂)² of all elements of all tensors.
    #[default]
    SquaredError,
    /// Σ over the tensors of Σ (x - x̂)² / Σ x²: each counts as much as any other, however large its values and however many. A tensor of zeros
    /// counts nothing.
    RelativeError,
    /// Σ over the tensors of weight · Σ (x - x̂)², one weight for each tensor, finite and at least 0: the mean of a Hessian's diagonal, say, or of squared
    /// activations.
    Weighted(Vec<f64>),
}

/// A scheme for each tensor, such that all together take at most so many bits an element and the error of all is least: one row per tensor, in order.
///
/// Each tensor gets one of the quantizers; which, is the multiple-choice knapsack problem. It is solved exactly: over the tensors in turn, the
/// selections that no other beats in both bits and error are kept, but those of which a Lagrangian bound proves that they
/// cannot become better than what is known already are dropped. Were there ever more than 2²⁰ of them, the best known
/// selection is returned with how far it may be from the best of all: `gap`.
///
/// Columns:
///
/// - `tensor`, `elements`;
/// - `scheme`: the one chosen; `bits_per_element` and `bits` (in all) under it;
/// - `squared_error` and `sqnr_db` of the tensor under it, and `cost`, what it counts in the objective;
/// - `cost_share`: of the sum over the tensors; NaN where that is 0;
/// - `next_scheme`: the quantizer with more bits that saves most cost for each bit more, null where none saves any; `next_bits`, how many more it takes, and
///   `next_saves_per_bit`, how much cost each of them would save. What the next bit buys is the largest of these;
/// - `gap`: (cost of all - its lower bound) / cost of all, the same in every row: 0 says that no selection within the budget costs less (up to
///   rounding, 10⁻¹² of it);
/// - `error`: the first quantizer that the tensor cannot have, and why; null where it can have all. A tensor that can have none has nulls in
///   the other columns, and does not count in the budget.
///
/// ```
/// # use quantlens::{Objective, Scheme, Synthetic, allocate};
/// let quiet = Synthetic::normal(0.0, 0.01).seed(1).tensor::<f32>("quiet", &[64, 64])?;
/// let loud = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("loud", &[64, 64])?;
/// let schemes: Vec<Scheme> = (2..=8).map(|bits| Scheme::symmetric(bits).per_axis(0)).collect();
/// let table = allocate(&[quiet, loud], &schemes, 5.5, Objective::SquaredError)?;
/// let scheme = table.column("scheme")?.str()?;
/// assert_eq!((scheme.get(0), scheme.get(1)), (Some("int2-sym-axis0"), Some("int8-sym-axis0")));
/// assert_eq!(table.column("gap")?.f64()?.get(0), Some(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]; [`Error::Budget`] where even the fewest bits are more; [`Error::Nothing`] unless there is a usable weight for each tensor.
pub fn allocate<Q: Quantizer>(
    source: &(impl Source + ?Sized),
    quantizers: &[Q],
    bits_per_element: f64,
    objective: Objective,
) -> Result<DataFrame> {
    allocate_of(&source, &any(quantizers), bits_per_element, &objective)
}

/// A tensor under a quantizer.
#[derive(Debug, Clone, Copy)]
struct Choice {
    bits: u64,
    squared_error: f64,
    cost: f64,
}

/// A tensor under a quantizer, before it is known what its error counts.
struct Tried {
    signal: f64,
    bits: u64,
    squared_error: f64,
}

struct Choices {
    tensor: String,
    elements: u64,
    signal: f64,
    /// One for each quantizer that it can have, none if it can have none.
    all: Vec<Choice>,
    /// Their names.
    schemes: Vec<String>,
    /// Why it cannot have another.
    error: Option<String>,
}

fn allocate_of(source: &dyn Source, quantizers: &[&dyn Quantizer], budget: f64, objective: &Objective) -> Result<DataFrame> {
    let tensors = source.infos().len();
    if let Objective::Weighted(weights) = objective
        && (weights.len() != tensors || !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0))
    {
        let reason = format!("it needs a finite weight of at least 0 for each of {tensors} tensors, and has {weights:?}");
        return Err(Error::Nothing { what: "allocation", reason });
    }
    let pairs = each_pair("allocation", source, quantizers, |tensor, quantizer| {
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let signal = sum(x.len(), |i| x[i] * x[i]);
        let squared_error = sum(x.len(), |i| (x[i] - y[i]) * (x[i] - y[i]));
        // A whole number, computed as a share.
        let bits = (quantizer.bits_per_element(tensor.shape(), tensor.dtype())? * x.len() as f64).round() as u64;
        Ok(vec![Tried { signal, bits, squared_error }])
    })?;
    let cost = |number: usize, signal: f64, squared_error: f64| match objective {
        Objective::SquaredError => squared_error,
        Objective::RelativeError if signal == 0.0 => 0.0,
        Objective::RelativeError => squared_error / signal,
        Objective::Weighted(weights) => weights[number] * squared_error,
    };
    let choices_of = |(number, pairs): (usize, &[Pair<Tried>])| {
        let info = &source.infos()[number];
        let mut choices = Choices {
            tensor: info.name.clone(),
            elements: info.elements() as u64,
            signal: 0.0,
            all: Vec::new(),
            schemes: Vec::new(),
            error: None,
        };
        for pair in pairs {
            match &pair.rows {
                Ok(rows) => {
                    for &Tried { signal, bits, squared_error } in rows {
                        choices.signal = signal;
                        choices.all.push(Choice { bits, squared_error, cost: cost(number, signal, squared_error) });
                        choices.schemes.push(pair.scheme.clone());
                    }
                }
                Err(reason) => {
                    choices.error.get_or_insert_with(|| format!("{}: {reason}", pair.scheme));
                }
            }
        }
        choices
    };
    let all: Vec<Choices> = pairs.chunks(quantizers.len()).enumerate().map(choices_of).collect();
    let choices: Vec<&Choices> = all.iter().filter(|choices| !choices.all.is_empty()).collect();
    let elements: u64 = choices.iter().map(|choices| choices.elements).sum();
    let fewest: u64 = choices.iter().map(|choices| choices.all.iter().map(|choice| choice.bits).min().unwrap_or(0)).sum();
    let total_bits = budget * elements as f64;
    if total_bits.is_nan() || total_bits < fewest as f64 {
        return Err(Error::Budget { bits_per_element: budget, fewest: fewest as f64 / elements as f64 });
    }
    // Of a budget as 5.1 · elements, which f64 cannot hold, not the last bit.
    let total_bits = (total_bits * (1.0 + f64::EPSILON)).floor() as u64;
    let options: Vec<Vec<Choice>> = choices.iter().map(|choices| choices.all.clone()).collect();
    let Selection { chosen, cost: cost_of_all, gap } = select(&options, total_bits);
    let mut chosen = chosen.into_iter();
    let rows: Vec<(&Choices, Option<usize>)> =
        all.iter().map(|choices| (choices, if choices.all.is_empty() { None } else { chosen.next() })).collect();
    let own = |row: &(&Choices, Option<usize>)| row.1.map(|chosen| row.0.all[chosen]);
    // The choice after the one chosen, and that one.
    let next = |row: &(&Choices, Option<usize>)| {
        let own = row.1?;
        next(&row.0.all, own).map(|next| (next, row.0.all[own], row.0.all[next]))
    };
    let columns = columns!(rows,
        "tensor": |row| row.0.tensor.as_str(),
        "elements": |row| row.0.elements,
        "scheme": |row| row.1.map(|chosen| row.0.schemes[chosen].as_str()),
        "bits_per_element": |row| own(row).map(|own| own.bits as f64 / row.0.elements as f64),
        "bits": |row| own(row).map(|own| own.bits),
        "squared_error": |row| own(row).map(|own| own.squared_error),
        "sqnr_db": |row| own(row).map(|own| decibels(row.0.signal, own.squared_error)),
        "cost": |row| own(row).map(|own| own.cost),
        "cost_share": |row| own(row).map(|own| own.cost / cost_of_all),
        "next_scheme": |row| next(row).map(|(next, ..)| row.0.schemes[next].as_str()),
        "next_bits": |row| next(row).map(|(_, own, next)| next.bits - own.bits),
        "next_saves_per_bit": |row| next(row).map(|(_, own, next)| saved_per_bit(own, next)),
        "gap": |row| own(row).map(|_| gap),
        "error": |row| row.0.error.as_deref(),
    );
    Ok(DataFrame::new(rows.len(), columns)?)
}

fn saved_per_bit(own: Choice, other: Choice) -> f64 {
    (own.cost - other.cost) / (other.bits - own.bits) as f64
}

/// The choice with more bits that saves most for each of them.
fn next(all: &[Choice], own: usize) -> Option<usize> {
    let own = all[own];
    let saves = |choice: &usize| all[*choice].bits > own.bits && all[*choice].cost < own.cost;
    let by_rate = |a: &usize, b: &usize| {
        let rate = |choice: usize| saved_per_bit(own, all[choice]);
        // Of equal ones the first.
        rate(*a).total_cmp(&rate(*b)).then(b.cmp(a))
    };
    (0..all.len()).filter(saves).max_by(by_rate)
}

struct Selection {
    /// The choice of each tensor.
    chosen: Vec<usize>,
    cost: f64,
    gap: f64,
}

/// Selections that are kept at once.
const MOST: usize = 1 << 20;

/// Costs that differ by less, relative to the whole, are equal.
const SAME: f64 = 1e-13;

/// Of the tensors before some, a choice each.
#[derive(Debug, Clone, Copy)]
struct Partial {
    bits: u64,
    cost: f64,
    /// The choice of the last of them, and which selection of those before it goes on.
    choice: u32,
    before: u32,
}

/// The selection of least cost with at most so many bits, which some have.
fn select(options: &[Vec<Choice>], total_bits: u64) -> Selection {
    let (multiplier, greedy, lower) = relaxed(options, total_bits);
    let mut best = (cost_of(options, &greedy), greedy);
    let minimum = |rest: &[Choice], value: &dyn Fn(&Choice) -> f64| rest.iter().map(value).fold(f64::INFINITY, f64::min);
    // What the tensors from each on add to bits, and to cost + multiplier · bits, at least.
    let (mut bits_after, mut bound_after) = (vec![0_u64; options.len() + 1], vec![0.0; options.len() + 1]);
    for tensor in (0..options.len()).rev() {
        bits_after[tensor] = bits_after[tensor + 1] + options[tensor].iter().map(|choice| choice.bits).min().unwrap_or(0);
        bound_after[tensor] =
            bound_after[tensor + 1] + minimum(&options[tensor], &|choice: &Choice| choice.cost + multiplier * choice.bits as f64);
    }
    let mut layers: Vec<Vec<Partial>> = vec![vec![Partial { bits: 0, cost: 0.0, choice: 0, before: 0 }]];
    let mut is_exact = true;
    for (tensor, choices) in options.iter().enumerate() {
        let mut partials = Vec::new();
        for (before, partial) in layers[tensor].iter().enumerate() {
            for (choice, own) in choices.iter().enumerate() {
                let (bits, cost) = (partial.bits + own.bits, partial.cost + own.cost);
                let at_least = cost + multiplier * bits as f64 + bound_after[tensor + 1] - multiplier * total_bits as f64;
                if bits + bits_after[tensor + 1] <= total_bits && at_least <= best.0 + SAME * best.0 {
                    partials.push(Partial { bits, cost, choice: choice as u32, before: before as u32 });
                }
            }
        }
        // Of those with as many bits or more, only one that costs less is of use.
        partials.sort_by(|a, b| a.bits.cmp(&b.bits).then(a.cost.total_cmp(&b.cost)));
        let mut least = f64::INFINITY;
        partials.retain(|partial| {
            let is_of_use = partial.cost < least;
            least = least.min(partial.cost);
            is_of_use
        });
        if partials.len() > MOST {
            is_exact = false;
            break;
        }
        layers.push(partials);
    }
    if is_exact {
        // The last costs least.
        if let Some((mut at, last)) = layers.last().and_then(|layer| Some((layer.len().checked_sub(1)?, *layer.last()?)))
            && last.cost < best.0
        {
            let mut chosen = vec![0; options.len()];
            for tensor in (0..options.len()).rev() {
                let partial = layers[tensor + 1][at];
                (chosen[tensor], at) = (partial.choice as usize, partial.before as usize);
            }
            best = (last.cost, chosen);
        }
    }
    let gap = if is_exact || best.0 == 0.0 { 0.0 } else { ((best.0 - lower) / best.0).max(0.0) };
    Selection { cost: best.0, chosen: best.1, gap }
}

fn cost_of(options: &[Vec<Choice>], chosen: &[usize]) -> f64 {
    options.iter().zip(chosen).map(|(choices, &choice)| choices[choice].cost).sum()
}

/// The problem with fractions of choices allowed: the cost that a bit is worth at its solution, a selection within the budget that is next to it, and
/// its cost, which is a lower bound.
fn relaxed(options: &[Vec<Choice>], total_bits: u64) -> (f64, Vec<usize>, f64) {
    // From the fewest bits, each tensor goes along the lower convex hull of its choices; the steps that save most a bit come first.
    let mut steps: Vec<(f64, usize, usize, usize)> = Vec::new();
    let mut chosen = Vec::with_capacity(options.len());
    for (tensor, choices) in options.iter().enumerate() {
        let by_bits = |a: &usize, b: &usize| {
            let (a, b) = (&choices[*a], &choices[*b]);
            a.bits.cmp(&b.bits).then(a.cost.total_cmp(&b.cost))
        };
        let mut own = (0..choices.len()).min_by(by_bits).unwrap_or(0);
        chosen.push(own);
        let mut place = 0;
        while let Some(next) = next(choices, own) {
            steps.push((saved_per_bit(choices[own], choices[next]), tensor, place, next));
            (own, place) = (next, place + 1);
        }
    }
    // Of equal rates those of a tensor stay in their order.
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut left = total_bits - options.iter().zip(&chosen).map(|(choices, &choice)| choices[choice].bits).sum::<u64>();
    let mut cost = cost_of(options, &chosen);
    let (mut multiplier, mut lower) = (0.0, None);
    let mut stopped = vec![false; options.len()];
    for (rate, tensor, _, next) in steps {
        if stopped[tensor] {
            continue;
        }
        let (own, other) = (options[tensor][chosen[tensor]], options[tensor][next]);
        if other.bits - own.bits <= left {
            left -= other.bits - own.bits;
            chosen[tensor] = next;
            cost += other.cost - own.cost;
        } else {
            // The first that does not fit is where a fraction of it would be taken.
            if lower.is_none() {
                multiplier = rate;
                lower = Some(cost - rate * left as f64);
            }
            stopped[tensor] = true;
        }
    }
    let lower = lower.unwrap_or(cost);
    (multiplier, chosen, lower)
}

#[cfg(test)]
mod tests {
    use super::{Choice, cost_of, select};

    /// Every selection in turn.
    fn exhaustive(options: &[Vec<Choice>], total_bits: u64) -> f64 {
        let count: usize = options.iter().map(Vec::len).product();
        let of = |mut number: usize| {
            let (mut bits, mut cost) = (0, 0.0);
            for choices in options {
                let choice = choices[number % choices.len()];
                number /= choices.len();
                bits += choice.bits;
                cost += choice.cost;
            }
            (bits, cost)
        };
        (0..count).map(of).filter(|(bits, _)| *bits <= total_bits).map(|(_, cost)| cost).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn no_selection_costs_less() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for case in 0..400 {
            let tensors = 1 + random(6) as usize;
            let options: Vec<Vec<Choice>> = (0..tensors)
                .map(|_| {
                    let choice = |_| {
                        let cost = random(1000) as f64 / 8.0;
                        Choice { bits: 1 + random(40), squared_error: cost, cost }
                    };
                    (0..1 + case % 5).map(choice).collect()
                })
                .collect();
            let fewest: u64 = options.iter().map(|choices| choices.iter().map(|choice| choice.bits).min().unwrap()).sum();
            for total_bits in [fewest, fewest + random(60), fewest + random(200)] {
                let selection = select(&options, total_bits);
                let bits: u64 = options.iter().zip(&selection.chosen).map(|(choices, &choice)| choices[choice].bits).sum();
                assert!(bits <= total_bits);
                assert_eq!(selection.cost, cost_of(&options, &selection.chosen));
                assert_eq!((selection.cost, selection.gap), (exhaustive(&options, total_bits), 0.0), "case {case}");
            }
        }
    }
}
