//! Where a session builds: a directory of its own, whose libraries are built before the first cell asks for them.
//!
//! evcxr builds each cell as a crate in a directory that only one kernel may use. Here it is `target/lab/kernel`: outside the
//! workspace's own build, guarded by a file lock, and kept, so that the prelude's hundred and more crates are compiled once. They are
//! the versions of the workspace's `Cargo.lock`, which is laid beside them.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A locked directory to build cells in. The lock is freed when this is dropped or the process ends, however it ends.
pub struct Slot {
    directory: PathBuf,
    _lock: File,
}

/// What a slot is doing while it is made ready.
pub enum Progress<'a> {
    /// Another run has the directory.
    Waiting,
    /// `done` of `total` crates are built; this one last.
    Built { done: usize, total: usize, name: &'a str },
}

/// The workspace that the prelude and the lock file belong to.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where everything the lab makes is kept.
pub fn lab_directory() -> PathBuf {
    workspace().join("target").join("lab")
}

impl Slot {
    /// Takes the directory, waiting for whoever has it, and builds the prelude in it as evcxr would.
    pub fn prepare(mut report: impl FnMut(Progress)) -> Result<Self> {
        let lab = lab_directory();
        let directory = lab.join("kernel");
        fs::create_dir_all(directory.join("src")).with_context(|| format!("could not make {}", directory.display()))?;
        let lock = File::create(lab.join("kernel.lock")).context("could not make the kernel's lock file")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report(Progress::Waiting);
                lock.lock().context("could not lock the kernel's directory")?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("could not lock the kernel's directory"),
        }
        let slot = Self { directory, _lock: lock };
        // evcxr's profile has debug assertions and overflow checks on for all dependencies, which slows polars down a lot.
        write_if_changed(&lab.join(".cargo/config.toml"), CARGO_CONFIG)?;
        slot.build(&mut report)?;
        Ok(slot)
    }

    /// The directory for evcxr.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lays the workspace's lock file beside the cells. evcxr prunes it at start, when there are no dependencies yet.
    pub fn restore_lock_file(directory: &Path) -> Result<()> {
        fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).context("could not copy Cargo.lock")?;
        Ok(())
    }

    fn build(&self, report: &mut impl FnMut(Progress)) -> Result<()> {
        let prelude = workspace().join("notebooks").join("prelude");
        let manifest = CTX_MANIFEST.replace("{prelude}", &prelude.display().to_string().replace('\\', "/"));
        write_if_changed(&self.directory.join("Cargo.toml"), &manifest)?;
        write_if_changed(&self.directory.join("src/lib.rs"), "")?;
        Self::restore_lock_file(&self.directory)?;
        // For all platforms, as evcxr asks for the metadata of all, and offline.
        let fetched = self.cargo(&["fetch"]).output().context("could not run cargo: a Rust toolchain is needed")?;
        if !fetched.status.success() {
            bail!("the notebooks' crates could not be fetched:\n{}", String::from_utf8_lossy(&fetched.stderr));
        }
        let total = self.package_count()?;

        let mut cargo = self.cargo(&["build", "--target", &host_target()?, "--message-format", "json-render-diagnostics"]);
        let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("could not run cargo")?;
        let stderr = child.stderr.take();
        let messages = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.map(|mut stderr| stderr.read_to_string(&mut text));
            text
        });
        let mut done = BTreeSet::new();
        for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
            let message: Value = serde_json::from_str(&line?).unwrap_or_default();
            let is_build_script = message["target"]["kind"][0] == "custom-build";
            // The cells' own crate, empty here, is built anew every time.
            let is_library = message["target"]["name"] != "ctx" && !is_build_script;
            if message["reason"] == "compiler-artifact" && is_library {
                let package = message["package_id"].as_str().unwrap_or_default().to_owned();
                let is_new = done.insert(package) && message["fresh"] == false;
                if is_new {
                    report(Progress::Built { done: done.len(), total, name: message["target"]["name"].as_str().unwrap_or("") });
                }
            }
        }
        let status = child.wait()?;
        let messages = messages.join().unwrap_or_default();
        if !status.success() {
            bail!("the notebooks' prelude does not build:\n{messages}");
        }
        Ok(())
    }

    /// Packages that a build goes through.
    fn package_count(&self) -> Result<usize> {
        let output = self.cargo(&["tree", "--prefix", "none", "--no-dedupe", "--edges", "normal,build"]).output()?;
        if !output.status.success() {
            bail!("the notebooks' prelude does not resolve:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let packages: BTreeSet<&[u8]> = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        Ok(packages.len())
    }

    /// cargo as evcxr calls it, so that evcxr finds everything built.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        let mut flags = "-Cprefer-dynamic".to_owned();
        if !on_path("mold") && on_path("lld") {
            flags += " -Clink-arg=-fuse-ld=lld";
        }
        cargo
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .env("CARGO_TARGET_DIR", "target")
            .env("CARGO_BUILD_BUILD_DIR", "target")
            .env("RUSTFLAGS", flags);
        // Set for whatever `cargo run` and `cargo test` start; a build of its own shall not see them.
        for (name, _) in std::env::vars_os() {
            let inherited = name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR");
            if inherited {
                cargo.env_remove(name);
            }
        }
        cargo
    }
}

fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

fn host_target() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("could not run rustc: a Rust toolchain is needed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn write_if_changed(path: &Path, contents: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|existing| existing == contents) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, contents).with_context(|| format!("could not write {}", path.display()))
}

const CARGO_CONFIG: &str = r#"[profile.dev.package."*"]
debug-assertions = false
overflow-checks = false
"#;

/// What evcxr 0.22 writes for a notebook whose first cell names the prelude (its `module.rs`, `get_cargo_toml_contents`).
const CTX_MANIFEST: &str = r#"
[package]
name = "ctx"
version = "1.0.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]
path = "src/lib.rs"

[profile.dev]
opt-level = 2
debug = false
strip = "debuginfo"
rpath = true
lto = false
debug-assertions = true
codegen-units = 16
panic = 'unwind'
incremental = true
overflow-checks = true

[dependencies]
quantlens-prelude = { path = "{prelude}" }
"#;
