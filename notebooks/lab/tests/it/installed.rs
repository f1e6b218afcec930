//! The program as `cargo install` puts it somewhere: without the clone.

use std::process::Command;

use serde_json::json;

use crate::{lab, outcome, root};

#[test]
fn it_runs_a_notebook_in_an_empty_folder_without_the_clone() {
    // What is the registry's is not compiled again for this test: it comes from what the clone has built.
    assert!(outcome(&mut lab(&["kernel", "warm"])).success);
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bin").join("quantlens-lab");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_quantlens-lab"), &program).unwrap();
    let folder = directory.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&folder).env_remove("QUANTLENS_CLONE");
        command.env("XDG_DATA_HOME", directory.path().join("data")).env("JUPYTER_DATA_DIR", directory.path().join("jupyter"));
        outcome(command.env("QUANTLENS_TEST_UNITS", root().join("target/lab/kernel/template/target/debug")))
    };

    let cell = |id: &str, source: &str| json!({ "cell_type": "code", "id": id, "metadata": {}, "execution_count": null, "outputs": [], "source": source });
    let notebook = folder.join("anywhere.ipynb");
    let document = json!({
        "cells": [
            // Of no folder and no version that there is.
            cell("a", ":dep quantlens-prelude = { path = \"not/here\" }\nuse quantlens_prelude::*;"),
            cell("b", "Tensor::from_vec(\"x\", vec![0.5, 1.5])?.max()"),
        ],
        "metadata": { "kernelspec": { "display_name": "Rust", "language": "rust", "name": "rust" } },
        "nbformat": 4, "nbformat_minor": 5,
    });
    std::fs::write(&notebook, document.to_string()).unwrap();
    let ran = call(&["run", "anywhere.ipynb"]);
    assert!(ran.success, "{}{}", ran.stdout, ran.stderr);
    let executed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&notebook).unwrap()).unwrap();
    assert_eq!(executed["cells"][1]["outputs"][0]["data"]["text/plain"], json!(["1.5"]));

    assert!(call(&["kernel", "install"]).success);
    let spec = std::fs::read_to_string(directory.path().join("jupyter/kernels/quantlens/kernel.json")).unwrap();
    assert!(spec.contains(program.to_str().unwrap()), "{spec}");
    let listed = call(&["kernel", "list"]).stdout;
    assert!(listed.contains("free") && listed.contains("`quantlens-lab kernel clean`"), "{listed}");
    assert!(call(&["kernel", "clean", "--all"]).stdout.contains("deleted"));
    assert!(call(&["kernel", "list"]).stdout.contains("the libraries are not built"));
    assert!(call(&["kernel", "uninstall"]).success);
    // Without a command it has nothing to show here.
    let outcome = call(&[]);
    assert!(!outcome.success && outcome.stderr.contains("quantlens-lab run NOTEBOOK"), "{}", outcome.stderr);
}
