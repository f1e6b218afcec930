//! The functions that queries use: aggregates over tiles.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use quantlens::{Quantizer, RangesPart, ReportPart, ReportRow, TensorInfo, TensorReport, frame_of_rows, quantizer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::scalar::{scalar_of, tile_function};
use crate::tile::{self, Tiles};

/// What an aggregate gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `quant_ranges(tile, schemes)`: the ranges that some schemes need before they can measure, in bytes.
    Ranges,
    /// `quant_rows(tile, schemes, ranges)`: the rows of a report, in bytes.
    Rows,
    /// `quant_report(tile, scheme)`: the row of a report, as a struct.
    Report,
}

/// An aggregate over tiles of one tensor.
#[derive(Debug, PartialEq, Eq, Hash)]
struct QuantAggregate {
    kind: Kind,
    signature: Signature,
}

impl QuantAggregate {
    fn new(kind: Kind) -> Self {
        let arguments = match kind {
            Kind::Ranges | Kind::Report => vec![tile::data_type(), DataType::Utf8],
            Kind::Rows => vec![tile::data_type(), DataType::Utf8, DataType::Binary],
        };
        Self { kind, signature: Signature::new(TypeSignature::Exact(arguments), Volatility::Immutable) }
    }
}

/// Registers the functions: `quant_report(tile, 'int4-sym-g128')`, `quant_ranges(tile, 'int8-sym, mxfp4')`,
/// `quant_rows(tile, 'int8-sym, mxfp4', X'…')`, and `tile(tensor, shape, first, values)`.
///
/// # Errors
/// If a name is taken.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for kind in [Kind::Ranges, Kind::Rows, Kind::Report] {
        registry.register_udaf(Arc::new(AggregateUDF::from(QuantAggregate::new(kind))))?;
    }
    registry.register_udf(tile_function())?;
    Ok(())
}

/// The columns of a row, as a struct: those of `quantlens::report`.
static ROW: LazyLock<Result<Fields, String>> = LazyLock::new(|| {
    let frame = frame_of_rows(&[]).map_err(|error| error.to_string())?;
    let field = |column: &polars::prelude::Column| {
        let empty = scalar_of(column, None).map_err(|error| error.to_string())?;
        Ok(Field::new(column.name().as_str(), empty.data_type(), true))
    };
    frame.columns().iter().map(field).collect::<Result<Vec<_>, String>>().map(Fields::from)
});

fn row_fields() -> Result<Fields> {
    ROW.clone().map_err(DataFusionError::Internal)
}

impl AggregateUDFImpl for QuantAggregate {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Ranges => "quant_ranges",
            Kind::Rows => "quant_rows",
            Kind::Report => "quant_report",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        match self.kind {
            Kind::Ranges | Kind::Rows => Ok(DataType::Binary),
            Kind::Report => Ok(DataType::Struct(row_fields()?)),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[part]", arguments.name), DataType::Binary, true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literal = |place: usize| match arguments.exprs.get(place).map(|expression| literal_of(expression)) {
            Some(Some(value)) => Ok(value),
            _ => plan_err!("{} takes a literal as argument {}", self.name(), place + 1),
        };
        let Some(text) = literal(1)?.try_as_str().flatten().map(str::to_owned) else {
            return plan_err!("{} takes the names of schemes as text, as 'int8-sym, mxfp4'", self.name());
        };
        let schemes: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        quantizers(&schemes)?;
        if self.kind == Kind::Report && schemes.len() != 1 {
            return plan_err!("quant_report takes one scheme, not {}: call it once for each", schemes.len());
        }
        let ranges = match self.kind {
            Kind::Ranges | Kind::Report => Arc::default(),
            Kind::Rows => match literal(2)? {
                ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => AllRanges::of(bytes)?,
                other => return plan_err!("quant_rows takes the ranges as bytes, which may be none, not {other}"),
            },
        };
        Ok(Box::new(Gathered { kind: self.kind, schemes, ranges, state: None }))
    }
}

fn literal_of(expression: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    let any: &dyn std::any::Any = expression.as_ref();
    any.downcast_ref::<Literal>().map(Literal::value)
}

fn quantizers(names: &[String]) -> Result<Vec<Box<dyn Quantizer>>> {
    names.iter().map(|name| quantizer(name).map_err(external)).collect()
}

fn external(error: quantlens::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A part as it travels. MessagePack, which keeps every bit of a number.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec(value).map_err(|error| DataFusionError::External(Box::new(error)))
}

pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// The ranges of the tensors of a model that some scheme asks for, each by its number and name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AllRanges(pub HashMap<(u64, String), RangesPart>);

impl AllRanges {
    /// Decoded once for all tensors of a query.
    fn of(bytes: &[u8]) -> Result<Arc<Self>> {
        type Last = Option<(Vec<u8>, Arc<AllRanges>)>;
        static LAST: Mutex<Last> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, ranges)) = &*last
            && known == bytes
        {
            return Ok(Arc::clone(ranges));
        }
        let ranges: Arc<Self> = if bytes.is_empty() { Arc::default() } else { Arc::new(from_bytes(bytes)?) };
        *last = Some((bytes.to_vec(), Arc::clone(&ranges)));
        Ok(ranges)
    }

    pub fn get(&self, number: u64, tensor: &str) -> Option<&RangesPart> {
        self.0.get(&(number, tensor.to_owned()))
    }
}

