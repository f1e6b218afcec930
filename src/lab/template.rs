//! The notebooks' libraries, built once: a directory as evcxr lays it out, of which every session gets a clone.
//!
//! The versions are those of the workspace's `Cargo.lock`, which is laid beside them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What is being done while the template is made ready.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Another process builds it.
    Waiting,
    /// `done` of `total` crates are built; this one last.
    Built { done: usize, total: usize, name: &'a str },
}

/// How long a first build takes on two cores, as measured.
pub const FIRST_BUILD: Duration = Duration::from_secs(240);

/// The workspace that the prelude and the lock file belong to.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where everything the lab makes is kept.
pub fn lab_directory() -> PathBuf {
    workspace().join("target").join("lab")
}

/// Where the template and its clones are, side by side: the libraries find each other by relative paths.
pub fn kernel_directory() -> PathBuf {
    lab_directory().join("kernel")
}

/// The template's directory.
pub fn directory() -> PathBuf {
    kernel_directory().join("template")
}

/// The `:dep` line's argument for the prelude, as evcxr keeps it: the path absolute.
pub fn prelude_dependency() -> Result<String> {
    // As evcxr resolves a notebook's relative path, so that the two are the same.
    let prelude = workspace().join("notebooks").join("prelude").canonicalize().context("notebooks/prelude is missing")?;
    Ok(format!("quantlens-prelude = {{ path = \"{}\" }}", prelude.display().to_string().replace('\\', "\\\\")))
}

/// Where cargo puts what is built in such a directory, for this machine.
pub fn artifacts(directory: &Path) -> Result<PathBuf> {
    Ok(directory.join("target").join(host_target()?).join("debug"))
}

/// A built template. While this lives nobody changes it.
pub struct Template {
    pub directory: PathBuf,
    /// Two templates of the same stamp hold the same libraries.
    pub stamp: String,
    _lock: File,
}

impl Template {
    /// Builds what is not built, or only looks that nothing changed, which takes no time that is felt.
    pub fn prepare(mut report: impl FnMut(Progress)) -> Result<Self> {
        let directory = directory();
        fs::create_dir_all(directory.join("src")).with_context(|| format!("could not make {}", directory.display()))?;
        let lock = File::create(kernel_directory().join("template.lock")).context("could not make the template's lock file")?;
        let current = sources_stamp()?;
        let stamp_file = directory.join("stamp");
        lock.lock_shared().context("could not lock the template")?;
        if fs::read_to_string(&stamp_file).is_ok_and(|stamp| stamp == current) {
            return Ok(Self { directory, stamp: current, _lock: lock });
        }
        lock.unlock().context("could not unlock the template")?;
        if lock.try_lock().is_err() {
            report(Progress::Waiting);
            lock.lock().context("could not lock the template")?;
        }
        // Whoever had it may have built it meanwhile.
        if !fs::read_to_string(&stamp_file).is_ok_and(|stamp| stamp == current) {
            let _ = fs::remove_file(&stamp_file);
            // evcxr's profile has debug assertions and overflow checks on for all dependencies, which slows polars down a lot.
            write_if_changed(&lab_directory().join(".cargo/config.toml"), CARGO_CONFIG)?;
            build(&directory, &mut report)?;
            fs::write(&stamp_file, &current).context("could not write the template's stamp")?;
        }
        lock.lock_shared().context("could not lock the template")?;
        Ok(Self { directory, stamp: current, _lock: lock })
    }
}

/// What the built libraries depend on: sources, versions, toolchain, flags.
fn sources_stamp() -> Result<String> {
    let workspace = workspace();
    let mut files: Vec<PathBuf> = ["Cargo.toml", "Cargo.lock", "README.md"].iter().map(|name| workspace.join(name)).collect();
    for directory in ["src", "assets", "notebooks/prelude"] {
        collect_files(&workspace.join(directory), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        // What is only the command line's does not reach the notebooks.
        if file.starts_with(workspace.join("src/lab")) || file == workspace.join("src/main.rs") {
            continue;
        }
        file.hash(&mut hasher);
        fs::read(&file).with_context(|| format!("could not read {}", file.display()))?.hash(&mut hasher);
    }
    rustc_version()?.hash(&mut hasher);
    rust_flags().hash(&mut hasher);
    (CARGO_CONFIG, CTX_MANIFEST).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("could not read {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn build(directory: &Path, report: &mut impl FnMut(Progress)) -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().context("could not run rustc")?;
    let sources = Path::new(String::from_utf8_lossy(&sysroot.stdout).trim()).join("lib/rustlib/src/rust/library");
    if !sources.is_dir() {
        bail!("the sources of the standard library are missing: run `rustup component add rust-src`");
    }
    let manifest = CTX_MANIFEST.replace("{dependency}", &prelude_dependency()?);
    write_if_changed(&directory.join("Cargo.toml"), &manifest)?;
    write_if_changed(&directory.join("src/lib.rs"), "")?;
    fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).context("could not copy Cargo.lock")?;
    // For all platforms, as evcxr asks for the metadata of all, and offline.
    let fetched = cargo(directory, &["fetch"]).output().context("could not run cargo: a Rust toolchain is needed")?;
    if !fetched.status.success() {
        bail!("the notebooks' crates could not be fetched:\n{}", String::from_utf8_lossy(&fetched.stderr));
    }
    let total = package_count(directory)?;

    // As evcxr builds a cell, so that the cells find everything built.
    let mut cargo =
        cargo(directory, &["rustc", "--target", host_target()?, "--message-format", "json-render-diagnostics", "--lib"]);
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
fn package_count(directory: &Path) -> Result<usize> {
    let output = cargo(directory, &["tree", "--prefix", "none", "--no-dedupe", "--edges", "normal,build"]).output()?;
    if !output.status.success() {
        bail!("the notebooks' prelude does not resolve:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let packages: BTreeSet<&[u8]> = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    Ok(packages.len())
}

/// cargo as evcxr calls it.
fn cargo(directory: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env("CARGO_TARGET_DIR", "target")
        .env("CARGO_BUILD_BUILD_DIR", "target")
        .env("RUSTFLAGS", rust_flags());
    // Set for whatever `cargo run` and `cargo test` start; a build of its own shall not see them.
    for (name, _) in std::env::vars_os() {
        let inherited = name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR");
        if inherited {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// evcxr's, which depend on the linkers it finds.
fn rust_flags() -> String {
    let mut flags = "-Cprefer-dynamic".to_owned();
    if !on_path("mold") && on_path("lld") {
        flags += " -Clink-arg=-fuse-ld=lld";
    }
    flags
}

fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// What `rustc -vV` prints: version, commit, host.
pub fn rustc_version() -> Result<&'static str> {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(version);
    }
    let output = Command::new("rustc").arg("-vV").output().context("could not run rustc: a Rust toolchain is needed")?;
    Ok(VERSION.get_or_init(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn host_target() -> Result<&'static str> {
    let host = rustc_version()?.lines().find_map(|line| line.strip_prefix("host: "));
    host.context("rustc -vV names no host")
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
{dependency}

"#;
