//! On which elements two conventions disagree, and why.

use std::fmt;

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};

use crate::convention::{Convention, Order};
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::qparams::QParams;
use crate::quantize::quantize_with;
use crate::scheme::{Mapping, Scheme};
use crate::tensor::{Real, Tensor, min_max, spanning, with_values};

/// Why two conventions give an element different codes: the first of these that changes the code on the way from the one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The one widens the range to contain 0, the other has it as it is.
    Range,
    /// The scale of one is the smallest that it allows, not what the data says.
    Epsilon,
    /// The range is divided into another number of steps, as 127, 127.5 or 128 at 8 bits.
    Denominator,
    /// The scales differ in their last bits, for they were computed in other types or orders.
    ScaleRounding,
    /// The scales are the same and the zero points, or the minimums, are not.
    ZeroPoint,
    /// The one has a code that the other does not use.
    CodeRange,
    /// The one divides by the scale, the other multiplies by its reciprocal.
    Reciprocal,
    /// The one adds the zero point before rounding, the other after.
    OrderOfAddition,
    /// Halfway between two codes, and they round halves otherwise.
    Tie,
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::Range,
        Self::Epsilon,
        Self::Denominator,
        Self::ScaleRounding,
        Self::ZeroPoint,
        Self::CodeRange,
        Self::Reciprocal,
        Self::OrderOfAddition,
        Self::Tie,
    ];
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Range => "range",
            Self::Epsilon => "epsilon",
            Self::Denominator => "denominator",
            Self::ScaleRounding => "scale_rounding",
            Self::ZeroPoint => "zero_point",
            Self::CodeRange => "code_range",
            Self::Reciprocal => "reciprocal",
            Self::OrderOfAddition => "order_of_addition",
            Self::Tie => "tie",
        })
    }
}

/// An element with two codes.
struct Difference {
    index: usize,
    codes: [i32; 2],
    cause: Cause,
}

/// The elements that two conventions give different codes, and why: one row each, in order.
///
/// Columns: `index` (row-major), `original`, the code under each convention (`code:onnx`), what it stands for (`dequantized:onnx`), and `cause`. Going
/// from the first convention to the second one thing at a time, parameters first, then the order of arithmetic, then rounding, the cause is
/// the first that changes the code:
///
/// | cause | |
/// |--|--|
/// | `range` | the one widens the range to contain 0, the other has it as it is |
/// | `epsilon` | the scale of one is the smallest that it allows, not what the data says |
/// | `denominator` | the range is divided into another number of steps: 127, 127.5 or 128 at 8 bits |
/// | `scale_rounding` | the scales differ in their last bits, computed in another type or order |
/// | `zero_point` | the scales are the same, the zero points or minimums are not |
/// | `code_range` | the one has a code that the other does not use |
/// | `reciprocal` | the one divides by the scale, the other multiplies by its reciprocal |
/// | `order_of_addition` | the one adds the zero point before rounding, the other after; or takes off a minimum in one step, the other in two |
/// | `tie` | halfway between two codes, and they round halves otherwise |
///
/// ```
/// # use quantlens::{Convention, Scheme, Tensor, convention_diff};
/// let x = Tensor::from_vec("x", vec![-1.0, 0.5, 2.0, 127.5, 254.0])?;
/// let table = convention_diff(&x, &Scheme::asymmetric(8), Convention::Onnx, Convention::TfLite)?;
/// // The scale is 1 and the zero point 1: only the halves differ.
/// assert_eq!(table.column("index")?.u64()?.to_vec(), [Some(1)]);
/// assert_eq!(table.column("code:onnx")?.i32()?.get(0), Some(1));
/// assert_eq!(table.column("code:tflite")?.i32()?.get(0), Some(2));
/// assert_eq!(table.column("cause")?.str()?.get(0), Some("tie"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Scheme::quantize`] under either convention; [`Error::Nothing`] if they are the same.
pub fn convention_diff(tensor: &Tensor, scheme: &Scheme, first: Convention, second: Convention) -> Result<DataFrame> {
    let (differences, [a, b]) = differences(tensor, scheme, first, second)?;
    let indices: Vec<u64> = differences.iter().map(|difference| difference.index as u64).collect();
    let originals = tensor.to_f64_vec();
    let column = |what: &str, convention: Convention, values: Vec<f64>| {
        Series::new(format!("{what}:{convention}").into(), values).into_column()
    };
    let codes = |side: usize, convention: Convention| {
        let codes: Vec<i32> = differences.iter().map(|difference| difference.codes[side]).collect();
        Series::new(format!("code:{convention}").into(), codes).into_column()
    };
    let picked = |values: &[f64]| differences.iter().map(|difference| values[difference.index]).collect::<Vec<_>>();
    let dequantized = |qparams: &QParams| Ok::<_, Error>(picked(&quantize_with(tensor, qparams)?.dequantize()?.to_f64_vec()));
    let causes: Vec<String> = differences.iter().map(|difference| difference.cause.to_string()).collect();
    let columns = vec![
        Series::new("index".into(), indices).into_column(),
        Series::new("original".into(), picked(&originals)).into_column(),
        codes(0, first),
        codes(1, second),
        column("dequantized", first, dequantized(&a)?),
        column("dequantized", second, dequantized(&b)?),
        Series::new("cause".into(), causes).into_column(),
    ];
    Ok(DataFrame::new(differences.len(), columns)?)
}

