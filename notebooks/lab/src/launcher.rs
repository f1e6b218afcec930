//! `cargo lab`: builds the program `quantlens-lab` and the crates that notebooks use, in one build, then becomes that program. It needs
//! no crate itself, so that it is there a second after it is called: to say what is missing before the long build, not behind it, and
//! to show how long that takes.

mod estimate;
mod toolchain;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use estimate::{Estimate, built_package, packages_of_tree};

fn main() -> ExitCode {
    let error = match launch() {
        Ok(mut command) => format!("could not start the lab: {}", command.exec()),
        Err(error) => error,
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// The program, built, as it is to be called.
fn launch() -> Result<Command, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    toolchain::ensure_std_sources()?;
    let program = build(workspace)?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env("QUANTLENS_CLONE", workspace);
    Ok(command)
}

fn cargo<A: AsRef<OsStr>>(workspace: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(arguments).current_dir(workspace).stdin(Stdio::null());
    toolchain::without_cargos_own(&mut cargo);
    cargo
}

/// Builds the program, and gives its file.
fn build(workspace: &Path) -> Result<PathBuf, String> {
    // Later the notebooks' libraries are built elsewhere, and from sources of another day; polars is not compiled for it again.
    let is_first = !has_template(&workspace.join("target/lab/kernel"));
    // With features it is another polars.
    let is_features = |argument: &OsStr| argument.to_str().is_some_and(|text| text.split('=').next() == Some("--features"));
    let has_features = std::env::args_os().any(|argument| is_features(&argument));
    // It has the sources beside it, so it need not carry them.
    let mut packages =
        vec!["--locked", "--no-default-features", "--features", "quantlens-lab/session", "--package", "quantlens-lab"];
    if is_first {
        if !has_features {
            packages.extend(["--package", "quantlens"]);
        }
        // It shows its own progress.
        let fetched = cargo(workspace, ["fetch", "--locked"]).stdout(Stdio::null()).status();
        if !fetched.map_err(|error| format!("could not run cargo: {error}"))?.success() {
            return Err("the crates could not be fetched: the first run needs the network".to_owned());
        }
    }
    let tree = ["tree", "--offline", "--prefix", "none", "--edges", "normal,build"];
    let tree = cargo(workspace, tree.iter().chain(&packages)).stderr(Stdio::null()).output();
    let tree = tree.map_err(|error| format!("could not run cargo: {error}"))?;
    let mut estimate = Estimate::new(packages_of_tree(&String::from_utf8_lossy(&tree.stdout)));

    let build = ["build", "--quiet", "--message-format", "json-render-diagnostics"];
    let mut build = cargo(workspace, build.iter().chain(&packages));
    let mut build = build.stdout(Stdio::piped()).spawn().map_err(|error| format!("could not run cargo: {error}"))?;
    let (sender, lines) = channel();
    if let Some(stdout) = build.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let mut shower = Shower::new();
    let mut program = None;
    let mut name = "starting".to_owned();
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                program = executable(&line).or(program);
                if let Some((package, is_fresh)) = built_package(&line) {
                    estimate.built(&package, is_fresh);
                    if is_fresh {
                        continue;
                    }
                    name = package;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        shower.show(|| format!("building the lab: {}", estimate.line(&name)));
    }
    shower.end();
    let status = build.wait().map_err(|error| format!("could not wait for cargo: {error}"))?;
    match program {
        Some(program) if status.success() => Ok(program),
        _ => Err("the lab could not be built: see above".to_owned()),
    }
}

/// Whether the notebooks' libraries were built, with whichever features.
fn has_template(kernels: &Path) -> bool {
    let entries = std::fs::read_dir(kernels).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("template")))
        .any(|entry| entry.path().join("stamp").exists())
}

/// The file of the program, from cargo's message that it is there.
fn executable(line: &str) -> Option<PathBuf> {
    let path = line.split_once(r#""executable":""#)?.1.split_once('"')?.0;
    path.ends_with("quantlens-lab").then(|| PathBuf::from(path))
}

/// One line that is drawn over; where there is no terminal, a line every now and then.
struct Shower {
    is_terminal: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Shower {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), start: Instant::now(), last: None }
    }

    fn show(&mut self, line: impl FnOnce() -> String) {
        let every = Duration::from_secs(if self.is_terminal { 1 } else { 15 });
        // A build that has nothing to do shows nothing.
        if self.start.elapsed() < Duration::from_secs(1) || self.last.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.last = Some(Instant::now());
        if self.is_terminal {
            eprint!("\r\x1b[K{}", line());
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{}", line());
        }
    }

    fn end(&self) {
        if self.is_terminal && self.last.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
