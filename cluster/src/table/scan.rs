//! `TileScan`: the plan that reads tiles.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use quantlens::{Model, Source, TensorInfo, TileBuffer};

use super::ModelTable;
use crate::tile;

/// Which tile is to be read: the number of a tensor, and a range of its elements.
pub(super) type Wanted = (usize, Range<usize>);

static WANTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let column = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![column("number"), column("start"), column("end")]))
});

/// Reads tiles of a model. Which ones, its input says: rows in memory, partition by partition. Of all plans without an input, rows in memory are what
/// Ballista cuts into the partitions of its tasks, so that a task is sent no more than what it has to read.
#[derive(Debug, Clone)]
pub(crate) struct TileScan {
    pub table: ModelTable,
    pub projection: Option<Vec<usize>>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl TileScan {
    /// A scan of all tiles of a table.
    pub fn of_all(table: ModelTable, projection: Option<Vec<usize>>) -> Result<Self> {
        let partitions = table.tiles().iter().map(|tiles| Ok(vec![wanted(tiles)?])).collect::<Result<Vec<_>>>()?;
        let rows = MemorySourceConfig::try_new(&partitions, Arc::clone(&WANTED), None)?;
        Self::new(table, projection, DataSourceExec::from_data_source(rows))
    }

    /// A scan of the tiles that the input says.
    pub fn new(table: ModelTable, projection: Option<Vec<usize>>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(tile::SCHEMA.project(columns)?),
            None => Arc::clone(&tile::SCHEMA),
        };
        let partitions = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let properties =
            PlanProperties::new(EquivalenceProperties::new(schema), partitions, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Self { table, projection, input, properties: Arc::new(properties) })
    }
}

/// Tiles as rows.
fn wanted(tiles: &[Wanted]) -> Result<RecordBatch> {
    let column =
        |value: fn(&Wanted) -> usize| Arc::new(tiles.iter().map(|tile| Some(value(tile) as u64)).collect::<UInt64Array>());
    let columns = [column(|tile| tile.0), column(|tile| tile.1.start), column(|tile| tile.1.end)];
    Ok(RecordBatch::try_new(Arc::clone(&WANTED), columns.map(|column| column as _).into())?)
}

/// Rows as tiles.
fn tiles_of(rows: &RecordBatch) -> Result<Vec<Wanted>> {
    let [number, start, end] = rows.columns() else { return exec_err!("a tile to be read has 3 numbers") };
    let column = |array: &Arc<dyn datafusion::arrow::array::Array>| {
        array.as_primitive_opt::<UInt64Type>().map(|array| array.values().to_vec())
    };
    let (Some(numbers), Some(starts), Some(ends)) = (column(number), column(start), column(end)) else {
        return exec_err!("a tile to be read has 3 whole numbers");
    };
    let ranges = starts.into_iter().zip(ends).map(|(start, end)| start as usize..end as usize);
    Ok(numbers.into_iter().map(|number| number as usize).zip(ranges).collect())
}

impl DisplayAs for TileScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TileScan: {}", self.table.scan.place)
    }
}

impl ExecutionPlan for TileScan {
    fn name(&self) -> &str {
        "TileScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return exec_err!("a scan of tiles has an input") };
        Ok(Arc::new(Self::new(self.table.clone(), self.projection.clone(), input)?))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let tiles = rows.and_then(async |rows| Ok(stream::iter(tiles_of(&rows)?.into_iter().map(Ok)))).try_flatten();
        let (table, projection) = (self.table.clone(), self.projection.clone());
        let batches = async move {
            let open = move || -> Result<_> {
                // As text, which is what Ballista hands on of an error.
                let model = table.model().map_err(|error| DataFusionError::Execution(error.to_string()))?;
                let infos = model.infos();
                Ok(Arc::new((model, infos)))
            };
            let opened = blocking(open).await?;
            Ok::<_, DataFusionError>(tiles.and_then(move |(number, elements)| {
                let (opened, projection) = (Arc::clone(&opened), projection.clone());
                blocking(move || read(&opened.0, &opened.1, number, elements, projection.as_deref()))
            }))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(batches).try_flatten().boxed())))
    }
}

/// Does what waits for a disk or a network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DataFusionError::External(Box::new(error)))?
}

/// One tile, of which only these columns are wanted.
fn read(
    model: &Model,
    infos: &[TensorInfo],
    number: usize,
    elements: Range<usize>,
    columns: Option<&[usize]>,
) -> Result<RecordBatch> {
    let Some(info) = infos.get(number) else { return exec_err!("there is no tensor {number}") };
    let mut buffer = TileBuffer::default();
    let first = elements.start;
    let values = match columns {
        Some(columns) if !columns.contains(&tile::TILE_COLUMN) => Err("nobody asked for it".to_owned()),
        _ => model.read(number, elements, &mut buffer).map_err(|error| error.cause().to_string()),
    };
    let row = tile::row(number, info, first, values)?;
    Ok(match columns {
        Some(columns) => row.project(columns)?,
        None => row,
    })
}
