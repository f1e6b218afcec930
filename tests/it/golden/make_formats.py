"""Makes golden vectors of small floating-point formats and of the block formats built on them.

    python make_formats.py decode    # ml_dtypes -> minifloat_decode.json
    python make_formats.py encode    # ml_dtypes -> minifloat_encode_f16.json, minifloat_encode_f32.json
    python make_formats.py mx        # torchao, gfloat, mlx, nvidia-modelopt -> mx.json
    python make_formats.py nvfp4     # torchao, nvidia-modelopt, mlx -> nvfp4.json
    python make_formats.py nf4       # bitsandbytes -> nf4.json

The versions used are in the files. In `minifloat_decode.json`, `formats.NAME[code]` is the value of every code, exact as an f64; values
that are not finite are the strings "NaN", "Infinity" and "-Infinity".

`minifloat_encode_f16.json`: what each of the 65 536 float16 inputs is cast to (through float32, which is exact). The input is its bits as
a u16. Codes are run-length encoded: `[start, code]` says that inputs from `start` up to the next run's start have that code. `plain` is
the package's own cast, which does not saturate; `saturated` clips to the largest finite values first (also infinities), leaving NaN
alone. The formats without NaN have NaN inputs in them all the same, as the package casts them: `has_nan` says which to skip.

`minifloat_encode_f32.json`: `inputs` are the bits of f32 as hex, 8 digits each, in one string; `plain` and `saturated` of each format are
two hex digits for each input. `f16` and `bf16` are four hex digits for each input (numpy and ml_dtypes; no saturation).

e8m0 holds neither zero nor sign: negative inputs and 0 give NaN there (in `saturated`, 0 is clipped to 2^-127). Test its non-negative
inputs only.

In the block formats' files everything is hex in row-major order: f32 bits 8 digits each (`bits`, `output`, `tensor_scale`, `absmax`),
bytes of codes and scales 2 digits each, codes unpacked to one a byte. `inputs` holds the tensors that the cases name.

`mx.json`, blocks of 32 along the last axis. `source` is what was run: `torchao` to_mx and to_dtype (eager, on the CPU); `gfloat`
encode_block with exact float64 scales (2^-127 to 2^127) computed here by the formula of `scale`; `mlx` quantize (CPU) and `modelopt`
MX*QTensor, dequantized to f32. `output` is there only where it is not the f32 nearest to value of code * 2^(scale - 127). `inexact` lists
blocks where torchao's float32 log2 gives another scale than exact arithmetic would.

`nvfp4.json`, blocks of 16 along the last axis; `tensor_scale` is null where there is none.

`nf4.json`: bitsandbytes' quantize_4bit and dequantize_4bit on the CPU. `packed` has two codes a byte with the first element in the high
nibble, and for an odd count the code of a zero after the last; `absmax` is one f32 a block. Nested cases have `offset` (f32),
`absmax_codes` (a byte a block of elements, indices into `dynamic_map`), `absmax_absmax` (f32 for each 256 of those) and `absmax` as they
decode to. `decode` is what the 16 codes decode to. `blockwise8`: quantize_blockwise with the dynamic map. The CPU library's search in
that map misses the nearest entry now and then; `*_nearest` is what the package's backend without the library finds. `packed_cuda` is not
run: FP4 by the thresholds that its CUDA kernel has, where ties go to the lower magnitude and a negative number too small for the format
is -0; the CPU's go to the lower value, and the sign of its zeros is arbitrary.
"""

import json
import sys

import ml_dtypes
import numpy as np

FORMATS = {
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e4m3": ml_dtypes.float8_e4m3,
    "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e3m4": ml_dtypes.float8_e3m4,
    "e5m2": ml_dtypes.float8_e5m2,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
}
VERSIONS = {"ml_dtypes": ml_dtypes.__version__, "numpy": np.__version__}


def values(name):
    dtype = FORMATS[name]
    return np.arange(1 << ml_dtypes.finfo(dtype).bits, dtype=np.uint8).view(dtype).astype(np.float64)


def number(v):
    v = float(v)
    return v if np.isfinite(v) else "NaN" if np.isnan(v) else "Infinity" if v > 0 else "-Infinity"


def decode():
    with open("minifloat_decode.json", "w") as f:
        rows = [f'"{name}": {json.dumps([number(v) for v in values(name)])}' for name in FORMATS]
        f.write(f'{{"versions": {json.dumps(VERSIONS)}, "formats": {{\n' + ",\n".join(rows) + "\n}}\n")


