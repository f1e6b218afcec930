//! `report`: the library's report of a table of tiles, in as few passes over the values as it takes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::common::{DataFusionError, exec_datafusion_err, exec_err};
use datafusion::dataframe::DataFrame as Query;
use datafusion::execution::FunctionRegistry;
use datafusion::functions_aggregate::expr_fn::first_value;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use polars::prelude::DataFrame;
use quantlens::{RangesPart, ReportPart, ReportRow, TensorInfo, TensorReport, frame_of_rows, quantizer};

use crate::error::{Error, Result};
use crate::functions::{AllRanges, from_bytes, planned, to_bytes};
use crate::table::{ModelTable, Partitions};

/// One row per tensor and scheme of a table of tiles, as [`quantlens::report`] gives it of the model: the same columns, rows in the same order, and every
/// number the same to the bit, whatever the partitions and wherever they are measured.
///
/// `table` is a [`ModelTable`] that is registered in the context, or any table or view with its columns `number`, `tensor` and `tile`, such as
/// [`crate::register_parquet`] makes. Schemes are given by name, as to [`quantlens::quantizer`]. Values of a model are read once; twice where one scale is for
/// more than 16 Mi values or the tensor is cut by [`Partitions::PerTensor`]. Of another table they are read once more, to find its tensors.
///
/// # Errors
/// [`quantlens::Error::Nothing`] without tensors or schemes; a name that is no scheme's; what the engine says, such as that the scheduler or the last
/// executor is gone; [`Error::AllFailed`] where all rows failed.
pub async fn report(context: &SessionContext, table: &str, schemes: &[&str]) -> Result<DataFrame> {
    Ok(frame_of_rows(&report_rows(context, table, schemes).await?)?)
}

/// The rows of [`report`], to serialize or to compute with.
///
/// # Errors
/// As [`report`].
pub async fn report_rows(context: &SessionContext, table: &str, schemes: &[&str]) -> Result<Vec<ReportRow>> {
    for scheme in schemes {
        quantizer(scheme)?;
    }
    let source = Tiled::find(context, table).await?;
    if source.tensors.is_empty() || schemes.is_empty() {
        let reason = format!("it needs a tensor and a scheme, and has {} and {}", source.tensors.len(), schemes.len());
        return Err(quantlens::Error::Nothing { what: "report", reason }.into());
    }
    let names = schemes.join(", ");

    // What each tensor needs. Plans cannot go to another thread, as this future may while it waits: they are made again.
    let needs = source.needs(schemes, None)?;
    let waiting: Vec<usize> = (0..needs.len()).filter(|&place| needs[place].wants_ranges).collect();
    let mut ranges = AllRanges::default();
    if !waiting.is_empty() {
        let query = source.query(&waiting, &needs)?;
        for (number, tensor, bytes) in aggregate(context, query, "quant_ranges", vec![lit(names.clone())]).await? {
            ranges.0.insert((number, tensor), from_bytes(&bytes)?);
        }
    }

    // With the ranges known, a tensor may be cut into shorter slabs, or need no reading, as its values are not finite.
    let needs = source.needs(schemes, Some(&ranges))?;
    let readable: Vec<usize> = (0..needs.len()).filter(|&place| !needs[place].is_unusable).collect();
    let mut rows: HashMap<(u64, String), Vec<ReportRow>> = HashMap::new();
    if !readable.is_empty() {
        let query = source.query(&readable, &needs)?;
        let known = ScalarValue::Binary(Some(to_bytes(&ranges)?));
        for (number, tensor, bytes) in aggregate(context, query, "quant_rows", vec![lit(names), lit(known)]).await? {
            rows.insert((number, tensor), from_bytes(&bytes)?);
        }
    }
    let mut all = Vec::new();
    for (number, info) in &source.tensors {
        match rows.remove(&(*number, info.name.clone())) {
            Some(its) => all.extend(its),
            // Unusable, or without a tile.
            None => {
                all.extend(with_plan(info, schemes, ranges.get(*number, &info.name), |plan| plan.rows(ReportPart::default()))?)
            }
        }
    }
    match all.iter().find_map(|row| row.error.as_ref().map(|cause| (row, cause))) {
        Some((row, cause)) if all.iter().all(|row| row.error.is_some()) => {
            Err(Error::AllFailed { tensor: row.tensor.clone(), scheme: row.scheme.clone(), cause: cause.clone() })
        }
        _ => Ok(all),
    }
}

/// What a tensor needs under all schemes together.
struct Need {
    wants_ranges: bool,
    is_unusable: bool,
    /// Elements between two places where its values may be cut.
    period: usize,
}

fn with_plan<T>(
    info: &TensorInfo,
    schemes: &[&str],
    ranges: Option<&RangesPart>,
    then: impl FnOnce(TensorReport) -> quantlens::Result<T>,
) -> Result<T> {
    let quantizers = schemes.iter().map(|scheme| quantizer(scheme)).collect::<quantlens::Result<Vec<_>>>()?;
    Ok(then(planned(info, &quantizers, ranges)?)?)
}

/// A table of tiles, and the tensors that it has.
struct Tiled {
    /// If it is one whose cuts can be chosen.
    model: Option<ModelTable>,
    query: Query,
    context: SessionContext,
    tensors: Vec<(u64, TensorInfo)>,
}

