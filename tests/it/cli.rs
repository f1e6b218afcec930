//! The program, as it runs: what it prints and writes, and with which exit status it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use quantlens::{
    Metrics, Quantizer, ReportRow, Slice, Source, Synthetic, Tensor, TileBuffer, known_formats, load_table, open, quantizer,
    report_rows,
};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with files, in which the program runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With `model.safetensors` of these tensors.
    fn with(tensors: &[Tensor]) -> Self {
        let folder = Self::new();
        folder.write("model.safetensors", &safetensors(tensors));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quantlens"));
        command.args(arguments).current_dir(self.0.path()).env_remove("COLUMNS");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }
}

#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The standard output of a run in which all went well.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.out
    }

    /// The standard error of one that ended with status 1.
    #[track_caller]
    fn bad(self) -> String {
        assert_eq!(self.status, Some(1), "{self:?}");
        self.err
    }
}

fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    for tensor in tensors {
        let start = values.len();
        let stored = match tensor.as_slice() {
            Slice::F32(numbers) => {
                values.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                "F32"
            }
            Slice::F64(numbers) => {
                values.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                "F64"
            }
        };
        let entry = serde_json::json!({"dtype": stored, "shape": tensor.shape(), "data_offsets": [start, values.len()]});
        header.insert(tensor.name().to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes(), &header[..], &values].concat()
}

fn normal(name: &str, shape: &[usize], seed: u64) -> Tensor {
    Synthetic::normal(0.0, 0.02).seed(seed).tensor::<f32>(name, shape).unwrap()
}

/// Three weights, of which one has outliers, and a vector.
fn model() -> Vec<Tensor> {
    let outliers = Synthetic::normal(0.0, 0.02).outliers(0.001, 60.0).seed(3);
    vec![
        normal("layer.0.weight", &[32, 128], 1),
        normal("layer.1.weight", &[16, 64], 2),
        outliers.tensor::<f32>("layer.2.weight", &[64, 256]).unwrap(),
        normal("layer.2.bias", &[50], 4),
    ]
}

fn rows(folder: &Folder, schemes: &[&str]) -> Vec<ReportRow> {
    let schemes: Vec<Box<dyn Quantizer>> = schemes.iter().map(|name| quantizer(name).unwrap()).collect();
    report_rows(&open(folder.path("model.safetensors")).unwrap(), &schemes).unwrap()
}

/// Those that are listed where no tensor is asked for: not of vectors.
fn weights_of(rows: Vec<ReportRow>) -> Vec<ReportRow> {
    rows.into_iter().filter(|row| row.shape.len() > 1).collect()
}

/// The rows of a printed table: the words of each line below the line under its head.
fn table(text: &str) -> Vec<Vec<&str>> {
    let below = text.lines().skip_while(|line| !line.starts_with('─')).skip(1);
    below.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect()
}

const REPORT: [&str; 4] = ["report", "model.safetensors", "--scheme", "int8-sym,int4-sym-g32"];

fn report(more: &[&'static str]) -> Vec<&'static str> {
    [&REPORT[..], more].concat()
}

#[test]
fn a_report_sums_schemes_up_and_shows_the_worst_tensors_first() {
    let folder = Folder::with(&model());
    let out = folder.run(&REPORT).good();
    let (summary, worst) = out.split_once("\n\n").unwrap();
    let summary: Vec<_> = table(summary).into_iter().map(|row| (row[0], row[2], *row.last().unwrap())).collect();
    assert_eq!(summary, [("int8-sym", "3", "layer.2.weight"), ("int4-sym-g32", "3", "layer.2.weight")]);
    let mut expected = weights_of(rows(&folder, &["int8-sym", "int4-sym-g32"]));
    expected.sort_by(|a, b| b.scheme.cmp(&a.scheme).then(a.metrics.sqnr_db.total_cmp(&b.metrics.sqnr_db)));
    let found = table(worst);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found[0], expected.tensor);
        assert!(found.contains(&expected.scheme.as_str()), "{found:?}");
        assert!(found.contains(&format!("{:.2}", expected.metrics.sqnr_db).as_str()), "{found:?} {expected:?}");
    }
}

#[test]
fn rows_and_sort_choose_what_is_printed() {
    let folder = Folder::with(&model());
    let ran = folder.run(&report(&["--rows", "1"]));
    assert!(ran.err.contains("2 of 6 rows: --rows 0 prints all"), "{ran:?}");
    let out = ran.good();
    assert_eq!(table(out.split_once("\n\n").unwrap().1).len(), 2);

    let sorted = folder.run(&report(&["--sort", "max_abs_error"])).good();
    let mut expected = weights_of(rows(&folder, &["int8-sym", "int4-sym-g32"]));
    expected.sort_by(|a, b| b.metrics.max_abs_error.total_cmp(&a.metrics.max_abs_error));
    let names: Vec<_> = expected.iter().map(|row| row.tensor.as_str()).collect();
    assert_eq!(table(&sorted).iter().map(|row| row[0]).collect::<Vec<_>>(), names);

    let unknown = folder.run(&report(&["--sort", "sqnr"]));
    assert_eq!(unknown.status, Some(2));
    assert!(unknown.err.contains("sqnr_db"), "{unknown:?}");
    // Before anything is measured.
    let unknown = folder.run(&report(&["--sort", "channel", "--output", "rows.csv"]));
    assert_eq!((unknown.status, folder.path("rows.csv").exists()), (Some(2), false), "{unknown:?}");
    assert!(unknown.err.contains("there is no column `channel` here"), "{unknown:?}");
}

