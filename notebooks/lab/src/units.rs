//! What cargo has compiled in one place, taken over into another. The notebooks' libraries and the clone's workspace have most crates in
//! common, in the same versions, features and profile, so cargo finds in the copy what it would compile otherwise. Where something does
//! not fit after all, it compiles it.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::files::clone_entry;

/// Copies what cargo has built of these packages, `name version`, from one of its directories, such as `target/debug`, into another.
pub fn take_over(packages: &BTreeSet<String>, from: &Path, to: &Path) -> io::Result<()> {
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package.split(' ').next()).collect();
    // cargo's own record of a unit is named after the package and a hash, by which all else of the unit is named, too. Which of a
    // package's units fit, it finds out itself.
    let mut hashes = BTreeSet::new();
    for entry in fs::read_dir(from.join(".fingerprint")).into_iter().flatten().flatten() {
        if let Some((name, hash)) = entry.file_name().to_str().and_then(|unit| unit.rsplit_once('-'))
            && names.contains(name)
        {
            hashes.insert(hash.to_owned());
        }
    }
    for directory in ["deps", "build", ".fingerprint"] {
        fs::create_dir_all(to.join(directory))?;
        for entry in fs::read_dir(from.join(directory)).into_iter().flatten().flatten() {
            let is_taken = entry.file_name().to_str().and_then(hash_of).is_some_and(|hash| hashes.contains(hash));
            let target = to.join(directory).join(entry.file_name());
            if is_taken && !target.exists() {
                clone_entry(&entry, &target, &|_| false)?;
            }
        }
    }
    Ok(())
}

/// Sources were written again with the same content: makes cargo take for newer than them what it had built since they were written before. Of all
/// packages whose names begin so.
pub fn renew(artifacts: &Path, packages: &str, before: SystemTime, now: SystemTime) -> io::Result<()> {
    let times = FileTimes::new().set_modified(SystemTime::now().max(now));
    for unit in fs::read_dir(artifacts.join(".fingerprint"))?.flatten() {
        if !unit.file_name().to_str().is_some_and(|name| name.starts_with(packages)) {
            continue;
        }
        // cargo compares the sources with its list of them.
        for entry in fs::read_dir(unit.path())?.flatten() {
            let is_list = entry.file_name().to_str().is_some_and(|name| name.starts_with("dep-"));
            if is_list && entry.metadata()?.modified()? >= before {
                File::options().write(true).open(entry.path())?.set_times(times)?;
            }
        }
    }
    Ok(())
}

/// `libname-hash.rlib`, `name-hash.d`, `name-hash`.
fn hash_of(name: &str) -> Option<&str> {
    name.rsplit_once('-')?.1.split('.').next()
}