def cast(name, x, saturate):
    if saturate:
        table = values(name)
        finite = table[np.isfinite(table)]
        x = np.clip(x, np.float32(finite.min()), np.float32(finite.max()))
    with np.errstate(all="ignore"):
        return x.astype(FORMATS[name]).view(np.uint8)


def runs(codes):
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    return [[int(s), int(codes[s])] for s in starts]


def f32_inputs():
    """Midpoints of neighbours in every format and one step to each side, thresholds of overflow, subnormals, random values; both signs."""
    rng = np.random.default_rng(20240229)
    positive = [0.0]
    for name in FORMATS:
        table = np.unique(values(name)[np.isfinite(values(name)) & (values(name) >= 0)])
        mid = (table[1:] + table[:-1]) / 2
        top, step = table[-1], table[-1] - table[-2]
        if name == "e8m0":
            mid, top = mid[::16], 0.0
        positive += [*mid, top, top + step / 2, top + step, top * 2]
    positive = np.unique(np.array(positive).astype(np.float32))
    positive = positive[np.isfinite(positive)]
    around = [np.nextafter(positive, np.float32(0)), positive, np.nextafter(positive, np.float32(np.inf))]
    random = [
        np.abs(rng.normal(size=300)).astype(np.float32),
        np.exp2(rng.uniform(-30, 20, size=500)).astype(np.float32),
        np.exp2(rng.uniform(-149, 128, size=300)).astype(np.float32),
        rng.integers(0, 0x00800000, size=60).astype(np.uint32).view(np.float32),
        # Halfway between two bf16 and two f16, and near it.
        ((rng.integers(0x3000, 0x5000, size=60).astype(np.uint32) << 16) | 0x8000).view(np.float32),
        ((rng.integers(0x3000, 0x5000, size=30).astype(np.uint32) << 16) | 0x7FFF).view(np.float32),
        ((rng.integers(0x3000, 0x5000, size=30).astype(np.uint32) << 16) | 0x8001).view(np.float32),
        ((rng.integers(0x38800000 >> 13, 0x477FE000 >> 13, size=60).astype(np.uint32) << 13) | 0x1000).view(np.float32),
        (rng.integers(0, 1024, size=60) + np.float64(0.5)).astype(np.float32) * np.float32(2.0**-24),
        np.array([1, 2, 3, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F7F8000, 0x7F7F7FFF, 0x7F800000], np.uint32).view(np.float32),
        np.array([65504, 65519.996, 65520, 65536], np.float32),
    ]
    positive = np.unique(np.concatenate([*around, *random]).view(np.uint32))
    nan = np.array([0x7FC00000, 0xFFC00000], np.uint32)
    return np.concatenate([positive, positive | 0x80000000, nan]).astype(np.uint32).view(np.float32)


def encode():
    x = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    write_formats("minifloat_encode_f16.json", {}, lambda name, saturate: runs(cast(name, x, saturate)))

    x = f32_inputs()
    with np.errstate(all="ignore"):
        f16, bf16 = x.astype(np.float16).view(np.uint16), x.astype(ml_dtypes.bfloat16).view(np.uint16)
    head = {
        "count": len(x),
        "inputs": x.astype(">f4").tobytes().hex(),
        "f16": f16.astype(">u2").tobytes().hex(),
        "bf16": bf16.astype(">u2").tobytes().hex(),
    }
    write_formats("minifloat_encode_f32.json", head, lambda name, saturate: cast(name, x, saturate).tobytes().hex())


def write_formats(file, head, codes):
    with open(file, "w") as f:
        rows = []
        for name in FORMATS:
            kinds = {"has_nan": bool(np.isnan(values(name)).any()), "has_inf": bool(np.isinf(values(name)).any())}
            kinds |= {"plain": codes(name, False), "saturated": codes(name, True)}
            rows.append(f'"{name}": {json.dumps(kinds)}')
        f.write(json.dumps({"versions": VERSIONS} | head)[:-1] + ', "formats": {\n' + ",\n".join(rows) + "\n}}\n")


def hex32(x):
    return np.ascontiguousarray(x, np.float32).astype(">f4").tobytes().hex()


def hex8(x):
    return np.ascontiguousarray(x).astype(np.uint8).tobytes().hex()