/// How often each two of some conventions disagree: one row a pair.
///
/// Columns: `first`, `second` (the conventions), `elements`, `differing`, `fraction`, `largest_code_difference`, and a column for each cause of
/// [`convention_diff`] with the number of elements it is the cause of.
///
/// ```
/// # use quantlens::{Convention, Scheme, Synthetic, convention_summary};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096])?;
/// let table = convention_summary(&x, &Scheme::symmetric(8), &Convention::ALL)?;
/// assert_eq!(table.height(), 15);
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// As [`convention_diff`]; [`Error::Nothing`] for fewer than two conventions.
pub fn convention_summary(tensor: &Tensor, scheme: &Scheme, conventions: &[Convention]) -> Result<DataFrame> {
    if conventions.len() < 2 {
        let reason = format!("it needs two conventions, and has {}", conventions.len());
        return Err(Error::Nothing { what: "convention_summary", reason });
    }
    let mut pairs = Vec::new();
    for (index, &first) in conventions.iter().enumerate() {
        for &second in &conventions[index + 1..] {
            pairs.push((first, second, differences(tensor, scheme, first, second)?.0));
        }
    }
    let names = |side: fn(&(Convention, Convention, Vec<Difference>)) -> Convention| {
        pairs.iter().map(|pair| side(pair).to_string()).collect::<Vec<_>>()
    };
    let elements = tensor.len();
    let count = |cause: Cause| -> Vec<u64> {
        let of = |differences: &[Difference]| differences.iter().filter(|difference| difference.cause == cause).count() as u64;
        pairs.iter().map(|(.., differences)| of(differences)).collect()
    };
    let largest = |differences: &[Difference]| differences.iter().map(|each| each.codes[0].abs_diff(each.codes[1])).max();
    let mut columns = vec![
        Series::new("first".into(), names(|pair| pair.0)).into_column(),
        Series::new("second".into(), names(|pair| pair.1)).into_column(),
        Series::new("elements".into(), vec![elements as u64; pairs.len()]).into_column(),
        Series::new("differing".into(), pairs.iter().map(|pair| pair.2.len() as u64).collect::<Vec<_>>()).into_column(),
        Series::new("fraction".into(), pairs.iter().map(|pair| pair.2.len() as f64 / elements as f64).collect::<Vec<_>>())
            .into_column(),
        Series::new(
            "largest_code_difference".into(),
            pairs.iter().map(|pair| largest(&pair.2).unwrap_or(0)).collect::<Vec<u32>>(),
        )
        .into_column(),
    ];
    columns.extend(Cause::ALL.map(|cause| Series::new(cause.to_string().into(), count(cause)).into_column()));
    Ok(DataFrame::new(pairs.len(), columns)?)
}

