//! Tables of single elements and of single codes.

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};

use super::each::columns;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::kernels::measure_one;
use crate::qparams::QParams;
use crate::quantize::quantize_with;
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// One row per element: `index`, `original`, and for each scheme `code`, `dequantized` and `error` (original less dequantized).
/// With several schemes their columns stand side by side and carry the scheme's name, as `code:uint8-asym`.
///
/// ```
/// # use quantlens::{Scheme, Tensor, elements};
/// let x = Tensor::from_vec("x", vec![-1.0, 0.25, 2.0])?;
/// let table = elements(&x, &[Scheme::asymmetric(8), Scheme::symmetric(8)])?;
/// assert_eq!(table.column("code:uint8-asym")?.i32()?.get(1), Some(106));
/// assert_eq!(table.column("code:int8-sym")?.i32()?.get(1), Some(16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::Nothing`] without schemes; [`Error::Polars`] if a scheme is there twice.
pub fn elements(tensor: &Tensor, schemes: &[Scheme]) -> Result<DataFrame> {
    if schemes.is_empty() {
        return Err(Error::Nothing { what: "elements", reason: "it needs at least one scheme".to_owned() });
    }
    let index = Series::new("index".into(), (0..tensor.len() as u64).collect::<Vec<_>>());
    let original = tensor.to_series().with_name("original".into());
    let mut columns = vec![index.into_column(), original.clone().into_column()];
    for scheme in schemes {
        let name = |what: &str| match schemes {
            [_] => what.into(),
            _ => format!("{what}:{scheme}").into(),
        };
        let quantized = scheme.quantize(tensor)?;
        let dequantized = quantized.dequantize()?.to_series().with_name(name("dequantized"));
        let error = (&original - &dequantized)?.with_name(name("error"));
        columns.push(Series::new(name("code"), quantized.codes().to_vec()).into_column());
        columns.push(dequantized.into_column());
        columns.push(error.into_column());
    }
    Ok(DataFrame::new(tensor.len(), columns)?)
}

/// One row per code the scheme has, used or not: what it stands for, and what it is used for.
///
/// Columns:
///
/// - `code`, `value`: the code, and what it stands for, in units of the data;
/// - `count`, `fraction`: how many elements have it, and their share;
/// - `mean`: of these elements, in units of the data; null of none. A codebook's value that is not the mean of its elements could be better: the elements
///   lose count · (value - mean)² by it;
/// - `squared_error`: Σ (x - value)² over these elements, in squared units of the data; all of them add up to the tensor's;
/// - `is_dead`: whether no element has it;
/// - `information_bits`: -log₂ `fraction`, the bits that an entropy coder would spend on one such element; null of none. Their mean over all elements,
///   Σ `fraction` · `information_bits`, is a report's `code_entropy_bits`, to be held against the bits that a code takes.
///
/// ```
/// # use quantlens::{Scheme, Tensor, levels};
/// let x = Tensor::from_vec("x", vec![-1.0, -0.9, 0.0, 1.0])?;
/// let table = levels(&x, &Scheme::symmetric(2).restricted_range())?;
/// assert_eq!(table.column("count")?.u64()?.to_vec(), [Some(2), Some(1), Some(1)]);
/// assert_eq!(table.column("mean")?.f64()?.get(0), Some(-0.95));
/// assert_eq!(table.column("information_bits")?.f64()?.to_vec(), [Some(1.0), Some(2.0), Some(2.0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::SeveralBlocks`] where a code stands for several values.
pub fn levels(tensor: &Tensor, scheme: &Scheme) -> Result<DataFrame> {
    let qparams = scheme.qparams(tensor)?;
    let (codes, values) = code_values(&qparams)?;
    let quantized = quantize_with(tensor, &qparams)?;
    let approximation = quantized.dequantize()?.to_f64_vec();
    // Counted from the first code, whatever is missing between.
    let mut uses: Vec<Use> =
        measure_one(tensor, &qparams)?.counts.into_iter().map(|count| Use { count, ..Use::default() }).collect();
    for ((x, y), code) in tensor.to_f64_vec().into_iter().zip(approximation).zip(quantized.codes().to_vec()) {
        if let Some(used) = uses.get_mut((code - scheme.quant_min()) as usize) {
            used.sum += x;
            used.squared_error += (x - y) * (x - y);
        }
    }
    let of_code = |code: i32| uses.get((code - scheme.quant_min()) as usize).copied().unwrap_or_default();
    let rows: Vec<(i32, f64, Use)> = codes.into_iter().zip(values).map(|(code, value)| (code, value, of_code(code))).collect();
    let fraction = |used: &Use| used.count as f64 / tensor.len() as f64;
    let columns = columns!(rows,
        "code": |row| row.0,
        "value": |row| row.1,
        "count": |row| row.2.count,
        "fraction": |row| fraction(&row.2),
        "mean": |row| (row.2.count > 0).then(|| row.2.sum / row.2.count as f64),
        "squared_error": |row| row.2.squared_error,
        "is_dead": |row| row.2.count == 0,
        "information_bits": |row| (row.2.count > 0).then(|| -fraction(&row.2).log2()),
    );
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// What a code is used for.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    count: u64,
    sum: f64,
    squared_error: f64,
}

/// Every code of these parameters and the value it stands for, rising. One block only.
pub(crate) fn code_values(qparams: &QParams) -> Result<(Vec<i32>, Vec<f64>)> {
    let (scheme, blocks) = (qparams.scheme(), qparams.scales().len());
    if blocks != 1 {
        return Err(Error::SeveralBlocks { scheme: scheme.to_string(), blocks });
    }
    let codes: Vec<i32> = match scheme.format() {
        Format::Int { .. } => (scheme.quant_min()..=scheme.quant_max()).collect(),
        format => format.grid().into_iter().map(|(code, _)| code).collect(),
    };
    let values = qparams.decode_codes(&codes);
    Ok((codes, values))
}
