//! Tables in files come back equal, and what is no such file says so.

use std::path::PathBuf;

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};
use quantlens::{
    Error, Granularity, Rule, Scheme, TableFormat, bias_correction, blame, channels, check, elements, frontier, is_saved_table,
    ledger, levels, lint, load_table, noise, report, save_table, uncertainty,
};
use tempfile::TempDir;

use crate::explain::{notebook, synthetic};

/// The formats of this build.
fn formats() -> Vec<TableFormat> {
    let is_built = |format: &TableFormat| match format {
        TableFormat::Csv => cfg!(feature = "csv"),
        TableFormat::Parquet => cfg!(feature = "parquet"),
        _ => true,
    };
    TableFormat::ALL.into_iter().filter(is_built).collect()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, format: TableFormat) -> PathBuf {
        self.0.path().join(format!("table.{format}"))
    }
}

/// Equal in names, order, types, nulls and values, bit for bit, but that any NaN is as good as another.
#[track_caller]
fn assert_equal(found: &DataFrame, expected: &DataFrame, what: &str) {
    assert_eq!(found.get_column_names(), expected.get_column_names(), "{what}");
    assert_eq!(found.dtypes(), expected.dtypes(), "{what}");
    assert_eq!(found.height(), expected.height(), "{what}");
    for (found, expected) in found.columns().iter().zip(expected.columns()) {
        for row in 0..expected.len() {
            use polars::prelude::AnyValue::{Float32, Float64};
            let is_same = match (found.get(row).unwrap(), expected.get(row).unwrap()) {
                (Float64(a), Float64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                (Float32(a), Float32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                (a, b) => a == b,
            };
            assert!(is_same, "{what}: {} row {row}", expected.name());
        }
    }
}

#[track_caller]
fn there_and_back(table: &DataFrame, what: &str) {
    let folder = Folder::new();
    for format in formats() {
        let path = folder.path(format);
        save_table(table, &path).unwrap();
        assert!(is_saved_table(&path), "{what} {format}");
        assert_equal(&load_table(&path).unwrap(), table, &format!("{what} {format}"));
        // The same bytes again.
        let before = std::fs::read(&path).unwrap();
        save_table(table, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

/// All types, and every value that a format could lose.
fn hostile() -> DataFrame {
    let texts = [
        None,
        Some(""),
        Some("\""),
        Some("\"\""),
        Some("a,b\"c\"\r\nd"),
        Some("null"),
        Some("NaN"),
        Some("\"x\""),
        Some("é\u{1f600} "),
    ];
    let reals = [
        None,
        Some(f64::NAN),
        Some(f64::INFINITY),
        Some(f64::NEG_INFINITY),
        Some(-0.0),
        Some(5e-324),
        Some(f64::MAX),
        Some(0.1 + 0.2),
        Some(8.0),
    ];
    let f32s = [
        None,
        Some(f32::NAN),
        Some(f32::INFINITY),
        Some(f32::MIN_POSITIVE),
        Some(-0.0),
        Some(1e-45),
        Some(f32::MAX),
        Some(0.1),
        Some(1.0),
    ];
    let u64s = [None, Some(u64::MAX), Some(0), Some(1), Some((1 << 53) + 1), None, None, Some(2), Some(3)];
    let i64s = [None, Some(i64::MIN), Some(i64::MAX), Some(-1), Some(-(1 << 53) - 1), None, None, Some(2), Some(3)];
    let u32s = [None, Some(u32::MAX), Some(0), Some(1), Some(4), None, None, Some(2), Some(3)];
    let i32s = [None, Some(i32::MIN), Some(i32::MAX), Some(-1), Some(4), None, None, Some(2), Some(3)];
    let bools = [None, Some(true), Some(false), None, Some(true), Some(true), None, Some(false), None];
    let nulls: [Option<f64>; 9] = [None; 9];
    let columns = vec![
        Series::new("z".into(), texts.as_slice()).into_column(),
        Series::new("f64".into(), reals.as_slice()).into_column(),
        Series::new("f32".into(), f32s.as_slice()).into_column(),
        Series::new("u64".into(), u64s.as_slice()).into_column(),
        Series::new("i64".into(), i64s.as_slice()).into_column(),
        Series::new("u32".into(), u32s.as_slice()).into_column(),
        Series::new("i32".into(), i32s.as_slice()).into_column(),
        Series::new("bool".into(), bools.as_slice()).into_column(),
        Series::new("only nulls".into(), nulls.as_slice()).into_column(),
        Series::new("a, \"quoted\" name".into(), texts.as_slice()).into_column(),
    ];
    DataFrame::new(texts.len(), columns).unwrap()
}

#[test]
fn hostile_values_come_back() {
    let table = hostile();
    there_and_back(&table, "hostile");
    there_and_back(&table.head(Some(1)), "one row of nulls");
    there_and_back(&table.head(Some(0)), "no rows");
    there_and_back(&table.select(["only nulls"]).unwrap(), "one column");
}

#[test]
fn every_table_comes_back() {
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(4), Scheme::symmetric(2).per_group(4)];
    let x = notebook();
    let mut tensors = synthetic();
    tensors.push(x.clone());
    // Some rows have an error.
    there_and_back(&report(&tensors, &schemes).unwrap(), "report");
    there_and_back(&lint(&tensors, &schemes).unwrap(), "lint");
    there_and_back(&ledger(&x, &schemes).unwrap(), "ledger");
    there_and_back(&frontier(&x, &schemes).unwrap(), "frontier");
    there_and_back(&noise(&x, &schemes).unwrap(), "noise");
    there_and_back(&blame(&x, &schemes, 3).unwrap(), "blame");
    there_and_back(&channels(&x, &schemes, Granularity::PerTensor).unwrap(), "channels");
    there_and_back(&bias_correction(&x, &schemes, 0).unwrap(), "bias_correction");
    there_and_back(&uncertainty(&x, &schemes[..2], Default::default()).unwrap(), "uncertainty");
    there_and_back(&elements(&x, &schemes[..2]).unwrap(), "elements");
    there_and_back(&levels(&x, &schemes[0]).unwrap(), "levels");
    let rules: [Rule; 2] = ["sqnr_db >= 300".parse().unwrap(), "scheme == \"none\"".parse().unwrap()];
    let of_report = report(&x, &schemes).unwrap();
    there_and_back(&check(&of_report, &rules).unwrap(), "check");
    there_and_back(&check(&of_report, &[]).unwrap(), "an empty check");
}

/// However short a file is cut, it is an error, and no panic.
#[test]
fn a_file_that_is_cut_short_says_so() {
    let table = hostile();
    let folder = Folder::new();
    for format in formats() {
        let path = folder.path(format);
        save_table(&table, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // The line end of JSON says nothing.
        let most = if format == TableFormat::Json { bytes.len() - 1 } else { bytes.len() };
        for length in 0..most {
            std::fs::write(&path, &bytes[..length]).unwrap();
            match load_table(&path) {
                Err(Error::File { path: named, .. }) => assert_eq!(named, path.display().to_string()),
                other => panic!("{format} of {length} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn another_version_and_other_files_say_so() {
    let table = hostile();
    let folder = Folder::new();
    for format in formats() {
        let path = folder.path(format);
        save_table(&table, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // The version has one digit, so that nothing moves.
        let other: Vec<u8> = {
            let (old, new) = (b"quantlens-table-1", b"quantlens-table-7");
            let mut other = bytes.clone();
            let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
            assert!(!places.is_empty(), "{format}");
            places.into_iter().for_each(|at| other[at..at + new.len()].copy_from_slice(new));
            other
        };
        std::fs::write(&path, other).unwrap();
        assert!(is_saved_table(&path));
        let error = load_table(&path).unwrap_err().to_string();
        assert!(error.contains("schema version 7") && error.contains("reads version 1"), "{format}: {error}");

        let foreign: &[u8] = match format {
            TableFormat::Json => b"[{\"tensor\": \"x\"}]",
            TableFormat::Ndjson => b"{\"tensor\": \"x\"}\n",
            TableFormat::Csv => b"tensor,scheme\nx,int8-sym\n",
            _ => b"PAR1 is not enough PAR1",
        };
        std::fs::write(&path, foreign).unwrap();
        assert!(!is_saved_table(&path));
        let error = load_table(&path).unwrap_err().to_string();
        assert!(error.contains("no table that quantlens wrote") || format == TableFormat::Parquet, "{format}: {error}");
        std::fs::remove_file(&path).unwrap();
        assert!(load_table(&path).unwrap_err().to_string().contains("cannot be"), "{format}");
    }
    assert!(load_table("table.txt").unwrap_err().to_string().contains("must end in .json, .ndjson, .csv or .parquet"));
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let schema = Series::new("schema".into(), [1.0]).into_column();
    let table = DataFrame::new(1, vec![schema]).unwrap();
    let error = TableFormat::Ndjson.write(&table, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("a column cannot be called `schema`"), "{error}");
    let mut json = Vec::new();
    TableFormat::Json.write(&table, &mut json).unwrap();
    for format in TableFormat::ALL {
        assert_eq!(format.to_string().parse::<TableFormat>().unwrap(), format);
    }
    assert!("yaml".parse::<TableFormat>().is_err());
    assert_eq!(TableFormat::of_path("a/b.JSONL").unwrap(), TableFormat::Ndjson);
}
