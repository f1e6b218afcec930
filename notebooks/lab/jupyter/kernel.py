"""A running kernel, for the tests, as Jupyter's own client speaks to it."""

import pathlib
import subprocess
import time
import unittest

import psutil
from jupyter_client import KernelManager

ROOT = pathlib.Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
LAB = ROOT / "target" / "lab"
FIRST_CELL = ':dep quantlens-prelude = { path = "prelude" }\nuse quantlens_prelude::*;\ninit();'
# Generous: a machine under load shall fail no test.
PATIENCE = 300


class Kernel:
    """A running kernel and its client."""

    def __init__(self, is_awaited=True, name="quantlens", **arguments):
        arguments = {"cwd": str(NOTEBOOKS), "stderr": subprocess.DEVNULL, **arguments}
        for attempt in range(3):
            self.manager = KernelManager(kernel_name=name)
            self.manager.start_kernel(**arguments)
            self.client = self.manager.client()
            self.client.start_channels()
            try:
                # It answers before the session is ready, unless another process has one of its ports for good.
                self.client.wait_for_ready(timeout=PATIENCE) if is_awaited else self.client.kernel_info(reply=True, timeout=PATIENCE)
                return
            except RuntimeError:
                if attempt == 2 or self.manager.is_alive():
                    raise
                self.client.stop_channels()
                self.manager.cleanup_resources()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()

    @property
    def process(self):
        return psutil.Process(self.manager.provisioner.pid)

    def send(self, code, **arguments):
        return self.client.execute(code, **arguments)

    def messages(self, message_id):
        """What iopub says of a request, up to idle."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
            yield message

    def reply(self, message_id):
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                return message["content"]

    def run(self, code, **arguments):
        """The reply to a cell, and its outputs as (type, content)."""
        message_id = self.send(code, **arguments)
        outputs = [(m["msg_type"], m["content"]) for m in self.messages(message_id)]
        return self.reply(message_id), [o for o in outputs if o[0] not in ("status", "execute_input")]

    def ok(self, code, **arguments):
        reply, outputs = self.run(code, **arguments)
        assert reply["status"] == "ok", (code, reply, outputs)
        return outputs


def text_of(outputs, name="stdout"):
    return "".join(content["text"] for kind, content in outputs if kind == "stream" and content["name"] == name)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def lab_list():
    return subprocess.run([LAB / "bin" / "quantlens-lab", "kernel", "list"], capture_output=True, text=True, check=True).stdout


def slots_in_use():
    return [ROOT / line.split()[-1] for line in lab_list().splitlines() if " in use " in line]


class WithKernel(unittest.TestCase):
    """One kernel for all tests of a class."""

    name = "quantlens"

    @classmethod
    def setUpClass(cls):
        cls.kernel = Kernel(name=cls.name)
        cls.kernel.ok(FIRST_CELL)

    @classmethod
    def tearDownClass(cls):
        cls.kernel.__exit__()

    def interrupted(self, code, seconds=0):
        """The reply to a cell that is interrupted when it has run for so long, however long it took to compile."""
        message_id = self.kernel.send('println!("started");\n' + code)
        messages = self.kernel.messages(message_id)
        next(m for m in messages if m["msg_type"] == "stream")
        time.sleep(seconds)
        self.kernel.manager.interrupt_kernel()
        outputs = [(m["msg_type"], m["content"]) for m in messages]
        reply = self.kernel.reply(message_id)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "Interrupted"), outputs)
        return reply
