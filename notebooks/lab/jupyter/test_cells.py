"""What works in a cell, as its user types it, and what the user is told where it does not."""

import pathlib
import platform
import re
import subprocess
import tempfile
import time

import pytest
from kernel import FIRST_CELL, NOTEBOOKS, PATIENCE, Kernel, WithKernel, slots_in_use, text_of


def shown(outputs):
    """The text of a cell's value."""
    values = [content["data"]["text/plain"] for kind, content in outputs if kind == "execute_result"]
    return values[-1] if values else None


def notes(outputs):
    """What the kernel itself says below a cell, in grey."""
    texts = [content["data"].get("text/plain", "") for kind, content in outputs if kind == "display_data"]
    return [re.sub("\x1b\\[[0-9]*m", "", text) for text in texts if text.startswith("\x1b[90m")]


class Cells(WithKernel):
    def assert_shows(self, code, expected):
        outputs = self.kernel.ok(code)
        self.assertEqual(shown(outputs), expected, code)
        return outputs

    def error_of(self, code):
        reply, _ = self.kernel.run(code)
        self.assertEqual(reply["status"], "error", code)
        return "\n".join(reply["traceback"])


class Temporaries(Cells):
    def test_a_variable_that_a_function_takes_is_moved(self):
        self.kernel.ok("fn take(v: Vec<i32>) -> usize { v.len() }\nlet v = vec![1, 2, 3];")
        self.assert_shows("take(v)", "3")
        self.assertIn("cannot find value `v`", self.error_of("v"))

    def test_a_closure_works_in_its_cell(self):
        outputs = self.assert_shows("let add = |a: i32, b: i32| a + b;\nadd(1, 2)", "3")
        [note] = notes(outputs)
        self.assertIn("`add` ended with this cell: it is a closure; to keep it, write a `fn`, or box it", note)
        self.assertIn("cannot find function `add`", self.error_of("add(1, 2)"))

    def test_a_closure_works_beside_a_variable_that_holds_borrowed_text(self):
        self.kernel.ok('let names: Vec<&str> = vec!["a", "b"];')
        self.assert_shows("let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;\nmean(&[1.0, 2.0])", "1.5")
        self.assert_shows("names", '["a", "b"]')

    def test_a_boxed_closure_is_kept(self):
        self.assertEqual(notes(self.kernel.ok("let inc: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1);")), [])
        self.assert_shows("inc(2)", "3")

    def test_a_borrow_works_in_its_cell_and_what_it_borrows_from_is_kept(self):
        for code, name, source, value, kept in [
            ('let s = String::from("hello"); let r: &str = &s[0..2];\nr', "r", "s", '"he"', '"hello"'),
            ("let rows = vec![vec![1], vec![2]]; let first = &rows[0];\nfirst", "first", "rows", "[1]", "[[1], [2]]"),
            ("let list = vec![1, 2]; let mut items = list.iter();\nitems.next()", "items", "list", "Some(1)", "[1, 2]"),
            ("let lock = std::sync::Mutex::new(5); let guard = lock.lock()?;\n*guard", "guard", "lock", "5", None),
            ("let mut log = vec![1]; let end = &mut log; end.push(2); log.len()", "end", "log", "2", "[1, 2]"),
        ]:
            [note] = notes(self.assert_shows(code, value))
            self.assertIn(f"`{name}` ended with this cell: it borrows from `{source}`", note)
            if kept is not None:
                self.assert_shows(source, kept)
        self.assert_shows("*lock.lock()?", "5")

    def test_a_borrow_of_an_earlier_cells_variable(self):
        self.kernel.ok("let table = vec![vec![1, 2], vec![3]];")
        outputs = self.kernel.ok("let row = &table[0];\nlet total: i32 = row.iter().sum();")
        self.assertIn("it borrows from `table`", notes(outputs)[0])
        self.assert_shows("(total, table.len())", "(3, 2)")

    def test_what_borrows_for_ever_is_kept(self):
        self.assertEqual(notes(self.kernel.ok('let word: &str = "static"; let both = [word, word];')), [])
        self.assert_shows("both", '["static", "static"]')

    def test_a_borrow_is_shown_as_what_it_borrows(self):
        self.kernel.ok('let frame = df!["a" => [1]]?; let text = String::from("some text"); let numbers = vec![1, 2, 3];')
        self.assert_shows("&text[..4]", '"some"')
        self.assert_shows("&numbers[1..]", "[2, 3]")
        self.assert_shows("numbers.iter().max()", "Some(3)")
        [(_, content)] = self.kernel.ok("&frame")
        self.assertIn("text/html", content["data"])

    def test_a_type_that_rustc_infers_is_taken_from_it(self):
        self.kernel.ok("use std::collections::{BTreeMap, HashMap};")
        code = 'let mut counts = HashMap::new(); for w in "a b a".split_whitespace() { *counts.entry(w).or_insert(0) += 1; }'
        self.assertEqual(notes(self.kernel.ok(code)), [])
        self.assert_shows('counts["a"]', "2")
        self.assertEqual(notes(self.kernel.ok("let squares: HashMap<_, _> = (0..3).map(|i| (i, i * i)).collect();")), [])
        self.assert_shows("squares[&2]", "4")
        self.kernel.ok('let frames: BTreeMap<_, _> = [(1, df!["a" => [1]]?)].into_iter().collect();')
        self.assert_shows("frames[&1].height()", "1")

    def test_an_iterator_over_a_closure_says_what_keeps_it(self):
        [note] = notes(self.kernel.ok("let doubled = (0..3).map(|x| x * 2);"))
        self.assertIn("`doubled` ended with this cell: a closure is part of its type; to keep it, `.collect()` it", note)
        self.assert_shows("let repeated = std::iter::repeat(1).take(3);\nrepeated.clone().sum::<i32>()", "3")
        self.assert_shows("repeated.count()", "3")

    def test_what_a_closure_of_each_statement_could_not_do_works(self):
        self.assert_shows('let borrowed: &String = &String::from("temp");\nborrowed.len()', "4")
        self.assert_shows("let later;\nlater = 5;\nlater + 1", "6")
        self.assert_shows('let Some(inner) = Some(3) else { panic!("none") };\ninner', "3")
        self.assert_shows('let (one, two) = (1, String::from("b"));\nlet mut v = vec![3, 1]; let mut v = v; v.sort();\n(one, two.len(), v.len())', "(1, 1, 2)")
        self.assert_shows("(one, two, v)", '(1, "b", [1, 3])')

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="its instructions")
    def test_a_vector_of_the_processor_stays(self):
        """Of a part of the standard library that rust-analyzer is not given."""
        self.kernel.ok("use std::arch::x86_64::*;\nlet vector = unsafe { _mm_set1_epi32(7) };")
        self.assert_shows("unsafe { _mm_cvtsi128_si32(vector) }", "7")

    def test_await_needs_no_crate(self):
        self.assert_shows("async fn answer() -> i32 { 42 }\nanswer().await", "42")
        self.assert_shows("let waited = answer().await + 1;\nwaited", "43")
        self.assertIn("invalid digit", self.error_of('let n: i32 = async { "x".parse::<i32>() }.await?;'))
        self.assert_shows("waited + 1", "44")


