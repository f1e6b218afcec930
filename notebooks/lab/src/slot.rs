//! Where a session builds its cells: a directory of its own, cloned from the template, so that several run at once and none compiles a
//! library. A file lock says that it is taken; the system frees it however the process ends.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::features::Features;
use super::files::{clone_directory, remove_directory, size};
use super::template::{self, Progress, Template, kernel_directory};

/// Sessions of a template at once. Each takes about a gigabyte of memory.
const MOST: usize = 32;
/// Free slots of a template that are kept for the next sessions. More are removed when a session starts.
const KEPT: usize = 4;

/// A locked directory to build cells in.
pub struct Slot {
    directory: PathBuf,
    features: Features,
    _lock: File,
}

/// A slot as `cargo lab kernel list` shows it.
pub struct Listed {
    pub directory: PathBuf,
    pub bytes: u64,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A session has it.
    Taken,
    /// Ready for the next session.
    Free,
    /// Free, and to be cloned again: its libraries are older than the template's, or its session did not end in order.
    Stale,
}

/// The directory of the slot of this number, a clone of the template with these features.
fn directory_of(features: &Features, number: usize) -> PathBuf {
    kernel_directory().join(features.suffixed(&number.to_string()))
}

/// The lock, if nobody has it.
fn try_lock(features: &Features, number: usize) -> Result<Option<File>> {
    let path = kernel_directory().join(format!("{}.lock", features.suffixed(&number.to_string())));
    let lock = File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("could not lock {}", path.display())),
    }
}

/// The template's stamp, when the slot is a whole clone of it that no session has begun to use.
fn stamp(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join("stamp")).ok()
}

impl Slot {
    /// Takes the first free slot for a session with these features. It may have to be filled; [`Slot::fill`] does it.
    pub fn take(features: &Features) -> Result<Self> {
        let slots = kernel_directory();
        fs::create_dir_all(&slots).with_context(|| format!("could not make {}", slots.display()))?;
        for number in 1..=MOST {
            if let Some(lock) = try_lock(features, number)? {
                return Ok(Self { directory: directory_of(features, number), features: features.clone(), _lock: lock });
            }
        }
        bail!("{MOST} notebooks are running: shut one down first")
    }

    /// The directory for evcxr.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What polars and the library can do here.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The prelude's library, built.
    pub fn prelude(&self) -> PathBuf {
        let name = format!("{}quantlens_prelude{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        template::artifacts(&self.directory).join("deps").join(name)
    }

    /// Makes the slot a clone of the template, which is built first if it is not or is older than the sources.
    pub fn fill(&self, report: impl FnMut(Progress)) -> Result<()> {
        let template = Template::prepare(&self.features, report)?;
        if stamp(&self.directory).is_none_or(|stamp| stamp != template.stamp) {
            remove(&self.directory)?;
            clone_directory(&template.directory, &self.directory, &is_not_for_a_slot)
                .with_context(|| format!("could not clone the template to {}", self.directory.display()))?;
            // Last, so that a clone that was stopped in the middle has none.
            fs::write(self.directory.join("stamp"), &template.stamp).context("could not write the slot's stamp")?;
        }
        // It is whole again when the session has ended in order.
        fs::rename(self.directory.join("stamp"), self.directory.join("stamp-in-use"))?;
        // One that cannot be removed is no reason not to start.
        let _ = remove_spare_slots(&self.features, &template.stamp);
        Ok(())
    }

    /// Says that the session has ended in order, so that the next one need not clone. A session that added libraries leaves a directory
    /// that the next one clones anew.
    pub fn give_back(&self) {
        let is_as_cloned = ["Cargo.toml", "Cargo.lock"].iter().all(|name| {
            let file = |directory: &Path| fs::read(directory.join(name)).ok();
            file(&self.directory).is_some_and(|own| file(&template::directory(&self.features)) == Some(own))
        });
        if is_as_cloned && remove_cells(&self.directory).is_ok() {
            // Else the next session clones.
            let _ = fs::rename(self.directory.join("stamp-in-use"), self.directory.join("stamp"));
        }
    }
}

/// The directory and size of the template with these features, if it is built.
pub fn built_template(features: &Features) -> Option<(PathBuf, u64)> {
    let directory = template::directory(features);
    stamp(&directory).map(|_| (directory.clone(), size(&directory)))
}

/// Every slot of each template.
pub fn list() -> Result<Vec<Listed>> {
    let mut slots = Vec::new();
    for features in Features::all_sets() {
        let current = stamp(&template::directory(&features));
        for number in 1..=MOST {
            let directory = directory_of(&features, number);
            if directory.is_dir() {
                let state = match try_lock(&features, number)? {
                    None => State::Taken,
                    Some(_) if stamp(&directory).is_some() && stamp(&directory) == current => State::Free,
                    Some(_) => State::Stale,
                };
                slots.push(Listed { bytes: size(&directory), directory, state });
            }
        }
    }
    Ok(slots)
}

/// Removes every slot that no session has, and gives the directories that it removed.
pub fn remove_free() -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for features in Features::all_sets() {
        for number in 1..=MOST {
            let directory = directory_of(&features, number);
            if directory.is_dir()
                && let Some(_lock) = try_lock(&features, number)?
            {
                remove(&directory)?;
                removed.push(directory);
            }
        }
    }
    Ok(removed)
}

/// Removes free slots of the template with these features that are stale or too many.
fn remove_spare_slots(features: &Features, current: &str) -> Result<()> {
    let mut kept = 0;
    for number in 1..=MOST {
        let directory = directory_of(features, number);
        if !directory.is_dir() {
            continue;
        }
        let Some(_lock) = try_lock(features, number)? else { continue };
        if kept < KEPT && stamp(&directory).is_some_and(|stamp| stamp == current) {
            kept += 1;
        } else {
            remove(&directory)?;
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    remove_directory(directory).with_context(|| format!("could not remove {}", directory.display()))
}

/// What the cells of a session that ended have left.
fn remove_cells(directory: &Path) -> std::io::Result<()> {
    let artifacts = template::artifacts(directory);
    for artifacts in [artifacts.join("deps"), artifacts] {
        for entry in fs::read_dir(artifacts)? {
            let path = entry?.path();
            if is_of_a_cell(&path) {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// `libctx.so`, `libcode_1.so` and what belongs to them.
fn is_of_a_cell(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let name = name.strip_prefix("lib").unwrap_or(name);
    name.starts_with("ctx") || name.starts_with("code_")
}

/// What of the template a slot needs.
fn is_not_for_a_slot(path: &Path) -> bool {
    // Only a rebuild would use what rustc remembers between builds, and a cell's own library is another's.
    path.ends_with("stamp") || path.ends_with("incremental") || is_of_a_cell(path) && path.extension().is_some_and(|e| e == "so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_two_templates_have_nothing_in_common() {
        let none = Features::default();
        let some: Features = "parquet,lazy".parse().unwrap();
        assert_eq!(directory_of(&none, 1), kernel_directory().join("1"));
        assert_eq!(directory_of(&some, 1), kernel_directory().join("1-lazy-parquet"));
    }
}
