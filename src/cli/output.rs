//! Files that are there whole or not at all.

use std::io::{BufWriter, ErrorKind, Write};
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

/// Makes sure, before work that takes long, that files can be made, and that none of them takes the place of another or of what is read.
pub fn check<'a>(outputs: impl IntoIterator<Item = &'a Path>, inputs: &[PathBuf]) -> Result<(), Stop> {
    let mut others: Vec<PathBuf> = Vec::new();
    for path in outputs {
        if is_special(path) {
            continue;
        }
        temporary(path).map(drop).map_err(|error| cannot(path, &error))?;
        let target = target(path);
        if let Some(input) = inputs.iter().find(|input| is_read(&target, input)) {
            let message = format!("`{}` is read here, as `{}`: write to another file", path.display(), input.display());
            return Err(Stop::Usage(message));
        }
        if others.contains(&target) {
            return Err(Stop::Usage(format!("`{}` is to be written twice: give each its own file", path.display())));
        }
        others.push(target);
    }
    Ok(())
}

/// Whether a file that is there is what was named to be read, or what a folder or an index of shards leads to.
fn is_read(target: &Path, input: &Path) -> bool {
    let Ok(input) = input.canonicalize() else { return false };
    let folder = if input.is_dir() { Some(&*input) } else { input.parent().filter(|_| has_ending(&input, "index.json")) };
    let is_shard =
        || folder == target.parent() && ["safetensors", "gguf", "index.json"].iter().any(|ending| has_ending(target, ending));
    *target == *input || target.exists() && is_shard()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.to_string_lossy().to_lowercase().ends_with(&format!(".{ending}"))
}

/// Writes a file beside its place and moves it there when it is complete: whatever happens meanwhile, what was there is as it was.
pub fn write(path: &Path, content: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), String>) -> Result<(), Stop> {
    let failed = |error: String| cannot_because(path, &error);
    if is_special(path) {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(|error| cannot(path, &error))?;
        return content(&mut file).map_err(failed);
    }
    let mut file = temporary(path).map_err(|error| cannot(path, &error))?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    content(&mut buffered).map_err(failed)?;
    buffered.flush().map_err(|error| cannot(path, &error))?;
    drop(buffered);
    file.persist(target(path)).map_err(|error| cannot(path, &error.error))?;
    Ok(())
}

fn cannot(path: &Path, error: &std::io::Error) -> Stop {
    match error.kind() {
        ErrorKind::NotFound => cannot_because(path, &format!("there is no folder `{}`: make it first", folder(path).display())),
        // Of the file, not of what stands for it until it is complete.
        kind if error.raw_os_error().is_none() => cannot_because(path, &kind.to_string()),
        _ => cannot_because(path, &error.to_string()),
    }
}

fn cannot_because(path: &Path, reason: &str) -> Stop {
    Stop::Error(format!("`{}` cannot be written: {reason}", path.display()))
}

/// Whether there is something that a file must not take the place of, such as /dev/null. (A folder says so itself.)
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// Where a link leads, so that it stays one. Of a file that is not there yet, its place in a folder that is.
fn target(path: &Path) -> PathBuf {
    let place = || Some(folder(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(place).unwrap_or_else(|| path.to_owned())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quantlens-");
    // As any new file; without this nobody else could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(&target(path)))
}