class ManyVariables(Cells):
    def test_a_hundred_in_one_cell_take_no_minute_and_are_there(self):
        for name, let in [
            ("written", "let written{i}: Vec<f64> = (0..{n}).map(|x| x as f64).collect();"),
            ("inferred", "let inferred{i} = (0..{n}).map(|x| x as f64).collect::<Vec<_>>();"),
            ("tied", "let tied{n} = tied{i}.iter().map(|x| x + 1.0).collect::<Vec<_>>();"),
        ]:
            lets = ["let tied0 = vec![0.0, 1.0];"] if name == "tied" else []
            lets += [let.replace("{i}", str(i)).replace("{n}", str(i + 1)) for i in range(100)]
            start = time.monotonic()
            self.assertEqual(notes(self.kernel.ok("\n".join(lets))), [])
            self.assertLess(time.monotonic() - start, 60, name)
            names = [f"{name}{i}" for i in range(100)]
            total = " + ".join(f"{name}.len()" for name in names)
            self.assert_shows(total, "200" if name == "tied" else "5050")
            types = str(self.kernel.ok(":vars"))
            for name in names:
                self.assertIn(f"{name}: Vec<f64>", types)

    def test_a_number_is_of_the_type_that_a_later_statement_says(self):
        fillers = [f'let other{i} = "{i}".to_owned();' for i in range(10)]
        self.kernel.ok("\n".join(["let mut count = 0; let mut list = Vec::new();", *fillers, "count += other3.len(); list.push(other4.as_bytes()[0]);"]))
        self.assert_shows("(count, list)", "(1, [52])")
        chain = [f"let number{i + 1} = number{i} + {i};" for i in range(30)]
        self.kernel.ok("\n".join(["let number0 = 1;", *chain, "let end: u64 = number30;"]))
        types = str(self.kernel.ok(":vars"))
        for said in ["count: usize", "number0: u64", "number30: u64", "other9: String"]:
            self.assertIn(said, types)

    def test_names_that_are_defined_anew_in_a_long_cell(self):
        fillers = [f"let filler{i} = filler{i - 1} + 1;" for i in range(1, 12)]
        code = ["let it = 5; let it = it as f64; let filler0 = 7;", "let again: String = it.to_string(); let it: usize = again.len();"]
        code += [*fillers, "let (it, again) = (again, it); let scale = |x: usize| 2 * x; let scaled = scale(again);"]
        outputs = self.assert_shows("\n".join([*code, "(it.clone(), again, scaled)"]), '("5", 1, 2)')
        [note] = notes(outputs)
        self.assertIn("`scale` ended with this cell: it is a closure", note)
        self.assert_shows("(it, again, scaled, filler11)", '("5", 1, 2, 18)')


class NothingIsLost(Cells):
    def test_a_failing_question_mark_keeps_the_old_value_and_what_was_finished(self):
        self.kernel.ok("let n = 1; let list = vec![1, 2];")
        self.error_of('let finished = 7;\nlet n: i32 = "x".parse()?;\nlet never = 8;')
        self.assert_shows("(n, finished)", "(1, 7)")
        self.assertIn("cannot find value `never`", self.error_of("never"))
        self.error_of("let list: Vec<i32> = list.iter().map(|x| x.to_string().repeat(20).parse::<i32>()).collect::<Result<_, _>>()?;")
        self.assert_shows("list", "[1, 2]")

    def test_a_panic_keeps_the_old_value_and_what_was_finished(self):
        self.kernel.ok("let old = vec![1]; let mut grown = vec![1];")
        self.error_of('let made = vec![5];\ngrown.push(2);\nlet old = vec![made[7]];')
        self.assert_shows("(old, made, grown)", "([1], [5], [1, 2])")

    def test_a_variable_is_there_if_the_cell_fails_before_it_is_moved(self):
        self.kernel.ok("let mine = vec![1, 2, 3];")
        self.error_of('let n: i32 = "x".parse()?;\ndrop(mine);')
        self.assert_shows("mine.len()", "3")

    def test_what_does_not_compile_changes_nothing(self):
        self.kernel.ok("let stays = 1;")
        self.error_of("let stays: u32 = \"text\";")
        self.error_of("drop(stays); let stays = undefined_name;")
        self.assert_shows("stays", "1")

    def test_a_closure_hides_a_variable_only_in_its_cell(self):
        self.kernel.ok("let both = 5;")
        self.assert_shows("let both = |x: i32| x + 1;\nboth(1)", "2")
        self.assert_shows("both", "5")

    def test_a_variable_changes_its_type_only_when_the_cell_succeeds(self):
        self.kernel.ok("let changing = 1;")
        self.error_of('let changing = "text".parse::<f64>()?.to_string();')
        self.assert_shows("changing + 1", "2")
        self.kernel.ok('let changing = "text".to_string();')
        self.assert_shows("changing", '"text"')

    def test_many_variables_in_one_cell_and_the_last_statement_fails(self):
        lets = "\n".join(f"let var{i} = vec![{i}; {i}];" for i in range(130))
        self.error_of(lets + "\nvar3[50]")
        self.assert_shows("var3.len() + var90.len()", "93")


