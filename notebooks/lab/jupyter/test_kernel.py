"""The kernel over the Jupyter protocol, as Jupyter's own client speaks it.

Nothing here is timed: how fast it is, times.py measures.
"""

import base64
import concurrent.futures
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import nbformat
import psutil
import pytest
import zmq
from jupyter_client import KernelManager
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kernel import FIRST_CELL, LAB, NOTEBOOKS, PATIENCE, ROOT, Kernel, WithKernel, slots_in_use, text_of, until


def packages(lock_file):
    text = lock_file.read_text()
    return set(re.findall(r'\[\[package\]\]\nname = "(.*)"\nversion = "(.*)"', text))


class Outputs(WithKernel):
    def test_a_frame_is_html_and_text_without_inline_style(self):
        for code in ['df!["a" => [1, 2]]?', 'df!["a" => [1, 2]]', 'Series::new("a".into(), [1, 2])']:
            [(kind, content)] = self.kernel.ok(code)
            self.assertEqual(kind, "execute_result")
            self.assertEqual(set(content["data"]), {"text/html", "text/plain"})
            self.assertIn("<td>2</td>", content["data"]["text/html"])
            self.assertNotIn("style", content["data"]["text/html"])

    def test_a_figure_is_svg_png_and_text(self):
        code = 'plot::errors(&Tensor::from_vec("x", vec![0.1, 0.7])?, &[Scheme::asymmetric(8)])?'
        [(_, content)] = self.kernel.ok(code)
        self.assertEqual(set(content["data"]), {"image/svg+xml", "image/png", "text/plain"})
        self.assertTrue(content["data"]["image/png"].startswith("iVBORw0KGgo"))
        self.assertTrue(content["data"]["image/svg+xml"].startswith("<svg"))

    def test_a_long_frame_is_elided(self):
        [(_, content)] = self.kernel.ok('df!["a" => (0..1000).collect::<Vec<i32>>()]?')
        html = content["data"]["text/html"]
        self.assertIn("<td>…</td>", html)
        self.assertIn("1000 rows", html)
        self.assertLess(html.count("<tr>"), 30)
        self.assertIn("…", content["data"]["text/plain"])

    def test_displays_in_the_middle_of_a_cell_stand_where_they_were_shown(self):
        outputs = self.kernel.ok('println!("one"); show(&df!["a" => [1]]?); println!("two"); show(&2.5); print!("three"); 6 * 7')
        kinds = [kind for kind, _ in outputs]
        self.assertEqual(kinds, ["stream", "display_data", "stream", "display_data", "stream", "execute_result"])
        self.assertIn("text/html", outputs[1][1]["data"])
        self.assertEqual(outputs[3][1]["data"], {"text/plain": "2.5"})
        self.assertEqual(outputs[4][1]["text"], "three")
        self.assertEqual(outputs[5][1]["data"], {"text/plain": "42"})

    def test_nothing_shows_nothing(self):
        for code in ["()", "let nothing = 1;", "for _ in 0..2 {}", "// a comment", ""]:
            self.assertEqual(self.kernel.ok(code), [], code)

    def test_text_without_a_newline_appears_while_the_cell_runs(self):
        message_id = self.kernel.send(
            'print!("half"); std::io::Write::flush(&mut std::io::stdout())?;\nlet answer = get_string("more? ");\nprint!(" and {answer}")',
            allow_stdin=True,
        )
        messages = self.kernel.messages(message_id)
        text = next(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
        self.assertEqual(text, "half")
        asked = self.kernel.client.get_stdin_msg(timeout=PATIENCE)
        self.assertEqual(asked["content"], {"prompt": "more? ", "password": False})
        self.kernel.client.input("half")
        self.assertEqual("".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream"), " and half")
        self.assertEqual(self.kernel.reply(message_id)["status"], "ok")

    def test_a_password_is_asked_for_as_one(self):
        message_id = self.kernel.send('let secret = get_password("key: ");\nprintln!("{}", secret.len());', allow_stdin=True)
        self.assertTrue(self.kernel.client.get_stdin_msg(timeout=PATIENCE)["content"]["password"])
        self.kernel.client.input("four")
        outputs = [(m["msg_type"], m["content"]) for m in self.kernel.messages(message_id)]
        self.assertEqual(text_of(outputs), "4\n")
        self.kernel.reply(message_id)

    def test_input_where_nobody_can_answer_hangs_nothing(self):
        outputs = self.kernel.ok('let answer = get_string("who? ");\nanswer.len()', allow_stdin=False)
        self.assertIn("asks for input (who?)", text_of(outputs, "stderr"))
        self.assertEqual(outputs[-1][1]["data"]["text/plain"], "0")

    def test_a_flood_of_text_comes_whole(self):
        outputs = self.kernel.ok('for i in 0..20000 { println!("{i}"); }')
        self.assertEqual(text_of(outputs), "".join(f"{i}\n" for i in range(20000)))

    def test_a_silent_cell_shows_and_counts_nothing(self):
        before = self.kernel.run("1")[0]["execution_count"]
        reply, outputs = self.kernel.run('println!("unseen"); 2', silent=True)
        self.assertEqual((reply["status"], outputs), ("ok", []))
        self.assertEqual(self.kernel.run("3")[0]["execution_count"], before + 1)


    def test_text_in_quick_succession_is_one_output(self):
        code = 'for i in 0..20 { println!("{i}"); std::thread::sleep(std::time::Duration::from_millis(5)); }\neprintln!("seen"); println!("end"); 7'
        outputs = self.kernel.ok(code)
        self.assertEqual([kind for kind, _ in outputs], ["stream", "stream", "execute_result"])
        self.assertEqual(outputs[0][1]["text"], "".join(f"{i}\n" for i in range(20)) + "end\n")
        self.assertEqual(outputs[1][1], {"name": "stderr", "text": "seen\n"})

    def test_text_appears_while_a_long_cell_runs(self):
        message_id = self.kernel.send('println!("first"); std::thread::sleep(std::time::Duration::from_secs(3)); println!("second");')
        streams = [m for m in self.kernel.messages(message_id) if m["msg_type"] == "stream"]
        self.assertEqual([m["content"]["text"] for m in streams], ["first\n", "second\n"])
        self.kernel.reply(message_id)

    def test_a_figures_png_is_shown_at_half_its_pixels(self):
        code = 'plot::errors(&Tensor::from_vec("x", vec![0.1, 0.7])?, &[Scheme::asymmetric(8)])?'
        for content in (self.kernel.ok(code)[0][1], self.kernel.ok(f"show(&{code});")[0][1]):
            self.assertEqual(content["metadata"], {"image/png": {"width": 900, "height": 500}})
            header = base64.b64decode(content["data"]["image/png"])[16:24]
            self.assertEqual(struct.unpack(">II", header), (1800, 1000))


class Errors(WithKernel):
    def assert_error(self, code, ename, evalue):
        reply, outputs = self.kernel.run(code)
        self.assertEqual(reply["status"], "error", outputs)
        self.assertEqual((reply["ename"], reply["evalue"]), (ename, evalue))
        [error] = [content for kind, content in outputs if kind == "error"]
        self.assertEqual(error, {key: reply[key] for key in ("ename", "evalue", "traceback")})
        self.assertTrue(reply["traceback"])
        self.assertNotIn(str(ROOT), json.dumps(outputs))
        return outputs

    def test_a_panic_is_one_message_and_the_variables_stay(self):
        self.kernel.ok("let kept = vec![1, 2, 3];")
        outputs = self.assert_error(
            'println!("before"); eprintln!("seen");\nlet finished = 1;\nlet lost = kept[7];',
            "Panic",
            "index out of bounds: the len is 3 but the index is 7",
        )
        self.assertEqual(text_of(outputs), "before\n")
        self.assertEqual(text_of(outputs, "stderr"), "seen\n")
        self.assertEqual(self.kernel.ok("kept.len()")[-1][1]["data"]["text/plain"], "3")
        self.assertEqual(self.kernel.ok("finished")[-1][1]["data"]["text/plain"], "1")
        self.assert_error("lost", "CompileError", "error[E0425]: cannot find value `lost` in this scope")

    def test_a_panics_message_is_the_tracebacks_first_line(self):
        reply, _ = self.kernel.run('let name: &str = "é";\n&name[1..]')
        self.assertRegex(reply["traceback"][0], r"^Panic: .*char boundary.*")

    def test_a_display_that_panics_in_the_middle_is_a_panic(self):
        self.kernel.ok(
            "struct Bad;\nimpl Bad { fn evcxr_display(&self) {\n"
            'println!("EVCXR_BEGIN_CONTENT text/html\\nhalf");\nlet none: Vec<i32> = Vec::new();\n'
            'println!("{}", none[3]);\nprintln!("EVCXR_END_CONTENT"); } }'
        )
        self.assert_error("Bad", "Panic", "index out of bounds: the len is 0 but the index is 3")
        self.assertEqual(self.kernel.ok("5")[-1][1]["data"]["text/plain"], "5")

    def test_a_failing_question_mark_is_the_errors_own_words(self):
        outputs = self.assert_error(
            'eprintln!("seen"); let n: i32 = "twelve".parse()?;', "Error", "invalid digit found in string"
        )
        self.assertEqual(text_of(outputs, "stderr"), "seen\n")
        self.assert_error(
            'Tensor::from_vec("bad", vec![1.0, f64::NAN])?',
            "Error",
            "tensor `bad` has NaN at index 1: every value must be finite, remove or replace it first",
        )

    def test_a_caught_panic_is_no_error(self):
        outputs = self.kernel.ok('let caught = std::panic::catch_unwind(|| panic!("caught")).is_err();\ncaught')
        self.assertEqual(outputs[-1][1]["data"]["text/plain"], "true")
        self.assertIn("panic: caught", text_of(outputs, "stderr"))

    def test_what_does_not_compile_shows_the_line(self):
        reply, _ = self.kernel.run('let fine = 1;\nlet x: u32 = "text";')
        self.assertEqual(reply["ename"], "CompileError")
        self.assertIn("error[E0308]: mismatched types", reply["traceback"])
        self.assertIn(' 2 | let x: u32 = "text";', reply["traceback"])

    def test_the_end_of_the_process_is_said_and_the_next_cell_runs(self):
        reply, outputs = self.kernel.run('print!("last words"); std::io::Write::flush(&mut std::io::stdout())?; std::process::abort()')
        self.assertEqual(reply["ename"], "ProcessDied")
        self.assertEqual(text_of(outputs), "last words")
        self.assertEqual(self.kernel.ok('Tensor::from_vec("x", vec![1.0])?.len()')[-1][1]["data"]["text/plain"], "1")

    def test_every_cell_has_its_own_outputs_after_a_process_died_at_any_moment(self):
        for _ in range(3):
            self.kernel.run("std::thread::spawn(|| std::process::abort());")
            self.kernel.run("0")
            for number in range(1, 4):
                self.assertEqual(self.kernel.ok(f"{number} * 11")[-1][1]["data"]["text/plain"], str(number * 11))

    def test_cells_behind_one_that_fails_are_not_run(self):
        first = self.kernel.send('std::thread::sleep(std::time::Duration::from_millis(500)); panic!("stop")')
        second = self.kernel.send('println!("must not run");')
        self.assertEqual([m for m in self.kernel.messages(first) if m["msg_type"] == "error"][0]["content"]["evalue"], "stop")
        outputs = [(m["msg_type"], m["content"]) for m in self.kernel.messages(second)]
        self.assertEqual(text_of(outputs), "")
        self.assertEqual([self.kernel.reply(first)["status"], self.kernel.reply(second)["status"]], ["error", "aborted"])
        self.kernel.ok("1")


class Help(WithKernel):
    def test_completion_knows_the_preludes_types(self):
        code = "let é = Scheme::symm"
        reply = self.kernel.client.complete(code, len(code), reply=True, timeout=PATIENCE)["content"]
        self.assertEqual(reply["matches"], ["symmetric", "symmetric_range"])
        self.assertEqual((reply["cursor_start"], reply["cursor_end"]), (len("let é = Scheme::"), len(code)))
        self.kernel.ok('let tensor = Tensor::from_vec("x", vec![1.0])?;')
        reply = self.kernel.client.complete("tensor.sha", 10, reply=True, timeout=PATIENCE)["content"]
        self.assertEqual(reply["matches"], ["shape"])

    def test_inspection_shows_documentation(self):
        for cursor in (8, 12, len("Scheme::asymmetric")):
            reply = self.kernel.client.inspect("Scheme::asymmetric(8)", cursor, reply=True, timeout=PATIENCE)["content"]
            self.assertTrue(reply["found"], cursor)
            self.assertIn("pub fn asymmetric(bits: u32) -> Self", reply["data"]["text/plain"])
        for cursor in (0, 1000):
            self.kernel.client.inspect("   ", cursor, reply=True, timeout=PATIENCE)

    def test_a_half_written_cell_breaks_nothing(self):
        for code in ["let x = ", "", "Scheme::", "}", ':dep x = {', "é"]:
            for cursor in (0, len(code)):
                self.kernel.client.complete(code, cursor, reply=True, timeout=PATIENCE)
                self.kernel.client.inspect(code, cursor, reply=True, timeout=PATIENCE)
        self.kernel.ok("1")


class Progress(WithKernel):
    LONG = 'let items: Vec<u32> = (0..40).collect();\nfor _ in track("steps", items) { std::thread::sleep(std::time::Duration::from_millis(30)); }\n'

    def test_one_bar_is_updated_in_place_and_taken_away(self):
        outputs = self.kernel.ok('println!("before");\n' + self.LONG + 'println!("after");')
        kinds = [kind for kind, _ in outputs]
        self.assertEqual(kinds.count("display_data"), 1)
        self.assertGreater(kinds.count("update_display_data"), 2)
        bars = [content for kind, content in outputs if kind in ("display_data", "update_display_data")]
        self.assertEqual(len({content["transient"]["display_id"] for content in bars}), 1)
        self.assertIn("40 of 40", bars[-1]["data"]["text/plain"])
        # What stood before it is shown again behind the clearing.
        cleared = kinds.index("clear_output")
        self.assertEqual(text_of(outputs[cleared:]), "before\nafter\n")

    def test_work_inside_of_other_work_is_the_outers(self):
        code = 'for scheme in track("outer", vec![Scheme::asymmetric(8); 30]) {\nreport(&[Tensor::from_vec("x", vec![1.0, 2.0])?], &[scheme, scheme])?;\nstd::thread::sleep(std::time::Duration::from_millis(40));\n}'
        bars = [c["data"]["text/plain"] for kind, c in self.kernel.ok(code) if kind in ("display_data", "update_display_data")]
        self.assertGreater(len(bars), 2)
        self.assertTrue(all(bar.startswith("outer") for bar in bars), bars)

    def test_a_saved_notebook_has_nothing_of_it(self):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in (FIRST_CELL, 'println!("before");\n' + self.LONG + "6 * 7")])
        NotebookClient(notebook, kernel_name="quantlens", resources={"metadata": {"path": str(NOTEBOOKS)}}, timeout=PATIENCE).execute()
        outputs = notebook.cells[1].outputs
        self.assertEqual([output.output_type for output in outputs], ["stream", "execute_result"])
        self.assertEqual(outputs[0].text, "before\n")

    def test_a_bar_that_was_left_hides_no_later_one(self):
        leave = 'for step in track("left", (0..100).collect::<Vec<u32>>()) { std::thread::sleep(std::time::Duration::from_millis(30)); if step == 30 { break; } }\n'
        outputs = self.kernel.ok(leave + self.LONG)
        bars = [c["data"]["text/plain"] for kind, c in outputs if kind in ("display_data", "update_display_data")]
        self.assertTrue(bars[0].startswith("left") and bars[-1].startswith("steps"), bars)
        self.assertEqual([kind for kind, _ in outputs].count("clear_output"), 2)

    def test_short_work_shows_no_bar(self):
        outputs = self.kernel.ok('for _ in track("steps", vec![1, 2, 3]) {}')
        self.assertEqual(outputs, [])


