"""Makes golden vectors of granularities, narrow integers and other packages' parameters, beyond those of make_golden.py.

    python make_conventions.py onnx_kernels  # onnxruntime, onnx  -> onnx_kernels.json
    python make_conventions.py onnx_tool     # onnxruntime, onnx  -> onnx_tool.json
    python make_conventions.py torchao       # torchao, torch     -> torchao.json
    python make_conventions.py aiedge        # ai-edge-quantizer  -> aiedge.json
    python make_conventions.py packing       # onnx               -> packing.json

The versions used are in the files. Floats are written so that they read back exactly; what is not finite is "NaN", "Infinity" or
"-Infinity". A case is as in make_golden.py: scheme, dtype, shape, input, given, scale, zero_point, codes, output. Scales and zero points
of groups are in the order of the scale tensor of ONNX: the input's shape with the grouped axis divided by the group size, rounded up.
Codes of floats are their bits. Further keys of a case:

    saturate      false: onnxruntime's float8 with saturate = 0. `unlike_ml_dtypes` has the indices of codes that are not what a plain cast
                  gives: onnxruntime makes 480 to 496 in e4m3fn 448 rather than NaN, and 61440 to 65536 in e5m2 NaN rather than infinity
    reduce_range  true: onnxruntime's tool with reduce_range (int8 -64..64, uint8 0..127, int4 -4..3, uint4 0..7)
    float_zero    torchao's zero point in the float domain, min + scale * mid; `zero_point` is null
"""

import json
import sys
from importlib.metadata import version

import ml_dtypes
import numpy as np


def inputs():
    rng = np.random.default_rng(20240301)
    spiky = rng.normal(size=64)
    spiky[7] = 50.0
    all_ = {
        "normal": rng.normal(size=96),
        "uniform": rng.uniform(-1, 3, size=64),
        "positive": rng.uniform(2, 5, size=32),
        "negative": -rng.uniform(0.5, 0.7, size=32),
        "spiky": spiky,
        "tenths": np.round(rng.uniform(-6.3, 6.4, size=96), 1),
        "large": rng.normal(size=16) * 1e30,
        "small": rng.normal(size=32) * 1e-7,
        "tiny": rng.normal(size=16) * 1e-36,
        "huge": np.array([-3.4e38, -1e38, 0.0, 1.0, 2e38, 3.3e38]),
        "subnormal": np.array([-3e-42, 1e-42, 0.0, 5e-42]),
        "constant": np.full(5, 3.0),
        "constant_negative": np.full(5, -0.7),
        "zeros": np.zeros(5),
    }
    return {k: v.astype(np.float32) for k, v in all_.items()}


def matrices():
    """With a row of zeros, a constant group and rows of other magnitudes; 40 is two and a half groups of 16."""
    rng = np.random.default_rng(20240302)
    x = rng.normal(size=(4, 40)) * np.exp2([0, -8, 0, 12])[:, None]
    x[2] = 0.0
    x[3, :16] = 0.75
    return x.astype(np.float32), np.ascontiguousarray(x.T).astype(np.float32)


def plain(v):
    v = v.item() if hasattr(v, "item") else v
    if isinstance(v, float) and not np.isfinite(v):
        return "NaN" if np.isnan(v) else "Infinity" if v > 0 else "-Infinity"
    return v


def case(scheme, x, scale, zero_point, codes, output, given=False, **more):
    flat = lambda a: None if a is None else [plain(v) for v in np.asarray(a).ravel()]
    row = {
        "scheme": scheme,
        "dtype": {"float32": "f32", "float64": "f64"}[str(x.dtype)],
        "shape": list(x.shape),
        "input": flat(x),
    }
    row |= {"given": given, "scale": flat(scale)}
    row |= {"zero_point": None if zero_point is None else [int(z) for z in np.asarray(zero_point).ravel()]}
    return row | {"codes": flat(codes), "output": flat(output)} | more