/// However narrow, down to the three columns that say something.
#[test]
fn the_table_fits_the_terminal() {
    let long = "model.decoder.layers.0.self_attention.query_projection.weight";
    let folder = Folder::with(&[normal(long, &[8, 64], 1), normal("x", &[8, 64], 2)]);
    let mut heads = Vec::new();
    for width in [45, 80, 100, 140, 200, 400] {
        let out = folder.command(&REPORT).env("COLUMNS", width.to_string()).output().unwrap();
        let out = Ran::of(out).good();
        for line in out.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        let head = out.split_once("\n\n").unwrap().1.lines().next().unwrap().split_whitespace().count();
        assert!(out.contains("sqnr_db") && out.contains("tensor"), "{out}");
        heads.push(head);
    }
    assert!(heads.is_sorted() && heads[0] == 3 && heads[5] > 10, "{heads:?}");
    let cut = Ran::of(folder.command(&REPORT).env("COLUMNS", "45").output().unwrap()).good();
    assert!(cut.contains("…") && cut.contains("projection.weight"), "{cut}");
    // Not a terminal: nothing is cut.
    assert!(folder.run(&REPORT).good().contains(long));
}

/// A cell of a row as the file has it: null, text, or a number with every bit.
fn expected_cells(row: &ReportRow) -> Vec<(&'static str, Value)> {
    let number = |value: f64| if value.is_finite() { Value::from(value) } else { Value::from(value.to_string().to_lowercase()) };
    vec![
        ("file", "model.safetensors".into()),
        ("tensor", row.tensor.clone().into()),
        ("shape", format!("{:?}", row.shape).into()),
        ("scheme", row.scheme.clone().into()),
        ("elements", row.metrics.elements.into()),
        ("bits_per_element", number(row.bits_per_element)),
        ("scale", row.scale.map_or(Value::Null, number)),
        ("zero_point", row.zero_point.into()),
        ("mse", number(row.metrics.mse)),
        ("sqnr_db", number(row.metrics.sqnr_db)),
        ("cosine", number(row.metrics.cosine)),
        ("levels_used", row.levels_used.into()),
        ("error", row.error.clone().into()),
    ]
}

#[test]
fn outputs_read_back_as_the_rows() {
    // One that loses nothing, so that an infinity is among them.
    let whole = Tensor::new("whole", &[2, 32], (0..64).map(|i| (i % 2 * 127) as f32).collect()).unwrap();
    let folder = Folder::with(&[&model()[..], &[whole]].concat());
    let mut expected = rows(&folder, &["int8-sym", "int4-sym-g32"]);
    assert!(expected.iter().any(|row| row.metrics.sqnr_db.is_infinite()));

    for name in ["rows.json", "rows.ndjson", "rows.csv", "rows.parquet"] {
        folder.run(&report(&["--output", name])).good();
    }
    let json: Value = serde_json::from_str(&folder.read("rows.json")).unwrap();
    assert_eq!(json["schema"], "quantlens-table-1");
    let json = json["rows"].as_array().unwrap();
    let lines: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), json.len());
    assert!(lines.iter().zip(json).all(|(line, row)| row.as_object().unwrap().iter().all(|(name, value)| line[name] == *value)));
    // And as the library does.
    let loaded = load_table(folder.path("rows.json")).unwrap();
    for name in ["rows.ndjson", "rows.csv", "rows.parquet"] {
        assert!(load_table(folder.path(name)).unwrap().equals_missing(&loaded), "{name}");
    }
    assert_eq!(json.len(), expected.len());
    for (found, expected) in json.iter().zip(&expected) {
        for (name, value) in expected_cells(expected) {
            assert_eq!(found[name], value, "{name} of {}", expected.tensor);
        }
    }

    let mut csv = csv::Reader::from_path(folder.path("rows.csv")).unwrap();
    let head = csv.headers().unwrap().clone();
    assert_eq!((head.len(), &head[0]), (26, "schema"));
    for (record, expected) in csv.records().map(Result::unwrap).zip(&expected) {
        let cell = |name: &str| &record[head.iter().position(|column| column == name).unwrap()];
        assert_eq!((cell("tensor"), cell("scheme")), (expected.tensor.as_str(), expected.scheme.as_str()));
        assert_eq!(cell("sqnr_db").parse::<f64>().unwrap().to_bits(), expected.metrics.sqnr_db.to_bits());
        assert_eq!(cell("scale").parse::<f64>().ok(), expected.scale);
        assert_eq!(cell("error"), "");
    }

    // As the library reads columns of numbers.
    for name in ["rows.parquet", "rows.csv"] {
        let model = open(folder.path(name)).unwrap();
        let number = model.infos().iter().position(|info| info.name == "mse").unwrap();
        let mut buffer = TileBuffer::default();
        let Slice::F64(found) = model.read(number, 0..expected.len(), &mut buffer).unwrap() else { panic!("{name}") };
        assert_eq!(found, expected.iter().map(|row| row.metrics.mse).collect::<Vec<_>>(), "{name}");
    }

    // In another order where one is asked for.
    folder.run(&report(&["--sort", "mse", "--output", "sorted.ndjson"])).good();
    expected.sort_by(|a, b| b.metrics.mse.total_cmp(&a.metrics.mse));
    let sorted = folder.read("sorted.ndjson");
    let found: Vec<f64> =
        sorted.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["mse"].as_f64().unwrap()).collect();
    assert_eq!(found, expected.iter().map(|row| row.metrics.mse).collect::<Vec<_>>());
}

