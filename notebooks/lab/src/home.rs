//! Where the lab finds the sources of the notebooks' libraries, and where it keeps what it makes.
//!
//! In a clone of the repository, where `cargo lab` starts it, that is the clone and its `target/lab`. An installed program carries the
//! sources in itself, unpacks them into the user's data directory and needs no clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The clone's directory, set by the launcher. A program that lies in a clone's `target` needs none.
const CLONE_VARIABLE: &str = "QUANTLENS_CLONE";

/// The files that an installed program brings with it: their paths below the sources' directory, and what is in them.
mod bundle {
    include!(concat!(env!("OUT_DIR"), "/bundle.rs"));
}

/// Where this program works.
pub struct Home {
    clone: Option<PathBuf>,
    data: PathBuf,
}

/// The same for the whole life of the process.
pub fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let clone = clone_directory();
        let data = match &clone {
            Some(clone) => clone.join("target").join("lab"),
            None => user_data_directory().join("quantlens-lab"),
        };
        Home { clone, data }
    })
}

fn clone_directory() -> Option<PathBuf> {
    if let Some(clone) = std::env::var_os(CLONE_VARIABLE) {
        return Some(PathBuf::from(clone));
    }
    // `target/debug/quantlens-lab`, or the copy that Jupyter starts, `target/lab/bin/quantlens-lab`.
    let program = std::env::current_exe().ok()?;
    let target = program.ancestors().find(|directory| directory.ends_with("target"))?;
    let clone = target.parent()?;
    clone.join("notebooks/lab/Cargo.toml").is_file().then(|| clone.to_owned())
}

/// The same on macOS, whose own data directory has a space in its path, where evcxr cannot build.
fn user_data_directory() -> PathBuf {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let named = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).and_then(absolute);
    named.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".local").join("share"))
}

impl Home {
    /// The repository's clone, if this program is one of its.
    pub fn clone_directory(&self) -> Option<&Path> {
        self.clone.as_deref()
    }

    /// How a user calls this program.
    pub fn command(&self) -> &'static str {
        if self.clone.is_some() { "cargo lab" } else { "quantlens-lab" }
    }

    /// The directory of everything the lab makes.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The workspace with the library, the prelude and the lock file. Of an installed program it is there when [`Home::unpack`] was
    /// called.
    pub fn sources(&self) -> PathBuf {
        self.clone.clone().unwrap_or_else(|| self.data.join(format!("sources-{}", bundle::HASH)))
    }

    /// Where installed programs of other versions have unpacked their sources.
    pub fn other_sources(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.data).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_sources = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("sources-")) && path.is_dir()
        };
        let mut found: Vec<PathBuf> = entries.filter(is_sources).filter(|path| *path != self.sources()).collect();
        found.sort();
        found
    }

    /// Writes the sources that this program carries, if they are not there. In a clone there is nothing to do.
    pub fn unpack(&self) -> Result<()> {
        let sources = self.sources();
        if self.clone.is_some() || sources.is_dir() {
            return Ok(());
        }
        if bundle::FILES.is_empty() {
            bail!("this program was built to be started by `cargo lab` in its clone: `cargo install` builds one that needs none");
        }
        // Beside it, then renamed: whoever finds the directory finds it whole.
        let part = self.data.join(format!(".sources.{}.part", std::process::id()));
        for (path, contents) in bundle::FILES {
            let path = part.join(path);
            let write = || {
                fs::create_dir_all(path.parent().unwrap_or(&part))?;
                fs::write(&path, contents)
            };
            write().with_context(|| format!("could not write {}", path.display()))?;
        }
        let renamed = fs::rename(&part, &sources);
        if renamed.is_err() {
            // Another process may have been sooner.
            fs::remove_dir_all(&part).with_context(|| format!("could not remove {}", part.display()))?;
        }
        if sources.is_dir() { Ok(()) } else { renamed.with_context(|| format!("could not make {}", sources.display())) }
    }

    /// A path as its reader thinks of it: relative to the clone, where there is one.
    pub fn shorten(&self, path: &Path) -> String {
        let short = self.clone.as_ref().and_then(|clone| path.strip_prefix(clone).ok());
        short.unwrap_or(path).display().to_string()
    }
}

/// A path to this program that stays good when its file is replaced by a new build while it runs.
pub fn program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        // Of this process, not of the one that looks: a compiler's wrapper is called by others.
        return Ok(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
    }
    std::env::current_exe().context("this program's own file is not known")
}
