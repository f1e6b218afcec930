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
path = ROOT / "notebooks" / "lab" / "src" / "weights.txt"
# Crates of kernels with features, which this build does not have, keep theirs.
weights = dict(line.split() for line in path.read_text().splitlines())
weights |= {name: str(round(1000 * duration)) for name, duration in seconds.items()}
path.write_text("".join(f"{name} {weight}\n" for name, weight in sorted(weights.items())))
print(f"{len(seconds)} crates, {sum(seconds.values()):.0f} s of processor time, from {report.name}")