#[test]
fn a_scheme_asked_for_by_name_that_does_not_fit_is_a_failed_row() {
    let folder = Folder::with(&model());
    let ran = folder.run(&["report", "model.safetensors", "--scheme", "q4_0,int8-sym", "--output", "rows.ndjson"]);
    // The vector's good row is not listed.
    assert_eq!(table(ran.out.split_once("\n\n").unwrap().1).len(), 6);
    let err = ran.bad();
    assert!(
        err.contains("error: 1 of 8 rows failed") && err.contains("layer.2.bias") && err.contains("rows of 50 values"),
        "{err}"
    );
    let rows: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: Vec<&Value> = rows.iter().filter(|row| !row["error"].is_null()).collect();
    assert_eq!((rows.len(), failed.len()), (8, 1));
    assert_eq!((&failed[0]["tensor"], &failed[0]["sqnr_db"]), (&Value::from("layer.2.bias"), &Value::Null));
}

#[test]
fn default_schemes_are_left_out_where_they_do_not_fit() {
    let folder = Folder::with(&model());
    let ran = folder.run(&["report", "model.safetensors", "--output", "rows.ndjson"]);
    // Of the vector: ggml's two, whose blocks do not fit, and a scale for each of its values, twice.
    assert!(ran.err.contains("4 rows left out"), "{ran:?}");
    ran.good();
    let rows: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4 * 8 - 4);
    assert!(rows.iter().all(|row| row["error"].is_null() && row["bits_per_element"].as_f64().unwrap() < 32.0));

    // What is wrong with the values is a failure whoever chose the schemes.
    let mut bytes = safetensors(&model());
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("model.safetensors", &bytes);
    let err = folder.run(&["report", "model.safetensors"]).bad();
    assert!(
        err.contains("tensor `layer.2.bias` has NaN at index 49") && err.contains("(4 rows, the first is `layer.2.bias` under"),
        "{err}"
    );
}

#[test]
fn patterns_choose_tensors() {
    let folder = Folder::with(&model());
    let names = |patterns: &[&str]| {
        let mut arguments = vec!["report", "model.safetensors", "--scheme", "int8-sym", "--sort", "tensor"];
        patterns.iter().for_each(|pattern| arguments.extend(["--tensor", pattern]));
        let out = folder.run(&arguments).good();
        table(&out).iter().map(|row| row[0].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["*.weight"]), ["layer.0.weight", "layer.1.weight", "layer.2.weight"]);
    assert_eq!(names(&["layer.?.bias"]), ["layer.2.bias"]);
    assert_eq!(names(&["*0*", "*1*"]), ["layer.0.weight", "layer.1.weight"]);
    assert_eq!(names(&["l*r.*2*w*t"]), ["layer.2.weight"]);
    assert_eq!(names(&["layer.0.weight"]), ["layer.0.weight"]);
    for pattern in ["layer", "*weigh", "layer.??.weight", "", "*bias*?"] {
        let err = folder.run(&["report", "model.safetensors", "--tensor", pattern]).bad();
        assert!(err.contains(&format!("no tensor's name matches `{pattern}`")) && err.contains("`layer.1.weight`"), "{err}");
    }
}

#[test]
fn several_files_are_told_apart() {
    let folder = Folder::with(&model());
    folder.write("other.safetensors", &safetensors(&[normal("layer.0.weight", &[8, 64], 9)]));
    let arguments = ["report", "model.safetensors", "other.safetensors", "--scheme", "int8-sym", "--sort", "elements"];
    let out = folder.run(&[&arguments[..], &["--tensor", "layer.0.weight"]].concat()).good();
    let found: Vec<_> = table(&out).iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    let name = "layer.0.weight".to_owned();
    assert_eq!(found, [("model.safetensors".to_owned(), name.clone()), ("other.safetensors".to_owned(), name)]);
    // A pattern need not match in each.
    folder.run(&[&arguments[..], &["--tensor", "layer.1.*"]].concat()).good();
}

#[test]
fn channels_have_the_metrics_of_their_part() {
    let tensors = model();
    let folder = Folder::with(&tensors);
    let arguments = ["report", "model.safetensors", "--channels", "--scheme", "int8-sym", "--output", "rows.ndjson"];
    let out = folder.run(&arguments).good();
    assert!(out.contains("channel"), "{out}");
    let rows: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 32 + 16 + 64);
    let back = quantizer("int8-sym").unwrap().fake_quantize(&tensors[0]).unwrap();
    let (x, y) = (tensors[0].values::<f32>().unwrap(), back.values::<f32>().unwrap());
    let part = |values: &[f32]| Tensor::from_vec("part", values[7 * 128..8 * 128].to_vec()).unwrap();
    let expected = Metrics::between(&part(x), &part(y)).unwrap();
    let row = &rows[7];
    assert_eq!((row["channel"].as_u64(), row["elements"].as_u64()), (Some(7), Some(128)));
    assert_eq!(row["sqnr_db"].as_f64(), Some(expected.sqnr_db));
    assert_eq!(row["max"].as_f64(), Some(part(x).max()));
    let err = folder.run(&[&arguments[..], &["--tensor", "*bias"]].concat()).bad();
    assert!(err.contains("fewer than two axes"), "{err}");
}

