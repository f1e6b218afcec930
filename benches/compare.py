"""quantlens and what one would use instead, on the same array in one run: checks that the results agree, and prints ratios of times.

    pip install numpy onnx onnxruntime
    python benches/compare.py [--ggml llama-cpp-sys-2-0.1.161/llama.cpp]

The array has 32 Mi normal f32 values. Every time is the best of several runs. The alternatives compute less: numpy and ONNX Runtime the mean squared
error alone, ggml no error at all; quantlens all columns of a report. `--ggml` is where the sources of the crate llama-cpp-sys-2 were unpacked;
they are compiled with `-O3 -march=native`, and run on one thread, as the library's functions do.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def seconds(repeats, body):
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        body()
        best = min(best, time.perf_counter() - start)
    return best


def original(x):
    """The notebook that this project began as, in numpy: the mean squared error of two schemes."""
    scale = (np.max(x) - np.min(x)) / np.float32(255)
    zero = -1 * np.round(np.min(x) / scale)
    q = np.clip(np.round(x / scale + zero), 0, 255).astype(np.int32)
    asymmetric = np.mean((x - (q - zero) * scale) ** 2)
    scale = np.max(np.abs(x)) / np.float32(127)
    q = np.clip(np.round(x / scale), -127, 127).astype(np.int32)
    return asymmetric, np.mean((x - q * scale) ** 2)


def onnx_session(with_error):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"])]
    output = helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])
    if with_error:
        nodes += [
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            helper.make_node("Sub", ["x", "y"], ["e"]),
            helper.make_node("Mul", ["e", "e"], ["e2"]),
            helper.make_node("ReduceMean", ["e2"], ["mse"], keepdims=0),
        ]
        output = helper.make_tensor_value_info("mse", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None])], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def ggml_reference(source):
    spec = importlib.util.spec_from_file_location("make_ggml", HERE.parent / "tests/it/golden/make_ggml.py")
    make_ggml = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_ggml)
    make_ggml.FLAGS[:2] = ["-O3", "-march=native"]
    kinds = {kind[0]: kind for kind in make_ggml.TYPES}
    return make_ggml.Reference(source), kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", help="where the sources of llama-cpp-sys-2 were unpacked")
    parser.add_argument("--profile", default="bench", help="cargo's profile")
    arguments = parser.parse_args()

    x = np.random.default_rng(1).normal(size=(4096, 8192)).astype(np.float32)
    few = x[: x.shape[0] // 16]
    times, checks = {}, []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x)
        command = ["cargo", "bench", "--locked", "--quiet", "--profile", arguments.profile, "--bench", "compare", "--", folder]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout)
        packed = {name: (Path(folder) / name).read_bytes() for name in ["q4_0", "q4_k"]}

    mine = ours["seconds"]
    times["reading the array (numpy max)"] = (seconds(9, lambda: np.max(x)), "two, from values")
    times["the original's formulas in numpy, 2 schemes"] = (seconds(3, lambda: original(x)), "two, from values")
    checks.append(("mse of the original's formulas", original(x.astype(np.float64)), ours["original mse"], 1e-4))
    times["numpy.percentile of |x|"] = (seconds(3, lambda: np.percentile(np.abs(x), 99.9)), "percentile")
    checks.append(("percentile", [np.percentile(np.abs(x), 99.9)], [ours["percentile"]], 1e-6))
    with_error, alone = onnx_session(True), onnx_session(False)
    times["ONNX Runtime, 1 scheme: quantize, dequantize, mse"] = (seconds(9, lambda: with_error.run(None, {"x": x})), "two, from values")
    times["ONNX Runtime, DynamicQuantizeLinear alone"] = (seconds(9, lambda: alone.run(None, {"x": x})), "int8-sym")
    # ONNX Runtime adds 32 Mi squares in f32, which costs it the third digit.
    checks.append(("mse of ONNX Runtime", with_error.run(None, {"x": x}), ours["mse"][:1], 1e-2))
    if arguments.ggml:
        reference, kinds = ggml_reference(arguments.ggml)
        times["ggml's C, Q4_0, one thread, encoding alone"] = (seconds(5, lambda: reference.encode(kinds["q4_0"], x)), "q4_0")
        times["ggml's C, Q4_K, one thread, encoding alone"] = (16 * seconds(1, lambda: reference.encode(kinds["q4_k"], few)), "q4_k")
        # Compiled for this machine the C may use fused multiply-add, which the reference for bytes does not.
        for name, data in [("q4_0", x), ("q4_k", few)]:
            theirs = reference.encode(kinds[name], data).tobytes()
            equal = np.mean(np.frombuffer(theirs, np.uint8) == np.frombuffer(packed[name], np.uint8))
            checks.append((f"share of equal bytes, {name}", [equal], [1.0], 1e-2))

    for name, theirs, found, tolerance in checks:
        for a, b in zip(theirs, found, strict=True):
            assert abs(a - b) <= tolerance * abs(a), (name, a, b)
    print(f"results agree: {', '.join(name for name, *_ in checks)}\n")
    print(f"{x.size >> 20} Mi f32 values, {os.cpu_count()} threads")
    print(f"{'instead of quantlens':<52}{'ms':>9}  {'quantlens':<17}{'ms':>9}{'times as fast':>15}")
    for name, (theirs, work) in times.items():
        print(f"{name:<52}{theirs * 1e3:>9.1f}  {work:<17}{mine[work] * 1e3:>9.1f}{theirs / mine[work]:>15.2f}")
    print(f"\n{'a report of one scheme':<52}{'ms':>9}{'G values/s':>12}")
    for name in mine:
        if name not in ("two, from values", "sweep of 2", "sweep of 14", "percentile"):
            print(f"{name:<52}{mine[name] * 1e3:>9.1f}{x.size / mine[name] / 1e9:>12.2f}")
    further = (mine["sweep of 14"] - mine["sweep of 2"]) / 12 / x.size
    print(f"{'each further integer scheme of a sweep':<52}{further * x.size * 1e3:>9.1f}{1e-9 / further:>12.2f}   {further * 1e9:.2f} ns a value")


main()
