"""Four notebooks at once in one Jupyter server save what a run of one alone saves."""

import concurrent.futures
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
import uuid

import nbformat
import websocket

ROOT = pathlib.Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
# Generous: a machine under load shall fail no test.
PATIENCE = 600


class Server:
    """A Jupyter server as JupyterLab's users have it, in a folder of its own."""

    def __init__(self, folder):
        self.token = secrets.token_hex(16)
        self.runtime = tempfile.TemporaryDirectory()
        arguments = ["--no-browser", "--port=0", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={self.token}", "--allow-root"]
        environment = {**os.environ, "JUPYTER_RUNTIME_DIR": self.runtime.name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.address = self.wait()

    def wait(self):
        """Where it listens, when it does."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for file in pathlib.Path(self.runtime.name).glob("jpserver-*.json"):
                try:
                    return f"127.0.0.1:{json.loads(file.read_text())['port']}"
                except json.JSONDecodeError:
                    pass
            assert self.process.poll() is None, "the Jupyter server ended"
            time.sleep(0.1)
        raise TimeoutError("the Jupyter server did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.runtime.cleanup()

    def start_kernel(self):
        body = json.dumps({"name": "quantlens", "path": "test.ipynb"}).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}/api/kernels", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)["id"]

    def run(self, sources):
        """The outputs of these cells, each sent when the one before has ended, as a notebook file would hold them."""
        url = f"ws://{self.address}/api/kernels/{self.start_kernel()}/channels?session_id={uuid.uuid4().hex}"
        channel = websocket.create_connection(url, header=[f"Authorization: token {self.token}"], timeout=PATIENCE)
        results = []
        for source in sources:
            identity = uuid.uuid4().hex
            header = {"msg_id": identity, "msg_type": "execute_request", "session": identity, "username": "", "version": "5.3", "date": ""}
            content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}
            channel.send(json.dumps(message))
            outputs, waiting = [], {"reply", "idle"}
            while waiting:
                message = json.loads(channel.recv())
                if message["parent_header"].get("msg_id") != identity:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind == "execute_reply":
                    assert content["status"] == "ok", (source, content)
                    waiting.discard("reply")
                elif kind == "status" and content["execution_state"] == "idle":
                    waiting.discard("idle")
                elif kind == "clear_output":
                    outputs.clear()
                elif kind in ("stream", "display_data", "execute_result", "error"):
                    outputs.append(nbformat.v4.output_from_msg(nbformat.from_dict(message)))
            results.append(outputs)
        channel.close()
        return results


class FourAtOnce(unittest.TestCase):
    def test_each_saves_what_is_committed(self):
        path = NOTEBOOKS / "01_quantize_dequantize.ipynb"
        # As far as to the first tables and pictures: what is new here is that four run at once.
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code" and cell.source.strip()][:15]
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(path, pathlib.Path(folder) / "test.ipynb")
            with Server(folder) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
                for results in pool.map(lambda _: server.run([cell.source for cell in cells]), range(4)):
                    for cell, outputs in zip(cells, results, strict=True):
                        self.assertEqual(outputs, cell.outputs, cell.source)

