#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

// A file uses only those above it.
pub mod error;
pub mod store;
mod tile;

mod table;

mod codec;

mod scalar;

mod functions;

pub mod cluster;

mod parquet;

mod report;

pub use codec::{LogicalCodec, PhysicalCodec};
pub use error::{Error, Result};
pub use functions::register;
pub use parquet::register_parquet;
pub use report::{report, report_rows};
pub use table::{ModelTable, Partitions};
