//! One set of features whatever is built, unless lazy frames are asked for: otherwise polars is compiled more than once, which takes
//! minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::root;

/// The features of each crate in a build of these packages. One that is built for both the machine and its compiler may have two sets.
fn features(selection: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p} features: {f}"]).args(selection);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some((package, of_package)) = line.split_once(" features: ") {
            features.entry(package.to_owned()).or_default().insert(of_package.trim_end_matches(" (*)").to_owned());
        }
    }
    features
}

#[test]
fn polars_is_the_same_in_every_build() {
    // All but `lazy` of the library and the prelude's features, which are there to give polars more.
    let all = "quantlens/cli,quantlens-lab/launcher,quantlens-lab/bundle";
    let packages = ["quantlens", "quantlens-prelude", "quantlens-lab", "quantlens-evcxr"].map(|package| ["--package", package]);
    let everything = features(&[packages.as_flattened(), &["--features", all, "--edges", "normal,build,dev"]].concat());
    for selection in [
        &["--package", "quantlens-prelude"][..],
        &["--package", "quantlens-lab"],
        &["--package", "quantlens-lab", "--package", "quantlens"],
    ] {
        let edges = ["--edges", "normal,build"];
        let some = features(&[selection, edges.as_slice()].concat());
        assert!(some.len() > 100);
        for (package, of_some) in &some {
            // The lab's own feature for the launcher.
            let is_ours = package.starts_with("quantlens");
            let others: Vec<_> = of_some.difference(&everything[package]).collect();
            assert!(
                is_ours || others.is_empty(),
                "{package} has the features {others:?} in a build of {selection:?} and {:?} in a build of everything: add what is missing \
                 to the packages' crates that are not used there",
                everything[package]
            );
        }
    }
}
