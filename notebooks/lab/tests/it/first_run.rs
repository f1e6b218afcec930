//! On a toolchain as rustup's minimal profile installs it: without the sources of the standard library.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, lab, outcome, script};

/// A call on a toolchain in `directory` that has no sources, with a rustup that does this when it is to add them.
fn outcome_with(command: &mut Command, directory: &Path, rustup: &str) -> Outcome {
    let programs = directory.join("bin");
    std::fs::create_dir(&programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    let sysroot = directory.join("toolchains").join("stock");
    std::fs::create_dir_all(&sysroot).unwrap();
    let sysroot = sysroot.display();
    let rustc =
        format!("if [ \"$1 $2\" = \"--print sysroot\" ]; then echo '{sysroot}'; else PATH='{path}' exec rustc \"$@\"; fi");
    script(programs.join("rustc"), &rustc);
    script(programs.join("rustup"), &format!("echo \"$@\" > '{}'\n{rustup}", directory.join("said").display()));
    // Called instead of cargo, it would say so.
    script(
        programs.join("cargo"),
        &format!("echo \"$@\" >> '{}'\nPATH='{path}' exec cargo \"$@\"", directory.join("built").display()),
    );
    outcome(command.env("PATH", format!("{}:{path}", programs.display())).env_remove("CARGO"))
}

#[test]
fn the_sources_of_the_standard_library_are_added() {
    let directory = tempfile::tempdir().unwrap();
    let sources = directory.path().join("toolchains/stock/lib/rustlib/src/rust/library/std/src");
    let outcome = outcome_with(
        &mut lab(&["kernel", "warm"]),
        directory.path(),
        &format!("mkdir -p '{0}' && touch '{0}/lib.rs'", sources.display()),
    );
    assert!(outcome.success, "{}", outcome.stderr);
    let said = std::fs::read_to_string(directory.path().join("said")).unwrap();
    assert_eq!(said.trim(), "component add rust-src --toolchain stock");
    assert_eq!(outcome.stderr.matches("rustup component add rust-src").count(), 1, "{}", outcome.stderr);
}

#[test]
fn where_they_cannot_be_added_it_says_what_to_do_before_anything_is_built() {
    // What `cargo lab` starts, and what that starts.
    let launcher = Command::new(env!("CARGO_BIN_EXE_lab"));
    for mut command in [launcher, lab(&["kernel", "warm"])] {
        let directory = tempfile::tempdir().unwrap();
        let outcome = outcome_with(&mut command, directory.path(), "echo 'could not download' >&2; exit 1");
        assert!(!outcome.success && outcome.stdout.is_empty());
        let error = outcome.stderr.lines().last().unwrap();
        assert!(error.starts_with("error: the sources of the standard library are missing in "), "{error}");
        assert!(error.contains("(could not download)") && error.contains("run `rustup component add rust-src`"), "{error}");
        assert!(!directory.path().join("built").exists());
    }
}