class ErrorsPoint(Cells):
    def test_a_compile_error_shows_the_cells_line_once(self):
        for code, expected in [
            ("let fine = 1;\n255u8 + 1", ["error: this arithmetic operation will overflow", " 2 | 255u8 + 1", "   | ^^^^^^^^^ attempt to compute"]),
            ("let arr = [1, 2, 3];\narr[5]", ["error: this operation will panic", " 2 | arr[5]", "   | ^^^^^^ index out of bounds: the length is 3"]),
            ("HashSet::new()", ["error[E0433]", " 1 | HashSet::new()", "   | ^^^^^^^", "help: consider importing", "   + use std::collections::HashSet;"]),
            ('let x: u32 = "text";', ["error[E0308]: mismatched types", ' 1 | let x: u32 = "text";', "expected `u32`, found `&str`"]),
            ('let s = Series::new("a".into(), [1.0]);\ns.f64()?.no_such()', ["error[E0599]: no method named `no_such`", " 2 | s.f64()?.no_such()"]),
            ("let n = String::new();\nn.pushed(2);", ["error[E0599]", " 2 | n.pushed(2);"]),
            ("let x = 5 +;", ["error: expected expression, found `;`", " 1 | let x = 5 +;"]),
        ]:
            text = self.error_of(code)
            at = -1
            for line in expected:
                at = text.find(line, at + 1)
                self.assertNotEqual(at, -1, (line, text))
            self.assertEqual(text.count("error"), 1, text)
            self.assertNotIn("evcxr", text)
            self.assertNotIn("warning", text)

    def test_what_polars_is_built_without_is_said_with_the_way_to_it(self):
        def way(features):
            return f"install the kernel with --features {features}: cargo lab kernel install --features {features}"

        self.kernel.ok('let s = Series::new("a".into(), [1, 2]); let f = df!["a" => [1, 2]]?;')
        reply, _ = self.kernel.run("s.cast(&DataType::Date)?")
        self.assertEqual((reply["ename"], reply["evalue"]), ("Error", f"this needs polars' feature `dtype-date`: {way('lazy')}"))
        for code, features in [
            ("f.clone().lazy()", "lazy"),
            ('col("a")', "lazy"),
            ('f.inner_join(&f, ["a"], ["a"])?', "lazy"),
            ("use polars::prelude::CsvReader;", "lazy"),
            ('ParquetWriter::new(std::fs::File::create("never.parquet")?)', "parquet"),
            ("polars::sql::SQLContext::new()", "lazy,sql"),
        ]:
            self.assertIn(f"help: {way(features)}\n", self.error_of(code) + "\n", code)
        self.assertNotIn("--features", self.error_of('vec![1.0].join(", ")'))

    def test_what_polars_has_eagerly_is_in_scope(self):
        self.kernel.ok('let e = df!["k" => ["x", "y", "x"], "v" => [3.0, 1.0, 2.0]]?;')
        for code, said in [
            ('e.column("v")?.f64()?.mean()', "Some(2.0)"),
            ('e.column("v")?.f64()?.sum()', "Some(6.0)"),
            ('e.column("v")?.f64()?.max()', "Some(3.0)"),
            ('e.column("v")?.f64()?.std(1)', "Some(1.0)"),
            ('e.column("v")?.f64()?.quantile(0.5, QuantileMethod::Nearest)?', "Some(2.0)"),
            ('e.column("v")?.f64()?.sort(false).get(0)', "Some(1.0)"),
            ('e.column("k")?.str()?.unique()?.len()', "2"),
            ('e.column("v")?.f64()?.gt(1.5).sum()', "Some(2)"),
            ('e.filter(&e.column("v")?.f64()?.gt(1.5))?.height()', "2"),
            ('e.sort(["v"], SortMultipleOptions::default())?.column("v")?.f64()?.get(0)', "Some(1.0)"),
            ('e.group_by(["k"])?.select(["v"]).mean()?.height()', "2"),
            ('e.describe()?.column("v")?.f64()?.get(2)', "Some(2.0)"),
        ]:
            self.assertEqual(shown(self.kernel.ok(code)), said, code)

    def test_a_suggestion_is_code_to_paste(self):
        self.kernel.ok("fn total(v: &Vec<i32>) -> i32 { v.iter().sum() }\nlet v = vec![1, 2];")
        text = self.error_of("let a = 1;\nlet n = total(v);")
        self.assertIn(" 2 | let n = total(&v);", text)

    def test_nothing_of_other_cells_is_said(self):
        self.kernel.ok("fn unused_things() { let never_used = 1; }")
        text = self.error_of("undefined_name")
        self.assertNotIn("never_used", text)
        self.assertEqual(notes(self.kernel.ok("1 + 1")), [])

    def test_a_warning_of_the_cell_stands_below_it_in_grey(self):
        outputs = self.kernel.ok("println!(\"seen\");\nvec![1, 2].iter().map(|x| x + 1);\n3")
        self.assertEqual([kind for kind, _ in outputs], ["stream", "execute_result", "display_data"])
        [note] = notes(outputs)
        self.assertIn("warning: unused `std::iter::Map` that must be used", note)
        self.assertIn(" 2 | vec![1, 2].iter().map(|x| x + 1);", note)

    def test_a_panic_names_cell_line_and_the_cells_functions(self):
        definition, _ = self.kernel.run("fn average(v: &[f64]) -> f64 {\n    let first = v[0];\n    first / v.len() as f64\n}")
        call, _ = self.kernel.run("let none: [f64; 0] = [];\naverage(&none)")
        self.assertEqual(
            call["traceback"],
            [
                "Panic: index out of bounds: the len is 0 but the index is 0",
                f"  at cell {definition['execution_count']}, line 2, in `average`",
                f"  at cell {call['execution_count']}, line 2: average(&none)",
            ],
        )

    def test_a_failing_question_mark_names_its_line(self):
        reply, _ = self.kernel.run('let fine = 1;\nlet n: i32 =\n    "x".parse()?;')
        number = reply["execution_count"]
        self.assertEqual(reply["evalue"], "invalid digit found in string")
        self.assertEqual(reply["traceback"][1:], [f"  at cell {number}, line 3: \"x\".parse()?;"])

    def test_dbg_names_cell_and_line(self):
        reply, outputs = self.kernel.run("let n = 2;\nlet twice = dbg!(2 * n) +\n    dbg!(n, 1).0;\ndbg!();\ntwice")
        cell = reply["execution_count"]
        said = [f"[cell {cell}, line {line}] {text}" for line, text in [(2, "2 * n = 4"), (3, "n = 2"), (3, "1 = 1"), (4, "")]]
        self.assertEqual(text_of(outputs, "stderr"), "\n".join(said) + "\n")
        self.assertEqual(shown(outputs), "6")
        definition, _ = self.kernel.run("fn third(x: i32) -> i32 {\n    dbg!(x) / 3\n}")
        self.assertEqual(text_of(self.kernel.ok("third(6)"), "stderr"), f"[cell {definition['execution_count']}, line 2] x = 6\n")

    def test_a_panic_in_a_thread_and_in_a_closure(self):
        reply, outputs = self.kernel.run('std::thread::spawn(|| {\n    panic!("inside")\n}).join().is_err()')
        self.assertEqual(shown(outputs), "true")
        self.assertEqual(text_of(outputs, "stderr"), f"panic: inside\n  at cell {reply['execution_count']}, line 2\n")
        reply, _ = self.kernel.run("let none: Option<i32> = None;\n[1].iter().map(|_| none.unwrap()).sum::<i32>()")
        self.assertIn(f"at cell {reply['execution_count']}, line 2", reply["traceback"][1])

    def test_a_cell_that_catches_thousands_of_panics_does_not_wait_for_them(self):
        code = 'let caught = (0..3000).filter(|_| std::panic::catch_unwind(|| panic!("again")).is_err()).count();\ncaught'
        outputs = self.assert_shows(code, "3000")
        said = text_of(outputs, "stderr")
        self.assertEqual(said.count("panic: again\n  at cell"), 3000)

    def test_a_statement_shows_nothing(self):
        self.kernel.ok("let items = vec![1, 2]; let gone = vec![3];")
        for code in ["for _item in items {}", "drop(gone)", "()"]:
            self.assertEqual(self.kernel.ok(code), [], code)


