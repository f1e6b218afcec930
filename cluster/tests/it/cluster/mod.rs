mod local;
mod models;
mod processes;
mod standalone;
#[cfg(feature = "aws")]
mod stores;
