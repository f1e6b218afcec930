//! The notebooks' libraries, built once for each set of features: a directory as evcxr lays it out, of which every session gets a clone.
//!
//! The versions are those of the workspace's `Cargo.lock`, which is laid beside them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

use super::estimate::{Estimate, built_package, packages_of_tree};
use super::features::Features;
use super::home::home;
use super::{toolchain, units};

/// How often whoever waits for a build is told how far it is.
const REPORT_EVERY: Duration = Duration::from_millis(300);

/// Set by a test: a directory such as `target/debug`, of which what cargo has built there can be taken.
const UNITS_VARIABLE: &str = "QUANTLENS_TEST_UNITS";

/// What is being done while the template is made ready.
pub enum Progress<'a> {
    /// Another process builds it. Said again and again.
    Waiting,
    /// The build has come so far; this package last.
    Built(&'a Estimate, &'a str),
    /// All is built.
    End,
}

/// Where the templates and their clones are, side by side: the libraries find each other by relative paths.
pub fn kernel_directory() -> PathBuf {
    home().data().join("kernel")
}

/// The directory of the template with these features.
pub fn directory(features: &Features) -> PathBuf {
    kernel_directory().join(features.suffixed("template"))
}

/// The file whose lock says who builds it or clones it.
fn lock_file(features: &Features) -> Result<File> {
    let path = kernel_directory().join(format!("{}.lock", features.suffixed("template")));
    File::create(&path).with_context(|| format!("could not make {}", path.display()))
}

/// Where the crates are built that notebooks add (evcxr's `extras.rs`), for all of them.
pub fn extras() -> PathBuf {
    kernel_directory().join("extras")
}

/// The `:dep` line's argument for the prelude with these features, as evcxr keeps it: the path absolute.
pub fn prelude_dependency(features: &Features) -> Result<String> {
    // As evcxr resolves a notebook's relative path, so that the two are the same.
    let prelude = home().sources().join("notebooks").join("prelude");
    let prelude = prelude.canonicalize().with_context(|| format!("{} is missing", prelude.display()))?;
    let path = prelude.display().to_string().replace('\\', "\\\\");
    let names: Vec<String> = features.names().iter().map(|name| format!("{name:?}")).collect();
    let features = if names.is_empty() { String::new() } else { format!(", features = [{}]", names.join(", ")) };
    Ok(format!("quantlens-prelude = {{ path = \"{path}\"{features} }}"))
}

/// Where cargo puts what is built in such a directory.
pub fn artifacts(directory: &Path) -> PathBuf {
    directory.join("target").join("debug")
}

/// A built template. While this lives nobody changes it.
pub struct Template {
    pub directory: PathBuf,
    /// Two templates of the same stamp hold the same libraries, and cargo finds them as new as the sources.
    pub stamp: String,
    _lock: File,
}

impl Template {
    /// Builds what is not built, or only looks that nothing changed, which takes no time that is felt.
    pub fn prepare(features: &Features, mut report: impl FnMut(Progress)) -> Result<Self> {
        toolchain::ensure_std_sources().map_err(|error| anyhow!(error))?;
        let directory = directory(features);
        fs::create_dir_all(directory.join("src")).with_context(|| format!("could not make {}", directory.display()))?;
        home().unpack()?;
        let lock = lock_file(features)?;
        let sources = Stamp::of_sources(features)?;
        let stamp_file = directory.join("stamp");
        let known = || Stamp::read(&stamp_file).filter(|stamp| stamp.hash == sources.hash);
        wait_for(|| lock.try_lock_shared(), &mut report)?;
        if let Some(stamp) = known().filter(|stamp| stamp.newest >= sources.newest) {
            return Ok(Self { directory, stamp: stamp.to_string(), _lock: lock });
        }
        lock.unlock().context("could not unlock the template")?;
        wait_for(|| lock.try_lock(), &mut report)?;
        // Whoever had it may have built it meanwhile.
        if let Some(stamp) = known() {
            units::renew(&artifacts(&directory), "quantlens", time(stamp.newest), time(sources.newest))
                .context("could not renew the template")?;
        } else {
            let _ = fs::remove_file(&stamp_file);
            build(&directory, features, &mut report)?;
        }
        fs::write(&stamp_file, sources.to_string()).context("could not write the template's stamp")?;
        lock.lock_shared().context("could not lock the template")?;
        Ok(Self { directory, stamp: sources.to_string(), _lock: lock })
    }
}

