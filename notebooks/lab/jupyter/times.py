"""How long the kernel takes, beside evcxr's own in the same run: prints the README's table.

    target/venv/bin/python notebooks/lab/jupyter/times.py [path of evcxr_jupyter]

Each kernel is started three times with everything built, and runs notebook 01. evcxr's own gets a directory that it keeps.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import nbformat
import psutil
from jupyter_client import KernelManager

ROOT = pathlib.Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
CELLS = [c.source for c in nbformat.read(NOTEBOOKS / "01_quantize_dequantize.ipynb", 4).cells if c.cell_type == "code"]


class Kernel:
    def __init__(self, spec, env, notebooks=NOTEBOOKS):
        self.manager = KernelManager(kernel_name="quantlens")
        if spec is not None:
            self.manager._kernel_spec = spec
        self.begin = time.monotonic()
        self.manager.start_kernel(cwd=str(notebooks), env={**os.environ, **env}, stdout=open(os.devnull, "w"), stderr=open(os.devnull, "w"))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.kernel_info(reply=True, timeout=600)
        self.info = time.monotonic() - self.begin

    def run(self, code):
        """Seconds from the request to the reply, and the media types shown."""
        start = time.monotonic()
        message_id = self.client.execute(code)
        while True:
            reply = self.client.get_shell_msg(timeout=1200)
            if reply["parent_header"].get("msg_id") == message_id:
                break
        seconds = time.monotonic() - start
        assert reply["content"]["status"] == "ok", (code, reply["content"])
        media = set()
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") == message_id:
                media |= set(message["content"].get("data", {}))
                if message["content"].get("execution_state") == "idle":
                    return seconds, media

    def megabytes(self):
        process = psutil.Process(self.manager.provisioner.pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        time.sleep(1)


def measure(spec, env):
    infos, firsts, waited, later, shown, memory = [], [], [], [], [], []
    for wait in (0, 0, 15):
        kernel = Kernel(spec, env)
        infos.append(kernel.info)
        time.sleep(max(0, wait - kernel.info) if wait else 0)
        seconds, _ = kernel.run(CELLS[0])
        if wait:
            waited.append(seconds)
        else:
            firsts.append(time.monotonic() - kernel.begin)
        for code in CELLS[1:]:
            seconds, media = kernel.run(code)
            later.append(seconds)
            if media & {"text/html", "image/png"}:
                shown.append(seconds)
        memory.append(kernel.megabytes())
        kernel.stop()
    return [
        ("start to `kernel_info`", statistics.median(infos), "s"),
        ("start to the end of the first cell, sent at once", statistics.median(firsts), "s"),
        ("the first cell after 15 s", statistics.median(waited), "s"),
        ("later cells, median", statistics.median(later), "s"),
        ("later cells, nine of ten are below", statistics.quantiles(later, n=10)[-1], "s"),
        ("cells that show a table or a figure, median", statistics.median(shown), "s"),
        ("memory at the end", max(memory), "MB"),
    ]


def main():
    ours = measure(None, {})
    print("| | quantlens | evcxr_jupyter |\n|---|---|---|")
    stock = [None] * len(ours)
    if len(sys.argv) > 1:
        directory = os.path.join(tempfile.gettempdir(), "evcxr-times")
        os.makedirs(directory, exist_ok=True)
        spec = KernelManager(kernel_name="quantlens").kernel_spec
        spec.argv = [sys.argv[1], "--control_file", "{connection_file}"]
        env = {"EVCXR_TMPDIR": directory}
        warm = Kernel(spec, env)
        warm.run(CELLS[0])
        warm.stop()
        stock = measure(spec, env)
    for (what, value, unit), other in zip(ours, stock):
        form = lambda number: f"{number:.0f} MB" if unit == "MB" else f"{number:.2f} s"
        print(f"| {what} | {form(value)} | {form(other[1]) if other else ''} |")


if __name__ == "__main__":
    main()