/// What is known of the tensor of a group.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    number: u64,
    name: String,
    shape: Vec<usize>,
    dtype: quantlens::Dtype,
    part: Part,
}

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Ranges(RangesPart),
    Report(ReportPart),
}

impl State {
    fn info(&self) -> TensorInfo {
        TensorInfo { name: self.name.clone(), shape: self.shape.clone(), dtype: self.dtype, stored: self.dtype.to_string() }
    }
}

#[derive(Debug)]
struct Gathered {
    kind: Kind,
    schemes: Vec<String>,
    ranges: Arc<AllRanges>,
    /// Before the first tile nothing is known.
    state: Option<State>,
}

impl Gathered {
    /// The state of the tensor that this is of.
    fn state_of(&mut self, number: u64, info: &TensorInfo) -> Result<&mut State> {
        let part = match self.kind {
            Kind::Ranges => Part::Ranges(RangesPart::default()),
            Kind::Rows | Kind::Report => Part::Report(ReportPart::default()),
        };
        let state = self.state.get_or_insert_with(|| State {
            number,
            name: info.name.clone(),
            shape: info.shape.clone(),
            dtype: info.dtype,
            part,
        });
        if (state.number, &state.name, &state.shape, state.dtype) != (number, &info.name, &info.shape, info.dtype) {
            return exec_err!(
                "tiles of `{}`, shape {:?}, and of `{}`, shape {:?}, are in one group: group by number and tensor",
                state.name,
                state.shape,
                info.name,
                info.shape
            );
        }
        Ok(state)
    }
}

/// The plan for a tensor, with the ranges that are known of it.
pub(crate) fn planned<'a>(
    info: &TensorInfo,
    quantizers: &'a [Box<dyn Quantizer>],
    ranges: Option<&RangesPart>,
) -> quantlens::Result<TensorReport<'a>> {
    let plan = TensorReport::new(info, quantizers);
    match ranges {
        Some(ranges) => plan.with_ranges(ranges),
        None => Ok(plan),
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let Some(tiles) = arguments.first() else { return exec_err!("there are no tiles") };
        let quantizers = quantizers(&self.schemes)?;
        let all_ranges = Arc::clone(&self.ranges);
        for tile in Tiles::of(tiles)?.iter() {
            let tile = tile?;
            let plan = planned(&tile.info, &quantizers, all_ranges.get(tile.number, &tile.info.name)).map_err(external)?;
            let state = self.state_of(tile.number, &tile.info)?;
            match (&mut state.part, tile.values) {
                (Part::Ranges(part), Ok(values)) => plan.add_ranges(part, tile.first, values).map_err(external)?,
                (Part::Ranges(part), Err(cause)) => plan.add_unusable_ranges(part, tile.first, cause),
                (Part::Report(part), Ok(values)) => plan.add(part, tile.first, values).map_err(external)?,
                (Part::Report(part), Err(cause)) => plan.add_unusable(part, tile.first, cause),
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = self.state.take().map(|state| to_bytes(&state)).transpose()?;
        Ok(vec![ScalarValue::Binary(bytes)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first().and_then(|states| states.as_binary_opt::<i32>()) else {
            return exec_err!("what came is no part of a report");
        };
        let quantizers = quantizers(&self.schemes)?;
        let all_ranges = Arc::clone(&self.ranges);
        for bytes in states.iter().flatten() {
            let other: State = from_bytes(bytes)?;
            let info = other.info();
            let number = other.number;
            let known = self.state_of(number, &info)?;
            match (&mut known.part, other.part) {
                (Part::Ranges(part), Part::Ranges(other)) => part.merge(other),
                (Part::Report(part), Part::Report(other)) => {
                    let plan = planned(&info, &quantizers, all_ranges.get(number, &info.name)).map_err(external)?;
                    plan.merge(part, other).map_err(external)?;
                }
                _ => return exec_err!("parts of two kinds of aggregates came together"),
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(state) = self.state.take() else {
            return match self.kind {
                Kind::Ranges | Kind::Rows => Ok(ScalarValue::Binary(None)),
                Kind::Report => ScalarValue::try_new_null(&DataType::Struct(row_fields()?)),
            };
        };
        let info = state.info();
        match state.part {
            Part::Ranges(part) => Ok(ScalarValue::Binary(Some(to_bytes(&part)?))),
            Part::Report(part) => {
                let quantizers = quantizers(&self.schemes)?;
                let plan = planned(&info, &quantizers, self.ranges.get(state.number, &info.name)).map_err(external)?;
                let rows = plan.rows(part).map_err(external)?;
                match self.kind {
                    Kind::Report => struct_of(&rows),
                    _ => Ok(ScalarValue::Binary(Some(to_bytes(&rows)?))),
                }
            }
        }
    }

    fn size(&self) -> usize {
        // Without pieces of values, which are there only where tiles are cut badly.
        const OF_A_SCHEME: usize = 8 << 10;
        size_of::<Self>() + self.schemes.len() * OF_A_SCHEME
    }
}

/// A row as a struct, with the columns and the numbers of a report's frame.
fn struct_of(rows: &[ReportRow]) -> Result<ScalarValue> {
    let frame = frame_of_rows(rows).map_err(external)?;
    let values = frame.columns().iter().map(|column| scalar_of(column, Some(0))?.to_array());
    let values = values.collect::<Result<Vec<_>>>()?;
    let row = datafusion::arrow::array::StructArray::try_new(row_fields()?, values, None)?;
    Ok(ScalarValue::Struct(Arc::new(row)))
}
