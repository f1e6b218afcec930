"""Makes ggml.json, the golden vectors of ggml's block layouts, from ggml's own C.

    python make_ggml.py llama-cpp-sys-2-0.1.161/llama.cpp > ggml.json

The argument is where the sources of the crate llama-cpp-sys-2 0.1.161 were unpacked, which hold ggml 0.26.0. It needs gcc,
numpy, and gguf 0.19.0, whose decoders must give the same bits as the C where it has them. The C is compiled for baseline
x86-64 without SIMD paths and without fused multiply-add, so that every operation rounds to f32 in the order it is written in.
`quantize_<type>` is called, which is what `llama-quantize` calls.

The file holds

    inputs    name -> rows of 512 values, each 8 hex digits of its f32 bits
    weights   name -> 512 importances, likewise
    encoded   type, input, weights (or null), bytes in hex
    bulk      type, kind, scale, seed, weighted: what `bulk` below makes of them, FNV-1a 64 of the bytes in hex
    decoded   type, bytes in hex, values as hex digits of f32 bits of the first two blocks, FNV-1a 64 of all values' bits
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# Name here, name in C, elements of a block, bytes of a block, offsets of its f16 numbers, whether importances are used.
TYPES = [
    ("q4_0", "q4_0", 32, 18, [0], True),
    ("q4_1", "q4_1", 32, 20, [0, 2], True),
    ("q5_0", "q5_0", 32, 22, [0], True),
    ("q5_1", "q5_1", 32, 24, [0, 2], True),
    ("q8_0", "q8_0", 32, 34, [0], False),
    ("q2_k", "q2_K", 256, 84, [80, 82], True),
    ("q3_k", "q3_K", 256, 110, [108], True),
    ("q4_k", "q4_K", 256, 144, [0, 2], True),
    ("q5_k", "q5_K", 256, 176, [0, 2], True),
    ("q6_k", "q6_K", 256, 210, [208], True),
    ("iq4_nl", "iq4_nl", 32, 18, [0], True),
    ("iq4_xs", "iq4_xs", 256, 136, [0], True),
    ("ggml-mxfp4", "mxfp4", 32, 17, [], False),
    ("ggml-nvfp4", "nvfp4", 64, 36, [], False),
    ("tq1_0", "tq1_0", 256, 54, [52], False),
    ("tq2_0", "tq2_0", 256, 66, [64], False),
]

# What ggml-quants.c wants of the rest of ggml.
STUBS = """
#define GGML_COMMON_DECL_C
#include "ggml-common.h"
#include "ggml.h"
size_t ggml_row_size(enum ggml_type type, int64_t n) {
    switch (type) {
#define ROW(T, B, E) case GGML_TYPE_##T: return n / E * sizeof(block_##B);
        ROW(Q4_0, q4_0, 32) ROW(Q4_1, q4_1, 32) ROW(Q5_0, q5_0, 32) ROW(Q5_1, q5_1, 32) ROW(Q8_0, q8_0, 32)
        ROW(Q2_K, q2_K, 256) ROW(Q3_K, q3_K, 256) ROW(Q4_K, q4_K, 256) ROW(Q5_K, q5_K, 256) ROW(Q6_K, q6_K, 256)
        ROW(MXFP4, mxfp4, 32) ROW(NVFP4, nvfp4, 64) ROW(TQ1_0, tq1_0, 256) ROW(TQ2_0, tq2_0, 256)
        default: return 0;
    }
}
"""

FLAGS = ["-O2", "-march=x86-64", "-ffp-contract=off", "-DNDEBUG", "-shared", "-fPIC", "-w"]


def library(source):
    """The C, compiled. What the types above do not call stays unresolved."""
    directory = Path(tempfile.mkdtemp())
    (directory / "stubs.c").write_text(STUBS)
    ggml = Path(source) / "ggml"
    files = [ggml / "src/ggml-quants.c", directory / "stubs.c"]
    subprocess.run(
        ["gcc", *FLAGS, "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,lazy", f"-I{ggml}/include", f"-I{ggml}/src"]
        + [str(file) for file in files]
        + ["-o", str(directory / "quants.so"), "-lm"],
        check=True,
    )
    return ctypes.CDLL(str(directory / "quants.so"), mode=0x1)  # RTLD_LAZY


class Reference:
    def __init__(self, source):
        self.lib = library(source)

    def encode(self, kind, x, weights=None):
        """quantize_<type> of rows of values, with one row of importances or none."""
        name, c, elements, size, _, _ = kind
        x = np.ascontiguousarray(x, dtype=np.float32)
        out = np.full(x.size // elements * size, 0xAA, dtype=np.uint8)
        function = getattr(self.lib, f"quantize_{c}")
        function.restype = ctypes.c_size_t
        pointer = lambda a: None if a is None else a.ctypes.data_as(ctypes.c_void_p)
        rows, row = x.shape
        written = function(pointer(x), pointer(out), ctypes.c_int64(rows), ctypes.c_int64(row), pointer(weights))
        assert written == out.size, (name, written, out.size)
        return out

    def decode(self, kind, data):
        _, c, elements, size, _, _ = kind
        out = np.empty(data.size // size * elements, dtype=np.float32)
        function = getattr(self.lib, f"dequantize_row_{c}")
        function.restype = None
        function(data.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size))
        return out


MASK = (1 << 64) - 1


class SplitMix:
    """splitmix64, the generator of `Random` in the Rust test."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def bell(self):
        """Roughly normal: the four 16-bit parts of one number, summed and centred; a whole number within ±131070."""
        z = self.next()
        return (z & 0xFFFF) + (z >> 16 & 0xFFFF) + (z >> 32 & 0xFFFF) + (z >> 48) - 131070


