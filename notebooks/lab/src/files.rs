//! Copies of directories that cargo builds in.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::Path;

/// A directory with the same contents and times, by which cargo knows what is built, but for the entries that `is_left_out` names.
pub fn clone_directory(from: &Path, to: &Path, is_left_out: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !is_left_out(&entry.path()) {
            clone_entry(&entry, &to.join(entry.file_name()), is_left_out)?;
        }
    }
    Ok(())
}

/// As [`clone_directory`], of one entry. Big files are shared as hard links where that is safe; of others the system makes a copy, on
/// some file systems one that shares blocks.
pub fn clone_entry(entry: &fs::DirEntry, to: &Path, is_left_out: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    let from = entry.path();
    if entry.file_type()?.is_dir() {
        return clone_directory(&from, to, is_left_out);
    }
    if is_never_changed(&from) && fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    fs::copy(&from, to)?;
    let metadata = entry.metadata()?;
    let times = FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
    File::options().write(true).open(to).or_else(|_| File::open(to))?.set_times(times)
}

/// rustc and the linkers replace these and never write into them, so that two directories can share one file.
fn is_never_changed(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    ["rlib", "rmeta", "so", "dylib", "a"].contains(&ending)
}

/// Removes a directory and all in it; one that is not there is no error.
pub fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Bytes on disk, a file of several names counted in full.
pub fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
