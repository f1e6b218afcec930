//! This program as a wrapper around rustc, for everything that this process builds: a dynamic library is to use the dynamic standard
//! library, so that all cells and the prelude share one, and is to find it. As a flag for all crates that would make every one of them
//! another than cargo builds elsewhere; so only the crates that are dynamic libraries get it.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::home::program;

/// Set for the wrapper: what else is to be called around rustc, such as `sccache`, or nothing.
const VARIABLE: &str = "QUANTLENS_RUSTC_WRAPPER";
/// Where cargo looks for a wrapper.
const CARGOS_VARIABLE: &str = "RUSTC_WRAPPER";

/// Lets everything that this process builds from now on go through the wrapper.
///
/// # Safety
/// No other thread may use the environment meanwhile.
pub unsafe fn wrap_all() -> Result<()> {
    let program = program()?;
    // SAFETY: as the caller promises.
    unsafe {
        env::set_var(VARIABLE, env::var_os(CARGOS_VARIABLE).unwrap_or_default());
        env::set_var(CARGOS_VARIABLE, program);
    }
    Ok(())
}

/// The variables that are the wrapper's, which the cells' process shall not hand on.
pub const VARIABLES: [&str; 2] = [VARIABLE, CARGOS_VARIABLE];

/// Never returns where cargo has called this program as the wrapper: then it becomes rustc.
#[cfg(unix)]
pub fn run_if_wrapper() {
    use std::os::unix::process::CommandExt as _;
    let Some(around) = env::var_os(VARIABLE) else { return };
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let [rustc, flags @ ..] = arguments.as_slice() else { return };
    if Path::new(rustc).file_stem().is_none_or(|stem| stem != "rustc") {
        return;
    }
    let mut command = Command::new(if around.is_empty() { rustc } else { &around });
    if !around.is_empty() {
        command.arg(rustc);
    }
    command.args(flags).env_remove(VARIABLE).env_remove(CARGOS_VARIABLE);
    let is_dynamic = |pair: &[OsString]| pair[0] == "--crate-type" && (pair[1] == "dylib" || pair[1] == "cdylib");
    if flags.windows(2).any(is_dynamic) {
        command.args(["-Cprefer-dynamic", "-Crpath"]);
    }
    let error = command.exec();
    eprintln!("could not run {}: {error}", Path::new(rustc).display());
    std::process::exit(1);
}