/// Waits until no other process has the lock in a way that forbids this.
fn wait_for(try_lock: impl Fn() -> Result<(), TryLockError>, report: &mut impl FnMut(Progress)) -> Result<()> {
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error).context("could not lock the template"),
            Err(TryLockError::WouldBlock) => {
                report(Progress::Waiting);
                std::thread::sleep(REPORT_EVERY);
            }
        }
    }
}

/// Removes the template with these features and gives its directory; `None` if there is none, or a session is being started from it.
pub fn remove(features: &Features) -> Result<Option<PathBuf>> {
    let directory = directory(features);
    if !directory.is_dir() {
        return Ok(None);
    }
    let lock = lock_file(features)?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    fs::remove_dir_all(&directory).with_context(|| format!("could not remove {}", directory.display()))?;
    Ok(Some(directory))
}

/// What the built libraries depend on.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// Of the sources' content, versions, toolchain, flags.
    hash: u64,
    /// When a source was written last, in nanoseconds since 1970. What was built before that, cargo builds again, even if the content is the
    /// same, as it is when a branch was changed and changed back.
    newest: u128,
}

impl Stamp {
    /// Of the sources as they are now.
    fn of_sources(features: &Features) -> Result<Self> {
        let sources = home().sources();
        let mut files: Vec<PathBuf> = ["Cargo.toml", "Cargo.lock", "README.md"].iter().map(|name| sources.join(name)).collect();
        for directory in ["src", "assets", "notebooks/prelude"] {
            collect_files(&sources.join(directory), &mut files)?;
        }
        files.sort();
        let mut hasher = DefaultHasher::new();
        let mut newest = 0;
        for file in files {
            let unreadable = || format!("could not read {}", file.display());
            file.hash(&mut hasher);
            fs::read(&file).with_context(unreadable)?.hash(&mut hasher);
            let written = fs::metadata(&file).and_then(|metadata| metadata.modified()).with_context(unreadable)?;
            newest = newest.max(written.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
        }
        rustc_version()?.hash(&mut hasher);
        std::env::var_os("RUSTFLAGS").hash(&mut hasher);
        manifest(features)?.hash(&mut hasher);
        Ok(Self { hash: hasher.finish(), newest })
    }

    /// As it was written beside what was built; `None` if nothing was.
    fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (hash, newest) = text.split_once(' ')?;
        Some(Self { hash: u64::from_str_radix(hash, 16).ok()?, newest: newest.parse().ok()? })
    }
}

fn time(nanoseconds: u128) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:016x} {}", self.hash, self.newest)
    }
}

/// Every file that can be part of a library. A link that leads nowhere, such as an editor's lock, cannot.
fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("could not read {}", directory.display()))? {
        let path = entry?.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => collect_files(&path, files)?,
            Ok(_) => files.push(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        }
    }
    Ok(())
}

