//! Tables of single elements and of single codes.

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::kernels::measure_one;
use crate::qparams::QParams;
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

/// One row per code the scheme has, used or not: `code`, `value` (what it stands for), `count` and `fraction` of the elements.
///
/// ```
/// # use quantlens::{Scheme, Tensor, levels};
/// let x = Tensor::from_vec("x", vec![-1.0, -0.9, 0.0, 1.0])?;
/// let table = levels(&x, &Scheme::symmetric(2).restricted_range())?;
/// assert_eq!(table.column("count")?.u64()?.to_vec(), [Some(2), Some(1), Some(1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::SeveralBlocks`] where a code stands for several values.
pub fn levels(tensor: &Tensor, scheme: &Scheme) -> Result<DataFrame> {
    let qparams = scheme.qparams(tensor)?;
    let (codes, values) = code_values(&qparams)?;
    let all_counts = measure_one(tensor, &qparams)?.counts;
    let count = |code: &i32| all_counts.get((code - scheme.quant_min()) as usize).copied().unwrap_or(0);
    let counts: Vec<u64> = codes.iter().map(count).collect();
    let fractions: Vec<f64> = counts.iter().map(|&count| count as f64 / tensor.len() as f64).collect();
    let columns = vec![
        Series::new("code".into(), codes).into_column(),
        Series::new("value".into(), values).into_column(),
        Series::new("count".into(), counts).into_column(),
        Series::new("fraction".into(), fractions).into_column(),
    ];
    Ok(DataFrame::new_infer_height(columns)?)
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