class Shows(Cells):
    def data(self, code):
        return [content["data"] for kind, content in self.kernel.ok(code) if kind in ("execute_result", "display_data")]

    def test_columns_references_options_and_lists_of_frames_are_tables(self):
        self.kernel.ok('let mut frame = df!["a" => [1, 2], "b" => [0.5, 1.5]]?;')
        for code in ['frame.column("a")?', 'frame.column("a")', 'frame["a"]', "Some(frame.clone())", "&frame", "&mut frame", "Some(&frame)"]:
            [data] = self.data(code)
            self.assertIn("<td>2</td>", data["text/html"], code)
        self.assertEqual(len(self.data("vec![frame.clone(), frame.clone()]")), 2)
        self.assertIn("text/html", self.data('frame.with_column(Series::new("c".into(), [7, 8]).into())?')[0])
        self.assertIn('no_such', self.error_of('frame.column("no_such")'))

    def test_text_of_a_media_type(self):
        for code, media_type, text in [
            ('Html("<b>bold</b>")', "text/html", "<b>bold</b>"),
            ('Html(format!("<i>{}</i>", 1 + 1))', "text/html", "<i>2</i>"),
            ('Markdown("**bold**")', "text/markdown", "**bold**"),
            ('Latex("$x^2$")', "text/latex", "$x^2$"),
            ('let circle = String::from("<svg></svg>"); Svg(&circle)', "image/svg+xml", "<svg></svg>"),
            ('Json(r#"{"a": [1]}"#)', "application/json", {"a": [1]}),
            ('show(&Html("<b>shown</b>"));', "text/html", "<b>shown</b>"),
            ('Content::Text("text/html", "<u>x</u>".into())', "text/html", "<u>x</u>"),
            ("%%html\n<b>typed</b>", "text/html", "<b>typed</b>"),
            ("%%markdown\n# typed", "text/markdown", "# typed"),
        ]:
            self.assertEqual(self.data(code)[0][media_type], text, code)
        [data] = self.data("Png(vec![137, 80, 78, 71])")
        self.assertTrue(data["image/png"].startswith("iVBORw"))

    def test_a_long_value_is_its_ends_and_its_length(self):
        text = shown(self.kernel.ok("(0..10_000_000).collect::<Vec<i32>>()"))
        self.assertTrue(text.startswith("[0, 1, 2, 3,") and text.endswith("9999998, 9999999] (10000000 values)"), text[:200])
        text = shown(self.kernel.ok("vec![vec![1; 1000]; 1000]"))
        self.assertLess(len(text), 11000)
        self.assertIn("characters)", text)

    def test_the_types_command_says_the_type(self):
        self.kernel.ok(":types")
        outputs = self.assert_shows("Some(3)", "Some(3)")
        self.assertEqual(text_of(outputs), ": Option<i32>\n")
        self.kernel.ok(":types")
        self.assertEqual(text_of(self.assert_shows("Some(3)", "Some(3)")), "")


