//! How a model's table and its scan travel between client, scheduler and executors. What is Ballista's own goes through its codecs.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, TableReference, exec_err};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use quantlens::TensorInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::table::{ModelTable, Scan, TileScan};

/// How ours begin: no message of protobuf begins with this byte.
const MARK: &[u8] = b"\xffquantlens\0";

/// A table, for the scheduler, which shares its tensors out.
#[derive(Serialize, Deserialize)]
struct SentTable {
    scan: Scan,
    infos: Vec<TensorInfo>,
}

/// A scan, for a task, whose input says what it reads.
#[derive(Serialize, Deserialize)]
struct SentScan {
    scan: Scan,
    projection: Option<Vec<usize>>,
}

fn encode(sent: &impl Serialize, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(MARK);
    serde_json::to_writer(buffer, sent).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// What [`encode`] has written, if it has.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<Result<T>> {
    let json = bytes.strip_prefix(MARK)?;
    Some(serde_json::from_slice(json).map_err(|error| DataFusionError::External(Box::new(error))))
}

/// Of logical plans.
#[derive(Debug, Default)]
pub struct LogicalCodec {
    inner: BallistaLogicalExtensionCodec,
}

impl LogicalExtensionCodec for LogicalCodec {
    fn try_decode(&self, buffer: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.inner.try_decode(buffer, inputs, context)
    }

    fn try_encode(&self, node: &Extension, buffer: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode(node, buffer)
    }

    fn try_decode_table_provider(
        &self,
        buffer: &[u8],
        table: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        match decode(buffer) {
            Some(decoded) => {
                let SentTable { scan, infos } = decoded?;
                Ok(Arc::new(ModelTable::of_scan(scan, infos)))
            }
            None => self.inner.try_decode_table_provider(buffer, table, schema, context),
        }
    }

    fn try_encode_table_provider(
        &self,
        table: &TableReference,
        node: Arc<dyn TableProvider>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let any: &dyn Any = node.as_ref();
        match any.downcast_ref::<ModelTable>() {
            Some(table) => encode(&SentTable { scan: table.scan.clone(), infos: table.infos() }, buffer),
            None => self.inner.try_encode_table_provider(table, node, buffer),
        }
    }

    fn try_decode_file_format(&self, buffer: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.inner.try_decode_file_format(buffer, context)
    }

    fn try_encode_file_format(&self, buffer: &mut Vec<u8>, node: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.inner.try_encode_file_format(buffer, node)
    }
}

/// Of physical plans.
#[derive(Debug, Default)]
pub struct PhysicalCodec {
    inner: BallistaPhysicalExtensionCodec,
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        buffer: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match decode(buffer) {
            Some(decoded) => {
                let (SentScan { scan, projection }, [input]) = (decoded?, inputs) else {
                    return exec_err!("a scan of tiles has one input, not {}", inputs.len());
                };
                Ok(Arc::new(TileScan::new(ModelTable::of_scan(scan, Vec::new()), projection, Arc::clone(input))?))
            }
            None => self.inner.try_decode(buffer, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let any: &dyn Any = node.as_ref();
        match any.downcast_ref::<TileScan>() {
            Some(TileScan { table, projection, .. }) => {
                let scan = Scan { only: None, periods: BTreeMap::new(), ..table.scan.clone() };
                encode(&SentScan { scan, projection: projection.clone() }, buffer)
            }
            None => self.inner.try_encode(node, buffer, converter),
        }
    }
}