#[test]
fn errors_say_what_to_do_and_leave_files_as_they_were() {
    let folder = Folder::with(&model());
    folder.write("text.txt", b"this is no model");
    folder.write("rows.csv", b"before");
    let before = folder.files();
    let fails_with = |status: i32, arguments: &[&str], expected: &[&str]| {
        let ran = folder.run(&[arguments, &["--output", "rows.csv", "--html", "page.html"]].concat());
        assert_eq!(ran.status, Some(status), "{ran:?}");
        let err = ran.err;
        for part in expected {
            assert!(err.contains(part), "{arguments:?}: {err}");
        }
        assert!(err.starts_with("error: ") || err.contains("\nerror: "), "{err}");
        assert_eq!((folder.files(), folder.read("rows.csv").as_str()), (before.clone(), "before"));
    };
    let fails = |arguments: &[&str], expected: &[&str]| fails_with(1, arguments, expected);
    fails(&["report", "missing.safetensors"], &["missing.safetensors"]);
    fails(&["report", "text.txt"], &["text.txt", "no file of a format that is read", "safetensors"]);
    let no_scheme = |name: &str, expected: &[&str]| fails_with(2, &["report", "model.safetensors", "--scheme", name], expected);
    no_scheme("nvpf4", &["`nvpf4` is no scheme", "`nvfp4`", "quantlens schemes"]);
    no_scheme("q4k", &["`q4_k`"]);
    no_scheme("int8-sym,", &["there is no name where --scheme has one"]);
    fails(
        &["report", "model.safetensors", "--tensor", "layer.0.wieght"],
        &["matches `layer.0.wieght`", "there are `layer.0.weight`"],
    );
    fails(&["report", "model.safetensors", "--tensor", "*bias", "--scheme", "q4_0"], &["rows of 50 values"]);
    // Before anything is measured.
    let err = folder.run(&["report", "model.safetensors", "--output", "nowhere/rows.csv"]).bad();
    assert!(err.contains("`nowhere/rows.csv` cannot be written"), "{err}");
    let wrong = folder.run(&["report", "model.safetensors", "--output", "rows.xlsx"]);
    assert!(wrong.status == Some(2) && wrong.err.contains(".parquet, .csv, .json or .ndjson"), "{wrong:?}");
    assert_eq!(folder.files(), before);
}

/// Interrupted in the middle, it ends soon, with the shell's status, and what was there is as it was.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_half_written_output() {
    use std::time::{Duration, Instant};
    let folder = Folder::new();
    // 1 GiB of zeros that take no room.
    let header = br#"{"x":{"dtype":"F32","shape":[16384,16384],"data_offsets":[0,1073741824]}}"#;
    folder.write("model.safetensors", &[&(header.len() as u64).to_le_bytes()[..], header].concat());
    let file = std::fs::OpenOptions::new().write(true).open(folder.path("model.safetensors")).unwrap();
    file.set_len((8 + header.len() + (1 << 30)) as u64).unwrap();
    folder.write("rows.csv", b"before");
    let before = folder.files();
    let names = |bits| {
        ["sym-g32", "sym-g64", "sym-g128", "asym-g32"].map(|rest| {
            let kind = if rest.starts_with("asym") { "uint" } else { "int" };
            format!("{kind}{bits}-{rest}")
        })
    };
    let schemes = (2..=8).flat_map(names).collect::<Vec<_>>().join(",");
    let mut command = folder.command(&["report", "model.safetensors", "--scheme", &schemes]);
    command.args(["--output", "rows.csv", "--html", "page.html"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(child.try_wait().unwrap().is_none(), "it was too fast to be interrupted");
    let asked = Instant::now();
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!((folder.files(), folder.read("rows.csv").as_str()), (before, "before"));
}

#[cfg(unix)]
#[test]
fn outputs_are_files_as_any_other() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::with(&model());
    folder.write("by-hand.csv", b"");
    folder.write("real.csv", b"");
    symlink("real.csv", folder.path("link.csv")).unwrap();
    folder.run(&report(&["--output", "rows.csv"])).good();
    folder.run(&report(&["--output", "link.csv"])).good();
    let mode = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions().mode();
    assert_eq!(mode("rows.csv"), mode("by-hand.csv"));
    assert!(std::fs::symlink_metadata(folder.path("link.csv")).unwrap().is_symlink());
    assert_eq!(folder.read("real.csv"), folder.read("rows.csv"));
    // No progress is shown where nobody looks at it.
    assert_eq!(folder.run(&report(&["--tensor", "*"])).err, "");
}

