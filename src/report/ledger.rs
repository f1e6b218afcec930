//! `ledger`: the squared error, split into what caused it.

use std::ops::Range;

use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::Quantizer;
use super::each::{RUN, any, decibels, each_pair, frame, sum, values_and_approximation};
use crate::codec::{Codec, Shared};
use crate::convention::Convention;
use crate::error::Result;
use crate::format::Format;
use crate::qparams::{Ideal, QParams};
use crate::quantize::fake_quantize_with;
use crate::scheme::{Mapping, Overflow, Scheme};
use crate::source::Source;
use crate::tensor::Tensor;

/// Where the squared error comes from: one row per tensor and scheme, whose parts add up to the whole.
///
/// A scheme is compared with what it would be if it were freer. The first of these quantizers only rounds, to a grid laid over exactly the values' own
/// range; each next one gives up one freedom, in the order in which quantizers give them up; the last is the scheme itself. Whoever has a freedom
/// need not use it: block by block, each takes its own grid or that of a later one, whichever serves the block best. So a part is what giving up one
/// freedom costs, what the next step adds to Σ (x - x̂)², and not below 0. Every quantizer of the chain is computed in f64, but the last.
///
/// | step | the grid it rounds to | part |
/// |--|--|--|
/// | 1 | as many codes as the scheme has, evenly from the smallest to the largest value that calibration keeps of the block | `rounding`, `clipping` |
/// | 2 | the same from min(low, 0) to max(high, 0) | `widening_to_zero` |
/// | 3 | the same, moved by less than a step so that 0 is a code: the zero point is a whole number | `zero_point` |
/// | 4 | the same number of codes about 0, the scale by the convention's formula in real numbers (symmetric mappings) | `symmetry` |
/// | 5 | the scale, or the minimum, as it is stored, or the smallest that the convention allows, and the zero point that follows from it | `scale_storage` |
/// | 6 | the scheme itself, in the type of the data | `arithmetic` |
///
/// ```text
/// squared_error = rounding + clipping + widening_to_zero + zero_point + symmetry + scale_storage + arithmetic
/// squared_error = bias + Σ (eᵢ - mean e)²
/// ```
///
/// Columns, all sums over the elements in squared units of the data unless said otherwise:
///
/// - `tensor`, `scheme`, `elements`, and `sqnr_db` as in a report;
/// - `squared_error`: Σ (x - x̂)², which is n · mse;
/// - `rounding`: what step 1 leaves of elements that the grid it takes reaches, and `clipping` of the others. As in a report's `clipped_fraction`, an element is
///   clipped if the nearest code would be one beyond the first or the last. What a scheme clips only because its scale was stored too small, as MX's rule has it, is in `scale_storage`, and the clipped end of
///   ±127.5 in `symmetry`, unless the block is the better for it;
/// - `widening_to_zero`: what a range that need not contain 0 would have saved. 0 where it contains 0 anyway, and under the original's convention, which
///   does not widen;
/// - `zero_point`: the zero point moved to a whole number;
/// - `symmetry`: what the values' own range would have saved, and by which scale the convention lays the codes about 0 (absmax/7.5 or absmax/7, say); 0
///   of asymmetric mappings;
/// - `scale_storage`: the type that scales (and minimums) are stored in, the second level of scales, and the smallest scale of the convention;
/// - `arithmetic`: the data's type, in which the scheme computes and its results come back. 0 of f64 data; of f32 data next to nothing, and it may be below
///   0;
/// - `bias`: n · (mean error)², the share of the error that is the same everywhere. It stands beside the parts, not among them: it cuts the same
///   whole another way (the second line above), and [`crate::bias_correction`] takes it away.
///
/// Float formats and codebooks cannot be laid elsewhere: their chain begins with step 4, as that of a scale that a search found does
/// ([`crate::Calibration::Mse`]): that scale is the best of all, and step 5 the best that is stored (where the search for the best of all would take
/// too long, they are the same). A mapping with a minimum has steps 1 and 5, and a cast only rounds and clips. A block whose values are all the same is
/// exact in step 1.
///
/// In floating point the parts add up to 10⁻¹² of `squared_error`.
/// Of a quantizer that is no [`Scheme`] the parts are null.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Scheme, Tensor, ledger};
/// // All values are far above 0, and a range with 0 in it has few codes for them.
/// let x = Tensor::from_vec("x", (0..100).map(|i| 10.0 + f64::from(i) / 100.0).collect())?;
/// let table = ledger(&x, &[Scheme::asymmetric(8)])?;
/// let part = |name: &str| Ok::<_, Box<dyn std::error::Error>>(table.column(name)?.f64()?.get(0).unwrap());
/// assert!(part("widening_to_zero")? > 0.9 * part("squared_error")?);
/// assert_eq!(part("clipping")?, 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`].
pub fn ledger<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q]) -> Result<DataFrame> {
    ledger_of(&source, &any(quantizers))
}

