//! `quantlens report --cluster`: the rows are measured by the program `quantlens-cluster`, a client of Ballista that is built apart.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use quantlens::{Quantizer, ReportRow};

use super::select::Selection;
use super::{Stop, go_on};

const PROGRAM: &str = "quantlens-cluster";

/// The rows of a report of a file, in the library's order, from the cluster of the scheduler at this address.
pub fn rows(scheduler: &str, file: &Selection, quantizers: &[&dyn Quantizer]) -> Result<Vec<ReportRow>, Stop> {
    let place = std::path::absolute(file.model.path()).map_err(|error| Stop::Error(error.to_string()))?;
    let schemes: Vec<String> = quantizers.iter().map(|quantizer| quantizer.name()).collect();
    let request = serde_json::json!({ "place": place, "schemes": schemes, "tensors": file.numbers() });
    let mut child = Command::new(program())
        .arg(scheduler)
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
        return Err(Stop::Error(said.rsplit_once("error: ").map_or(said, |(_, reason)| reason).to_owned()));
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