class Typed(Cells):
    def test_time_and_timeit(self):
        outputs = self.assert_shows("%%time\nlet timed = 5;\ntimed", "5")
        self.assertRegex(notes(outputs)[-1], r"^[0-9.]+m?s, compilation included$")
        self.assert_shows("timed", "5")
        self.assertIn("median of", text_of(self.kernel.ok("%timeit (0..100).sum::<i32>()")))
        self.assertIn("median of", text_of(self.kernel.ok("%%timeit\nlet v = vec![1; 100];\nv.len()")))
        self.kernel.ok(":timing")
        self.assertRegex(notes(self.kernel.ok("1"))[-1], r"^[0-9.]+m?s: types [0-9.]+[mµ]s, compile [0-9.]+m?s, run [0-9.]+[mµ]s$")
        self.kernel.ok(":timing")

    def test_what_is_of_another_language_is_told_in_a_line(self):
        for code, said in [
            ("import numpy as np", "that is Python"),
            ("%matplotlib inline", "Rust notebook"),
            ("%%capture\n1", "there is no `%%capture` here"),
            ("new_name = 5", "cannot find value `new_name`"),
            ("?no_such_name_here", "nothing is known"),
        ]:
            self.assertIn(said, self.error_of(code), code)

    def test_a_question_is_answered(self):
        [(_, content)] = self.kernel.ok("?Scheme")
        self.assertIn("Scheme", content["data"]["text/plain"])

    def test_a_let_without_its_semicolon(self):
        self.kernel.ok("let unfinished = 5")
        self.assert_shows("unfinished", "5")

    def test_quit_is_refused_and_opt_says_the_level(self):
        self.assertIn("a cell cannot end the kernel", self.error_of(":quit"))
        self.assert_shows(":opt", "cells are compiled at opt-level 2\n")
        self.assertIn("3", shown(self.kernel.ok(":opt 3\nlet at_three = 3; at_three")))
        self.assertIn("there is no level 9", self.error_of(":opt 9"))
        self.kernel.ok(":opt 2")

    def test_vars_lists_the_notebooks_own_and_clear_takes_them(self):
        self.kernel.ok("let b_one = 1; let a_two = String::new();")
        self.assertNotIn("quantlens_warm", shown(self.kernel.ok(":vars")))
        self.assertRegex(shown(self.kernel.ok(":vars")), r"(?s)a_two: String\n.*b_one: i32\n")
        self.kernel.ok(":clear")
        self.assertIn("cannot find value `b_one`", self.error_of("b_one"))
        self.kernel.ok(FIRST_CELL)
        self.assert_shows('Tensor::from_vec("x", vec![1.0])?.len()', "1")

    def test_the_first_cell_of_a_notebook_from_elsewhere(self):
        self.kernel.ok(':dep quantlens-prelude = { path = "../somewhere/prelude" }\nuse quantlens_prelude::*;')


class Protocol(Cells):
    def test_user_expressions_are_evaluated_and_leave_nothing(self):
        reply, outputs = self.kernel.run("let known = 20;", user_expressions={"double": "known * 2", "bad": "no_such"})
        self.assertEqual(outputs, [])
        self.assertEqual(reply["user_expressions"]["double"]["data"]["text/plain"], "40")
        self.assertEqual(reply["user_expressions"]["double"]["status"], "ok")
        self.assertEqual(reply["user_expressions"]["bad"]["status"], "error")
        self.assertEqual(self.kernel.run("1")[0]["execution_count"], reply["execution_count"] + 1)

    def test_what_waits_for_more_is_incomplete(self):
        for code, expected in [
            ("1 +", "incomplete"), ("x.", "incomplete"), ("let x =", "incomplete"), ("fn f()", "incomplete"), ("use std", "incomplete"),
            ("fn f() {", "incomplete"), ("fn f() {}", "complete"), ("1 + 1", "complete"), ("let x = 1;", "complete"), ("x?", "complete"),
            ("use std::fmt;", "complete"), ("0..", "complete"), (":dep a = ", "complete"), ("f(1);\nx", "complete"), ("let v = vec![", "incomplete"),
        ]:
            reply = self.kernel.client.is_complete(code)
            self.assertEqual(self.kernel.reply(reply)["status"], expected, code)

    def test_a_history_request_may_leave_out_what_it_may(self):
        self.kernel.ok("let remembered = 1;")
        message_id = self.kernel.client.history(raw=True, output=False, hist_access_type="search", pattern="let rem*")
        self.assertEqual(self.kernel.reply(message_id)["history"][-1][2], "let remembered = 1;")


