//! What cargo has compiled in one place, taken over into another. The notebooks' libraries and the clone's workspace have most crates in
//! common, in the same versions, features and profile, so cargo finds in the copy what it would compile otherwise. Where something does
//! not fit after all, it compiles it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::compiler;
use super::files::clone_entry;

/// Copies what the clone's workspace has built of the library's dependencies into a directory that cargo builds in, such as
/// `target/debug`.
pub fn take_over(clone: &Path, to: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    // As the launcher builds; what is not built is built now, here as well as there.
    let what = ["build", "--locked", "--offline", "--package", "quantlens-lab", "--package", "quantlens"];
    let features = ["--no-default-features", "--features", "quantlens-lab/session", "--message-format", "json", "--quiet"];
    cargo.args(what).args(features).current_dir(clone).stdin(Stdio::null()).stderr(Stdio::null());
    compiler::without_cargos_own(&mut cargo);
    compiler::unwrapped(&mut cargo);
    let output = cargo.output().context("could not run cargo")?;
    let units = units(&String::from_utf8_lossy(&output.stdout));
    match units.directory {
        Some(from) => take(&from, to, &|hash| units.hashes.contains(hash)),
        None => Ok(()),
    }
}

/// Copies everything that cargo has built in one directory into another.
pub fn take_all(from: &Path, to: &Path) -> Result<()> {
    take(from, to, &|_| true)
}

fn take(from: &Path, to: &Path, is_taken: &dyn Fn(&str) -> bool) -> Result<()> {
    // The libraries and programs, what build scripts wrote, and cargo's own records. Their names differ, but all of a unit's end in its
    // hash.
    for directory in ["deps", "build", ".fingerprint"] {
        fs::create_dir_all(to.join(directory))?;
        for entry in fs::read_dir(from.join(directory)).into_iter().flatten().flatten() {
            let is_taken = entry.file_name().to_str().and_then(hash_of).is_some_and(is_taken);
            let target = to.join(directory).join(entry.file_name());
            if is_taken && !target.exists() {
                clone_entry(&entry, &target, &|_| false)
                    .with_context(|| format!("could not copy {} to {}", entry.path().display(), target.display()))?;
            }
        }
    }
    Ok(())
}

/// What cargo calls the results of one call of the compiler or of a build script.
#[derive(Default)]
struct Units {
    /// Where they are, such as `target/debug`.
    directory: Option<PathBuf>,
    hashes: BTreeSet<String>,
}

/// The units of the registry's packages that cargo's messages name.
fn units(messages: &str) -> Units {
    let mut units = Units::default();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if !message["package_id"].as_str().is_some_and(|id| id.starts_with("registry+")) {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten();
        // `debug/deps/libname-hash.rlib` and `debug/build/name-hash/build-script-build`; then `debug/build/name-hash/out`.
        for file in files.chain([&message["out_dir"]]).filter_map(Value::as_str).map(Path::new) {
            let Some(parent) = file.parent() else { continue };
            let (place, named) =
                if parent.ends_with("deps") { (parent, file) } else { (parent.parent().unwrap_or(parent), parent) };
            if let Some(hash) = named.file_name().and_then(|name| name.to_str()).and_then(hash_of) {
                units.directory = place.parent().map(Path::to_owned);
                units.hashes.insert(hash.to_owned());
            }
        }
    }
    units
}

/// `libname-hash.rlib`, `name-hash.d`, `name-hash`.
fn hash_of(name: &str) -> Option<&str> {
    name.rsplit_once('-')?.1.split('.').next()
}