def bulk(kind, scale, seed, rows=64, row=1024):
    """Rows that the Rust test makes again: whole numbers in f32, times a power of two. `kind` is one of

    normal    bell
    outliers  bell, and times 64 where the next number is 0 modulo 97
    ties      a whole number within ±20, halved
    blocks    bell, and times 2^(n modulo 40 - 20), n the number drawn before each run of 32
    """
    random = SplitMix(seed)
    x = np.empty(rows * row, dtype=np.float32)
    factor = 1.0
    for i in range(x.size):
        if kind == "blocks" and i % 32 == 0:
            factor = 2.0 ** (random.next() % 40 - 20)
        if kind == "ties":
            x[i] = (random.next() % 41 - 20) / 2
            continue
        x[i] = random.bell() * factor
        if kind == "outliers" and random.next() % 97 == 0:
            x[i] *= 64
    return (x * np.float32(scale)).reshape(rows, row)


def importances(seed, count):
    """Whole numbers of 0 to 4095 squared, a tenth of them 0."""
    random = SplitMix(seed)
    draw = lambda z: 0 if z % 10 == 0 else ((z >> 20) % 4096) ** 2
    return np.array([draw(random.next()) for _ in range(count)], dtype=np.float32)


def inputs():
    rng = np.random.default_rng(20240229)
    f = np.float32
    shape = (2, 512)
    normal = lambda: rng.normal(size=shape).astype(f)
    outliers = normal()
    outliers[rng.random(shape) < 0.01] *= f(60)
    single = np.zeros(shape, f)
    single[0, 5], single[0, 300], single[1, 100], single[1, 511] = 3.5, -0.01, -7.25, 1e-6
    exponents = lambda low, high: (2.0 ** rng.integers(low, high, size=(2, 16)).repeat(32, axis=1)).astype(f)
    ties = (rng.integers(-16, 17, size=shape) / 2).astype(f)
    # One value in each run of 32 fixes the step of the legacy types at 1 or 0.5, so that the rest are halves of it.
    ties[:, ::32] = -8
    constant = np.repeat(rng.normal(size=(2, 8)).astype(f), 64, axis=1)
    sparse = normal() * (rng.random(shape) < 0.1)
    whole_zero = normal()
    whole_zero[0, :256] = 0
    whole_zero[1, 256:320] = 0
    extreme = normal() * exponents(60, 126)
    extreme[0, 0], extreme[1, 17], extreme[1, 300] = np.finfo(f).max, -np.finfo(f).max, np.finfo(f).max
    denormal = (rng.integers(-2000, 2001, size=shape).astype(f) * f(2.0**-149)).astype(f)
    denormal[1, :256] = 0
    denormal[1, 7] = 2.0**-149
    edge = np.nextafter(exponents(-20, 40), f(0), dtype=f) * np.where(rng.random(shape) < 0.5, f(1), f(-1))
    edge[rng.random(shape) < 0.7] *= f(0.37)
    return {
        "normal": normal(),
        "weights_like": (normal() * f(0.02)).astype(f),
        "outliers": outliers,
        "zeros": np.zeros(shape, f),
        "negative_zeros": np.full(shape, -0.0, f),
        "constant": constant,
        "ties": ties,
        "small": (normal() * f(1e-7)).astype(f),
        "tiny": (normal() * exponents(-149, -90)).astype(f),
        "denormal": denormal,
        "large": (normal() * exponents(8, 24)).astype(f),
        "extreme": extreme.astype(f),
        "single": single,
        "negative": (-np.abs(normal()) - f(0.25)).astype(f),
        "positive": (np.abs(normal()) + f(0.25)).astype(f),
        "blocks": (normal() * exponents(-12, 12)).astype(f),
        "sparse": sparse.astype(f),
        "whole_zero": whole_zero,
        "ternary": (rng.integers(-1, 2, size=shape) * f(0.75)).astype(f),
        "under_a_power_of_two": edge.astype(f),
        "rising": (np.arange(1024, dtype=f).reshape(shape) - f(300)) / f(16),
    }