#[test]
fn tensors_lists_what_is_there_and_what_is_not() {
    let folder = Folder::new();
    let header = concat!(
        r#"{"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#,
        r#""x":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},"half":{"dtype":"BF16","shape":[2],"data_offsets":[24,28]}}"#
    );
    let values: Vec<u8> = [1.5_f32, f32::NAN, -2.0, 0.25].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes =
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8], &values, &[0x80, 0x3f, 0x00, 0xc0]].concat();
    folder.write("model.safetensors", &bytes);
    let out = folder.run(&["tensors", "model.safetensors"]).good();
    let mut found = table(&out);
    found.sort();
    assert_eq!(found[0], ["half", "[2]", "BF16", "2", "-2", "1", "0"]);
    assert_eq!(found[1], ["x", "[2,", "2]", "F32", "4", "-2", "1.5", "1"]);
    assert!(out.contains("skipped") && out.contains("ids") && out.contains("I64"), "{out}");
    let out = folder.run(&["tensors", "model.safetensors", "--no-range", "--tensor", "h*", "--output", "t.json"]).good();
    assert!(!out.contains("min"), "{out}");
    let written: Value = serde_json::from_str(&folder.read("t.json")).unwrap();
    assert_eq!(
        written["rows"].as_array().unwrap()[..],
        [serde_json::json!({"tensor": "half", "shape": "[2]", "stored": "BF16", "elements": 2})]
    );
}

#[test]
fn compare_measures_what_is_in_both() {
    let tensors = model();
    let back = |tensor: &Tensor| quantizer("int4-sym").unwrap().fake_quantize(tensor).unwrap();
    let mut others: Vec<Tensor> = tensors.iter().take(3).rev().map(back).collect();
    others.push(normal("new", &[4], 1));
    let folder = Folder::with(&tensors);
    folder.write("other.safetensors", &safetensors(&others));
    let compare = ["compare", "model.safetensors", "other.safetensors"];
    let ran = folder.run(&[&compare[..], &["--output", "rows.ndjson"]].concat());
    assert!(ran.err.contains("Only in `model.safetensors`: `layer.2.bias`"), "{ran:?}");
    assert!(ran.err.contains("Only in `other.safetensors`: `new`"), "{ran:?}");
    let out = ran.good();
    assert_eq!(table(&out)[0][0], "layer.2.weight", "{out}");
    let rows: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let tensor = tensors.iter().find(|tensor| row["tensor"] == tensor.name()).unwrap();
        let expected = Metrics::between(tensor, &back(tensor)).unwrap();
        assert_eq!((row["sqnr_db"].as_f64(), row["mean_error"].as_f64()), (Some(expected.sqnr_db), Some(expected.mean_error)));
    }

    // Larger than a tile, from f64, and a shape that differs.
    let long = Synthetic::normal(0.0, 1.0).seed(5).tensor::<f64>("long", &[700_001]).unwrap();
    let short = Tensor::new("long", &[700_001], long.to_f64_vec().iter().map(|value| *value as f32).collect()).unwrap();
    folder.write("a.safetensors", &safetensors(&[long.clone(), normal("y", &[2, 3], 1)]));
    folder.write("b.safetensors", &safetensors(&[short.clone(), normal("y", &[3, 2], 1)]));
    let ran = folder.run(&["compare", "a.safetensors", "b.safetensors", "--output", "rows.ndjson"]);
    assert!(ran.bad().contains("tensor `y` has shape [2, 3] in one file and [3, 2] in the other"));
    let row: Value = serde_json::from_str(folder.read("rows.ndjson").lines().next().unwrap()).unwrap();
    assert_eq!(row["sqnr_db"].as_f64(), Some(Metrics::between(&long, &short).unwrap().sqnr_db));

    folder.write("c.safetensors", &safetensors(&[normal("z", &[4], 1), normal("w", &[4], 1)]));
    assert!(folder.run(&["compare", "a.safetensors", "c.safetensors"]).bad().contains("no tensor has the same name in both"));
}

#[test]
fn compare_begins_with_the_worst_whatever_that_is() {
    let tensor = |name: &str, value: f32| Tensor::new(name, &[4, 2], vec![value; 8]).unwrap();
    let folder = Folder::with(&[tensor("half", 1.0), tensor("same", 1.0), tensor("new", 0.0), tensor("low", 1.0)]);
    folder.write(
        "other.safetensors",
        &safetensors(&[tensor("half", 0.5), tensor("same", 1.0), tensor("new", 3.0), tensor("low", 0.9)]),
    );
    let order = |sort: &str| {
        let out = folder.run(&["compare", "model.safetensors", "other.safetensors", "--sort", sort]).good();
        table(&out).iter().map(|row| row[0].to_owned()).collect::<Vec<_>>()
    };
    // Zeros that are none any more have no SQNR, and nothing is worse.
    assert_eq!(order("sqnr_db"), ["new", "half", "low", "same"]);
    assert_eq!(order("mean_error"), ["new", "half", "low", "same"]);
}

/// A cosine is shown as 1 where it is.
#[test]
fn a_small_error_is_seen_in_the_cosine() {
    let folder = Folder::with(&[normal("w", &[64, 64], 1)]);
    let out = folder.run(&["report", "model.safetensors", "--scheme", "int8-sym"]).good();
    // From the right: a shape is two words.
    let place = out.lines().next().unwrap().split_whitespace().rev().position(|name| name == "cosine").unwrap();
    let shown: f64 = table(&out)[0].iter().rev().nth(place).unwrap().parse().unwrap();
    let cosine = rows(&folder, &["int8-sym"])[0].metrics.cosine;
    assert!(shown < 1.0 && (shown - cosine).abs() < 0.05 * (1.0 - cosine), "{shown} {cosine}: {out}");
}

