//! The kernel's commands. What the kernel says to Jupyter is tested by Jupyter's own client: `jupyter/run`.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::lab;

fn kernel(arguments: &[&str], data_directory: &Path) -> Output {
    let mut command = lab(&[&["kernel"], arguments].concat());
    // Whoever runs the tests keeps their own kernels.
    command.env("JUPYTER_DATA_DIR", data_directory).env_remove("JUPYTER_PATH").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn install_list_and_uninstall() {
    let data = tempfile::tempdir().unwrap();
    let prefix = tempfile::tempdir().unwrap();
    let prefix_path = prefix.path().to_str().unwrap();
    for (arguments, directory, name) in [
        (vec![], data.path().join("kernels"), "quantlens"),
        (vec!["--user", "--name", "other.Name-2"], data.path().join("kernels"), "other.Name-2"),
        (vec!["--prefix", prefix_path], prefix.path().join("share/jupyter/kernels"), "quantlens"),
    ] {
        let call = |command: &str| kernel(&[&[command], arguments.as_slice()].concat(), data.path());
        let output = call("install");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let file = directory.join(name).join("kernel.json");
        let spec: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let program = spec["argv"][0].as_str().unwrap();
        assert!(Path::new(program).is_absolute() && Path::new(program).is_file());
        assert_eq!(spec["argv"], json!([program, "kernel", "start", "{connection_file}"]));
        assert_eq!((&spec["language"], &spec["interrupt_mode"]), (&json!("rust"), &json!("message")));
        // Jupyter does not take null for them.
        assert_eq!((&spec["env"], &spec["metadata"]), (&json!({}), &json!({})));

        assert_eq!(spec["display_name"], json!(format!("Rust ({name})")));

        let first = std::fs::read(&file).unwrap();
        assert!(call("install").status.success());
        assert_eq!(std::fs::read(&file).unwrap(), first, "a second install changes nothing");

        let listed = kernel(&["list"], data.path());
        let is_listed = text(&listed.stdout).contains(&format!("installed  {}", directory.join(name).display()));
        assert_eq!(is_listed, !arguments.contains(&"--prefix"));
        assert!(text(&listed.stdout).contains("template  target/lab/kernel/template"), "{}", text(&listed.stdout));

        assert!(call("uninstall").status.success());
        assert!(!directory.join(name).exists());
        let again = call("uninstall");
        assert!(!again.status.success() && text(&again.stderr).contains("no kernel is installed in"));
    }
    assert!(text(&kernel(&["list"], data.path()).stdout).contains("not installed for this user"));
}

#[test]
fn a_kernel_with_features_is_listed_and_uninstalled_by_them() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().join("kernels").join("quantlens-lazy-parquet");
    std::fs::create_dir_all(&directory).unwrap();
    // As `install` writes it, which would build the libraries first.
    let spec = json!({
        "argv": ["/somewhere/quantlens-lab", "kernel", "start", "--features", "lazy,parquet", "{connection_file}"],
        "display_name": "Rust (quantlens, lazy, parquet)", "language": "rust", "metadata": {}, "env": {}, "interrupt_mode": "message",
    });
    std::fs::write(directory.join("kernel.json"), spec.to_string()).unwrap();

    let listed = kernel(&["list"], data.path());
    let line = format!("installed  {}  (features lazy,parquet)", directory.display());
    assert!(text(&listed.stdout).contains(&line), "{}", text(&listed.stdout));
    let other = kernel(&["uninstall", "--features", "lazy"], data.path());
    assert!(!other.status.success() && text(&other.stderr).contains("quantlens-lazy"));
    assert!(directory.exists());
    assert!(kernel(&["uninstall", "--features", "parquet,lazy"], data.path()).status.success());
    assert!(!directory.exists());
}

#[test]
fn a_feature_that_is_none_is_refused_with_those_that_are() {
    let data = tempfile::tempdir().unwrap();
    let file = "no-such-file";
    for arguments in [&["install"][..], &["warm"], &["uninstall"], &["start", file]] {
        let output = kernel(&[arguments, &["--features", "lazy,fast"]].concat(), data.path());
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains("there is no feature `fast`"), "{error}");
        assert!(error.contains("json, lazy, parquet, sql"), "{error}");
    }
}

#[test]
fn other_kernels_are_never_touched() {
    let data = tempfile::tempdir().unwrap();
    let spec =
        r#"{"argv": ["evcxr_jupyter", "--control_file", "{connection_file}"], "display_name": "Rust", "language": "rust"}"#;
    for name in ["rust", "evcxr"] {
        let directory = data.path().join("kernels").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("kernel.json"), spec).unwrap();
        for command in ["install", "uninstall"] {
            let output = kernel(&[command, "--name", name], data.path());
            assert!(!output.status.success());
            assert!(text(&output.stderr).contains("choose another"), "{}", text(&output.stderr));
        }
        assert_eq!(std::fs::read_to_string(directory.join("kernel.json")).unwrap(), spec);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }
    for name in ["", "a b", "../up", "..", ".", ".a", "ä", "Rust"] {
        assert!(!kernel(&["install", "--name", name], data.path()).status.success(), "{name:?}");
    }
    assert_eq!(std::fs::read_dir(data.path().join("kernels")).unwrap().count(), 2);
}

#[test]
fn a_connection_file_that_is_none_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("connection.json");
    let connection = json!({
        "ip": "127.0.0.1", "transport": "tcp", "shell_port": 0, "iopub_port": 0, "stdin_port": 0, "control_port": 0, "hb_port": 0,
        "key": "", "signature_scheme": "hmac-sha256",
    });
    let mut other_scheme = connection.clone();
    other_scheme["key"] = json!("key");
    other_scheme["signature_scheme"] = json!("hmac-md5");
    for (contents, says) in [
        ("{".to_owned(), "is no Jupyter connection file"),
        (connection.to_string(), "obeys only messages signed by hmac-sha256"),
        (other_scheme.to_string(), "obeys only messages signed by hmac-sha256"),
    ] {
        std::fs::write(&file, contents).unwrap();
        let output = kernel(&["start", file.to_str().unwrap()], data.path());
        assert!(!output.status.success() && text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
    let output = kernel(&["start", "no-such-file"], data.path());
    assert!(!output.status.success() && text(&output.stderr).contains("could not read the connection file"));
}

#[test]
fn nobody_needs_to_read_what_a_command_prints() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = lab(&["kernel", "list"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