/// The differing elements, and the parameters under each convention.
fn differences(
    tensor: &Tensor,
    scheme: &Scheme,
    first: Convention,
    second: Convention,
) -> Result<(Vec<Difference>, [QParams; 2])> {
    if first == second {
        let reason = format!("it needs two conventions, and has {first} twice");
        return Err(Error::Nothing { what: "convention_diff", reason });
    }
    let (a, b) = (scheme.with_convention(first).qparams(tensor)?, scheme.with_convention(second).qparams(tensor)?);
    let (scheme_a, scheme_b) = (a.scheme(), b.scheme());
    let codes = |qparams: &QParams| Ok::<_, Error>(quantize_with(tensor, qparams)?.codes().to_vec());
    // One thing at a time, from the one to the other.
    let with_parameters = b.under(scheme_a.with_codes_of(scheme_b));
    let with_order = b.under(scheme_b.with_rounding(scheme_a.rounding()));
    let on_the_way = [codes(&a)?, codes(&with_parameters)?, codes(&with_order)?, codes(&b)?];

    let layout = Layout::new(scheme.granularity(), tensor.shape())?;
    let ranges: Vec<(f64, f64)> = with_values!(tensor, |values| {
        let range = |block| {
            let (min, max) = layout.runs_of(block).map(|run| min_max(&values[run])).reduce(spanning).unwrap_or_default();
            (min.to_f64(), max.to_f64())
        };
        (0..layout.blocks()).map(range).collect()
    });
    let mut differences = Vec::new();
    for segment in layout.segments(0..tensor.len()).flat_map(|segment| segment.each()) {
        let block = segment.block;
        for index in segment.elements {
            let [from, parameters, order, to] = [0, 1, 2, 3].map(|step: usize| on_the_way[step][index]);
            if from == to {
                continue;
            }
            let cause = if from != parameters {
                cause_of_parameters(&a, &b, block, ranges[block])
            } else if parameters != order {
                cause_of_order(scheme_a, scheme_b)
            } else {
                Cause::Tie
            };
            differences.push(Difference { index, codes: [from, to], cause });
        }
    }
    Ok((differences, [a, b]))
}

fn cause_of_order(a: Scheme, b: Scheme) -> Cause {
    let adds_first = |scheme: Scheme| scheme.convention().order() == Order::DivideAddRound;
    // torchao takes off scale · middle as well as the number that it stores.
    let has_middle = |scheme: Scheme| scheme.mapping() == Mapping::Minimum && scheme.convention() == Convention::TorchAo;
    let multiplies = |scheme: Scheme| scheme.convention().order() == Order::MultiplyRoundAdd;
    if adds_first(a) != adds_first(b) || has_middle(a) != has_middle(b) {
        Cause::OrderOfAddition
    } else if multiplies(a) != multiplies(b) {
        Cause::Reciprocal
    } else {
        // What is left between the two: the original's codes, which no other convention's scheme can be told to use.
        Cause::CodeRange
    }
}

fn cause_of_parameters(a: &QParams, b: &QParams, block: usize, (min, max): (f64, f64)) -> Cause {
    if a.scales()[block] == b.scales()[block] {
        let zero_points_differ = a.zero_points()[block] != b.zero_points()[block];
        let is_minimum = a.scheme().mapping() == Mapping::Minimum;
        return if zero_points_differ || is_minimum { Cause::ZeroPoint } else { Cause::CodeRange };
    }
    let widens = |qparams: &QParams| qparams.scheme().convention() != Convention::Original;
    if a.scheme().mapping() == Mapping::Asymmetric && widens(a) != widens(b) && !(min <= 0.0 && max >= 0.0) {
        return Cause::Range;
    }
    // What the data alone says, whatever a convention's smallest scale is.
    let of_data = |qparams: &QParams| {
        let scheme = qparams.scheme();
        let (quant_min, quant_max) = (f64::from(scheme.quant_min()), f64::from(scheme.quant_max()));
        match scheme.mapping() {
            Mapping::Symmetric => min.abs().max(max.abs()) / (quant_max - f64::from(scheme.middle_code())),
            _ if widens(qparams) => (max.max(0.0) - min.min(0.0)) / (quant_max - quant_min),
            _ => (max - min) / (quant_max - quant_min),
        }
    };
    // No two conventions' denominators are a factor of 2 apart.
    let is_bounded = |qparams: &QParams| {
        let quotient = qparams.scales()[block] / of_data(qparams);
        !(0.5..=2.0).contains(&quotient)
    };
    if is_bounded(a) != is_bounded(b) || is_bounded(a) {
        return Cause::Epsilon;
    }
    let quotient = a.scales()[block] / b.scales()[block];
    if (quotient - 1.0).abs() < 1e-5 { Cause::ScaleRounding } else { Cause::Denominator }
}