impl Tiled {
    async fn find(context: &SessionContext, table: &str) -> Result<Self> {
        let provider = context.table_provider(table).await?;
        let any: &dyn Any = provider.as_ref();
        let model = any.downcast_ref::<ModelTable>().cloned();
        let query = context.table(table).await?;
        let tensors = match &model {
            Some(model) => model.selected(),
            None => tensors_of(&query).await?,
        };
        Ok(Self { model, query, context: context.clone(), tensors })
    }

    fn needs(&self, schemes: &[&str], ranges: Option<&AllRanges>) -> Result<Vec<Need>> {
        // As one tile, which an executor has room for.
        let may_be_whole = |info: &TensorInfo| {
            let is_by_bytes = self.model.as_ref().is_some_and(|model| matches!(model.scan.partitions, Partitions::Bytes(_)));
            is_by_bytes && info.elements() <= TensorReport::LONGEST_SLAB
        };
        let need = |(number, info): &(u64, TensorInfo)| {
            let known = ranges.and_then(|ranges| ranges.get(*number, &info.name));
            with_plan(info, schemes, known, |plan| {
                let wants_ranges = plan.wants_ranges() && !may_be_whole(info);
                Ok(Need { wants_ranges, is_unusable: plan.is_unusable(), period: plan.period() })
            })
        };
        self.tensors.iter().map(need).collect()
    }

    /// The tiles of some tensors, cut as they need it.
    fn query(&self, places: &[usize], needs: &[Need]) -> Result<Query> {
        let Some(model) = &self.model else {
            let is_one = |&place: &usize| {
                let (number, info) = &self.tensors[place];
                col("number").eq(lit(*number)).and(col("tensor").eq(lit(info.name.clone())))
            };
            let all = places.len() == self.tensors.len();
            return match places.iter().map(is_one).reduce(Expr::or) {
                Some(wanted) if !all => Ok(self.query.clone().filter(wanted)?),
                _ => Ok(self.query.clone()),
            };
        };
        // Where ranges are gathered, any cut will do.
        let number = |place: &usize| self.tensors[*place].0 as usize;
        let cut = |place: &&usize| !needs[**place].wants_ranges;
        let periods = places.iter().filter(cut).map(|place| (number(place), needs[*place].period)).collect();
        Ok(self.context.read_table(Arc::new(model.with(places.iter().map(number).collect(), periods)))?)
    }
}

/// The tensors that a table's tiles are of, by number and name.
async fn tensors_of(query: &Query) -> Result<Vec<(u64, TensorInfo)>> {
    // Of the tiles of a tensor any will do.
    let of_tile = |field: &str| datafusion::functions::core::expr_fn::get_field(col("tile"), field);
    let mut known = Vec::new();
    for batch in query
        .clone()
        .aggregate(
            vec![col("number"), col("tensor")],
            vec![
                first_value(of_tile("dtype"), Vec::new()).alias("dtype"),
                first_value(of_tile("shape"), Vec::new()).alias("shape"),
            ],
        )?
        .collect()
        .await?
    {
        // A view may have numbers of another type.
        let numbers = cast(batch.column(0), &DataType::UInt64).map_err(DataFusionError::from)?;
        let numbers = numbers.as_primitive::<UInt64Type>();
        let Some(shapes) = batch.column(3).as_list_opt::<i32>() else {
            return Err(exec_datafusion_err!("the shape of a tile is a list, not {}", batch.column(3).data_type()).into());
        };
        for row in 0..batch.num_rows() {
            let text = |column: usize| match ScalarValue::try_from_array(batch.column(column), row)? {
                ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Ok(text),
                other => exec_err!("a tile has {other} where a text should be"),
            };
            let shape = cast(&shapes.value(row), &DataType::UInt64).map_err(DataFusionError::from)?;
            let shape = shape.as_primitive::<UInt64Type>().values().iter().map(|&length| length as usize).collect();
            let dtype = if text(2)? == "f64" { quantlens::Dtype::F64 } else { quantlens::Dtype::F32 };
            let info = TensorInfo { name: text(1)?, shape, dtype, stored: dtype.to_string() };
            known.push((numbers.value(row), info));
        }
    }
    known.sort_by(|(number, info), (other, its)| (number, &info.name).cmp(&(other, &its.name)));
    Ok(known)
}

/// Calls an aggregate for each tensor: its number, its name, and the bytes that came of it.
async fn aggregate(
    context: &SessionContext,
    tiles: Query,
    function: &str,
    arguments: Vec<Expr>,
) -> Result<Vec<(u64, String, Vec<u8>)>> {
    let function = context.udaf(function)?;
    let arguments = [vec![col("tile")], arguments].concat();
    let query = tiles.aggregate(vec![col("number"), col("tensor")], vec![function.call(arguments).alias("bytes")])?;
    let mut found = Vec::new();
    for batch in query.collect().await? {
        for row in 0..batch.num_rows() {
            let value = |column: usize| ScalarValue::try_from_array(batch.column(column), row);
            match (value(0)?.cast_to(&DataType::UInt64)?, value(1)?, value(2)?) {
                (
                    ScalarValue::UInt64(Some(number)),
                    ScalarValue::Utf8(Some(tensor)) | ScalarValue::Utf8View(Some(tensor)),
                    ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)),
                ) => found.push((number, tensor, bytes)),
                other => return Err(exec_datafusion_err!("a part of the report is {other:?}").into()),
            }
        }
    }
    Ok(found)
}
