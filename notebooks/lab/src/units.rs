//! What cargo has compiled in one place, taken over into another. The notebooks' libraries and the clone's workspace have most crates in
//! common, in the same versions, features and profile, so cargo finds in the copy what it would compile otherwise. Where something does
//! not fit after all, it compiles it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

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

/// `libname-hash.rlib`, `name-hash.d`, `name-hash`.
fn hash_of(name: &str) -> Option<&str> {
    name.rsplit_once('-')?.1.split('.').next()
}
