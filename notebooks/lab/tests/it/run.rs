//! The runner, as a user calls it: the committed notebooks, and every way a notebook can fail.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Outcome, lab, outcome, root};

fn run(arguments: &[&str]) -> Outcome {
    outcome(&mut lab(arguments))
}

/// A notebook of these code cells, as one who does not know the lab would write it.
fn notebook(directory: &Path, cells: &[Value]) -> PathBuf {
    let path = directory.join("test.ipynb");
    let document = json!({
        "cells": cells,
        "metadata": { "kernelspec": { "display_name": "Rust", "language": "rust", "name": "rust" }, "of_ours": { "kept": true } },
        "nbformat": 4, "nbformat_minor": 5,
    });
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

fn code(id: &str, source: &str) -> Value {
    json!({ "cell_type": "code", "id": id, "metadata": {}, "execution_count": null, "outputs": [], "source": source })
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a notebook that must fail, and sees that the file is as it was.
fn failing(cells: &[Value]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = notebook(directory.path(), cells);
    let before = std::fs::read(&path).unwrap();
    let outcome = run(&["run", path.to_str().unwrap()]);
    assert!(!outcome.success, "it must fail: {}", outcome.stdout);
    assert_eq!(std::fs::read(&path).unwrap(), before, "the file must be untouched");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    outcome.stderr
}

#[test]
fn the_committed_notebooks_run_and_give_their_committed_outputs() {
    let mut notebooks: Vec<String> = std::fs::read_dir(root().join("notebooks"))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".ipynb"))
        .collect();
    notebooks.sort();
    assert!(!notebooks.is_empty());
    let mut arguments = vec!["run", "--check"];
    arguments.extend(notebooks.iter().map(String::as_str));
    let outcome = run(&arguments);
    assert!(outcome.success, "{}", outcome.stderr);
    assert_eq!(outcome.stdout.matches("as committed").count(), notebooks.len());
    the_kernels_versions_are_the_lock_files();
}

/// Right after a run: the slot's lock file is as its session left it.
fn the_kernels_versions_are_the_lock_files() {
    let root = root();
    let packages = |path: PathBuf| -> BTreeSet<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let field = |block: &str, name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches(['=', ' ', '"']).to_owned())
        };
        text.split("[[package]]").filter_map(|block| Some((field(block, "name ")?, field(block, "version ")?))).collect()
    };
    let slot = std::fs::read_dir(root.join("target/lab/kernel")).unwrap().map(|entry| entry.unwrap().path());
    let slot = slot.filter(|path| path.join("src/lib.rs").exists() && !path.ends_with("template")).min().unwrap();
    let mut kernel = packages(slot.join("Cargo.lock"));
    kernel.retain(|(name, _)| name != "ctx");
    let workspace = packages(root.join("Cargo.lock"));
    assert!(kernel.len() > 100 && kernel.iter().any(|(name, _)| name == "polars"));
    let others: Vec<_> = kernel.difference(&workspace).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_committed_notebook_reads_well_without_running() {
    let root = root();
    let document = read(&root.join("notebooks/01_quantize_dequantize.ipynb"));
    let cells: Vec<&Value> = document["cells"].as_array().unwrap().iter().filter(|cell| cell["cell_type"] == "code").collect();
    for (index, cell) in cells.iter().enumerate() {
        assert_eq!(cell["execution_count"], json!(index + 1));
    }
    let data = || cells.iter().flat_map(|cell| cell["outputs"].as_array().unwrap()).map(|output| &output["data"]);
    assert_eq!(data().filter(|data| data.get("image/svg+xml").is_some() && data.get("image/png").is_some()).count(), 4);
    let is_frame = |data: &&Value| data["text/plain"][0].as_str().is_some_and(|line| line.starts_with("shape: ("));
    assert_eq!(data().filter(is_frame).count(), 10);
    assert!(data().filter(is_frame).all(|data| data.get("text/html").is_some()), "a table shows as text only");
}

