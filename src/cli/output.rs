//! Files that are there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quantlens::TableFormat;
use tempfile::NamedTempFile;

use super::Stop;
use super::table::Table;

/// A file for a table, whose format its name says.
#[derive(Debug, Clone)]
pub struct Output {
    path: PathBuf,
    format: TableFormat,
}

impl Output {
    /// For clap.
    pub fn parse(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let unknown = |_| "its name must end in .parquet, .csv, .json or .ndjson".to_owned();
        Ok(Self { format: TableFormat::of_path(&path).map_err(unknown)?, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, table: &Table) -> Result<(), Stop> {
        let frame = table.frame()?;
        write(&self.path, |to| self.format.write(&frame, to).map_err(|error| error.to_string()))
    }
}

/// Makes sure, before work that takes long, that a file can be made.
pub fn check(path: &Path) -> Result<(), Stop> {
    if is_special(path) {
        return Ok(());
    }
    temporary(path).map(drop).map_err(|error| cannot(path, error))
}

/// Writes a file beside its place and moves it there when it is complete: whatever happens meanwhile, what was there is as it was.
pub fn write(path: &Path, content: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), String>) -> Result<(), Stop> {
    let failed = |error: String| cannot(path, error);
    if is_special(path) {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(|error| cannot(path, error))?;
        return content(&mut file).map_err(failed);
    }
    let mut file = temporary(path).map_err(|error| cannot(path, error))?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    content(&mut buffered).map_err(failed)?;
    buffered.flush().map_err(|error| cannot(path, error))?;
    drop(buffered);
    file.persist(target(path)).map_err(|error| cannot(path, error.error))?;
    Ok(())
}

fn cannot(path: &Path, error: impl std::fmt::Display) -> Stop {
    Stop::Error(format!("`{}` cannot be written: {error}", path.display()))
}

/// Whether there is something that a file must not take the place of, such as /dev/null. (A folder says so itself.)
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// Where a link leads, so that it stays one.
fn target(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let target = target(path);
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quantlens-");
    // As any new file; without this nobody else could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