def weights():
    rng = np.random.default_rng(7)
    f = np.float32
    some = (rng.normal(size=512) ** 2).astype(f)
    some[rng.random(512) < 0.1] = 0
    runs = (rng.random(512) * 1e-3).astype(f)
    runs[:64] = 0
    runs[256:] = 0
    return {"some_zero": some, "runs_of_zero": runs, "equal": np.ones(512, f)}


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data.tobytes():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return f"{h:016x}"


def bits(x):
    return "".join(f"{b:08x}" for b in np.ascontiguousarray(x, dtype=np.float32).ravel().view(np.uint32).tolist())


def random_blocks(kind, blocks, rng):
    """Blocks of any bytes, but for scales of ∞ and NaN."""
    name, _, _, size, halves, _ = kind
    data = rng.integers(0, 256, size=(blocks, size), dtype=np.uint8)
    for offset in halves:
        high = data[:, offset + 1]
        high[(high & 0x7C) == 0x7C] &= 0xBF
    if name == "ggml-mxfp4":
        data[:, 0] = np.minimum(data[:, 0], 252)  # 12 · 2^(253 - 128) is above the largest f32.
    return data.ravel()


def check_gguf(kind, data, values):
    """Whether the Python package decodes to the same bits; None where it has no decoder."""
    import gguf

    name = kind[1].upper()
    try:
        other = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
    except (KeyError, NotImplementedError):
        return None
    return bool(np.array_equal(other.ravel().view(np.uint32), values.view(np.uint32)))


BULK = [("normal", -16, 1), ("outliers", -20, 2), ("ties", 0, 3), ("blocks", -18, 4)]


def main():
    reference = Reference(sys.argv[1])
    rng = np.random.default_rng(11)
    all_inputs, all_weights = inputs(), weights()
    encoded, hashed, decoded = [], [], []
    for kind in TYPES:
        name, _, _, size, _, weighted = kind
        for x_name, x in all_inputs.items():
            for w_name, w in [(None, None), *(all_weights.items() if weighted else [])]:
                # Equal weights are tried on few inputs, to keep the file small.
                if w_name in ("equal", "runs_of_zero") and x_name not in ("normal", "outliers", "whole_zero", "ties", "blocks"):
                    continue
                data = reference.encode(kind, x, w)
                encoded.append({"type": name, "input": x_name, "weights": w_name, "bytes": data.tobytes().hex()})
        for x_kind, power, seed in BULK:
            x = bulk(x_kind, 2.0**power, seed)
            for w in [None, importances(5, 1024)] if weighted else [None]:
                data = reference.encode(kind, x, w)
                hashed.append(
                    {"type": name, "kind": x_kind, "scale": 2.0**power, "seed": seed, "weighted": w is not None, "hash": fnv(data)}
                )
        data = random_blocks(kind, 48, rng)
        values = reference.decode(kind, data)
        assert np.isfinite(values).all(), name
        same = check_gguf(kind, data, values)
        assert same is not False, name
        print(f"{name}: gguf {'has no decoder' if same is None else 'decodes to the same bits'}", file=sys.stderr)
        first = bits(values[: 2 * kind[2]])
        decoded.append({"type": name, "bytes": data.tobytes().hex(), "values": first, "hash": fnv(values)})
    file = {
        "source": "ggml 0.26.0 in llama-cpp-sys-2 0.1.161, gcc " + " ".join(FLAGS[:3]),
        "inputs": {name: bits(x) for name, x in all_inputs.items()},
        "weights": {name: bits(w) for name, w in all_weights.items()},
        "encoded": encoded,
        "bulk": hashed,
        "decoded": decoded,
    }
    json.dump(file, sys.stdout, indent=0)


if __name__ == "__main__":
    main()