#[test]
fn schemes_lists_all_that_are_known() {
    let folder = Folder::new();
    let out = folder.run(&["schemes"]).good();
    let frame = known_formats().unwrap();
    let names: Vec<&str> = frame.column("name").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(table(&out).iter().map(|row| row[0]).collect::<Vec<_>>(), names);
    for column in ["bits_per_element", "used_by", "vLLM", "block"] {
        assert!(out.contains(column), "{column}");
    }
}

#[test]
fn help_has_examples_everywhere_and_shells_complete() {
    let folder = Folder::new();
    for level in [&["--help"][..], &["report", "--help"], &["tensors", "--help"], &["compare", "--help"], &["schemes", "--help"]]
    {
        let out = folder.run(level).good();
        assert!(out.contains("Examples:\n  quantlens "), "{out}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(folder.run(&["completions", shell]).good().contains("tensor"), "{shell}");
    }
    let nothing = folder.run(&[]);
    assert!(nothing.status == Some(2) && nothing.err.contains("Usage:"), "{nothing:?}");
    assert!(folder.run(&["--version"]).good().starts_with("quantlens 0."));
}

const EVIL: &str = "<script>alert(\"1\")</script>&'x'";

#[test]
fn the_page_stands_alone_and_names_are_text() {
    let folder = Folder::with(&[&model()[..], &[normal(EVIL, &[8, 64], 7)]].concat());
    let arguments = ["report", "model.safetensors", "--html"];
    folder.run(&[&arguments[..], &["a.html"]].concat()).good();
    let page = folder.read("a.html");
    // The name of a namespace is no address that anything is fetched from.
    let addresses = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    // The page's own script, and no other.
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;x&#39;"));
    assert_eq!(page.matches("<svg ").count(), 2);
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("name=\"viewport\""));
    for foreign in ["src=", "href=", "url(", "@import", "http://", "https://"] {
        assert!(!addresses.contains(foreign), "{foreign}");
    }
    // All rows are there without the script.
    let rows = page.split("<table id=\"rows\">").nth(1).unwrap().matches("<tr>").count() - 1;
    assert_eq!(rows, 4 * 8, "the vector is not listed");
    assert!(page.contains("1 tensor with one axis (biases, norms) not listed"));

    // The same bytes, whatever the number of threads.
    let ran = folder.command(&[&arguments[..], &["b.html"]].concat()).env("RAYON_NUM_THREADS", "1").output().unwrap();
    Ran::of(ran).good();
    assert_eq!(page, folder.read("b.html"));
}

#[test]
fn a_page_of_failures_and_channels() {
    let folder = Folder::with(&model());
    folder.run(&["report", "model.safetensors", "--scheme", "q4_0,int8-sym", "--html", "failed.html"]).bad();
    let page = folder.read("failed.html");
    assert!(page.contains("1 row failed") && page.contains("rows of 50 values"));
    folder.run(&["report", "model.safetensors", "--channels", "--html", "channels.html"]).good();
    assert!(folder.read("channels.html").contains("<h2>Channels</h2>"));
    // Zeros lose nothing that could be drawn.
    let zeros = Folder::with(&[Tensor::new("zero", &[4, 64], vec![0.0_f32; 256]).unwrap()]);
    zeros.run(&["report", "model.safetensors", "--scheme", "int8-sym", "--html", "zero.html"]).good();
    assert!(zeros.read("zero.html").contains("there is nothing to lose"));
}

#[test]
fn folders_and_indices_are_files_too() {
    let folder = Folder::with(&model());
    assert!(Path::new(&folder.path("model.safetensors")).exists());
    let out = folder.run(&["report", ".", "--scheme", "int8-sym", "--tensor", "*"]).good();
    assert_eq!(table(out.split_once("\n\n").map_or(out.as_str(), |parts| parts.1)).len(), 4);
}

#[test]
fn vectors_are_listed_where_they_are_asked_for_or_nothing_else_is_there() {
    let folder = Folder::with(&model());
    let listed = |arguments: &[&'static str]| {
        let ran = folder.run(&[&["report", "model.safetensors", "--scheme", "int8-sym", "--sort", "tensor"], arguments].concat());
        let err = ran.err.clone();
        (table(&ran.good()).len(), err)
    };
    let (rows, err) = listed(&["--output", "rows.json"]);
    assert_eq!(rows, 3);
    assert!(err.contains("1 tensor with one axis (biases, norms) not listed: --tensor '*' lists all"), "{err}");
    // It is measured, and in the file.
    assert_eq!(load_table(folder.path("rows.json")).unwrap().height(), 4);
    let (rows, err) = listed(&["--tensor", "*"]);
    assert!(rows == 4 && !err.contains("one axis"), "{err}");

    let vectors = Folder::with(&model()[3..]);
    let ran = vectors.run(&["report", "model.safetensors", "--scheme", "int8-sym"]);
    assert!(!ran.err.contains("one axis"), "{ran:?}");
    assert_eq!(table(&ran.good()).len(), 1);
}

