//! The program as its users call it. What its kernel says to Jupyter is tested by Jupyter's own client: `jupyter/run`.

mod features;
mod first_run;
mod installed;
mod kernel;
mod run;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The clone's directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// `quantlens-lab`, as `cargo lab` calls it.
pub fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantlens-lab"));
    command.args(arguments).current_dir(root()).stdin(Stdio::null()).env("QUANTLENS_CLONE", root());
    command
}

/// What a call came to.
pub struct Outcome {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

pub fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.code().is_some_and(|code| code <= 2), "killed or crashed: {:?}", output.status);
    Outcome { success: output.status.code() == Some(0), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// An executable script.
#[cfg(unix)]
pub fn script(path: PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