class Interrupts(WithKernel):
    def test_work_of_the_librarys_stops_and_the_variables_stay(self):
        self.kernel.ok("let kept = 5;")
        code = 'let big = Synthetic::normal(0.0, 1.0).tensor::<f32>("big", &[4_000_000])?;\nfor _ in 0..1000 { report(&[big.clone()], &[Scheme::asymmetric(8)])?; }'
        self.assertIn("variables are kept", self.interrupted(code, 2)["evalue"])
        self.assertEqual(self.kernel.ok("kept")[-1][1]["data"]["text/plain"], "5")

    def test_a_loop_that_never_ends_is_left_behind(self):
        self.kernel.ok("let kept = 5;")
        self.assertIn("the variables are kept", self.interrupted("loop {}", 1)["evalue"])
        self.assertEqual(self.kernel.ok("kept")[-1][1]["data"]["text/plain"], "5")
        self.kernel.ok('Tensor::from_vec("x", vec![1.0])?')

    def test_a_question_nobody_answers_is_ended(self):
        message_id = self.kernel.send('let answer = get_string("? ");\nstd::thread::sleep(std::time::Duration::from_secs(600));', allow_stdin=True)
        self.kernel.client.get_stdin_msg(timeout=PATIENCE)
        self.kernel.manager.interrupt_kernel()
        for _ in self.kernel.messages(message_id):
            pass
        self.assertEqual(self.kernel.reply(message_id)["ename"], "Interrupted")
        self.kernel.ok("1")

    def test_cells_that_wait_are_not_run(self):
        first = self.kernel.send("loop {}")
        second = self.kernel.send('println!("must not run");')
        time.sleep(2)
        self.kernel.manager.interrupt_kernel()
        for message_id in (first, second):
            outputs = [(m["msg_type"], m["content"]) for m in self.kernel.messages(message_id)]
            self.assertEqual(text_of(outputs), "")
        self.assertEqual([self.kernel.reply(first)["ename"], self.kernel.reply(second)["status"]], ["Interrupted", "aborted"])

    def test_a_cell_that_is_still_compiled_is_not_run(self):
        self.kernel.ok("let kept = 6;")
        marker = pathlib.Path(tempfile.gettempdir()) / f"quantlens-compiled-{os.getpid()}"
        for delay in (0.0, 0.0, 0.0, 0.02, 0.05):
            message_id = self.kernel.send(f'std::fs::write({json.dumps(str(marker))}, "{delay}")?;\nstd::thread::sleep(std::time::Duration::from_secs(5));')
            messages = self.kernel.messages(message_id)
            next(m for m in messages if m["msg_type"] == "execute_input")
            time.sleep(delay)
            self.kernel.manager.interrupt_kernel()
            list(messages)
            self.assertEqual(self.kernel.reply(message_id)["ename"], "Interrupted")
            self.assertFalse(marker.exists(), delay)
            self.assertEqual(self.kernel.ok("kept")[-1][1]["data"]["text/plain"], "6")

    def test_a_cell_that_is_ended_while_it_shows(self):
        self.interrupted('let big = df!["a" => vec!["x".repeat(100_000); 20]]?;\nloop { show(&big); }', 2)
        self.assertEqual(self.kernel.ok("7")[-1][1]["data"]["text/plain"], "7")

    def test_what_a_cell_started_ends_with_it(self):
        self.interrupted('std::process::Command::new("sleep").arg("600").status()?;', 1)
        names = [p.name() for p in self.kernel.process.children(recursive=True)]
        self.assertNotIn("sleep", names)

    def test_a_build_that_a_cell_asked_for_is_stopped(self):
        with tempfile.TemporaryDirectory() as directory:
            package = pathlib.Path(directory) / "slow"
            (package / "src").mkdir(parents=True)
            (package / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "1.0.0"\nedition = "2021"\n[workspace]\n')
            (package / "build.rs").write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(600)); }")
            (package / "src" / "lib.rs").write_text("")
            for delay in (0, 1.5):
                message_id = self.kernel.send(f':dep slow = {{ path = "{package}" }}\n1')
                messages = self.kernel.messages(message_id)
                next(m for m in messages if m["msg_type"] == "execute_input")
                time.sleep(delay)
                self.kernel.manager.interrupt_kernel()
                list(messages)
                self.assertEqual(self.kernel.reply(message_id)["ename"], "Interrupted")
            self.kernel.ok("1")

    def test_an_interrupt_between_cells_does_nothing(self):
        self.kernel.manager.interrupt_kernel()
        # It goes by another socket than the cell.
        time.sleep(0.5)
        self.kernel.ok("1")


