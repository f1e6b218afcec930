//! `TileScan`: the plan that reads tiles.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use quantlens::{Source, TileBuffer};

use super::ModelTable;
use crate::tile;

/// Reads the tiles of a model, partition by partition.
#[derive(Debug, Clone)]
pub(crate) struct TileScan {
    pub table: ModelTable,
    pub projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl TileScan {
    pub fn new(table: ModelTable, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(tile::SCHEMA.project(columns)?),
            None => Arc::clone(&tile::SCHEMA),
        };
        let partitions = Partitioning::UnknownPartitioning(table.tiles().len());
        let properties =
            PlanProperties::new(EquivalenceProperties::new(schema), partitions, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Self { table, projection, properties: Arc::new(properties) })
    }
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
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(tiles) = self.table.tiles().into_iter().nth(partition) else {
            return exec_err!("there is no partition {partition} of {}", self.table.scan.place);
        };
        let (table, projection) = (self.table.clone(), self.projection.clone());
        let infos = Arc::new(table.infos());
        let batches = stream::iter(tiles).then(move |(number, elements)| {
            let (model, infos, projection) = (table.model.clone(), Arc::clone(&infos), projection.clone());
            // Reading waits for a disk or a network.
            let read = tokio::task::spawn_blocking(move || -> Result<RecordBatch> {
                let Some(info) = infos.get(number) else { return exec_err!("there is no tensor {number}") };
                let mut buffer = TileBuffer::default();
                let first = elements.start;
                let values = model.read(number, elements, &mut buffer).map_err(|error| error.cause().to_string());
                let row = tile::row(number, info, first, values)?;
                Ok(match projection {
                    Some(columns) => row.project(&columns)?,
                    None => row,
                })
            });
            async move { read.await.map_err(|error| DataFusionError::External(Box::new(error)))? }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.into_stream().boxed())))
    }
}
