//! How a model's table and its scan travel between client, scheduler and executors. What is Ballista's own goes through its codecs.

use std::any::Any;
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
use serde::{Deserialize, Serialize};

use crate::table::{ModelTable, Scan, TileScan};

/// How ours begin: no message of protobuf begins with this byte.
const MARK: &[u8] = b"\xffquantlens\0";

#[derive(Serialize, Deserialize)]
struct Sent {
    scan: Scan,
    projection: Option<Vec<usize>>,
}

fn encode(table: &ModelTable, projection: Option<Vec<usize>>, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(MARK);
    let sent = Sent { scan: table.scan.clone(), projection };
    serde_json::to_writer(buffer, &sent).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// What [`encode`] has written, if it has.
fn decode(bytes: &[u8]) -> Option<Result<(ModelTable, Option<Vec<usize>>)>> {
    let json = bytes.strip_prefix(MARK)?;
    let sent = serde_json::from_slice(json).map_err(|error| DataFusionError::External(Box::new(error)));
    Some(sent.and_then(|Sent { scan, projection }| Ok((ModelTable::of_scan(scan)?, projection))))
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
            Some(decoded) => Ok(Arc::new(decoded?.0)),
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
            Some(model) => encode(model, None, buffer),
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
                let ((table, projection), [input]) = (decoded?, inputs) else {
                    return exec_err!("a scan of tiles has one input, not {}", inputs.len());
                };
                Ok(Arc::new(TileScan::new(table, projection, Arc::clone(input))?))
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
            Some(scan) => encode(&scan.table, scan.projection.clone(), buffer),
            None => self.inner.try_encode(node, buffer, converter),
        }
    }
}