struct Row {
    elements: u64,
    sqnr_db: f64,
    squared_error: f64,
    parts: Option<Parts>,
    bias: f64,
}

fn ledger_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<DataFrame> {
    let pairs = each_pair("ledger", source, quantizers, |tensor, quantizer| Ok(vec![row(tensor, quantizer)?]))?;
    let part = |part: fn(&Parts) -> f64| move |row: &Row| row.parts.as_ref().map(part);
    frame!(&pairs,
        "elements": |row| row.elements,
        "sqnr_db": |row| row.sqnr_db,
        "squared_error": |row| row.squared_error,
        "rounding": part(|parts| parts.rounding),
        "clipping": part(|parts| parts.clipping),
        "widening_to_zero": part(|parts| parts.steps[0]),
        "zero_point": part(|parts| parts.steps[1]),
        "symmetry": part(|parts| parts.steps[2]),
        "scale_storage": part(|parts| parts.steps[3]),
        "arithmetic": part(|parts| parts.steps[4]),
        "bias": |row| row.bias,
    )
}

fn row(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<Row> {
    let (x, y, parts) = match quantizer.as_scheme() {
        Some(scheme) => {
            let (qparams, ideals) = scheme.qparams_and_ideals(tensor)?;
            let (x, y) = (tensor.to_f64_vec(), fake_quantize_with(tensor, &qparams)?.to_f64_vec());
            let parts = parts(&x, &y, tensor.shape(), &qparams, &ideals)?;
            (x, y, Some(parts))
        }
        None => {
            let (x, y) = values_and_approximation(tensor, quantizer)?;
            (x, y, None)
        }
    };
    let (n, error) = (x.len(), |i: usize| x[i] - y[i]);
    let squared_error = sum(n, |i| error(i) * error(i));
    let total_error = sum(n, error);
    Ok(Row {
        elements: n as u64,
        sqnr_db: decibels(sum(n, |i| x[i] * x[i]), squared_error),
        squared_error,
        parts,
        bias: total_error * total_error / n as f64,
    })
}

/// The parts of a squared error.
struct Parts {
    rounding: f64,
    clipping: f64,
    /// What each step after the first adds.
    steps: [f64; STEPS],
}

/// Steps after the first.
const STEPS: usize = 5;

/// What a quantizer of the chain does to a block: its scale, and its zero point, which need not be whole (of a mapping with a minimum what is stored of
/// it). A range of nothing has no scale, and what is beyond it moves to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    scale: f64,
    zero: f64,
    range: (f64, f64),
}

/// Steps 1 to 5.
type Chain = [Step; STEPS];

