//! Tiles in Parquet files.

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::{ParquetReadOptions, SessionContext};

use crate::error::Result;

/// Registers the tiles of a Parquet file, or of a folder of them, as the table `name`. Its columns are `tensor` (text), `shape` (a list of integers),
/// `first` (the number of the first value in the tensor) and `values` (a list of Float32 or Float64). Tensors are in the order of their names, for a
/// table has none of its own.
///
/// # Errors
/// What DataFusion says, as where a column is missing.
pub async fn register_parquet(context: &SessionContext, name: &str, path: &str) -> Result<()> {
    let files = context.read_parquet(path, ParquetReadOptions::default()).await?;
    let tile = context.udf("tile")?;
    let columns = ["tensor", "shape", "first", "values"].map(col).to_vec();
    let tiles = files.select(vec![lit(0_u64).alias("number"), col("tensor"), tile.call(columns).alias("tile")])?;
    context.register_table(name, tiles.into_view())?;
    Ok(())
}