#[test]
fn every_committed_notebook_is_executed_and_of_no_machine() {
    let root = root();
    let notebooks = std::fs::read_dir(root.join("notebooks")).unwrap().map(|entry| entry.unwrap().path());
    for path in notebooks.filter(|path| path.extension().is_some_and(|ending| ending == "ipynb")) {
        let document = read(&path);
        let cells = document["cells"].as_array().unwrap().iter().filter(|cell| cell["cell_type"] == "code");
        for (index, cell) in cells.enumerate() {
            assert_eq!(cell["execution_count"], json!(index + 1), "{}", path.display());
            for data in cell["outputs"].as_array().unwrap().iter().filter_map(|output| output.get("data")) {
                let text = data["text/plain"][0].as_str().unwrap_or_default();
                // Neither a frame nor a figure that is shown by its `Debug` alone.
                assert!(!text.starts_with("shape: (") || data.get("text/html").is_some(), "{}: {text}", path.display());
                assert!(!text.starts_with("Figure {"), "{}: cell {}", path.display(), index + 1);
            }
        }
        let text = document.to_string();
        for foreign in [root.to_str().unwrap(), "/root/", "/home/", "/tmp/"] {
            assert!(!text.contains(foreign), "{}: {foreign}", path.display());
        }
    }
}

#[test]
fn a_panic_fails() {
    let message = failing(&[
        code("a", "let x = vec![1, 2];"),
        code("b", "println!(\"before\");\nassert_eq!(x.len(), 3, \"counted wrong\");\n1"),
    ]);
    assert!(message.contains("cell 2 failed (Panic)"), "{message}");
    assert!(message.contains("counted wrong") && message.contains("assert_eq!(x.len(), 3"), "{message}");
    assert!(!message.contains("RUST_BACKTRACE") && !message.contains(root().to_str().unwrap()), "{message}");
}

#[test]
fn a_failing_question_mark_fails() {
    let message = failing(&[code("a", "let n: i32 = \"twelve\".parse()?;"), code("b", "n")]);
    assert!(message.contains("cell 1 failed (Error)") && message.contains("invalid digit found in string"), "{message}");
}

#[test]
fn a_cell_that_ends_with_an_error_fails() {
    let message = failing(&[code("a", "use quantlens_prelude::*;"), code("b", "Tensor::from_vec(\"x\", vec![f64::NAN])")]);
    assert!(message.contains("cell 2 failed (Error)") && message.contains("tensor `x` has NaN at index 0"), "{message}");
}

#[test]
fn a_cell_that_does_not_compile_fails() {
    let message = failing(&[code("a", "// The second line is wrong.\nlet x: u32 = \"text\";\nx")]);
    assert!(message.contains("cell 1 failed (CompileError)"), "{message}");
    assert!(message.contains("error[E0308]: mismatched types"), "{message}");
    assert!(message.contains(" 2 | let x: u32 = \"text\";"), "{message}");
}

