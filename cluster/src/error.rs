//! What can go wrong between the library's errors and those of the engine.

use datafusion::common::DataFusionError;

/// Why a report on a cluster cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the library says of the model, a scheme or the values.
    #[error(transparent)]
    Quantlens(#[from] quantlens::Error),

    /// What DataFusion or Ballista says of the query; also what an executor says of a file.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),

    /// What Ballista says of its scheduler or executor.
    #[error("{0}")]
    Ballista(#[from] ballista_core::error::BallistaError),

    /// All rows failed, for instance because of this tensor under this scheme.
    #[error("tensor `{tensor}` under `{scheme}`: {cause}")]
    AllFailed {
        /// The first tensor.
        tensor: String,
        /// The first scheme.
        scheme: String,
        /// Why.
        cause: String,
    },

    /// An address that is none.
    #[error("`{address}` is no address: {reason}; one looks like 127.0.0.1:50050")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Something that should be a place of a model.
    #[error("`{url}` cannot be opened: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// Why.
        reason: String,
    },

    /// An address beyond this machine that was not allowed.
    #[error(
        "{address} can be reached from other machines, and whoever reaches it can run what they like on the cluster: give --allow-remote if the network is trusted"
    )]
    OpenPort {
        /// The address that was to be listened on.
        address: String,
    },

    /// An address that stands for all of a machine, and so for none that others could call.
    #[error(
        "{address} is no address that others can call: say by --external-host which name or address of this machine they reach"
    )]
    NoName {
        /// The address that was to be listened on.
        address: String,
    },

    /// The runtime that reads from stores of objects, or a file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => error,
            error => Self::External(Box::new(error)),
        }
    }
}