fn chain(scheme: Scheme, ideal: &Ideal, stored: Step) -> Chain {
    let placed = Step { scale: ideal.scale, zero: ideal.offset, range: ideal.inside };
    let (Some((low, high)), Format::Int { .. }) = (ideal.calibrated, scheme.format()) else {
        return [placed, placed, placed, placed, stored];
    };
    // The original's lower bound is below what its bits hold.
    let quant_min = f64::from(scheme.quant_min().max(scheme.format().code_range().0));
    let quant_max = f64::from(scheme.quant_max());
    let laid = |(low, high): (f64, f64)| {
        // Halves, for a difference may overflow.
        let scale = (high / 2.0 - low / 2.0) / ((quant_max - quant_min) / 2.0);
        Step { scale, zero: quant_min - low / scale, range: (low, high) }
    };
    match scheme.mapping() {
        Mapping::Asymmetric if scheme.convention() == Convention::Original => {
            let tight = laid((low, high));
            [tight, tight, placed, placed, stored]
        }
        Mapping::Asymmetric => [laid((low, high)), laid((low.min(0.0), high.max(0.0))), placed, placed, stored],
        Mapping::Symmetric => {
            let (low, high) = ideal.inside;
            let widened = laid((low.min(0.0), high.max(0.0)));
            let whole = Step { zero: widened.zero.round_ties_even().clamp(quant_min, quant_max), ..widened };
            [laid((low, high)), widened, whole, placed, stored]
        }
        // Its formula is that of a grid laid over the range.
        Mapping::Minimum | Mapping::Cast => [placed, placed, placed, placed, stored],
    }
}

impl Step {
    /// Whether both are the same but for the last bits of other orders of arithmetic.
    fn is(&self, other: &Self) -> bool {
        if self.scale == 0.0 || other.scale == 0.0 {
            return self == other;
        }
        let close = |a: f64, b: f64, unit: f64| (a - b).abs() <= 1e-13 * a.abs().max(b.abs()).max(unit);
        close(self.scale, other.scale, 0.0) && close(self.zero, other.zero, 1.0)
    }
}

/// Sums over some elements of a block: rounding and clipping at each step, and the squared error of the scheme itself.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    steps: [[f64; 2]; STEPS],
    scheme: f64,
}

impl Sums {
    fn plus(mut self, later: Self) -> Self {
        for (sum, later) in self.steps.iter_mut().zip(later.steps) {
            *sum = [sum[0] + later[0], sum[1] + later[1]];
        }
        self.scheme += later.scheme;
        self
    }

    /// The parts of a block's error, each step taking the best grid that it may: the rounding and clipping of the first, and what each after it adds.
    fn parts(&self) -> Parts {
        let errors = self.steps.map(|[rounding, clipping]| rounding + clipping);
        let mut least = errors;
        for step in (0..STEPS - 1).rev() {
            least[step] = errors[step].min(least[step + 1]);
        }
        // Of equal ones the tightest.
        let taken = errors.iter().position(|error| *error == least[0]).unwrap_or(STEPS - 1);
        let [rounding, clipping] = self.steps[taken];
        let mut steps = [0.0; STEPS];
        for step in 1..STEPS {
            steps[step - 1] = least[step] - least[step - 1];
        }
        // Both are sums of the same numbers where the type loses nothing; what other orders of addition make of them is not an error of the scheme's.
        let arithmetic = self.scheme - errors[STEPS - 1];
        steps[STEPS - 1] = if arithmetic.abs() <= 1e-13 * self.scheme { 0.0 } else { arithmetic };
        Parts { rounding, clipping, steps }
    }
}

fn parts(x: &[f64], y: &[f64], shape: &[usize], qparams: &QParams, ideals: &[Ideal]) -> Result<Parts> {
    let (scheme, layout) = (qparams.scheme(), qparams.layout(shape)?);
    let offsets: Vec<f64> = match qparams.minimums() {
        [] => qparams.zero_points().iter().map(|&zero_point| zero_point as f64).collect(),
        minimums => minimums.to_vec(),
    };
    let counterfactual = Counterfactual::new(scheme);
    let of_block = |block: usize| {
        let ideal = &ideals[block];
        let stored = Step { scale: qparams.scales()[block], zero: offsets[block], range: ideal.inside };
        counterfactual.sums_of_block(x, y, layout.runs_of(block), &chain(scheme, ideal, stored)).parts()
    };
    let blocks: Vec<Parts> = (0..layout.blocks()).into_par_iter().map(of_block).collect();
    // In the order of blocks, whichever thread came first.
    let sum = |part: &dyn Fn(&Parts) -> f64| blocks.iter().map(part).sum::<f64>();
    Ok(Parts {
        rounding: sum(&|parts| parts.rounding),
        clipping: sum(&|parts| parts.clipping),
        steps: std::array::from_fn(|step| sum(&|parts| parts.steps[step])),
    })
}

