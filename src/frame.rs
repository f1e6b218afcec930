//! Quantization on polars' own types: methods on `Series` and `DataFrame`.

use polars::prelude::{DataFrame, DataType, NamedFrom, Series};

use crate::error::{Error, Result};
use crate::qparams::QParams;
use crate::quantize::Quantized;
use crate::report::{Quantizer, report};
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// Quantization of a column: f32 or f64, without nulls, any number of chunks, treated as a tensor with one axis.
///
/// ```
/// # use quantlens::{Scheme, SeriesQuantExt};
/// # use polars::prelude::{NamedFrom, Series};
/// let x = Series::new("x".into(), [-1.0, 0.25, 2.0]);
/// let scheme = Scheme::asymmetric(8);
/// let (codes, qparams) = x.quantize(&scheme)?;
/// assert_eq!(codes.i32()?.to_vec(), [Some(0), Some(106), Some(255)]);
/// assert_eq!(codes.dequantize(&qparams)?, x.fake_quantize(&scheme)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SeriesQuantExt {
    /// The codes, as an i32 column of the same name, and the parameters that give them meaning.
    ///
    /// # Errors
    /// As [`Tensor::from_series`] (a null is named by column and row) and [`Scheme::quantize`].
    fn quantize(&self, scheme: &Scheme) -> Result<(Series, QParams)>;

    /// The values that codes stand for: called on a column of whole numbers, of any integer type.
    ///
    /// # Errors
    /// [`Error::Null`]; [`Error::Empty`]; [`Error::DequantizedOverflow`]; [`Error::NotCodes`] unless an integer type; [`Error::CodeOutOfRange`] with the first code the scheme
    /// does not have; [`Error::QParamsCount`] if the parameters are for another number of blocks.
    fn dequantize(&self, qparams: &QParams) -> Result<Series>;

    /// The column as it comes back from quantization, in its own type.
    ///
    /// # Errors
    /// As [`SeriesQuantExt::quantize`]; [`Error::DequantizedOverflow`].
    fn fake_quantize(&self, scheme: &Scheme) -> Result<Series>;

    /// What quantization loses, element by element: the column less [`SeriesQuantExt::fake_quantize`] of it.
    ///
    /// # Errors
    /// As [`SeriesQuantExt::quantize`]; [`Error::DequantizedOverflow`].
    fn quant_error(&self, scheme: &Scheme) -> Result<Series>;
}

impl SeriesQuantExt for Series {
    fn quantize(&self, scheme: &Scheme) -> Result<(Series, QParams)> {
        let quantized = scheme.quantize(&Tensor::from_series(self)?)?;
        let codes = Series::new(self.name().clone(), quantized.codes().to_vec());
        Ok((codes, quantized.qparams().clone()))
    }

    fn dequantize(&self, qparams: &QParams) -> Result<Series> {
        let column = self.name().to_string();
        if !self.dtype().is_integer() {
            return Err(Error::NotCodes { column, dtype: self.dtype().to_string() });
        }
        if let Some(row) = self.is_null().iter().position(|null| null == Some(true)) {
            return Err(Error::Null { column, row });
        }
        // Casting makes null of what is too large even for 64 bits, and no code is so large.
        let codes: Vec<i64> = self.cast(&DataType::Int64)?.i64()?.iter().map(|code| code.unwrap_or(i64::MAX)).collect();
        let shape = vec![codes.len()];
        let quantized = Quantized::from_integers(column, shape, qparams.clone(), codes.into_iter())?;
        Ok(quantized.dequantize()?.to_series())
    }

    fn fake_quantize(&self, scheme: &Scheme) -> Result<Series> {
        Ok(scheme.fake_quantize(&Tensor::from_series(self)?)?.to_series())
    }

    fn quant_error(&self, scheme: &Scheme) -> Result<Series> {
        Ok((self - &SeriesQuantExt::fake_quantize(self, scheme)?)?)
    }
}

/// Quantization reports over the columns of a frame.
pub trait DataFrameQuantExt {
    /// A [`report`] with a row for each f32 or f64 column and scheme; other columns are left out.
    ///
    /// ```
    /// # use quantlens::{DataFrameQuantExt, Scheme};
    /// # use polars::df;
    /// let frame = df!("layer" => ["a", "b", "c"], "weight" => [0.5, -1.0, 0.25], "bias" => [0.0, 0.1, 0.2])?;
    /// let table = frame.quant_report(&[Scheme::asymmetric(8), Scheme::symmetric(8)])?;
    /// assert_eq!(table.height(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoFloatColumn`]; a null or a number that is not finite, by column and row; as [`report`].
    fn quant_report<Q: Quantizer>(&self, schemes: &[Q]) -> Result<DataFrame>;
}

impl DataFrameQuantExt for DataFrame {
    fn quant_report<Q: Quantizer>(&self, schemes: &[Q]) -> Result<DataFrame> {
        let is_float = |dtype: &DataType| matches!(dtype, DataType::Float32 | DataType::Float64);
        let floats = self.columns().iter().filter(|column| is_float(column.dtype()));
        let tensors = floats.map(|column| Tensor::from_series(column.as_materialized_series())).collect::<Result<Vec<_>>>()?;
        if tensors.is_empty() {
            return Err(Error::NoFloatColumn { columns: self.width() });
        }
        report(&tensors, schemes)
    }
}