def write(name, packages, cases, **head):
    versions = {p: version(p) for p in [*packages, "numpy"]}
    with open(f"{name}.json", "w") as f:
        f.write(json.dumps({"versions": versions} | head | {"cases": []})[:-2])
        f.write("\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


class Kernels:
    """QuantizeLinear and DequantizeLinear of onnxruntime. Codes of other types than numpy's come out through Cast, float8 as their values."""

    def __init__(self):
        from onnx import TensorProto as tp

        self.types = {
            "uint8": tp.UINT8, "int8": tp.INT8, "uint16": tp.UINT16, "int16": tp.INT16, "uint4": tp.UINT4, "int4": tp.INT4,
            "e4m3fn": tp.FLOAT8E4M3FN, "e4m3fnuz": tp.FLOAT8E4M3FNUZ, "e5m2": tp.FLOAT8E5M2, "e5m2fnuz": tp.FLOAT8E5M2FNUZ,
        }  # fmt: skip

    def __call__(self, kind, x, scale, zero_point, axis=None, block=0, saturate=1):
        """Codes and values; float8 codes as bytes."""
        import onnxruntime as ort
        from onnx import TensorProto as tp
        from onnx import helper as h

        dtype = self.types[kind]
        wide = {"uint4": tp.UINT8, "int4": tp.INT8}.get(kind, dtype)
        scale = np.asarray(scale, np.float32)
        zeros = np.broadcast_to(np.asarray(zero_point), scale.shape).ravel().tolist()
        attributes = {} if axis is None else {"axis": axis} | ({"block_size": block} if block else {})
        q_attributes = attributes | ({"saturate": saturate} if kind.startswith("e") else {})
        nodes = [
            h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **q_attributes),
            h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
        ]
        if kind.startswith("e"):
            wide = tp.FLOAT
        nodes += (
            [h.make_node("Cast", ["q"], ["codes"], to=wide)] if wide != dtype else [h.make_node("Identity", ["q"], ["codes"])]
        )
        graph = h.make_graph(
            nodes,
            "g",
            [h.make_tensor_value_info("x", tp.FLOAT, x.shape)],
            [h.make_tensor_value_info("codes", wide, None), h.make_tensor_value_info("y", tp.FLOAT, None)],
            [h.make_tensor("s", tp.FLOAT, scale.shape, scale.ravel()), h.make_tensor("z", dtype, scale.shape, zeros)],
        )
        opset = 21 if block or kind.endswith(("4", "16")) else 19
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        q, y = session.run(None, {"x": x})
        return q.astype(getattr(ml_dtypes, f"float8_{kind}")).view(np.uint8) if kind.startswith("e") else q, y


LIMITS = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "uint4": (0, 15),
    "int4": (-8, 7),
}