#[test]
fn check_names_what_breaks_a_rule() {
    let folder = Folder::with(&model());
    let check = |more: &[&str]| folder.run(&[&["check", "model.safetensors"], more].concat());
    // The rule says which scheme to measure.
    let kept = check(&["--rule", "sqnr_db >= 5 where scheme == \"int8-sym\""]).good();
    assert_eq!(kept, "1 rule kept by 4 rows\n");

    let expected = rows(&folder, &["int8-sym"]);
    let worst = expected.iter().find(|row| row.tensor == "layer.2.weight").unwrap();
    let others = expected.iter().filter(|row| row.tensor != worst.tensor).map(|row| row.metrics.sqnr_db);
    let bound = others.fold(f64::INFINITY, f64::min) - 0.5;
    assert!(worst.metrics.sqnr_db < bound, "the test needs one that is worse than all others");
    let rule = format!("sqnr_db >= {bound} where scheme == \"int8-sym\"");
    let ran = check(&["--rule", &rule, "--rule", "levels_used > 0 where scheme == \"int8-sym\"", "--output", "broken.json"]);
    assert_eq!(table(&ran.out).len(), 1, "{ran:?}");
    let value = worst.metrics.sqnr_db.to_string();
    for named in ["layer.2.weight", "int8-sym", "sqnr_db", value.as_str(), format!(">= {bound}").as_str(), rule.as_str()] {
        assert!(ran.out.contains(named), "{named}: {ran:?}");
    }
    assert!(ran.bad().contains("error: 1 of 2 rules broken, by 1 of 4 rows"));
    let broken = load_table(folder.path("broken.json")).unwrap();
    assert_eq!(broken.column("tensor").unwrap().str().unwrap().get(0), Some("layer.2.weight"));

    // Schemes that are asked for, also of rules that name none; and texts.
    let ran = check(&["--scheme", "int8-sym,q4_0", "--tensor", "layer.0.*", "--rule", "format == \"int8\""]);
    assert!(ran.out.contains("q4_0") && ran.out.contains("== \"int8\"") && !ran.out.contains("int8-sym"), "{ran:?}");
    ran.bad();
    // A row that failed breaks a rule about its numbers.
    let ran = check(&["--scheme", "q4_0", "--tensor", "*.bias", "--tensor", "layer.0.*", "--rule", "sqnr_db > 0"]);
    assert!(ran.out.contains("layer.2.bias") && ran.out.contains("null") && ran.err.contains("rows of 50 values"), "{ran:?}");
    ran.bad();
    // What is about nothing checks nothing.
    let ran = check(&["--scheme", "int8-sym", "--rule", "sqnr_db > 0 where tensor == \"layer.9.weight\""]);
    assert!(ran.err.contains("no row is what the rule is about: sqnr_db > 0 where"), "{ran:?}");
    assert!(ran.bad().contains("error: 1 of 1 rule broken\n"));
    // A row that failed is told, whatever the rule is about.
    let rule = "sqnr_db > 0 where tensor == \"layer.0.weight\"";
    let ran = check(&["--scheme", "q4_0", "--tensor", "*.bias", "--tensor", "layer.0.*", "--rule", rule]);
    assert_eq!(ran.out, "1 rule kept by 2 rows\n");
    assert!(ran.bad().contains("error: 1 row failed"));
    // A row that breaks two rules is one row.
    let ran = check(&["--scheme", "int8-sym", "--tensor", "layer.0.*", "--rule", "sqnr_db > 999", "--rule", "rmse < 0"]);
    assert!(ran.bad().contains("error: 2 of 2 rules broken, by 1 of 1 row\n"));
}

#[test]
fn check_of_channels_names_the_channel() {
    let folder = Folder::with(&[normal("layer.0.weight", &[4, 64], 1)]);
    folder.run(&report(&["--channels", "--output", "channels.json"])).good();
    let saved = load_table(folder.path("channels.json")).unwrap();
    let sqnr_db = saved.column("sqnr_db").unwrap().f64().unwrap().to_vec();
    let channel = saved.column("channel").unwrap().i64().unwrap().to_vec();
    let worst = (0..sqnr_db.len()).min_by(|&a, &b| sqnr_db[a].unwrap().total_cmp(&sqnr_db[b].unwrap())).unwrap();
    let rule = format!("sqnr_db > {}", sqnr_db[worst].unwrap());
    let ran = folder.run(&["check", "channels.json", "--rule", &rule, "--output", "broken.json"]);
    assert_eq!(table(&ran.out)[0][..2], ["layer.0.weight", &channel[worst].unwrap().to_string()], "{ran:?}");
    ran.bad();
    let broken = load_table(folder.path("broken.json")).unwrap();
    assert_eq!(broken.column("row").unwrap().i64().unwrap().to_vec(), [Some(worst as i64)]);
    assert_eq!(broken.column("channel").unwrap().i64().unwrap().to_vec(), [channel[worst]]);
}