#[test]
fn an_output_that_differs_fails_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let mut cell = code("a", "println!(\"{}\", 6 * 7);");
    cell["outputs"] = json!([{ "name": "stdout", "output_type": "stream", "text": ["41\n"] }]);
    cell["execution_count"] = json!(1);
    let path = notebook(directory.path(), &[cell]);
    let before = std::fs::read(&path).unwrap();
    let outcome = run(&["run", "--check", path.to_str().unwrap()]);
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("cell 1 (- committed, + now):\n- 41\n+ 42"), "{}", outcome.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn outputs_are_written_back_and_a_second_run_changes_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = code("d", "let y: u32 = -1;");
    wrong["metadata"] = json!({ "tags": ["raises-exception"] });
    let mut panics = code("e", "eprint!(\"seen \");\neprintln!(\"before\");\npanic!(\"as {}\", \"expected\")");
    panics["metadata"] = json!({ "tags": ["raises-exception"] });
    let path = notebook(
        directory.path(),
        &[
            json!({ "cell_type": "markdown", "id": "t", "metadata": {}, "source": "# A title & more\n\n| a |\n|---|\n| `1` |" }),
            code("a", "println!(\"out\");\neprintln!(\"err\");\nlet x = 21;"),
            code("b", "x * 2"),
            code("c", ""),
            wrong,
            panics,
            code("f", "x"),
            code("g", "print!(\"no newline\");\nstd::io::Write::flush(&mut std::io::stdout())?;"),
            code("h", "// Only a comment."),
            code("i", "eprint!(\"neither\")"),
            code("j", "#![allow(unused_mut)]\nlet mut y = 5;\ny"),
        ],
    );
    let html = directory.path().join("pages");
    let arguments = ["run", path.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let outcome = run(&arguments);
    assert!(outcome.success, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("out\n") && outcome.stdout.contains("42"), "{}", outcome.stdout);
    let first = std::fs::read_to_string(&path).unwrap();

    let document = read(&path);
    assert_eq!(document["metadata"]["of_ours"], json!({ "kept": true }));
    let cells = document["cells"].as_array().unwrap();
    let counts: Vec<&Value> = cells.iter().map(|cell| &cell["execution_count"]).collect();
    assert_eq!(
        counts,
        [
            &Value::Null,
            &json!(1),
            &json!(2),
            &Value::Null,
            &json!(3),
            &json!(4),
            &json!(5),
            &json!(6),
            &json!(7),
            &json!(8),
            &json!(9)
        ]
    );
    assert_eq!(
        cells[1]["outputs"],
        json!([
            { "name": "stdout", "output_type": "stream", "text": ["out\n"] },
            { "name": "stderr", "output_type": "stream", "text": ["err\n"] },
        ])
    );
    assert_eq!(
        cells[2]["outputs"],
        json!([{ "data": { "text/plain": ["42"] }, "execution_count": 2, "metadata": {}, "output_type": "execute_result" }])
    );
    assert_eq!(cells[4]["outputs"][0]["ename"], "CompileError");
    assert_eq!(
        cells[5]["outputs"],
        json!([
            { "name": "stderr", "output_type": "stream", "text": ["seen before\n"] },
            { "ename": "Panic", "evalue": "as expected", "output_type": "error", "traceback": [
                "Panic: as expected",
                "  at cell 4, line 3: panic!(\"as {}\", \"expected\")",
            ] },
        ])
    );

    assert_eq!(cells[7]["outputs"], json!([{ "name": "stdout", "output_type": "stream", "text": ["no newline"] }]));
    assert_eq!(cells[8]["outputs"], json!([]));
    assert_eq!(cells[9]["outputs"][0], json!({ "name": "stderr", "output_type": "stream", "text": ["neither"] }));
    assert_eq!(cells[10]["outputs"][0]["data"], json!({ "text/plain": ["5"] }));

    let page = std::fs::read_to_string(html.join("test.html")).unwrap();
    assert!(page.contains("<title>A title &amp; more</title>") && page.contains("<td><code>1</code></td>"));
    assert!(page.contains("<span class=\"m\">println</span>"));
    for outside in ["http://", "https://", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }

    assert!(run(&arguments).success);
    assert!(std::fs::read_to_string(&path).unwrap() == first, "a second run changed the file");
    let checked = run(&["run", "--check", path.to_str().unwrap()]);
    assert!(checked.success, "{}", checked.stderr);
}