class StandardInput(Cells):
    READ_LINE = "let mut line = String::new();\nstd::io::stdin().read_line(&mut line)?;\nline"

    def run_answering(self, code, *answers):
        """The reply and outputs of a cell, and how often it asked; each time it gets the next answer."""
        message_id = self.kernel.send(code, allow_stdin=True)
        for answer in answers:
            asked = self.kernel.client.get_stdin_msg(timeout=PATIENCE)
            self.assertEqual((asked["msg_type"], asked["content"]["password"]), ("input_request", False))
            self.assertIn("standard input", asked["content"]["prompt"])
            self.assertEqual(asked["parent_header"]["msg_id"], message_id)
            self.kernel.client.input(answer)
        outputs = [(m["msg_type"], m["content"]) for m in self.kernel.messages(message_id)]
        return self.kernel.reply(message_id), outputs

    def shown_answering(self, code, *answers):
        reply, outputs = self.run_answering(code, *answers)
        self.assertEqual(reply["status"], "ok", reply)
        return shown(outputs)

    def test_a_line_is_asked_for(self):
        self.assertEqual(self.shown_answering(self.READ_LINE, "a line, é"), '"a line, é\\n"')
        long = "x" * 20_000
        self.assertEqual(self.shown_answering(self.READ_LINE.replace("\nline", "\nline.len()"), long), "20001")

    def test_what_was_printed_before_is_seen_before(self):
        message_id = self.kernel.send('print!("how many? ");\n' + self.READ_LINE, allow_stdin=True)
        self.kernel.client.get_stdin_msg(timeout=PATIENCE)
        message = next(m for m in self.kernel.messages(message_id) if m["msg_type"] == "stream")
        self.assertEqual(message["content"]["text"], "how many? ")
        self.kernel.client.input("3")
        list(self.kernel.messages(message_id))
        self.assertEqual(self.kernel.reply(message_id)["status"], "ok")

    def test_an_empty_line_ends_what_reads_on(self):
        lines = "std::io::stdin().lines().collect::<Result<Vec<_>, _>>()?"
        self.assertEqual(self.shown_answering(lines, "one", "two", ""), '["one", "two"]')
        self.assertEqual(self.shown_answering("std::io::read_to_string(std::io::stdin())?", "one", "two", ""), '"one\\ntwo\\n"')
        self.assertEqual(self.shown_answering("use std::io::BufRead as _;\nstd::io::stdin().lock().lines().count()", ""), "0")
        # It is the end of nothing else.
        self.assertEqual(self.shown_answering(self.READ_LINE, "again"), '"again\\n"')

    def test_where_nobody_can_answer_it_is_at_its_end_and_says_so(self):
        for code, value in [
            (self.READ_LINE, '""'),
            ("std::io::stdin().lines().count()", "0"),
            ("std::io::read_to_string(std::io::stdin())?", '""'),
        ]:
            outputs = self.kernel.ok(code, allow_stdin=False)
            self.assertIn("the cell reads its standard input, which nobody can give here", text_of(outputs, "stderr"))
            self.assertEqual(shown(outputs), value)

    def test_an_interrupt_ends_the_wait_and_the_variables_stay(self):
        self.kernel.ok("let stays = vec![1, 2];")
        for code in [self.READ_LINE, "stays.len();\nstd::io::read_to_string(std::io::stdin())?"]:
            message_id = self.kernel.send(code, allow_stdin=True)
            self.kernel.client.get_stdin_msg(timeout=PATIENCE)
            self.kernel.manager.interrupt_kernel()
            list(self.kernel.messages(message_id))
            reply = self.kernel.reply(message_id)
            self.assertEqual((reply["ename"], reply["evalue"]), ("Interrupted", "the cell was stopped; the variables are kept"))
            self.assert_shows("stays", "[1, 2]")
        self.assertEqual(self.shown_answering(self.READ_LINE, "after"), '"after\\n"')

    def test_what_a_cell_starts_finds_the_end(self):
        self.assertEqual(self.kernel.ok('std::process::Command::new("cat").status()?.success()')[-1][1]["data"]["text/plain"], "true")


class LeftBehind(Cells):
    """Cells that do not stop by themselves."""

    def said_of(self, code):
        """What is said when the cell is interrupted."""
        return self.interrupted(code)["evalue"]

    def test_what_waits_computes_or_prints_for_ever(self):
        self.kernel.ok('let numbers = vec![1, 2, 3]; let frame = df!["a" => [1, 2]]?;\nfn twice(x: i32) -> i32 { 2 * x }')
        self.kernel.ok("use std::sync::{Arc, Mutex, mpsc};\nlet shared = Arc::new(Mutex::new(5));")
        for code in [
            "std::thread::sleep(std::time::Duration::from_secs(3000));",
            "loop {}",
            "let mut x = 1u64; loop { x = x.wrapping_mul(3); std::hint::black_box(x); }",
            "let (_sender, receiver) = mpsc::channel::<i32>(); receiver.recv()?",
            "let lock = Mutex::new(1); let first = lock.lock().unwrap(); let second = lock.lock().unwrap();",
            'loop { println!("again") }',
            "loop { std::hint::black_box(vec![1; 1000]); }",
        ]:
            said = self.said_of(code)
            self.assertEqual(said, "the cell did not stop by itself and was left behind where it stands; the variables are kept", code)
            outputs = self.kernel.ok("(twice(numbers[2]), frame.height(), *shared.lock()?)")
            self.assertEqual((shown(outputs), text_of(outputs)), ("(6, 2, 5)", ""), code)
        self.kernel.ok("let later = vec![numbers.len()];")
        self.assert_shows("later", "[3]")

    def test_threads_of_the_libraries_work_on(self):
        self.kernel.ok("let few = vec![1.0, 2.0];")
        with_pool = "use quantlens_prelude::quantlens;\nlet big = vec![1u64; 1 << 20];\nloop { big.iter().sum::<u64>(); std::thread::sleep(std::time::Duration::from_millis(1)); }"
        self.interrupted(with_pool)
        self.assert_shows('report(&[Tensor::from_vec("x", few.clone())?], &[Scheme::asymmetric(8)])?.height()', "1")

    def test_what_the_cell_was_using_is_lost_and_named(self):
        self.kernel.ok("let held = vec![1]; let other = vec![2]; let mut log = vec![0];")
        said = self.said_of("let made = 1;\nlog.push(made);\nheld.len();\nloop {}")
        self.assertTrue(said.endswith("the variables are kept, without those that it was using: `held`, `log`"), said)
        self.assert_shows("other", "[2]")
        self.assertIn("cannot find value `held`", self.error_of("held"))
        self.kernel.ok("let held = 5;")
        self.assert_shows("held", "5")

    def test_what_is_bound_to_its_thread_is_lost_and_named(self):
        self.kernel.ok("use std::rc::Rc;\nlet counted = Rc::new(1); let again = counted.clone(); let plain = 2;")
        said = self.said_of("loop {}")
        self.assertTrue(said.endswith("without those that belong to its thread, as they are not `Send`: `again`, `counted`"), said)
        self.assert_shows("plain", "2")
        self.assertIn("cannot find value `again`", self.error_of("again"))

    def test_it_begins_no_other_statement(self):
        with tempfile.TemporaryDirectory() as directory:
            marker = pathlib.Path(directory) / "marker"
            self.interrupted(f'std::thread::sleep(std::time::Duration::from_secs(4));\nstd::fs::write("{marker}", "")?;')
            self.assert_shows("std::thread::sleep(std::time::Duration::from_secs(5));\n1", "1")
            self.assertFalse(marker.exists())


