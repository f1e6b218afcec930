"""Writes notebooks/lab/src/weights.txt, from which `cargo lab` tells how long its first build will still take.

    rm -r target/debug && cargo build --timings --package quantlens-lab --package quantlens
    python3 notebooks/lab/jupyter/weights.py

It reads cargo's last report of timings. Only the ratios of the numbers matter, so any quiet machine will do.
"""

import collections
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]

report = max((ROOT / "target" / "cargo-timings").glob("cargo-timing-2*.html"))
units = json.loads(re.search(r"const UNIT_DATA = (\[.*?\]);\n", report.read_text(), re.DOTALL).group(1))
seconds = collections.Counter()
for unit in units:
    seconds[unit["name"]] += unit["duration"]
lines = [f"{name} {round(1000 * duration)}\n" for name, duration in sorted(seconds.items())]
(ROOT / "notebooks" / "lab" / "src" / "weights.txt").write_text("".join(lines))
print(f"{len(lines)} crates, {sum(seconds.values()):.0f} s of processor time, from {report.name}")