#[test]
fn what_is_no_rust_notebook_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.ipynb");
    let mut python = json!({ "cells": [], "metadata": { "kernelspec": { "display_name": "Python 3", "language": "python", "name": "python3" } }, "nbformat": 4, "nbformat_minor": 5 });
    let with_python = python.to_string();
    python["metadata"] = json!({});
    for (text, says) in [
        ("", "is no Jupyter notebook"),
        ("{\"cells\": [", "is no Jupyter notebook"),
        ("[1, 2]", "is no Jupyter notebook"),
        (with_python.as_str(), "is for a python kernel"),
        (python.to_string().as_str(), "names no kernel"),
        ("{\"nbformat\": 2, \"nbformat_minor\": 0, \"metadata\": {}, \"worksheets\": []}", "is no Jupyter notebook"),
    ] {
        std::fs::write(&path, text).unwrap();
        let outcome = run(&["run", path.to_str().unwrap()]);
        assert!(!outcome.success && outcome.stderr.contains(says), "{text}: {}", outcome.stderr);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let rust = json!({ "cells": [], "metadata": { "kernelspec": { "display_name": "Rust", "name": "rust" } }, "nbformat": 4, "nbformat_minor": 5 });
    std::fs::write(&path, rust.to_string()).unwrap();
    let (path, html) = (path.to_str().unwrap(), directory.path().to_str().unwrap());
    let outcome = run(&["run", path, path, "--html", html]);
    assert!(!outcome.success && outcome.stderr.contains("would write the page test.html"), "{}", outcome.stderr);
    let outcome = run(&["run", directory.path().join("none.ipynb").to_str().unwrap()]);
    assert!(!outcome.success && outcome.stderr.contains("could not read"), "{}", outcome.stderr);
    assert!(!run(&["run"]).success);
}

