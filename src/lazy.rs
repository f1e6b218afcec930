//! Quantization as expressions of polars' lazy frames: `col("w").quant()`.

use polars::prelude::{
    Column, DataType, Expr, Field, IntoColumn, IntoSeries, NamedFrom, PolarsError, PolarsResult, Series, StructChunked,
};

use crate::error::{Error, Result};
use crate::granularity::Granularity;
use crate::metrics::Metrics;
use crate::qparams::QParams;
use crate::quantize::fake_quantize_with;
use crate::report::Quantizer;
use crate::scheme::{Mapping, Scheme};
use crate::tensor::Tensor;

/// Gives expressions their quantization, with feature `lazy`.
pub trait ExprQuantExt {
    /// What can be done to this column.
    fn quant(self) -> QuantNameSpace;
}

impl ExprQuantExt for Expr {
    fn quant(self) -> QuantNameSpace {
        QuantNameSpace(self)
    }
}

/// Quantization of the numbers of a column, f32 or f64, without nulls, as a tensor with one axis: in `select` and `with_columns` all of the column, in
/// `group_by` and `over` each group by itself. So a scale for each channel is a group for each channel.
///
/// Whatever looks at the data before it quantizes sees all of the column or group, on the in-memory engine and on the streaming engine (feature `streaming`),
/// in however many chunks it lies: the results are the same, to the bit. [`QuantNameSpace::fake_quantize_with`] has its scale already, and so works piece by piece.
///
/// Errors of the tensor or scheme (a null, NaN, an axis that is not there) come from `collect`, as polars' `ComputeError` with the text of
/// [`Error`]; a column of another type from `collect` and `collect_schema`, as `SchemaMismatch`. Of no values there are no
/// results: an empty column stays one, and a number of an empty group is null.
///
/// ```
/// # use quantlens::{ExprQuantExt, Scheme};
/// # use polars::prelude::*;
/// let frame = df!("layer" => ["a", "a", "b", "b"], "w" => [1.0, -0.3, 100.0, 30.0])?.lazy();
/// let int4 = Scheme::symmetric(4);
/// let of_layers = frame.group_by_stable([col("layer")]).agg([
///     col("w").quant().qparams(int4).alias("qparams"),
///     col("w").quant().sqnr_db(int4).alias("sqnr_db"),
/// ]);
/// let table = of_layers.collect()?;
/// let scale = table.column("qparams")?.struct_()?.field_by_name("scale")?;
/// assert_eq!(scale.f64()?.to_vec(), [Some(1.0 / 7.5), Some(100.0 / 7.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct QuantNameSpace(Expr);