class Plotters(Cells):
    def test_a_caption_before_any_figure_has_a_font(self):
        self.kernel.ok("use plotters::prelude::*;")
        code = """let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, (300, 200)).into_drawing_area();
            let mut chart = ChartBuilder::on(&root).caption("of my own", ("Arial", 20).into_font().style(FontStyle::Bold)).build_cartesian_2d(0..1, 0..1)?;
            chart.configure_mesh().draw()?;
            root.present()?;
        }
        text.contains("of my own")"""
        self.assert_shows(code, "true")

    def test_a_bitmap_is_written_to_a_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "own.png"
            self.kernel.ok(
                "use plotters::prelude::*;\n{"
                f'let root = BitMapBackend::new("{path}", (200, 100)).into_drawing_area(); root.fill(&WHITE)?;'
                'let mut chart = ChartBuilder::on(&root).caption("own", ("sans-serif", 20)).build_cartesian_2d(0..3, 0..3)?;'
                "chart.draw_series(Histogram::vertical(&chart).style(RED.filled()).data([(0, 1), (1, 2)]))?;"
                "chart.draw_series(AreaSeries::new([(0, 1), (2, 3)], 0, full_palette::TEAL.mix(0.2)))?;"
                "root.present()?; }"
            )
            self.assertTrue(path.read_bytes().startswith(b"\x89PNG"))

    def test_a_chart_of_ones_own_is_shown(self):
        [(kind, content)] = self.kernel.ok(
            "use plotters::prelude::*;\nchart((800, 450), |root| {\n    root.fill(&WHITE)?;\n"
            '    ChartBuilder::on(root).caption("mine", ("sans-serif", 30)).build_cartesian_2d(0.0..1.0, 0.0..1.0)?.configure_mesh().draw()?;\n'
            "    Ok(())\n})"
        )
        self.assertEqual(kind, "execute_result")
        self.assertIn("mine", content["data"]["image/svg+xml"])
        self.assertEqual(content["metadata"], {"image/png": {"width": 800, "height": 450}})
        self.assertIn("0 by 5", self.error_of("chart((0, 5), |_| Ok(()))"))


# Their kernel is found as the only one that runs.
@pytest.mark.alone
class Crates(Cells):
    def test_a_crate_with_features_of_its_own_leaves_the_session_as_it_is(self):
        self.kernel.ok("let before = vec![1, 2];")
        [slot] = slots_in_use()
        prelude = next(slot.glob("target/debug/deps/libquantlens_prelude.*so"))
        built = prelude.stat().st_mtime_ns
        # It is in the lock file, so it is there offline; and the prelude has it, without this feature.
        self.kernel.ok(':dep serde = { version = "1", features = ["rc"] }')
        self.assert_shows("fn is_serialized<T: serde::Serialize>(_: &T) -> bool { true }\nis_serialized(&std::rc::Rc::new(1))", "true")
        self.assert_shows("before", "[1, 2]")
        self.assert_shows('report(&[Tensor::from_vec("x", vec![1.0, 2.0])?], &[Scheme::asymmetric(8)])?.height()', "1")
        self.assertEqual(prelude.stat().st_mtime_ns, built)
        self.assertEqual([library.name for library in slot.glob("target/debug/deps/libquantlens_prelude*.so")], [prelude.name])
        # What one notebook has built is there for the next.
        with Kernel() as other:
            other.ok(FIRST_CELL)
            outputs = other.ok(':dep serde = { version = "1", features = ["rc"] }\nuse serde::Serialize;')
            self.assertFalse([c for kind, c in outputs if "compiling the crates" in str(c) and "serde" in str(c)], outputs)

    def test_what_the_prelude_has_is_not_built_twice(self):
        self.assertIn("polars is there already", self.error_of(':dep polars = { version = "0.55", features = ["lazy"] }'))
        self.assert_shows("1 + 1", "2")

    def test_a_crate_that_is_nowhere_here_is_fetched_where_the_network_may_be_asked(self):
        asked = subprocess.run(["cargo", "info", "roman@0.1.0"], cwd=tempfile.gettempdir(), capture_output=True, text=True)
        if asked.returncode != 0:
            self.skipTest(f"cargo does not reach its registry here: {asked.stderr.strip()}")
        self.kernel.ok("let before = vec![1, 2];")
        self.addCleanup(self.kernel.ok, ":offline 1")
        self.kernel.ok(':offline 0\n:dep roman = "0.1"')
        self.assert_shows("roman::to(1999)", 'Some("MCMXCIX")')
        self.assert_shows("before", "[1, 2]")

    def test_a_crate_that_does_not_exist_or_does_not_compile_changes_nothing(self):
        self.kernel.ok("let stays = 1;")
        self.assertIn("no-such-crate-of-anyone", self.error_of(':dep no-such-crate-of-anyone = "1"\n1'))
        with tempfile.TemporaryDirectory() as directory:
            package = pathlib.Path(directory) / "broken"
            (package / "src").mkdir(parents=True)
            (package / "Cargo.toml").write_text('[package]\nname = "broken"\nversion = "1.0.0"\nedition = "2021"\n[workspace]\n')
            (package / "src" / "lib.rs").write_text("pub fn f() -> u32 { undefined_name }")
            self.assertIn("cannot find value `undefined_name`", self.error_of(f':dep broken = {{ path = "{package}" }}\nbroken::f()'))
            self.assert_shows("stays", "1")


