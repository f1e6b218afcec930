//! `quantlens-cluster`: what `quantlens report --cluster` starts. It reads a request from standard input and prints the rows, both in JSON.

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use quantlens_ballista::{Error, ModelTable, Partitions, cluster, report_rows};
use serde::Deserialize;

/// Measures a report on a cluster, for `quantlens report --cluster HOST:PORT`.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The scheduler's address, as 127.0.0.1:50050.
    scheduler: String,
}

#[derive(Deserialize)]
struct Request {
    /// The model's path, or a URL.
    place: String,
    schemes: Vec<String>,
    /// The numbers of the tensors that are wanted; all if there are none.
    tensors: Option<Vec<usize>>,
}

async fn run(options: Options) -> Result<(), Error> {
    let failed = |what: &str, source: io::Error| Error::Io { what: what.to_owned(), source };
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|source| failed("the request could not be read", source))?;
    let request: Request = serde_json::from_str(&text).map_err(|error| failed("this is no request", error.into()))?;
    let mut table = ModelTable::open(&request.place, Partitions::default())?;
    if let Some(tensors) = request.tensors {
        table = table.select(tensors);
    }
    let context = cluster::connect(&options.scheduler).await?;
    context.register_table("model", Arc::new(table))?;
    let schemes: Vec<&str> = request.schemes.iter().map(String::as_str).collect();
    let rows = report_rows(&context, "model", &schemes).await?;
    serde_json::to_writer(io::stdout().lock(), &rows).map_err(|error| failed("the rows could not be written", error.into()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