impl QuantNameSpace {
    /// The column as it comes back from quantization, in its own type: [`Quantizer::fake_quantize`], a scale (or as many as the quantizer takes) for the column or
    /// group.
    ///
    /// ```
    /// # use quantlens::{ExprQuantExt, Scheme};
    /// # use polars::prelude::*;
    /// let frame = df!("layer" => ["a", "b", "a", "b"], "w" => [1.0, 100.0, -0.3, 30.0])?.lazy();
    /// let back = col("w").quant().fake_quantize(Scheme::symmetric(8));
    /// let table = frame.select([back.clone().alias("one_scale"), back.over([col("layer")])?.alias("scale_a_layer")]).collect()?;
    /// let error = |column: &str| Ok::<_, PolarsError>((table.column(column)?.f64()?.get(2).unwrap() + 0.3).abs());
    /// assert!(error("scale_a_layer")? < 0.01 && error("one_scale")? > 0.2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fake_quantize<Q: Quantizer + Send + Sync + 'static>(self, quantizer: Q) -> Expr {
        let name = format!("quant.fake_quantize({})", quantizer.name());
        let function = move |column: Column| {
            if column.is_empty() {
                return Ok(column);
            }
            with_tensor(&column, &quantizer, |tensor| {
                let approximation = quantizer.fake_quantize(tensor)?;
                match approximation.len() == tensor.len() {
                    true => Ok(approximation.to_series().cast(column.dtype())?.with_name(column.name().clone())),
                    false => Err(Error::Length { reference: tensor.len(), approximation: approximation.len() }),
                }
            })
            .map(IntoColumn::into_column)
        };
        self.0.apply_with_fmt_str(function, |_, field| float(field), name)
    }

    /// The column as it comes back from quantization with given parameters, static quantization: what lies outside their range is clipped.
    ///
    /// The scheme must have one scale for the tensor, and the column the type of the parameters.
    ///
    /// ```
    /// # use quantlens::{Dtype, ExprQuantExt, QParams, Scheme};
    /// # use polars::prelude::*;
    /// let qparams = QParams::new(Scheme::symmetric(8), Dtype::F64, vec![0.5], vec![0])?;
    /// let table = df!("w" => [1.2, 1000.0])?.lazy().select([col("w").quant().fake_quantize_with(qparams)]).collect()?;
    /// assert_eq!(table.column("w")?.f64()?.to_vec(), [Some(1.0), Some(63.5)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fake_quantize_with(self, qparams: QParams) -> Expr {
        let scheme = qparams.scheme();
        let name = format!("quant.fake_quantize_with({scheme})");
        let function = move |column: Column| {
            if column.is_empty() {
                return Ok(column);
            }
            with_tensor(&column, &scheme, |tensor| Ok(fake_quantize_with(tensor, &qparams)?.to_series()))
                .map(IntoColumn::into_column)
        };
        let output = move |_: &_, field: &Field| match scheme.granularity() {
            Granularity::PerTensor => float(field),
            _ => {
                let reason = "its scales belong to blocks, and a column comes in pieces: take a scheme with one scale";
                Err(compute_error(&Error::Unsupported { scheme: scheme.to_string(), reason }))
            }
        };
        self.0.map_with_fmt_str(function, output, name)
    }

    /// The parameters that calibration finds: a struct of `scale` (f64) and `zero_point` (i64), or for a mapping with a minimum of `scale` and `minimum` (f64, in units of the data).
    ///
    /// An error where the scheme has several blocks in the column: make a group of each with `group_by`.
    pub fn qparams(self, scheme: Scheme) -> Expr {
        let fields = qparams_fields(scheme);
        let dtype = DataType::Struct(fields.clone());
        let function = move |column: Column| {
            let values = match column.is_empty() {
                true => fields.iter().map(|field| Series::full_null(field.name().clone(), 1, field.dtype())).collect(),
                false => with_tensor(&column, &scheme, |tensor| one_block(&scheme.qparams(tensor)?))?,
            };
            Ok(StructChunked::from_series(column.name().clone(), 1, values.iter())?.into_series().into_column())
        };
        let output = move |_: &_, field: &Field| float(field).map(|field| Field::new(field.name().clone(), dtype.clone()));
        self.0.agg_with_fmt_str(function, output, format!("quant.qparams({scheme})"))
    }

    /// Mean squared error, Σ (x - x̂)² / n, in squared units of the data: the number of a [`crate::report()`].
    pub fn mse<Q: Quantizer + Send + Sync + 'static>(self, quantizer: Q) -> Expr {
        self.metric("mse", quantizer, |metrics| metrics.mse)
    }

    /// Signal to quantization noise, 10 · log₁₀(Σ x² / Σ (x - x̂)²), in dB: the number of a [`crate::report()`]. ∞ without error, NaN of zeros.
    pub fn sqnr_db<Q: Quantizer + Send + Sync + 'static>(self, quantizer: Q) -> Expr {
        self.metric("sqnr_db", quantizer, |metrics| metrics.sqnr_db)
    }

    fn metric<Q: Quantizer + Send + Sync + 'static>(self, what: &str, quantizer: Q, value: fn(&Metrics) -> f64) -> Expr {
        let name = format!("quant.{what}({})", quantizer.name());
        let function = move |column: Column| {
            let number = match column.is_empty() {
                true => None,
                false => Some(with_tensor(&column, &quantizer, |tensor| Ok(value(&quantizer.report_row(tensor)?.metrics)))?),
            };
            Ok(Series::new(column.name().clone(), [number]).into_column())
        };
        let output = |_: &_, field: &Field| float(field).map(|field| Field::new(field.name().clone(), DataType::Float64));
        self.0.agg_with_fmt_str(function, output, name)
    }

    /// All the numbers of [`Metrics`], with their names and units, as a struct of f64.
    pub fn metrics<Q: Quantizer + Send + Sync + 'static>(self, quantizer: Q) -> Expr {
        let name = format!("quant.metrics({})", quantizer.name());
        let function = move |column: Column| {
            let metrics = match column.is_empty() {
                true => None,
                false => Some(with_tensor(&column, &quantizer, |tensor| Ok(quantizer.report_row(tensor)?.metrics))?),
            };
            let values = Metrics::COLUMNS.map(|(name, value)| Series::new(name.into(), [metrics.as_ref().map(value)]));
            Ok(StructChunked::from_series(column.name().clone(), 1, values.iter())?.into_series().into_column())
        };
        let output = |_: &_, field: &Field| {
            let fields = Metrics::COLUMNS.map(|(name, _)| Field::new(name.into(), DataType::Float64));
            float(field).map(|field| Field::new(field.name().clone(), DataType::Struct(fields.into())))
        };
        self.0.agg_with_fmt_str(function, output, name)
    }
}

/// Does something with the values of a column.
fn with_tensor<R>(column: &Column, quantizer: &impl Quantizer, body: impl FnOnce(&Tensor) -> Result<R>) -> PolarsResult<R> {
    Tensor::from_series(column.as_materialized_series())
        .and_then(|tensor| body(&tensor))
        .map_err(|error| compute_error(&error.named(column.name(), &quantizer.name())))
}

fn compute_error(error: &Error) -> PolarsError {
    PolarsError::ComputeError(error.to_string().into())
}

/// The column itself, if its numbers can be quantized.
fn float(field: &Field) -> PolarsResult<Field> {
    match field.dtype() {
        DataType::Float32 | DataType::Float64 => Ok(field.clone()),
        other => {
            let error = Error::ColumnDtype { column: field.name().to_string(), dtype: other.to_string() };
            Err(PolarsError::SchemaMismatch(error.to_string().into()))
        }
    }
}

fn qparams_fields(scheme: Scheme) -> Vec<Field> {
    let offset = match scheme.mapping() {
        Mapping::Minimum => ("minimum", DataType::Float64),
        _ => ("zero_point", DataType::Int64),
    };
    [("scale", DataType::Float64), offset].map(|(name, dtype)| Field::new(name.into(), dtype)).into()
}

/// The values of the fields.
fn one_block(qparams: &QParams) -> Result<Vec<Series>> {
    let scheme = qparams.scheme();
    let blocks = qparams.scales().len();
    if blocks != 1 {
        return Err(Error::SeveralBlocks { scheme: scheme.to_string(), blocks });
    }
    Ok(vec![
        Series::new("scale".into(), qparams.scales()),
        match scheme.mapping() {
            Mapping::Minimum => Series::new("minimum".into(), qparams.minimums()),
            _ => Series::new("zero_point".into(), qparams.zero_points()),
        },
    ])
}