class Statics(Cells):
    def test_a_static_is_one_for_the_session(self):
        self.kernel.ok("use std::sync::{Mutex, OnceLock, atomic::{AtomicUsize, Ordering}};\nstatic COUNT: AtomicUsize = AtomicUsize::new(0);")
        self.kernel.ok("fn count() -> usize { COUNT.fetch_add(1, Ordering::Relaxed) + 1 }")
        self.assert_shows("count()", "1")
        self.assert_shows("count() + COUNT.load(Ordering::Relaxed)", "4")
        self.kernel.ok("static LIST: Mutex<Vec<i32>> = Mutex::new(Vec::new());\nLIST.lock()?.push(1);")
        self.kernel.ok("LIST.lock()?.push(2);")
        self.assert_shows("LIST.lock()?.clone()", "[1, 2]")
        self.kernel.ok("static ONCE: OnceLock<String> = OnceLock::new();")
        self.kernel.ok('ONCE.set("first".to_string())?;')
        self.assert_shows("ONCE.get()", 'Some("first")')
        self.kernel.ok("thread_local! { static CELL: std::cell::Cell<i32> = const { std::cell::Cell::new(1) }; }")
        self.kernel.ok("CELL.with(|cell| cell.set(7));")
        self.assert_shows("CELL.get()", "7")
        self.kernel.ok(
            'thread_local! {\n    static FIRST: std::cell::Cell<i32> = const { std::cell::Cell::new(1) };\n'
            '    pub static SECOND: std::cell::RefCell<Vec<&\'static str>> = std::cell::RefCell::new(vec![";"]);\n}\nFIRST.set(2);'
        )
        self.kernel.ok('SECOND.with_borrow_mut(|list| list.push("more"));')
        self.assert_shows("(FIRST.get(), SECOND.with_borrow(|list| list.clone()))", '(2, [";", "more"])')

    def test_a_static_that_is_defined_anew_begins_anew_and_lives_on_after_a_failing_cell(self):
        self.kernel.ok("use std::sync::atomic::{AtomicI32, Ordering};\nstatic LEVEL: AtomicI32 = AtomicI32::new(1);\nLEVEL.store(5, Ordering::Relaxed);")
        self.error_of("LEVEL.store(6, Ordering::Relaxed);\npanic!()")
        self.error_of("LEVEL.undefined()")
        self.assert_shows("LEVEL.load(Ordering::Relaxed)", "6")
        self.kernel.ok("static LEVEL: AtomicI32 = AtomicI32::new(2);")
        self.assert_shows("LEVEL.load(Ordering::Relaxed)", "2")
        self.kernel.run("std::process::abort()")
        self.assert_shows("LEVEL.fetch_add(1, Ordering::Relaxed)", "2")
        self.assert_shows("LEVEL.load(Ordering::Relaxed)", "3")


class Between(Cells):
    def test_what_a_thread_prints_between_cells_is_seen_at_once(self):
        with tempfile.TemporaryDirectory() as directory:
            go = pathlib.Path(directory) / "go"
            code = f'let path = std::path::PathBuf::from({str(go)!r});'.replace("'", '"')
            # It prints only when the cell has ended, as the file says.
            message_id = self.kernel.send(
                code + "\nstd::thread::spawn(move || { while !path.exists() { std::thread::sleep(std::time::Duration::from_millis(20)); } "
                'println!("from the thread"); });'
            )
            list(self.kernel.messages(message_id))
            self.assertEqual(self.kernel.reply(message_id)["status"], "ok")
            go.touch()
            while (message := self.kernel.client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "stream":
                pass
            self.assertEqual(message["content"]["text"], "from the thread\n")
            self.assertEqual(message["parent_header"]["msg_id"], message_id)

    def test_the_compilers_errors_say_what_to_write(self):
        self.assertIn('.ok_or("there is none")?', self.error_of("let none: Option<i32> = None;\nnone?"))
        self.assertIn('items.collect::<Vec<_>>()', self.error_of('for x in track("odd", (0..9).filter(|x| x % 2 == 1)) {}'))


class Page(Cells):
    def test_the_examples_of_the_page_do_what_it_says(self):
        page = (NOTEBOOKS / "lab" / "cells.md").read_text()
        blocks = re.findall(r"```(rust|text)\n(.*?)```", page, re.DOTALL)
        self.assertGreater(len(blocks), 15)
        said = ""
        for kind, text in blocks:
            if kind == "rust":
                _, outputs = self.kernel.run(text)
                values = [shown([output]) or "" for output in outputs] + notes(outputs)
                errors = ["\n".join(content["traceback"]) for kind, content in outputs if kind == "error"]
                said = "\n".join(values + errors)
            else:
                self.assertIn(text.strip("\n"), said)
