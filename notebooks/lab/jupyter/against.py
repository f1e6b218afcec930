"""How long cells take here and in an earlier checkout: those of the earlier one's notebook 01 that run in both.

    git worktree add ../earlier COMMIT && (cd ../earlier && cargo lab kernel install --prefix target/venv)
    target/venv/bin/python notebooks/lab/jupyter/against.py ../earlier

The two kernels take turns, so that whatever else the machine does is spread over both; before its first cell each has 15 s, as in times.py.
"""

import json
import pathlib
import statistics
import sys
import time

import nbformat
from jupyter_client.kernelspec import KernelSpec

from times import NOTEBOOKS, ROOT, Kernel

ROUNDS = 3


def times(root, notebooks, cells):
    """Seconds of each cell, or None where it fails."""
    spec = json.loads((root / "target/venv/share/jupyter/kernels/quantlens/kernel.json").read_text())
    kernel = Kernel(KernelSpec(**spec), {}, notebooks)
    time.sleep(15)
    seconds = []
    for code in cells:
        try:
            seconds.append(kernel.run(code)[0])
        except AssertionError:
            seconds.append(None)
    kernel.stop()
    return seconds


def main():
    earlier = pathlib.Path(sys.argv[1]).resolve()
    notebook = nbformat.read(earlier / "notebooks/01_quantize_dequantize.ipynb", 4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    checkouts = {"earlier": (earlier, earlier / "notebooks"), "here": (ROOT, NOTEBOOKS)}
    runs = {name: [] for name in checkouts}
    for _ in range(ROUNDS):
        for name, checkout in checkouts.items():
            runs[name].append(times(*checkout, cells))
    # The first makes the libraries known, and has its own lines in the table of times.py.
    both = [i for i in range(1, len(cells)) if all(run[i] is not None for of_one in runs.values() for run in of_one)]
    medians = {name: [statistics.median(run[i] for run in of_one) for i in both] for name, of_one in runs.items()}
    for index, i in enumerate(both):
        print("  ".join(f"{medians[name][index]:.2f} s" for name in checkouts), "", repr(cells[i][:60]))
    for name in checkouts:
        of_all = [run[i] for run in runs[name] for i in both]
        middle, ninth, most = statistics.median(of_all), statistics.quantiles(of_all, n=10)[-1], max(of_all)
        print(f"{name}: {len(both)} cells, {ROUNDS} times each: median {middle:.2f} s, nine of ten below {ninth:.2f} s, slowest {most:.2f} s")


if __name__ == "__main__":
    main()