# They look at the folders of all kernels that run, and take the libraries away.
@pytest.mark.alone
class Life(unittest.TestCase):
    def test_an_interrupt_while_the_session_is_made_ready_stops_the_cells_that_wait_and_nothing_else(self):
        for delay in (0, 0.5, 2, 4):
            with Kernel(is_awaited=False) as kernel:
                time.sleep(delay)
                first = kernel.send(FIRST_CELL)
                time.sleep(0.3)
                kernel.manager.interrupt_kernel()
                for _ in kernel.messages(first):
                    pass
                self.assertIn(kernel.reply(first)["status"], ("aborted", "error", "ok"))
                kernel.ok(FIRST_CELL)
                self.assertEqual(kernel.ok('Tensor::from_vec("x", vec![1.0])?.len()')[-1][1]["data"]["text/plain"], "1")

    def test_a_port_that_is_taken_is_tried_again(self):
        manager = KernelManager(kernel_name="quantlens")
        manager.write_connection_file()
        taken = socket.socket()
        taken.bind((manager.ip, manager.shell_port))
        taken.listen()
        arguments = [LAB / "bin" / "quantlens-lab", "kernel", "start", manager.connection_file]
        process = subprocess.Popen(arguments, cwd=NOTEBOOKS, stderr=subprocess.PIPE)
        client = manager.client()
        client.start_channels()
        time.sleep(2)
        self.assertIsNone(process.poll())
        taken.close()
        client.wait_for_ready(timeout=PATIENCE)
        client.stop_channels()
        process.terminate()
        process.communicate()
        # One that stays taken is an error that says so.
        taken = socket.socket()
        taken.bind((manager.ip, manager.shell_port))
        taken.listen()
        process = subprocess.run(arguments, cwd=NOTEBOOKS, stderr=subprocess.PIPE, text=True)
        taken.close()
        manager.cleanup_connection_file()
        self.assertEqual(process.returncode, 1)
        self.assertIn(f"could not listen on port {manager.shell_port}", process.stderr)

    def test_the_first_cell_says_that_the_libraries_are_being_built(self):
        stamp, hidden = LAB / "kernel" / "template" / "stamp", LAB / "kernel" / "template" / "hidden-stamp"
        # As if another process were building them.
        with open(LAB / "kernel" / "template.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stamp.rename(hidden)
            try:
                with Kernel(is_awaited=False) as kernel:
                    message_id = kernel.send(FIRST_CELL + '\nprintln!("ran");')
                    messages = kernel.messages(message_id)
                    bar = next(m for m in messages if m["msg_type"] == "display_data")
                    self.assertIn("another process builds the notebooks' libraries", bar["content"]["data"]["text/plain"])
                    hidden.rename(stamp)
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    outputs = [(m["msg_type"], m["content"]) for m in messages]
                    self.assertEqual(kernel.reply(message_id)["status"], "ok")
                    kinds = [kind for kind, _ in outputs]
                    self.assertIn("clear_output", kinds)
                    self.assertEqual(text_of(outputs[kinds.index("clear_output") :]), "ran\n")
            finally:
                if hidden.exists():
                    hidden.rename(stamp)

    def test_sources_that_are_written_again_as_they_were_build_nothing(self):
        def library(directory):
            return next(directory.glob("target/debug/deps/libquantlens_prelude.*")).stat().st_mtime_ns

        with Kernel() as kernel:
            kernel.ok(FIRST_CELL)
        built = library(LAB / "kernel" / "template")
        source = ROOT / "src" / "lib.rs"
        times = source.stat()
        source.touch()
        try:
            with Kernel() as kernel:
                kernel.ok(FIRST_CELL)
                [slot] = slots_in_use()
                # As a line that adds a crate does, ask cargo for all of them.
                kernel.ok(':dep itoa = "1"')
                self.assertEqual([library(LAB / "kernel" / "template"), library(slot)], [built, built])
        finally:
            os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))

    def test_an_editors_dangling_link_stops_nothing(self):
        link = ROOT / "src" / ".#lib.rs"
        link.symlink_to("nobody@nowhere.1:2")
        try:
            with Kernel() as kernel:
                kernel.ok(FIRST_CELL)
        finally:
            link.unlink()

    def test_counts_start_at_1_and_kernel_info_comes_before_the_libraries(self):
        with Kernel() as kernel:
            info = kernel.client.kernel_info(reply=True, timeout=PATIENCE)["content"]
            self.assertEqual((info["implementation"], info["language_info"]["name"]), ("quantlens", "rust"))
            self.assertEqual(kernel.run("1 + 1")[0]["execution_count"], 1)

    def test_shutdown_leaves_no_process_and_no_lock(self):
        before = len(slots_in_use())
        kernel = Kernel()
        kernel.ok(FIRST_CELL)
        family = [kernel.process] + kernel.process.children(recursive=True)
        self.assertGreater(len(family), 1)
        self.assertEqual(len(slots_in_use()), before + 1)
        kernel.manager.shutdown_kernel()
        self.assertTrue(until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)))
        self.assertEqual(len(slots_in_use()), before)
        kernel.client.stop_channels()

    def test_a_shutdown_in_the_middle_of_a_cell(self):
        kernel = Kernel()
        kernel.ok(FIRST_CELL)
        family = [kernel.process] + kernel.process.children(recursive=True)
        kernel.send("loop {}")
        time.sleep(2)
        kernel.manager.shutdown_kernel()
        self.assertTrue(until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)))
        kernel.client.stop_channels()

    def test_restart_forgets_the_variables_and_counts_from_1(self):
        with Kernel() as kernel:
            kernel.ok("let before = 1;")
            kernel.manager.restart_kernel()
            kernel.client.wait_for_ready(timeout=PATIENCE)
            reply, _ = kernel.run("before")
            self.assertEqual((reply["ename"], reply["execution_count"]), ("CompileError", 1))

    def test_a_kernel_that_is_killed_leaves_no_process_and_its_slot_is_free(self):
        before = len(slots_in_use())
        kernel = Kernel()
        kernel.ok(FIRST_CELL)
        kernel.send("loop {}")
        time.sleep(2)
        children = kernel.process.children(recursive=True)
        os.kill(kernel.process.pid, signal.SIGKILL)
        self.assertTrue(until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in children)))
        self.assertEqual(len(slots_in_use()), before)
        kernel.client.stop_channels()
        kernel.manager.cleanup_resources()
        with Kernel() as kernel:
            kernel.ok(FIRST_CELL)

    def test_a_kernel_whose_parent_dies_ends_itself(self):
        script = (
            "import sys, time\nfrom jupyter_client import KernelManager\n"
            f"m = KernelManager(kernel_name='quantlens')\nm.start_kernel(cwd={str(NOTEBOOKS)!r})\n"
            "print(m.provisioner.pid, flush=True)\ntime.sleep(600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        kernel = psutil.Process(int(parent.stdout.readline()))
        self.assertTrue(kernel.is_running())
        parent.kill()
        parent.wait()
        parent.stdout.close()
        self.assertTrue(until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE))

    def test_four_at_once_each_in_a_slot_of_its_own_and_none_builds_a_library(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            kernels = list(pool.map(lambda _: Kernel(), range(4)))
            try:
                list(pool.map(lambda kernel: kernel.ok(FIRST_CELL), kernels))
                codes = [f'let own = {i}; Tensor::from_vec("x", vec![own as f64 + 0.5])?.max()' for i in range(4)]
                results = list(pool.map(lambda pair: pair[0].ok(pair[1]), zip(kernels, codes)))
                self.assertEqual([r[-1][1]["data"]["text/plain"] for r in results], ["0.5", "1.5", "2.5", "3.5"])
                slots = slots_in_use()
                self.assertGreaterEqual(len(slots), 4)
                libraries = [next(slot.glob("target/debug/deps/libquantlens_prelude.*")) for slot in [LAB / "kernel" / "template", *slots]]
                # A library that had been built again would be another file of another time.
                self.assertEqual(len({library.stat().st_mtime_ns for library in libraries}), 1)
                locked = packages(ROOT / "Cargo.lock")
                for slot in slots:
                    versions = {p for p in packages(slot / "Cargo.lock") if p[0] != "ctx"}
                    self.assertGreater(len(versions), 100)
                    self.assertLessEqual(versions, locked)
            finally:
                for kernel in kernels:
                    kernel.__exit__()

    def test_another_crate_changes_no_version_and_needs_the_network_only_if_it_is_new(self):
        with Kernel() as kernel:
            kernel.ok(FIRST_CELL)
            [slot] = slots_in_use()
            before = packages(slot / "Cargo.lock")
            # In the lock file already, so it is there offline.
            outputs = kernel.ok(':dep itoa = "1"\nprintln!("{}", itoa::Buffer::new().format(12));')
            self.assertEqual(text_of(outputs), "12\n")
            self.assertLessEqual(before, packages(slot / "Cargo.lock"))
            reply, _ = kernel.run(':dep no-such-crate-of-anyone = "1"\n1')
            self.assertEqual(reply["ename"], "CompileError")
            kernel.ok("2")


    def test_a_library_of_ones_own_is_built_again_when_it_is_edited(self):
        with Kernel() as kernel, tempfile.TemporaryDirectory() as directory:
            package = pathlib.Path(directory) / "own"
            (package / "src").mkdir(parents=True)
            (package / "Cargo.toml").write_text('[package]\nname = "own"\nversion = "1.0.0"\nedition = "2021"\n[workspace]\n')
            (package / "src" / "lib.rs").write_text("pub fn answer() -> u32 { 1 }")
            kernel.ok(f':dep own = {{ path = "{package}" }}')
            self.assertEqual(kernel.ok("own::answer()")[-1][1]["data"]["text/plain"], "1")
            time.sleep(1.1)
            (package / "src" / "lib.rs").write_text("pub fn answer() -> u32 { 2 }")
            self.assertEqual(kernel.ok("own::answer()")[-1][1]["data"]["text/plain"], "2")


class Wire(WithKernel):
    def test_only_signed_messages_are_obeyed(self):
        marker = pathlib.Path(tempfile.gettempdir()) / f"quantlens-unsigned-{os.getpid()}"
        code = f'std::fs::write({json.dumps(str(marker))}, "obeyed")?;'
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        for key in (b"another key", b""):
            stranger = Session(key=key)
            stranger.send(self.kernel.client.shell_channel.socket, "execute_request", content)
        stranger.send(self.kernel.client.control_channel.socket, "shutdown_request", {"restart": False})
        self.kernel.ok("1")
        self.assertFalse(marker.exists())
        # The same message, signed.
        Session(key=self.kernel.client.session.key).send(self.kernel.client.shell_channel.socket, "execute_request", content)
        self.assertTrue(until(marker.exists))
        marker.unlink()

    def test_sockets_listen_where_the_connection_file_says_and_nowhere_else(self):
        connection = json.loads(pathlib.Path(self.kernel.manager.connection_file).read_text())
        expected = {(connection["ip"], connection[name]) for name in connection if name.endswith("_port")}
        family = [self.kernel.process] + self.kernel.process.children(recursive=True)
        listening = {tuple(c.laddr) for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
        self.assertEqual(listening, expected)

    def test_messages_that_are_none_break_nothing(self):
        socket = self.kernel.client.shell_channel.socket
        socket.send_multipart([b"nonsense"])
        socket.send_multipart([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"])
        self.kernel.client.session.send(socket, "no_such_request", {})
        self.kernel.client.session.send(socket, "comm_open", {"comm_id": "a", "target_name": "b", "data": {}})
        self.kernel.ok("1")


    def test_history_requests_may_leave_things_out(self):
        self.kernel.ok('let remembered = "needle";')
        self.kernel.ok("1 + 1")
        shell = self.kernel.client

        def history(**content):
            message = shell.session.msg("history_request", content)
            shell.shell_channel.send(message)
            return [entry[2] for entry in self.kernel.reply(message["header"]["msg_id"])["history"]]

        self.assertEqual(history(hist_access_type="tail", n=1), ["1 + 1"])
        self.assertEqual(history(hist_access_type="search", pattern="*needle*"), ['let remembered = "needle";'])
        self.assertIn("1 + 1", history(hist_access_type="range"))
        self.assertIn("1 + 1", history(hist_access_type="range", session=None, start=1, stop=None, output=False, raw=True))
        self.assertIn("1 + 1", history())

    def test_output_without_end_takes_no_memory_without_end(self):
        message_id = self.kernel.send('let line = "x".repeat(10_000);\nloop { println!("{line}"); }')
        most = 0
        for _ in range(40):
            most = max(most, self.kernel.process.memory_info().rss)
            time.sleep(0.1)
        before = self.kernel.process.memory_info().rss
        time.sleep(4)
        # Nobody reads: what is on its way does not grow.
        self.assertLess(self.kernel.process.memory_info().rss - before, 300e6)
        self.kernel.manager.interrupt_kernel()
        for _ in self.kernel.messages(message_id):
            pass
        self.assertEqual(self.kernel.reply(message_id)["ename"], "Interrupted")

    def test_a_subscriber_that_never_reads_does_not_stop_the_others(self):
        context = zmq.Context()
        silent = context.socket(zmq.SUB)
        silent.setsockopt(zmq.RCVHWM, 1)
        silent.setsockopt(zmq.RCVBUF, 4096)
        silent.setsockopt(zmq.SUBSCRIBE, b"")
        connection = self.kernel.manager.get_connection_info()
        silent.connect(f"tcp://{connection['ip']}:{connection['iopub_port']}")
        time.sleep(0.5)
        try:
            outputs = self.kernel.ok('let line = "x".repeat(1000);\nfor i in 0..20_000 { println!("{i} {line}"); }')
            self.assertTrue(text_of(outputs).endswith("x\n") and len(text_of(outputs)) > 20_000_000)
            self.assertEqual(self.kernel.ok("3 * 3")[-1][1]["data"]["text/plain"], "9")
        finally:
            silent.close(linger=0)
            context.term()


class Runners(unittest.TestCase):
    """nbclient, nbconvert and papermill stop where a cell fails, and run what does not."""

    def notebook(self, *sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebook.metadata.kernelspec = {"name": "quantlens", "display_name": "Rust (quantlens)", "language": "rust"}
        return notebook

    def test_nbclient_stops(self):
        for code, ename in [('panic!("here")', "Panic"), ('let n: i32 = "x".parse()?;', "Error"), ("let x: u8 = 300;", "CompileError")]:
            notebook = self.notebook("let a = 1;", code, 'println!("must not run");')
            with self.assertRaises(CellExecutionError) as raised:
                NotebookClient(notebook, kernel_name="quantlens", timeout=PATIENCE).execute()
            self.assertEqual(raised.exception.ename, ename)
            self.assertEqual(notebook.cells[2].outputs, [])

    def test_nbconvert_and_papermill_stop_and_run(self):
        with tempfile.TemporaryDirectory() as directory:
            for source, code in [("6 * 7", 0), ('panic!("here")', 1)]:
                path = os.path.join(directory, "notebook.ipynb")
                nbformat.write(self.notebook(source), path)
                python = [sys.executable, "-m"]
                for command in (["nbconvert", "--to", "notebook", "--execute", "--output", "out.ipynb", path], ["papermill", path, path + ".out"]):
                    result = subprocess.run(python + command, capture_output=True, text=True)
                    self.assertEqual(result.returncode, code, (command, result.stderr[-2000:]))

    def test_the_committed_notebooks_come_out_as_committed(self):
        # Two: tests/it/run.rs runs all, without a client of Jupyter's between.
        for path in sorted(NOTEBOOKS.glob("0[13]_*.ipynb")):
            committed = nbformat.read(path, as_version=4)
            executed = nbformat.read(path, as_version=4)
            NotebookClient(executed, kernel_name="quantlens", resources={"metadata": {"path": str(NOTEBOOKS)}}, timeout=PATIENCE).execute()
            for before, after in zip(committed.cells, executed.cells):
                if before.cell_type == "code":
                    self.assertEqual(before.execution_count, after.execution_count)
                    self.assertEqual(before.outputs, after.outputs, before.source)