fn build(directory: &Path, features: &Features, report: &mut impl FnMut(Progress)) -> Result<()> {
    write_if_changed(&directory.join("Cargo.toml"), &manifest(features)?)?;
    write_if_changed(&directory.join("src/lib.rs"), "")?;
    fs::copy(home().sources().join("Cargo.lock"), directory.join("Cargo.lock")).context("could not copy Cargo.lock")?;
    // For all platforms, as evcxr asks for the metadata of all, and offline.
    let fetched = cargo(directory, &["fetch"]).output().context("could not run cargo: a Rust toolchain is needed")?;
    if !fetched.status.success() {
        bail!("the notebooks' crates could not be fetched:\n{}", String::from_utf8_lossy(&fetched.stderr));
    }
    let packages = packages(directory)?;
    if let Some(built) = built_elsewhere() {
        units::take_over(&packages, &built, &artifacts(directory))
            .with_context(|| format!("could not take over what is built in {}", built.display()))?;
    }
    let mut estimate = Estimate::new(packages);

    // As evcxr builds a cell, so that the cells find everything built.
    let mut cargo = cargo(directory, &["rustc", "--message-format", "json-render-diagnostics", "--lib"]);
    let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("could not run cargo")?;
    let stderr = child.stderr.take();
    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        text
    });
    let stdout = child.stdout.take().context("cargo has no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // Also while nothing is finished: a single crate can take a minute.
    let mut last = None;
    loop {
        match lines.recv_timeout(REPORT_EVERY) {
            Ok(line) => {
                let Some((package, is_fresh)) = built_package(&line) else { continue };
                estimate.built(&package, is_fresh);
                if !is_fresh {
                    last = Some(package);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        report(Progress::Built(&estimate, last.as_deref().unwrap_or("starting")));
    }
    let status = child.wait()?;
    let messages = messages.join().unwrap_or_default();
    report(Progress::End);
    if !status.success() {
        bail!("the notebooks' prelude does not build:\n{messages}");
    }
    Ok(())
}

/// Where the launcher's build, or the tests', has compiled most of the libraries.
fn built_elsewhere() -> Option<PathBuf> {
    if let Some(units) = std::env::var_os(UNITS_VARIABLE) {
        return Some(PathBuf::from(units));
    }
    let clone = home().clone_directory()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(PathBuf::from("target"), PathBuf::from);
    Some(clone.join(target).join("debug"))
}

/// Packages that a build goes through.
fn packages(directory: &Path) -> Result<BTreeSet<String>> {
    let output = cargo(directory, &["tree", "--prefix", "none", "--edges", "normal,build"]).output()?;
    if !output.status.success() {
        bail!("the notebooks' prelude does not resolve:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(packages_of_tree(&String::from_utf8_lossy(&output.stdout)))
}

/// cargo as evcxr calls it, with the compiler's wrapper that this process has set for all it starts.
fn cargo(directory: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env("CARGO_TARGET_DIR", "target")
        .env("CARGO_BUILD_BUILD_DIR", "target");
    toolchain::without_cargos_own(&mut cargo);
    cargo
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

fn write_if_changed(path: &Path, contents: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|existing| existing == contents) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, contents).with_context(|| format!("could not write {}", path.display()))
}

/// What our evcxr writes for a notebook whose first cell names the prelude (its `module.rs`, `get_cargo_toml_contents`). The profile is
/// the workspace's, so that the crates it compiles are these.
fn manifest(features: &Features) -> Result<String> {
    Ok(format!(
        r#"
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
lto = "off"

[profile.dev.package]
"*" = {{ debug-assertions = false, overflow-checks = false }}
quantlens = {{ codegen-units = 1 }}
image = {{ opt-level = 0 }}
jpeg-decoder = {{ opt-level = 0 }}

[dependencies]
{}

"#,
        prelude_dependency(features)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_features_has_a_directory_and_a_manifest_of_its_own() {
        let some: Features = "parquet,lazy".parse().unwrap();
        for (features, name, ending) in [
            (Features::default(), "template", "/prelude\" }"),
            (some, "template-lazy-parquet", "/prelude\", features = [\"lazy\", \"parquet\"] }"),
        ] {
            assert_eq!(directory(&features), kernel_directory().join(name));
            let dependency = prelude_dependency(&features).unwrap();
            assert!(dependency.starts_with("quantlens-prelude = { path = \"/") && dependency.ends_with(ending), "{dependency}");
            assert!(manifest(&features).unwrap().contains(&format!("[dependencies]\n{dependency}\n")));
        }
        let hashes: BTreeSet<u64> =
            Features::all_sets().iter().map(|features| Stamp::of_sources(features).unwrap().hash).collect();
        assert_eq!(hashes.len(), Features::all_sets().len());
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stamp");
        assert_eq!(Stamp::read(&file), None);
        for stamp in [Stamp { hash: 1, newest: 0 }, Stamp { hash: u64::MAX, newest: 1_795_000_000_123_456_789 }] {
            fs::write(&file, stamp.to_string()).unwrap();
            assert_eq!(Stamp::read(&file), Some(stamp));
        }
        fs::write(&file, "0123456789abcdef").unwrap();
        assert_eq!(Stamp::read(&file), None);
    }
}
