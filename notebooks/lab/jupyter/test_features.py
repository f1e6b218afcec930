"""A kernel with features. To build its libraries takes 25 minutes on two cores, so these tests run only where they are asked for:

    QUANTLENS_TEST_KERNEL_FEATURES=json,lazy,parquet,sql notebooks/lab/jupyter/run test_features.py

What needs a feature that is not named is skipped.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from kernel import LAB, NOTEBOOKS, WithKernel, lab_list
from test_cells import shown

VARIABLE = "QUANTLENS_TEST_KERNEL_FEATURES"
NAMED = set(filter(None, os.environ.get(VARIABLE, "").split(",")))
FEATURES = sorted(NAMED | ({"lazy"} if "sql" in NAMED else set()))
PROGRAM = LAB / "bin" / "quantlens-lab"


def needs(feature):
    return unittest.skipUnless(feature in FEATURES, f"{VARIABLE} does not name {feature}")


@unittest.skipUnless(FEATURES, f"{VARIABLE} names no features to build a kernel with")
class Features(WithKernel):
    name = "-".join(["quantlens", *FEATURES])

    @classmethod
    def setUpClass(cls):
        subprocess.run([PROGRAM, "kernel", "install", "--features", ",".join(FEATURES), "--prefix", sys.prefix], check=True)
        super().setUpClass()
        cls.directory = tempfile.mkdtemp()
        cls.kernel.ok(f'fn file(name: &str) -> String {{ format!("{cls.directory}/{{name}}") }}')
        cls.kernel.ok("""
let f = df!["k" => ["x", "y", "x"], "v" => [3.0, 1.0, 2.0], "t" => [1, 2, 4]]?;
let g = df!["k" => ["x", "z"], "w" => [10, 20]]?;""")

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def assert_shows(self, code, said):
        self.assertEqual(shown(self.kernel.ok(code)), said, code)

    def test_the_kernel_is_named_after_them(self):
        spec = pathlib.Path(sys.prefix) / "share" / "jupyter" / "kernels" / self.name / "kernel.json"
        self.assertEqual(json.loads(spec.read_text())["display_name"], f"Rust (quantlens, {', '.join(FEATURES)})")
        self.assertIn(f"kernel/{'-'.join(['template', *FEATURES])}  (features {','.join(FEATURES)})\n", lab_list())

    def test_a_committed_notebook_runs_as_it_does_without(self):
        notebook = NOTEBOOKS / "01_quantize_dequantize.ipynb"
        run = [PROGRAM, "run", "--check", "--features", ",".join(FEATURES), notebook]
        result = subprocess.run(run, capture_output=True, text=True)
        self.assertEqual((result.returncode, "as committed" in result.stdout), (0, True), result.stderr)

    @needs("lazy")
    def test_a_query_of_a_lazy_frame(self):
        query = """f.clone().lazy().filter(col("v").gt(lit(1.0)))
    .group_by([col("k")]).agg([col("v").sum(), len().alias("n")])"""
        self.assert_shows(query + '.collect()?.column("v")?.f64()?.get(0)', "Some(5.0)")
        [(_, content)] = self.kernel.ok(query + ".collect()?")
        self.assertIn("<table", content["data"]["text/html"])

    @needs("lazy")
    def test_a_lazy_frame_is_kept_and_shown_as_its_plan(self):
        self.kernel.ok('let query = f.clone().lazy().filter(col("v").gt(lit(1.5)));')
        for code in ["query.clone()", "query", "PolarsResult::Ok(query.clone())"]:
            text = shown(self.kernel.ok(code))
            self.assertIn("FILTER", text, code)
            self.assertTrue(text.endswith("\n`.collect()?` gives the table"), text)
        self.assert_shows("query.clone().collect()?.height()", "2")
        reply, _ = self.kernel.run('f.clone().lazy().select([col("no_such")])')
        self.assertEqual((reply["status"], reply["ename"]), ("error", "Error"))
        self.assertIn("no_such", reply["evalue"])

    @needs("lazy")
    def test_joins(self):
        for kind, height in [("Inner", 2), ("Left", 3), ("Full", 4), ("Semi", 2), ("Anti", 1)]:
            self.assert_shows(f'f.join(&g, ["k"], ["k"], JoinArgs::new(JoinType::{kind}), None)?.height()', str(height))
        self.assert_shows("f.clone().lazy().cross_join(g.clone().lazy(), None).collect()?.height()", "6")
        self.kernel.ok('let times = df!["t" => [0, 3], "p" => [7, 8]]?;')
        self.assert_shows(
            """let last = JoinArgs::new(JoinType::AsOf(Box::new(AsOfOptions::default())));
let joined = f.clone().lazy().join(times.clone().lazy(), [col("t")], [col("t")], last).collect()?;
joined.column("p")?.i32()?.to_vec()""",
            "[Some(7), Some(7), Some(8)]",
        )

    @needs("lazy")
    def test_counts_and_statistics(self):
        self.assert_shows(
            """let counts = f.column("k")?.as_materialized_series().value_counts(true, false, "n".into(), false)?;