def onnx_kernels():
    run, cases = Kernels(), []
    rng = np.random.default_rng(20240303)
    vectors = {k: v for k, v in inputs().items() if k in ("normal", "spiky", "tenths", "huge", "zeros")}
    for kind in ("uint4", "int4"):
        for x in vectors.values():
            for scale, zero_point in [(0.2, 3), (0.05, 7), (1.0, 0), (0.1, LIMITS[kind][0])]:
                q, y = run(kind, x, np.float32(scale), zero_point)
                cases.append(case(f"{kind}-asym", x, np.float32(scale), zero_point, q, y, given=True))

    wide, tall = matrices()
    wide[0] = np.round(wide[0] * 4) / 8  # ties
    tall[:, 0] = wide[0]
    for kind, (low, high) in LIMITS.items():
        for x, name, axis, block in [
            (wide[:, :24], "axis0", 0, 0),
            (wide[:, :24], "axis1", 1, 0),
            (wide, "g16", 1, 16),
            (tall, "g16@0", 0, 16),
        ]:
            x = np.ascontiguousarray(x)
            if block:
                shape = [-(-d // block) if i == axis else d for i, d in enumerate(x.shape)]
            else:
                shape = [x.shape[axis]]
            for symmetric in (True, False):
                scale = np.float32([0.25, 0.5, 1.0, 0.1, 0.37])[rng.integers(0, 5, size=shape)]
                if high > 255:
                    scale /= np.float32(256)
                zero = np.full(shape, 0 if low else (high + 1) // 2) if symmetric else rng.integers(low, high + 1, size=shape)
                q, y = run(kind, x, scale, zero, axis, block)
                cases.append(case(f"{kind}-{'sym' if symmetric else 'asym'}-{name}", x, scale, zero, q, y, given=True))

    from ml_dtypes import finfo

    for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz"):
        dtype = getattr(ml_dtypes, f"float8_{kind}")
        table = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
        table = np.unique(table[np.isfinite(table)])
        mid = (table[1:] + table[:-1])[::7] / 2
        top = float(finfo(dtype).max)
        more = np.array(
            [
                top,
                top * 1.03,
                top * 1.04,
                top * 1.0625,
                top * 1.125,
                top * 1.25,
                top * 4,
                1e30,
                -top,
                -top * 1.04,
                -top * 1.2,
                -1e30,
            ]
        )
        x = np.concatenate([mid, more, rng.normal(size=20), rng.normal(size=20) * top / 3]).astype(np.float32)
        for saturate in (1, 0):
            for scale in (1.0, 0.37):
                q, y = run(kind, x, np.float32(scale), 0, saturate=saturate)
                extra = {}
                if not saturate:
                    with np.errstate(over="ignore"):
                        usual = (x / np.float32(scale)).astype(dtype).view(np.uint8)
                    extra = {"saturate": False, "unlike_ml_dtypes": np.flatnonzero(q != usual).tolist()}
                cases.append(case(kind, x, np.float32(scale), 0, q, y, given=True, **extra))
        for name, axis, block in [("axis0", 0, 0), ("g16", 1, 16)]:
            x = np.ascontiguousarray(wide[:, :24]) if not block else wide
            shape = [4] if not block else [4, 3]
            scale = (np.abs(rng.normal(size=shape)) + 0.01).astype(np.float32)
            q, y = run(kind, x, scale, 0, axis, block)
            cases.append(case(f"{kind}-{name}", x, scale, np.zeros(shape, int), q, y, given=True))
    write("onnx_kernels", ["onnxruntime", "onnx"], cases)


def onnx_tool():
    from onnx import TensorProto as tp
    from onnxruntime.quantization.quant_utils import compute_data_quant_params, compute_scale_zp_blocked, quantize_data

    run, cases = Kernels(), []
    types = {"int4": tp.INT4, "uint4": tp.UINT4, "int8": tp.INT8, "uint8": tp.UINT8, "int16": tp.INT16, "uint16": tp.UINT16}

    def add(kind, symmetric, x, reduced=False):
        zero, scale, q = quantize_data(x, types[kind], symmetric, reduce_range=reduced)
        extra = {"reduce_range": True} if reduced else {}
        if not np.isfinite(scale):
            return
        _, y = run(kind, x, scale, int(zero))
        kept = run(kind, x, scale, int(zero))[0]
        q = np.asarray(q).astype(np.int32)
        if not np.array_equal(q, kept.astype(np.int32)):
            y = ((q - int(zero)) * scale).astype(np.float32)
            extra["kernel_codes"] = kept.astype(np.int32).ravel().tolist()
        cases.append(case(f"{kind}-{'sym' if symmetric else 'asym'}", x, scale, int(zero), q, y, **extra))

    for name, x in inputs().items():
        for kind in types:
            if kind.endswith("16") and name not in ("normal", "positive", "tiny", "constant"):
                continue
            for symmetric in (True, False):
                add(kind, symmetric, x)
                if name in ("normal", "positive"):
                    add(kind, symmetric, x, True)

    wide, tall = matrices()
    for kind in ("int4", "uint4", "int8", "uint8"):
        for symmetric in (True, False):
            label = f"{kind}-{'sym' if symmetric else 'asym'}"
            for axis in (0, 1):
                x = np.ascontiguousarray(wide[:, :24])
                params = [compute_data_quant_params(np.take(x, i, axis), types[kind], symmetric) for i in range(x.shape[axis])]
                zero, scale = np.array([int(p[0]) for p in params]), np.array([p[1] for p in params])
                q, y = run(kind, x, scale, zero, axis)
                cases.append(case(f"{label}-axis{axis}", x, scale, zero, q, y))
            for x, axis, name in ((wide, 1, "g16"), (tall, 0, "g16@0")):
                zero, scale = compute_scale_zp_blocked(x, types[kind], axis, 16, symmetric)
                q, y = run(kind, x, scale, zero.astype(np.int32), axis, 16)
                cases.append(case(f"{label}-{name}", x, scale, zero.astype(np.int32), q, y))
    write("onnx_tool", ["onnxruntime", "onnx"], cases)


def torchao():
    import torch
    from torchao.quantization import quant_primitives as ao

    cases = []
    M = ao.MappingType

    def affine(scheme, x, mapping, dtype, block, low=None, high=None):
        t = torch.from_numpy(x.copy())
        scale, zero = ao.choose_qparams_affine(t, mapping, block, dtype, low, high, zero_point_dtype=torch.int32)
        q = ao.quantize_affine(t, block, scale, zero, dtype, low, high)
        y = ao.dequantize_affine(q, block, scale, zero, dtype, low, high)
        cases.append(case(scheme, x, scale.numpy(), zero.numpy(), q.numpy().astype(np.int32), y.numpy()))

    def float_domain(scheme, x, block, low, high):
        t = torch.from_numpy(x.copy())
        scale, zero = ao._choose_qparams_affine_tinygemm(t, M.ASYMMETRIC, block, torch.uint8, low, high)
        q = ao._quantize_affine_tinygemm(t, block, scale, zero, torch.uint8, low, high)
        y = ao._dequantize_affine_tinygemm(q, block, scale, zero, torch.uint8, low, high)
        zeros = [plain(v) for v in zero.numpy().ravel()]
        cases.append(case(scheme, x, scale.numpy(), None, q.numpy().astype(np.int32), y.numpy(), float_zero=zeros))

    def float8(scheme, x, block, dtype):
        t = torch.from_numpy(x.copy())
        scale = ao._choose_scale_float8(t, block, dtype)
        q = ao._quantize_affine_float8(t, scale, dtype)
        y = ao._dequantize_affine_float8(q, scale)
        cases.append(case(scheme, x, scale.numpy(), np.zeros(scale.shape, int), q.view(torch.uint8).numpy(), y.numpy()))

    integers = [
        ("int8", torch.int8, None, None),
        ("uint8", torch.uint8, None, None),
        ("int4", torch.int8, -8, 7),
        ("uint4", torch.uint8, 0, 15),
    ]
    for name, x in inputs().items():
        for kind, dtype, low, high in integers:
            affine(f"{kind}-asym-torchao", x, M.ASYMMETRIC, dtype, x.shape, low, high)
            if kind[0] == "i":
                affine(f"{kind}-sym-torchao", x, M.SYMMETRIC, dtype, x.shape, low, high)
                affine(f"{kind}-sym-noclip-torchao", x, M.SYMMETRIC_NO_CLIPPING_ERR, dtype, x.shape, low, high)
        affine("uint8-sym-torchao", x, M.SYMMETRIC, torch.uint8, x.shape)
        if name not in ("zeros", "constant", "constant_negative", "large"):
            affine("int2-sym-torchao", x, M.SYMMETRIC, torch.int8, x.shape, -2, 1)
            affine("uint3-asym-torchao", x, M.ASYMMETRIC, torch.uint8, x.shape, 0, 7)
        float_domain("uint4-min-torchao", x, x.shape, 0, 15)
        float_domain("uint8-min-torchao", x, x.shape, 0, 255)
        for dtype, kind in ((torch.float8_e4m3fn, "e4m3fn"), (torch.float8_e5m2, "e5m2")):
            float8(f"{kind}-torchao", x, x.shape, dtype)

    wide, _ = matrices()
    wide = np.ascontiguousarray(wide[:, :32])
    for granularity, block in (("axis0", (1, 32)), ("axis1", (4, 1)), ("g16", (1, 16)), ("b2x16", (2, 16))):
        for kind, dtype, low, high in integers:
            affine(f"{kind}-asym-{granularity}-torchao", wide, M.ASYMMETRIC, dtype, block, low, high)
            if kind[0] == "i":
                affine(f"{kind}-sym-{granularity}-torchao", wide, M.SYMMETRIC, dtype, block, low, high)
                affine(f"{kind}-sym-noclip-{granularity}-torchao", wide, M.SYMMETRIC_NO_CLIPPING_ERR, dtype, block, low, high)
        float_domain(f"uint4-min-{granularity}-torchao", wide, block, 0, 15)
        float8(f"e4m3fn-{granularity}-torchao", wide, block, torch.float8_e4m3fn)
    write("torchao", ["torchao", "torch"], cases)


def aiedge():
    from ai_edge_quantizer import qtyping as qt
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uq

    cases = []
    G = qt.QuantGranularity

    def add(scheme, x, bits, symmetric, granularity, axis=None, signed=True, block=0):
        if block:
            blocks = x.reshape(x.shape[0], -1, block)
            low, high = blocks.min(axis=2), blocks.max(axis=2)
        else:
            axes = tuple(i for i in range(x.ndim) if i != axis) if axis is not None else None
            low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
        with np.errstate(over="ignore"):
            zero, scale = uq.tensor_zp_scale_from_min_max(low, high, bits, symmetric, granularity, signed=signed)
        params = qt.UniformQuantParams(
            num_bits=bits,
            quantized_dimension=1 if block else axis,
            scale=scale,
            zero_point=zero,
            symmetric=symmetric,
            block_size=block,
            signed=signed,
        )
        if not np.isfinite(scale).all():
            return
        q = uq.uniform_quantize(x.copy(), params, is_blockwise_quant=bool(block))
        y = uq.uniform_dequantize(q.astype(np.float32), params)  # q - z would wrap around in its integers
        assert scale.dtype == y.dtype == np.float32
        cases.append(case(scheme, x, scale, zero, q.astype(np.int32), y.astype(np.float32)))

    for name, x in inputs().items():
        for bits in (8, 4, 2, 16):
            if bits in (2, 16) and name not in ("normal", "positive", "zeros"):
                continue
            add(f"int{bits}-sym-aiedge", x, bits, True, G.TENSORWISE)
            if bits != 2:
                add(f"int{bits}-asym-aiedge", x, bits, False, G.TENSORWISE)
                add(f"uint{bits}-asym-aiedge", x, bits, False, G.TENSORWISE, signed=False)
    wide, _ = matrices()
    wide = np.ascontiguousarray(wide[:, :32])
    for bits in (8, 4):
        for axis in (0, 1):
            add(f"int{bits}-sym-axis{axis}-aiedge", wide, bits, True, G.CHANNELWISE, axis)
            add(f"int{bits}-asym-axis{axis}-aiedge", wide, bits, False, G.CHANNELWISE, axis)
        rng = np.random.default_rng(7)
        blocks = np.concatenate([rng.normal(size=(2, 64)), np.repeat(wide[3:], 2, axis=1)]).astype(np.float32)
        add(f"int{bits}-sym-g32-aiedge", blocks, bits, True, G.BLOCKWISE_32, block=32)
    write("aiedge", ["ai-edge-quantizer"], cases)


def packing():
    from onnx import TensorProto as tp
    from onnx import helper as h
    from onnx import numpy_helper as nh

    rows = []
    rng = np.random.default_rng(1)
    types = {
        "int4": (tp.INT4, ml_dtypes.int4, -8, 7),
        "uint4": (tp.UINT4, ml_dtypes.uint4, 0, 15),
        "int2": (tp.INT2, ml_dtypes.int2, -2, 1),
        "uint2": (tp.UINT2, ml_dtypes.uint2, 0, 3),
        "e2m1": (tp.FLOAT4E2M1, ml_dtypes.float4_e2m1fn, 0, 15),
    }
    for name, (kind, dtype, low, high) in types.items():
        for n in (1, 2, 3, 4, 5, 6, 7, 8, 33):
            codes = rng.integers(low, high + 1, size=n)
            values = codes.astype(np.uint8).view(dtype) if name == "e2m1" else codes.astype(dtype)
            raw = nh.from_array(values).raw_data
            tensor = h.make_tensor("t", kind, [n], values.astype(np.float32) if name == "e2m1" else codes.tolist())
            back = nh.to_array(nh.from_array(values))
            assert back.astype(np.float32).tolist() == values.astype(np.float32).tolist()
            packed = np.array(list(tensor.int32_data), np.uint8).tobytes()
            assert raw == packed, (name, n, raw.hex(), packed.hex())
            rows.append({"type": name, "codes": codes.tolist(), "packed": raw.hex()})
    write("packing", ["onnx", "ml_dtypes"], rows)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
