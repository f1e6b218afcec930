//! `quantlens report --cluster`: the rows are measured by the program `quantlens-cluster`, a client of Ballista that is built apart.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quantlens::{Quantizer, ReportRow, TensorInfo};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::select::Selection;
use super::{Stop, go_on};

const PROGRAM: &str = "quantlens-cluster";

/// A tensor of a model that this program does not read.
#[derive(Deserialize)]
pub struct Listed {
    #[serde(flatten)]
    pub info: TensorInfo,
    pub stored_bits: Option<f64>,
}

/// Whether a model is named by its URL, at which the cluster finds it.
pub fn is_url(path: &Path) -> bool {
    path.to_string_lossy().contains("://")
}

/// The tensors of the model at a URL.
pub fn list(url: &str) -> Result<Vec<Listed>, Stop> {
    ask(&["--list"], &serde_json::json!({ "place": url }))
}

/// The rows of a report of a file, in the library's order, from the cluster of the scheduler at this address.
pub fn rows(scheduler: &str, file: &Selection, quantizers: &[&dyn Quantizer]) -> Result<Vec<ReportRow>, Stop> {
    let name = file.name();
    let place = match is_url(file.path()) {
        true => name,
        false => {
            let path = std::path::absolute(file.path()).map_err(|error| Stop::Error(error.to_string()))?;
            let named = path.to_str().map(str::to_owned);
            named.ok_or_else(|| Stop::Error(format!("`{name}` cannot be told to the cluster: its path is not UTF-8")))?
        }
    };
    let schemes: Vec<String> = quantizers.iter().map(|quantizer| quantizer.name()).collect();
    ask(&[scheduler], &serde_json::json!({ "place": place, "schemes": schemes, "tensors": file.numbers() }))
}

/// What the program answers.
fn ask<T: DeserializeOwned>(arguments: &[&str], request: &serde_json::Value) -> Result<T, Stop> {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Stop::Error(format!(
                "the program {PROGRAM} cannot be started ({error}): build it with `cargo install --path cluster`, which puts it beside quantlens"
            ))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where it ended before, it says why.
        let _ = stdin.write_all(request.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| Stop::Error(error.to_string()))?;
    go_on()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        return Err(Stop::Error(said.strip_prefix("error: ").unwrap_or(said).to_owned()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Stop::Error(format!("{PROGRAM} is of another version than quantlens: {error}")))
}

/// Beside this program, else on the path.
fn program() -> PathBuf {
    let name = format!("{PROGRAM}{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