/// `head` closes the pipe when it has read enough; then what was found still counts.
#[cfg(unix)]
#[test]
fn a_reader_that_has_read_enough_hides_no_failure() {
    let folder = Folder::with(&model());
    let check = |bound: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let rule = format!("sqnr_db >= {bound}");
        let mut command = folder.command(&["check", "model.safetensors", "--scheme", "int8-sym", "--rule", &rule]);
        command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap().code()
    };
    assert_eq!((check("0"), check("999")), (Some(0), Some(1)));
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = Folder::with(&model());
    let bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
    folder.run(&report(&["--output", "rows.csv"])).good();
    let rows = folder.read("rows.csv");
    std::fs::create_dir(folder.path("shards")).unwrap();
    std::fs::copy(folder.path("model.safetensors"), folder.path("shards/one.safetensors")).unwrap();
    for arguments in [
        &report(&["--html", "./model.safetensors"])[..],
        &report(&["--html", "page.csv", "--output", "page.csv"]),
        &["report", "shards", "--scheme", "int8-sym", "--html", "shards/one.safetensors"],
        &["tensors", "rows.csv", "--output", "rows.csv"],
        &["compare", "rows.csv", "rows.csv", "--output", "rows.csv"],
        &["check", "rows.csv", "--rule", "bits <= 1", "--output", "rows.csv"],
    ] {
        let ran = folder.run(arguments);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        assert!(ran.err.contains("is read here") || ran.err.contains("is to be written twice"), "{ran:?}");
    }
    assert_eq!(std::fs::read(folder.path("model.safetensors")).unwrap(), bytes);
    assert_eq!(std::fs::read(folder.path("shards/one.safetensors")).unwrap(), bytes);
    assert_eq!((folder.read("rows.csv"), folder.path("page.csv").exists()), (rows, false));
    // Beside the shards there is room.
    folder.run(&["report", "shards", "--scheme", "int8-sym", "--html", "shards/page.html"]).good();

    let nowhere = folder.run(&report(&["--output", "nowhere/rows.csv"])).bad();
    assert_eq!(nowhere, "error: `nowhere/rows.csv` cannot be written: there is no folder `nowhere`: make it first\n");
}

#[test]
fn a_narrow_table_keeps_what_tells_rows_apart() {
    let long = "model.decoder.layers.0.self_attention.query_projection.weight";
    let folder = Folder::with(&[normal(long, &[8, 64], 1)]);
    let head = |arguments: &[&str]| {
        let out = Ran::of(folder.command(arguments).env("COLUMNS", "80").output().unwrap()).out;
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        let line = out.lines().rev().find(|line| line.starts_with('─')).unwrap();
        out[..out.rfind(line).unwrap()].lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(head(&report(&["--channels"])).contains(&"channel".to_owned()));
    let head = head(&["check", "model.safetensors", "--scheme", "int4-sym-g128-sf16", "--rule", "sqnr_db >= 999"]);
    assert_eq!(head[..5], ["tensor", "scheme", "metric", "value", "bound"]);
}

#[test]
fn names_steer_no_terminal() {
    let folder = Folder::with(&[normal("evil\u{1b}[31m\nfake", &[8, 3], 1)]);
    let ran = folder.run(&["report", "model.safetensors", "--scheme", "q4_0"]);
    assert!(ran.err.contains("evil\u{fffd}[31m\u{fffd}fake") && !ran.err.contains('\u{1b}'), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    let ran = folder.run(&["report", "model.safetensors", "--scheme", "int8-sym", "--tensor", "none"]);
    assert!(ran.err.contains("evil") && !ran.err.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn a_failure_names_its_tensor_and_scheme() {
    let folder = Folder::with(&[normal("a", &[8, 3], 1), normal("b", &[8, 64], 2), normal("c", &[9, 3], 3)]);
    let err = folder.run(&["report", "model.safetensors", "--scheme", "q4_0,int8-sym-axis2"]).bad();
    assert!(err.contains("`a` under `q4_0`"), "{err}");
    assert!(
        err.contains("axis 2 does not exist in shape [8, 3], whose axes are counted from 0 (`a` under `int8-sym-axis2`)"),
        "{err}"
    );
}

#[test]
fn halves_cost_what_they_cost() {
    let folder = Folder::new();
    let header = br#"{"half":{"dtype":"BF16","shape":[64,2],"data_offsets":[0,256]}}"#;
    let values: Vec<u8> = (0..128_u8).flat_map(|i| [i, 0x3f]).collect();
    folder.write("model.safetensors", &[&(header.len() as u64).to_le_bytes(), &header[..], &values].concat());
    folder.run(&["report", "model.safetensors", "--output", "rows.ndjson"]).good();
    let rows: Vec<Value> = folder.read("rows.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["bits_per_element"].as_f64().unwrap() < 16.0), "{rows:?}");
}

#[test]
fn check_reads_saved_reports_and_refuses_what_is_no_rule() {
    let folder = Folder::with(&model());
    for name in ["rows.json", "rows.ndjson", "rows.csv", "rows.parquet"] {
        folder.run(&report(&["--output", name])).good();
        let check = |rule: &str| folder.run(&["check", name, "--rule", rule]);
        assert_eq!(check("elements > 0").good(), "1 rule kept by 8 rows\n", "{name}");
        let ran = check("bits_per_element < 5 where scheme == \"int8-sym\"");
        assert_eq!(table(&ran.out).len(), 4, "{ran:?}");
        assert!(ran.bad().contains("by 4 of 8 rows"));
        let err = folder.run(&["check", name, "--scheme", "int8-sym", "--rule", "elements > 0"]).bad();
        assert!(err.contains("is a saved report"), "{err}");
        assert!(check("no_such_column > 0").bad().contains("no column `no_such_column` of numbers"));
    }
    assert_eq!(folder.run(&["check", "model.safetensors", "--rule", "sqnr_db about 30"]).status, Some(2));
    assert_eq!(folder.run(&["check", "model.safetensors"]).status, Some(2));
    let mixed = ["check", "model.safetensors", "--rule", "sqnr_db > 0", "--rule", "sqnr_db > 30 where scheme == \"int8-sym\""];
    assert!(folder.run(&mixed).bad().contains("say which to measure by --scheme"));
}