counts.column("n")?.cast(&DataType::Float64)?.f64()?.to_vec()""",
            "[Some(2.0), Some(1.0)]",
        )
        self.assert_shows('f.describe()?.column("v")?.f64()?.get(2)', "Some(2.0)")
        for expression, values in [
            ('col("v").rank(RankOptions::default(), None).cast(DataType::Float64)', "[Some(3.0), Some(1.0), Some(2.0)]"),
            ('col("v").cum_sum(false)', "[Some(3.0), Some(4.0), Some(6.0)]"),
            ('col("v").diff(lit(1), NullBehavior::Ignore)', "[None, Some(-2.0), Some(1.0)]"),
            ('(col("v") / lit(3.0)).round(1, RoundMode::HalfToEven)', "[Some(1.0), Some(0.3), Some(0.7)]"),
            ('(-col("v")).abs()', "[Some(3.0), Some(1.0), Some(2.0)]"),
            ('col("v").top_k(lit(2)).sort(SortOptions::default())', "[Some(2.0), Some(3.0)]"),
            ('col("v").filter(col("k").is_in(lit(Series::new("".into(), ["y"])).implode(false), false))', "[Some(1.0)]"),
            (
                'col("v").rolling_mean(RollingOptionsFixedWindow { window_size: 2, min_periods: 2, ..Default::default() })',
                "[None, Some(2.0), Some(1.5)]",
            ),
        ]:
            self.assert_shows(f'f.clone().lazy().select([{expression}]).collect()?.column("v")?.f64()?.to_vec()', values)
        self.assert_shows('f.clone().lazy().select([col("k").mode(false)]).collect()?.column("k")?.str()?.get(0).map(String::from)', 'Some("x")')
        self.assert_shows('f.clone().lazy().select([col("k").unique_counts()]).collect()?.height()', "2")

    @needs("lazy")
    def test_dates_and_text(self):
        self.assert_shows('Series::new("d".into(), [19782]).cast(&DataType::Date)?.get(0)?.to_string()', '"2024-02-29"')
        self.kernel.ok("""let days = df!["d" => ["2024-02-29", "2025-12-01"]]?.lazy()
    .with_column(col("d").str().to_date(StrptimeOptions::default())).collect()?;""")
        self.assert_shows(
            'days.clone().lazy().select([col("d").dt().year()]).collect()?.column("d")?.i32()?.to_vec()',
            "[Some(2024), Some(2025)]",
        )
        self.assert_shows('days.column("d")?.as_materialized_series().month()?.to_vec()', "[Some(2), Some(12)]")
        self.assert_shows(
            """let between = (col("d").last() - col("d").first()).dt().total_days(false);
days.clone().lazy().select([between]).collect()?.column("d")?.i64()?.get(0)""",
            "Some(641)",
        )
        self.assert_shows(
            """let found = f.clone().lazy().filter(col("k").str().contains(lit("^[xz]$"), true));
found.select([col("k").str().to_uppercase()]).collect()?.column("k")?.str()?.get(1).map(String::from)""",
            'Some("X")',
        )

    @needs("lazy")
    def test_csv_files(self):
        self.kernel.ok('CsvWriter::new(std::fs::File::create(file("f.csv"))?).finish(&mut f.clone())?;')
        self.assert_shows('CsvReader::new(std::fs::File::open(file("f.csv"))?).finish()?.column("v")?.f64()?.sum()', "Some(6.0)")
        self.assert_shows(
            """let scanned = LazyCsvReader::new(file("f.csv").as_str().into()).finish()?;
scanned.filter(col("k").eq(lit("x"))).collect()?.height()""",
            "2",
        )
        self.kernel.ok('std::fs::write(file("model.csv"), "a,b\\n1.5,2\\n-1,4\\n")?;')
        self.assert_shows('open(file("model.csv"))?.infos().len()', "2")

    @needs("parquet")
    def test_parquet_files(self):
        self.kernel.ok('ParquetWriter::new(std::fs::File::create(file("f.parquet"))?).finish(&mut f.clone())?;')
        self.assert_shows('ParquetReader::new(std::fs::File::open(file("f.parquet"))?).finish()? == f', "true")
        self.assert_shows('open(file("f.parquet"))?.infos().len()', "2")

    @needs("parquet")
    @needs("lazy")
    def test_parquet_files_of_a_lazy_frame(self):
        self.kernel.ok('ParquetWriter::new(std::fs::File::create(file("lazy.parquet"))?).finish(&mut f.clone())?;')
        self.assert_shows(
            """let scanned = LazyFrame::scan_parquet(file("lazy.parquet").as_str().into(), ScanArgsParquet::default())?;
scanned.filter(col("v").lt(lit(3.0))).collect()?.height()""",
            "2",
        )

    @needs("json")
    def test_json_files(self):
        self.kernel.ok("""let out = std::fs::File::create(file("f.json"))?;
JsonWriter::new(out).with_json_format(JsonFormat::Json).finish(&mut f.clone())?;""")
        self.assert_shows('JsonReader::new(std::fs::File::open(file("f.json"))?).finish()?.column("v")?.f64()?.sum()', "Some(6.0)")

    @needs("sql")
    def test_sql(self):
        self.assert_shows(
            """let mut sql = SQLContext::new();
sql.register("f", f.clone().lazy());
let sums = sql.execute("SELECT k, SUM(v) AS s FROM f GROUP BY k ORDER BY k")?.collect()?;
sums.column("s")?.f64()?.to_vec()""",
            "[Some(5.0), Some(1.0)]",
        )