#[test]
fn a_file_changed_while_it_ran_is_left_to_who_changed_it() {
    let directory = tempfile::tempdir().unwrap();
    // The cells run in the notebook's directory.
    let path = notebook(directory.path(), &[code("a", "std::fs::write(\"test.ipynb\", \"edited meanwhile\")?;")]);
    let outcome = run(&["run", path.to_str().unwrap()]);
    assert!(!outcome.success && outcome.stderr.contains("was changed while it ran"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited meanwhile");
}

#[cfg(unix)]
#[test]
fn links_stay_links_and_read_only_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = notebook(directory.path(), &[code("a", "1 + 1")]);
    let link = directory.path().join("link.ipynb");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let outcome = run(&["run", link.to_str().unwrap()]);
    assert!(outcome.success, "{}", outcome.stderr);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&path)["cells"][0]["outputs"][0]["data"]["text/plain"], json!(["2"]));

    let before = std::fs::read(&path).unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let outcome = run(&["run", path.to_str().unwrap()]);
    assert!(!outcome.success && outcome.stderr.contains("it is read-only"), "{}", outcome.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_run_killed_in_the_middle_leaves_the_notebook_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = notebook(
        directory.path(),
        &[code("a", "println!(\"first\");"), code("b", "std::thread::sleep(std::time::Duration::from_secs(60));")],
    );
    let before = std::fs::read(&path).unwrap();
    let mut child = lab(&["run", path.to_str().unwrap()]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_older_notebook_keeps_its_format_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for minor in 0..5 {
        let path = directory.path().join("old.ipynb");
        let raw = json!({ "cell_type": "raw", "metadata": { "format": "text/latex" }, "source": ["x"], "attachments": { "a.txt": { "text/plain": "kept" } } });
        let mut cell = code("a", "1 + 1");
        cell.as_object_mut().unwrap().remove("id");
        let document = json!({
            "cells": [raw, cell], "metadata": { "kernelspec": { "display_name": "Rust", "language": "rust", "name": "rust" } },
            "nbformat": 4, "nbformat_minor": minor,
        });
        std::fs::write(&path, document.to_string()).unwrap();
        let outcome = run(&["run", path.to_str().unwrap()]);
        assert!(outcome.success, "4.{minor}: {}", outcome.stderr);
        let executed = read(&path);
        assert_eq!(executed["nbformat_minor"], json!(minor));
        assert_eq!(executed["cells"][0], document["cells"][0]);
        assert_eq!(executed["cells"][1].get("id"), None);
        assert_eq!(executed["cells"][1]["outputs"][0]["data"]["text/plain"], json!(["2"]));
    }
}

#[test]
fn a_page_runs_nothing_and_loads_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("dot.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
    let markdown = "Raw <script>alert(1)</script> and <img src=\"https://example.org/raw.png\">.\n\n\
        ![here](dot.svg) ![elsewhere](https://example.org/far.png) ![up](../secret.png) [run](javascript:alert(2))\n\n\
        <iframe src=\"https://example.org\"></iframe>\n";
    let html = "let html = \"<table><tr><td>fine</td></tr></table>\";\n\
        println!(\"EVCXR_BEGIN_CONTENT text/html\\n{html}\\nEVCXR_END_CONTENT\");";
    let script = "println!(\"EVCXR_BEGIN_CONTENT text/html\\n<script>alert(3)</script>\\nEVCXR_END_CONTENT\");\n\
        println!(\"EVCXR_BEGIN_CONTENT text/plain\\nplain words\\nEVCXR_END_CONTENT\");";
    let cells =
        [json!({ "cell_type": "markdown", "id": "m", "metadata": {}, "source": markdown }), code("a", html), code("b", script)];
    let path = notebook(directory.path(), &cells);
    let outcome = run(&["run", path.to_str().unwrap(), "--html", directory.path().to_str().unwrap()]);
    assert!(outcome.success, "{}", outcome.stderr);
    let page = std::fs::read_to_string(directory.path().join("test.html")).unwrap();
    for shown in [
        "&lt;script&gt;alert(1)",
        "<td>fine</td>",
        "plain words",
        "src=\"data:image/svg+xml;base64,",
        "href=\"https://example.org/far.png\"",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for active in ["<script", "<iframe", "<img src=\"http", "src=\"..", "javascript:alert(2)\""] {
        assert!(!page.contains(active), "{active}: {page}");
    }
}

#[test]
fn under_evcxrs_own_kernel_long_work_prints_ten_lines_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let committed = root().join("notebooks/01_quantize_dequantize.ipynb");
    let mut document = read(&committed);
    let slow =
        "for _ in track(\"steps\", (0..60).collect::<Vec<u32>>()) { std::thread::sleep(std::time::Duration::from_millis(30)); }";
    document["cells"].as_array_mut().unwrap().push(code("slow", slow));
    let path = directory.path().join("stock.ipynb");
    std::fs::write(&path, document.to_string()).unwrap();
    // The prelude then speaks as to a kernel that knows nothing of it.
    let outcome = outcome(lab(&["run", path.to_str().unwrap()]).env("QUANTLENS_TEST_STOCK_DISPLAY", "1"));
    assert!(outcome.success, "{}", outcome.stderr);
    let executed = read(&path);
    let cells = executed["cells"].as_array().unwrap();
    let steps = cells.last().unwrap()["outputs"][0]["text"].as_array().unwrap();
    assert!((1..=10).contains(&steps.len()), "{steps:?}");
    assert!(steps.iter().all(|line| line.as_str().unwrap().starts_with("steps: ")), "{steps:?}");
    // Tables and figures come out as they are committed.
    for (before, after) in read(&committed)["cells"].as_array().unwrap().iter().zip(cells) {
        let value = |cell: &Value| {
            let outputs = cell["outputs"].as_array().cloned().unwrap_or_default();
            outputs.into_iter().find(|output| output["output_type"] == "execute_result")
        };
        assert_eq!(value(before), value(after), "{}", before["source"]);
    }
}

#[test]
fn a_cell_that_reads_its_standard_input_finds_the_end_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let source = "let text = std::io::read_to_string(std::io::stdin())?;\n(text.len(), std::io::stdin().lines().count())";
    let path = notebook(directory.path(), &[code("a", source)]);
    let outcome = run(&["run", path.to_str().unwrap()]);
    assert!(outcome.success, "{}", outcome.stderr);
    let outputs = read(&path)["cells"][0]["outputs"].to_string();
    assert!(outputs.contains("the cell reads its standard input, which nobody can give here"), "{outputs}");
    assert!(outputs.contains("(0, 0)"), "{outputs}");
}
