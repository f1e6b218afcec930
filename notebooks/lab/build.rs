//! Puts the sources that an installed program needs into it: the library, the prelude and the lock file, by way of the links in
//! `bundle`, which `cargo package` follows.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is in `bundle`, and where it belongs below the directory that an installed program unpacks.
const PLACES: [(&str, &str); 9] = [
    // Under these names, as cargo would take a directory with a `Cargo.toml` for another package's and leave it out.
    ("library.toml", "Cargo.toml"),
    ("prelude.toml", "notebooks/prelude/Cargo.toml"),
    ("lock", "Cargo.lock"),
    ("readme.md", "README.md"),
    ("library-src", "src"),
    ("assets", "assets"),
    ("prelude-src", "notebooks/prelude/src"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let bundle = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("bundle");
    let mut files = Vec::new();
    if env::var_os("CARGO_FEATURE_BUNDLE").is_some() {
        for (from, to) in PLACES {
            // cargo does not look behind the links of a directory.
            println!("cargo::rerun-if-changed={}", bundle.join(from).canonicalize()?.display());
            collect(&bundle.join(from), to, &mut files)?;
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut list = String::from("pub const FILES: &[(&str, &[u8])] = &[\n");
    for (to, from) in &files {
        (to, fs::read(from)?).hash(&mut hasher);
        writeln!(list, "    ({to:?}, include_bytes!({:?})),", from.display().to_string()).unwrap_or_default();
    }
    writeln!(list, "];\n/// Of all of them.\npub const HASH: &str = \"{:016x}\";", hasher.finish()).unwrap_or_default();
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bundle.rs"), list)
}

fn collect(from: &Path, to: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    if !fs::metadata(from)?.is_dir() {
        files.push((to.to_owned(), from.canonicalize()?));
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // An editor's own files may be anything.
        if !name.starts_with('.') {
            collect(&entry.path(), &format!("{to}/{name}"), files)?;
        }
    }
    Ok(())
}
