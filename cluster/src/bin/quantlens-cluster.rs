//! `quantlens-cluster`: what `quantlens report --cluster` starts. It reads a request from standard input and prints the answer, both in JSON.

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use quantlens::{Dtype, Source, TensorInfo};
use quantlens_ballista::{Error, ModelTable, Partitions, cluster, report_rows, store};
use serde::{Deserialize, Serialize};

/// Measures a report on a cluster, for `quantlens report --cluster HOST:PORT`.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The scheduler's address, as 127.0.0.1:50050.
    #[arg(required_unless_present = "list")]
    scheduler: Option<String>,
    /// List the tensors of the model, without a cluster.
    #[arg(long)]
    list: bool,
}

#[derive(Deserialize)]
struct Request {
    /// The model's path, or a URL.
    place: String,
    #[serde(default)]
    schemes: Vec<String>,
    /// The numbers of the tensors that are wanted; all if there are none.
    tensors: Option<Vec<usize>>,
}

async fn run(options: Options) -> Result<(), Error> {
    let failed = |what: &str, source: io::Error| Error::Io { what: what.to_owned(), source };
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|source| failed("the request could not be read", source))?;
    let request: Request = serde_json::from_str(&text).map_err(|error| failed("this is no request", error.into()))?;
    let written = |error: serde_json::Error| failed("the answer could not be written", error.into());
    if options.list {
        let model = store::open(&request.place)?;
        let infos = model.infos();
        let listed =
            infos.iter().enumerate().map(|(number, info)| Listed { info, stored_bits: model.stored_bits_per_element(number) });
        return serde_json::to_writer(io::stdout().lock(), &listed.collect::<Vec<_>>()).map_err(written);
    }
    let mut table = ModelTable::open(&request.place, Partitions::default())?;
    table = table.with_partitions(partitions(&table.infos()));
    if let Some(tensors) = request.tensors {
        table = table.select(tensors);
    }
    let context = cluster::connect(&options.scheduler.unwrap_or_default()).await?;
    context.register_table("model", Arc::new(table))?;
    let schemes: Vec<&str> = request.schemes.iter().map(String::as_str).collect();
    let rows = report_rows(&context, "model", &schemes).await?;
    serde_json::to_writer(io::stdout().lock(), &rows).map_err(written)
}

/// A tensor of the model.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    info: &'a TensorInfo,
    stored_bits: Option<f64>,
}

/// The usual ones, or larger ones of a model that would have more than some thousands of them: the scheduler takes milliseconds for each.
fn partitions(infos: &[TensorInfo]) -> Partitions {
    const MOST: u64 = 4000;
    let bytes = infos.iter().map(|info| info.elements() as u64 * if info.dtype == Dtype::F64 { 8 } else { 4 });
    let bytes = bytes.fold(0, u64::saturating_add);
    match Partitions::default() {
        Partitions::Bytes(usual) => Partitions::Bytes(usual.max(bytes / MOST)),
        usual => usual,
    }
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
