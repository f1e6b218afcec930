//! The Rust toolchain: how cargo is called from a program that cargo has started, and what is needed beyond the compiler, the sources of
//! the standard library, from which rust-analyzer knows the types of a cell. Only the standard library is used here, so that the launcher
//! has this too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Adds the component `rust-src` to the toolchain where it is missing, and says so. The error says what to do by hand.
pub fn ensure_std_sources() -> Result<(), String> {
    let sysroot = sysroot()?;
    if has_sources(&sysroot) {
        return Ok(());
    }
    eprintln!("adding the sources of the standard library to the Rust toolchain, once: rustup component add rust-src");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    // A toolchain of rustup's is a directory of its name.
    if sysroot.parent().is_some_and(|parent| parent.ends_with("toolchains"))
        && let Some(name) = sysroot.file_name()
    {
        rustup.arg("--toolchain").arg(name);
    }
    let reason = match rustup.output() {
        // Also when another process added it meanwhile and rustup complained.
        Ok(_) if has_sources(&sysroot) => return Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no rustup".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "the sources of the standard library are missing in {} and could not be added ({reason}): run `rustup component add \
         rust-src`, or, where Rust is not rustup's, install the package of the Rust sources that belongs to it",
        sysroot.display()
    ))
}

/// Takes from a call of cargo what `cargo run` and `cargo test` have set for this process. Some build scripts look at it, and their crates
/// would be compiled again in turns.
pub fn without_cargos_own(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_theirs = |name: &str| name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_theirs) {
            command.env_remove(name);
        }
    }
}

/// The directory of the toolchain that `rustc` on the path belongs to.
fn sysroot() -> Result<PathBuf, String> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| format!("a Rust toolchain is needed, but rustc could not be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("`rustc --print sysroot` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/std/src/lib.rs").is_file()
}