/// The scheme's codes in f64, for any scale and any zero point.
struct Counterfactual {
    codec: Codec<f64>,
    mapping: Mapping,
    quant_min: f64,
}

/// A zero point further from 0 leaves too few digits for the code.
const FAR: f64 = 1_099_511_627_776.0;

impl Counterfactual {
    fn new(scheme: Scheme) -> Self {
        // What would overflow in another step, but does not in the last, is clipped.
        let codec = Codec::new(scheme.with_overflow(Overflow::Saturate));
        Self { codec, mapping: scheme.mapping(), quant_min: scheme.quant_min().into() }
    }

    fn sums_of_block(&self, x: &[f64], y: &[f64], runs: impl Iterator<Item = Range<usize>>, chain: &Chain) -> Sums {
        let pieces: Vec<Range<usize>> =
            runs.flat_map(|run| run.clone().step_by(RUN).map(move |start| start..(start + RUN).min(run.end))).collect();
        let of_piece = |piece: &Range<usize>| self.sums(&x[piece.clone()], &y[piece.clone()], piece.start, chain);
        // Added up in the order of the pieces.
        let sums: Vec<Sums> = pieces.par_iter().with_min_len(16).map(of_piece).collect();
        sums.into_iter().fold(Sums::default(), Sums::plus)
    }

    /// Of neighbouring elements of a block, of which the first has this index.
    fn sums(&self, x: &[f64], y: &[f64], start: usize, chain: &Chain) -> Sums {
        let mut sums = Sums::default();
        let (mut shifted, mut output) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for (step, at) in chain.iter().enumerate() {
            sums.steps[step] = match step.checked_sub(1) {
                Some(before) if at.is(&chain[before]) => sums.steps[before],
                _ => self.errors(x, start, at, &mut shifted, &mut output),
            };
        }
        sums.scheme = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
        sums
    }

    /// The squared errors of elements that the grid reaches, and of those that it does not.
    fn errors(&self, x: &[f64], index: usize, step: &Step, shifted: &mut [f64], output: &mut [f64]) -> [f64; 2] {
        let (mut rounding, mut clipping) = (0.0, 0.0);
        if step.scale.is_nan() || step.scale <= 0.0 {
            for &x in x {
                clipping += (x - x.clamp(step.range.0, step.range.1)).powi(2);
            }
            return [rounding, clipping];
        }
        // A zero point between two codes is the next one with the values moved by the rest.
        let (shift, offset) = if self.mapping == Mapping::Minimum {
            (0.0, step.zero)
        } else if step.zero.abs() < FAR {
            let whole = step.zero.round();
            ((step.zero - whole) * step.scale, whole)
        } else {
            ((step.zero - self.quant_min) * step.scale, self.quant_min)
        };
        let reciprocal = (1.0 / step.scale).min(f64::MAX);
        let params = Shared { scale: step.scale, reciprocal, offset };
        shifted.iter_mut().zip(x).for_each(|(shifted, x)| *shifted = x + shift);
        self.codec.encode(shifted, index, params, output);
        // Which were outside is not seen after clipping; the shifted values are not needed any more.
        shifted.iter_mut().zip(&*output).for_each(|(outside, &code)| *outside = f64::from(u8::from(self.codec.is_outside(code))));
        self.codec.clip(output);
        self.codec.decode(output, params);
        for ((x, y), outside) in x.iter().zip(&*output).zip(&*shifted) {
            let error = x - (y - shift);
            if *outside == 0.0 { rounding += error * error } else { clipping += error * error }
        }
        [rounding, clipping]
    }
}