def write_blocks(file, versions, inputs, cases, **head):
    with open(file, "w") as f:
        rows = [f'"{k}": {json.dumps({"shape": list(v.shape), "bits": hex32(v)})}' for k, v in inputs.items()]
        f.write(json.dumps({"versions": versions | {"numpy": np.__version__}} | head)[:-1])
        f.write(', "inputs": {\n' + ",\n".join(rows) + '\n}, "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


def version(package):
    from importlib.metadata import version as of

    return of(package)


def block_inputs():
    rng = np.random.default_rng(20240229)
    normal = rng.normal(size=(8, 64)) * np.exp2(np.arange(8) * 5 - 20)[:, None]

    mids = {
        name: np.convolve(np.unique(np.abs(values(name)[np.isfinite(values(name))])), [0.5, 0.5], "valid")
        for name in ("e2m1", "e2m3", "e3m2", "e4m3fn")
    }

    def ties(name, top, n=32):
        """Elements halfway between two of the format, in a block whose scale is 1 when `top` is its largest."""
        sign = np.where(np.arange(n - 1) % 2, -1, 1)
        some = mids[name][mids[name] < top]
        return np.r_[top, np.resize(some[:: max(1, len(some) // (n - 1))], n - 1) * sign]

    edges = np.zeros((8, 64))
    edges[0] = rng.normal(size=64)
    edges[0, 7], edges[0, 40] = 50.0, -1e4
    edges[1, 32:] = 3.0
    edges[2] = np.r_[rng.integers(-(2**22), 2**22, size=32) * 2.0**-149, rng.normal(size=32) * 2.0**-122]
    edges[3] = np.r_[rng.uniform(-3.4e38, 3.4e38, size=32), rng.normal(size=32)]
    edges[3, 5], edges[3, 45] = 3.4e38, 3e38
    edges[4] = np.r_[ties("e2m1", 6.0), ties("e4m3fn", 448.0)]
    edges[5] = np.r_[ties("e2m3", 7.5), ties("e3m2", 28.0)]
    edges[6] = np.round(rng.uniform(-6.3, 6.4, size=64), 1)
    edges[7] = np.r_[np.full(32, -0.0), rng.normal(size=32) * 1e-3]

    # The largest magnitude on, and one f32 step to each side of, every place where some rule changes its mind.
    tops = []
    for m in (1.0, np.sqrt(2), 1.5, 1.75, 1.875, 1.9375):
        m = np.float32(m)
        tops += [np.nextafter(m, np.float32(0)), m, np.nextafter(m, np.float32(2))]
    tops = np.array(tops, np.float64)
    thresholds = rng.uniform(-0.9, 0.9, size=(len(tops), 32)) * tops[:, None]
    thresholds[np.arange(len(tops)), np.arange(len(tops)) % 32] = tops * np.where(np.arange(len(tops)) % 3, 1, -1)
    thresholds = np.concatenate([thresholds, thresholds * np.exp2(rng.integers(-100, 100, size=len(tops)))[:, None]])
    return {k: v.astype(np.float32) for k, v in {"normal": normal, "edges": edges, "thresholds": thresholds}.items()}


MX = {"mxfp8_e4m3": "e4m3fn", "mxfp8_e5m2": "e5m2", "mxfp6_e2m3": "e2m3", "mxfp6_e3m2": "e3m2", "mxfp4": "e2m1", "mxint8": "int8"}


def exponent(rule, amax, name):
    """The exponent of the scale, exactly, within -127..127."""
    top, bits = (127 / 64, 6) if name == "int8" else (np.nanmax(values(name)[np.isfinite(values(name))]), int(name[3]))
    amax, top = float(amax), float(top)
    if amax == 0:
        return -127
    mantissa, power = np.frexp(amax)  # amax = mantissa * 2^power with mantissa in 0.5..1
    top_power = np.frexp(top)[1]
    if rule == "floor":
        e = power - top_power
    elif rule == "ceil":
        e = power - top_power + (mantissa > 0.5)
    elif rule == "rceil":  # the smallest power of two with amax / 2^e <= top
        e = power - top_power
        e += amax / 2.0**e > top
    elif rule == "even":
        e = power - top_power + (mantissa * 2 + 2.0 ** -(bits + 1) >= 2)
    elif rule == "nearest":
        e = round(np.log2(amax / top))
    return int(np.clip(e, -127, 127))


def mx():
    import gfloat
    import mlx.core as mlx
    import torch
    from gfloat import formats as gf
    from modelopt.torch.quantization.qtensor.mxfp4_tensor import MXFP4QTensor
    from modelopt.torch.quantization.qtensor.mxfp8_tensor import MXFP8QTensor
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2
    from torchao.prototype.mx_formats.kernels import unpack_uint4
    from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx

    inputs, cases = block_inputs(), []

    def add(source, fmt, scale, name, scales, codes, output, **more):
        row = {"source": source, "format": fmt, "scale": scale, "input": name, "scales": hex8(scales), "codes": hex8(codes)}
        codes = np.asarray(codes, np.uint8).reshape(-1, 32)
        table = np.arange(256, dtype=np.uint8).view(np.int8) / 64 if fmt == "mxint8" else values(MX[fmt])
        with np.errstate(over="ignore"):
            plain = (table[codes] * np.exp2(np.asarray(scales, np.float64).reshape(-1, 1) - 127)).astype(np.float32)
        if not np.array_equal(plain.ravel(), np.asarray(output).ravel()):
            row["output"] = hex32(output)
        cases.append(row | more)

    torch_types = {
        "mxfp8_e4m3": torch.float8_e4m3fn,
        "mxfp8_e5m2": torch.float8_e5m2,
        "mxfp6_e2m3": DTYPE_FP6_E2M3,
        "mxfp6_e3m2": DTYPE_FP6_E3M2,
        "mxfp4": torch.float4_e2m1fn_x2,
    }
    for name, x in inputs.items():
        amax = np.abs(x.reshape(-1, 32)).max(axis=1)
        for fmt, dtype in torch_types.items():
            for mode in ScaleCalculationMode:
                t = torch.from_numpy(x.copy())
                scales, codes = to_mx(t, dtype, 32, mode)
                y = to_dtype(codes, scales, dtype, 32, torch.float32).numpy()
                bytes_ = unpack_uint4(codes.view(torch.uint8)) if fmt == "mxfp4" else codes.view(torch.uint8)
                scales = scales.view(torch.uint8).numpy()
                exact = np.array([exponent(mode.value, a, MX[fmt]) + 127 for a in amax])
                more = {"inexact": [int(i) for i in np.flatnonzero(scales.ravel() != exact)]}
                add("torchao", fmt, mode.value, name, scales, bytes_.numpy(), y, **more)
        for fmt, element in MX.items():
            info = getattr(gf, "format_info_" + ("mxfp4_e2m1" if fmt == "mxfp4" else fmt))
            for rule in ("floor", "ceil", "rceil", "even", "nearest"):
                if name == "thresholds" and rule != "nearest" and fmt != "mxint8":
                    continue
                rows = []
                for block in x.reshape(-1, 32).astype(np.float64):
                    scale = 2.0 ** exponent(rule, np.abs(block).max(), element)
                    code = list(gfloat.encode_block(info, scale, block / scale))
                    with np.errstate(over="ignore"):
                        rows.append((code, np.array(list(gfloat.decode_block(info, code))).astype(np.float32)))
                codes = np.array([r[0] for r in rows])
                add("gfloat", fmt, rule, name, codes[:, 0], codes[:, 1:], np.array([r[1] for r in rows]))
        for fmt, mode in (("mxfp8_e4m3", "mxfp8"), ("mxfp4", "mxfp4")):
            if name == "edges":
                continue  # its log2 is wrong for subnormal numbers
            words, scales = mlx.quantize(mlx.array(x), mode=mode, stream=mlx.cpu)
            y = mlx.dequantize(words, scales, mode=mode, dtype=mlx.float32, stream=mlx.cpu)
            codes = np.array(words).view(np.uint8)
            codes = np.stack([codes & 15, codes >> 4], -1) if fmt == "mxfp4" else codes
            add("mlx", fmt, "mlx", name, np.array(scales), codes, np.array(y))
        t = torch.from_numpy(x.copy())
        q, scales = MXFP8QTensor.quantize(t)
        y = q.dequantize(torch.float32, scale=scales, block_sizes={-1: 32})
        add("modelopt", "mxfp8_e4m3", "rceil", name, scales.numpy(), q._quantized_data.view(torch.uint8).numpy(), y.numpy())
        q, scales = MXFP4QTensor.quantize(t, 32)
        y = q.dequantize(torch.float32, scale=scales, block_sizes={-1: 32})
        add("modelopt", "mxfp4", "rceil", name, scales.numpy(), unpack_uint4(q._quantized_data).numpy(), y.numpy())
    packages = {"torchao": "torchao", "torch": "torch", "gfloat": "gfloat", "mlx": "mlx", "modelopt": "nvidia-modelopt"}
    write_blocks("mx.json", {k: version(v) for k, v in packages.items()}, inputs, cases)


def nvfp4():
    import mlx.core as mlx
    import torch
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
    from torchao.prototype.mx_formats.kernels import unpack_uint4
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    inputs, cases = block_inputs(), []
    inputs["wide"] = inputs["edges"].copy()
    inputs["edges"][3] /= np.float32(2.0**120)
    rng = np.random.default_rng(1)
    # Largest magnitudes of blocks spread over the range of scales from 2^-12 to 448, and at ties between two of them.
    scales = np.r_[np.exp2(rng.uniform(-12, 8.8, size=20)), np.float64([448, 2**-6, 2**-9, 2**-10, 3 * 2**-10, 2**-11])]
    table = values("e4m3fn")[1:127]
    scales = np.r_[scales, (table[:-1] + table[1:])[::6] / 2]
    scales = np.r_[scales, np.exp2(rng.uniform(-6, 0, size=-len(scales) % 4))]
    blocks = rng.uniform(-6, 6, size=(len(scales), 16))
    blocks[:, 3] = 6.0
    inputs["scales"] = (blocks * scales[:, None]).astype(np.float32).reshape(-1, 64)
    inputs["zeros"] = np.zeros((1, 64), np.float32)

    def add(source, name, tensor_scale, scales, codes, output):
        row = {"source": source, "input": name, "tensor_scale": None if tensor_scale is None else hex32(tensor_scale)}
        cases.append(row | {"scales": hex8(scales), "codes": hex8(codes), "output": hex32(output)})

    for name, x in inputs.items():
        t = torch.from_numpy(x.copy())
        for levels in (1, 2):
            if name == "zeros" and levels == 2:
                continue  # 0 / 0
            s = per_tensor_amax_to_scale(t.abs().max()) if levels == 2 else None
            q = NVFP4Tensor.to_nvfp4(t, per_tensor_scale=s)
            codes = unpack_uint4(q.qdata.view(torch.uint8)).numpy()
            s = None if s is None else s.numpy()
            add("torchao", name, s, q.scale.view(torch.uint8).numpy(), codes, q.dequantize(torch.float32).numpy())
        if name != "zeros":
            q, scale, s = NVFP4QTensor.quantize(t.clone(), 16)
            y = q.dequantize(torch.float32, scale=scale, double_scale=s, block_sizes={-1: 16})
            codes = unpack_uint4(q._quantized_data).numpy()
            add("modelopt", name, s.numpy(), scale.view(torch.uint8).numpy(), codes, y.numpy())
        if name in ("normal", "scales"):
            words, scale = mlx.quantize(mlx.array(x), mode="nvfp4", stream=mlx.cpu)
            y = mlx.dequantize(words, scale, mode="nvfp4", dtype=mlx.float32, stream=mlx.cpu)
            codes = np.array(words).view(np.uint8)
            add("mlx", name, None, np.array(scale), np.stack([codes & 15, codes >> 4], -1), np.array(y))
    packages = {"torchao": "torchao", "torch": "torch", "mlx": "mlx", "modelopt": "nvidia-modelopt"}
    write_blocks("nvfp4.json", {k: version(v) for k, v in packages.items()}, inputs, cases)


def cuda_fp4(x):
    thresholds = np.array([0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333], np.float32)
    return np.array([0, 1, 6, 7, 4, 5, 2, 3])[(np.abs(x)[:, None] > thresholds).sum(axis=1)] + 8 * (x < 0)


def nf4():
    import torch
    from bitsandbytes import functional as bnb

    rng = np.random.default_rng(20240229)
    inputs = {
        "normal": rng.normal(size=1024),
        "many": (rng.normal(size=(300, 32)) * np.exp(rng.normal(size=(300, 1)))).ravel(),
        "odd": rng.normal(size=77),
    }
    inputs = {k: v.astype(np.float32) for k, v in inputs.items()}
    head = {}
    for kind in ("nf4", "fp4"):
        code = bnb.get_4bit_type(kind, device="cpu").numpy()
        head[kind] = {"decode": hex32(code)}
        # Every midpoint of two levels, and one f32 step to each side, in blocks whose largest is 1 or -1; a block of zeros, a constant one,
        # a spiky one, two that are nearly nothing.
        levels = np.unique(code)
        mid = (levels[1:] + levels[:-1]) / np.float32(2)
        around = np.concatenate([np.nextafter(mid, np.float32(-2)), mid, np.nextafter(mid, np.float32(2))])
        around = np.resize(around, 62)
        spiky = rng.normal(size=64)
        spiky[9] = -1e4
        blocks = [
            np.r_[around, 1.0, -0.0],
            np.r_[around, -1.0, 0.0],
            np.zeros(64),
            np.full(64, -3.0),
            spiky,
            rng.normal(size=64) * 1e-30,
            rng.normal(size=64) * 1e-39,
            rng.uniform(-3.4e38, 3.4e38, size=64),
        ]
        inputs[f"edges_{kind}"] = np.concatenate(blocks).astype(np.float32)
    dynamic = bnb.create_dynamic_map()
    op, default = torch.ops.bitsandbytes.quantize_blockwise.default, torch._C.DispatchKey.CompositeExplicitAutograd

    def raw(x, blocksize):
        return bnb.quantize_4bit(x, blocksize=blocksize, quant_type="nf4")[1].absmax

    head["dynamic_map"] = hex32(dynamic.numpy())

    cases = []
    for kind in ("nf4", "fp4"):
        for name, blocksize, nested in [
            ("normal", 64, False),
            ("normal", 128, False),
            ("normal", 32, False),
            (f"edges_{kind}", 64, False),
            ("odd", 64, False),
            ("odd", 32, False),
            ("normal", 64, True),
            ("many", 32, True),
        ]:
            x = torch.from_numpy(inputs[name].copy())
            packed, state = bnb.quantize_4bit(x, blocksize=blocksize, quant_type=kind, compress_statistics=nested)
            y = bnb.dequantize_4bit(packed, state)
            row = {"type": kind, "input": name, "blocksize": blocksize, "nested": nested, "packed": hex8(packed.numpy())}
            absmax = state.absmax
            if kind == "fp4":
                padded = np.concatenate([x.numpy(), np.zeros(-len(x) % blocksize, np.float32)]).reshape(-1, blocksize)
                top = np.maximum(np.abs(padded).max(axis=1, keepdims=True), np.float32(1e-38))
                codes = cuda_fp4((padded * (np.float32(1) / top)).ravel()[: len(x)])
                codes = np.append(codes, [0] * (len(x) % 2)).astype(np.uint8)  # 0 is coded 0
                row["packed_cuda"] = hex8(codes[::2] << 4 | codes[1::2])
            if nested:
                nearest, _ = op._op_dk(default, raw(x, blocksize) - state.offset, dynamic, 256)
                row["absmax_codes_nearest"] = hex8(nearest.numpy())
                row["offset"] = hex32(state.offset.numpy())
                row["absmax_codes"] = hex8(absmax.numpy())
                row["absmax_absmax"] = hex32(state.state2.absmax.numpy())
                assert state.state2.blocksize == 256 and torch.equal(state.state2.code, dynamic)
                absmax = bnb.dequantize_blockwise(absmax, state.state2) + state.offset
            row["absmax"] = hex32(absmax.numpy())
            if name != "many":
                row["output"] = hex32(y.numpy())
            cases.append(row)
    for name, blocksize in (("normal", 256), ("odd", 64)):
        x = torch.from_numpy(inputs[name].copy())
        codes, state = bnb.quantize_blockwise(x, blocksize=blocksize)
        y = bnb.dequantize_blockwise(codes, state)
        nearest, _ = op._op_dk(default, x, dynamic, blocksize)
        row = {"type": "blockwise8", "input": name, "blocksize": blocksize, "codes": hex8(codes.numpy())}
        row["codes_nearest"] = hex8(nearest.numpy())
        cases.append(row | {"absmax": hex32(state.absmax.numpy()), "output": hex32(y.numpy())})
    packages = {"bitsandbytes": "bitsandbytes", "torch": "torch"}
    write_blocks("nf4.json", {k: version(v) for k, v in packages.items()}, inputs, cases, **head)


if __name__ == "__main__":
    {"decode": decode, "encode": encode, "mx": mx, "nvfp4": nvfp4, "nf4": nf4}[sys.argv[1]]()
