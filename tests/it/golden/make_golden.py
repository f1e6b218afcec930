"""Makes the golden vectors of this directory from the packages whose arithmetic the conventions follow.

    python make_golden.py original   # numpy                  -> original.json
    python make_golden.py onnx       # onnxruntime, onnx      -> onnx.json
    python make_golden.py pytorch    # torch                  -> pytorch.json
    python make_golden.py tflite     # ai-edge-litert, tflite -> tflite.json

The versions used are in the files. Floats are written so that they read back exactly. A case is

    scheme, dtype, shape, input           what goes in
    given                                 whether scale and zero_point were given rather than computed
    scale, zero_point, codes, output      what comes out; codes may be null where the package shows none
"""

import json
import sys

import numpy as np

NOTEBOOK = [
    79.63, 100.75, 47.9, 85.26, -19.68, 91.28, 82.59, -7.12, 90.24, 60.92,
    67.78, 27.35, 115.33, 143.0, 104.42, 84.64, 146.59, 51.34, 125.74, 126.03,
]  # fmt: skip


def inputs():
    rng = np.random.default_rng(20240229)
    spiky = rng.normal(size=96)
    spiky[7] = 50.0
    return {
        "notebook": np.array(NOTEBOOK),
        "normal": rng.normal(size=200),
        "uniform": rng.uniform(-1, 3, size=200),
        "positive": rng.uniform(2, 5, size=60),
        "negative": -rng.uniform(0.5, 0.7, size=60),
        "spiky": spiky,
        "large": rng.normal(size=40) * 1e30,
        "small": rng.normal(size=40) * 1e-3,
        "tiny": rng.normal(size=40) * 1e-7,
        "tenths": np.round(rng.uniform(-6.3, 6.4, size=200), 1),
        "constant": np.full(5, 3.0),
        "zeros": np.zeros(5),
    }


def case(scheme, x, scale, zero_point, codes, output, given=False):
    flat = lambda a: None if a is None else [v.item() for v in np.asarray(a).ravel()]
    return {
        "scheme": scheme,
        "dtype": {"float32": "f32", "float64": "f64"}[str(x.dtype)],
        "shape": list(x.shape),
        "input": flat(x),
        "given": given,
        "scale": flat(scale),
        "zero_point": [int(z) for z in np.asarray(zero_point).ravel()],
        "codes": flat(codes),
        "output": flat(output),
    }


def write(name, versions, cases):
    with open(f"{name}.json", "w") as f:
        f.write(json.dumps({"versions": versions, "cases": []})[:-2])
        f.write("\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


def original():
    """The formulas of the notebook this library began as."""
    cases = []
    for name, x in inputs().items():
        if name in ("constant", "zeros"):
            continue
        for bits in (1, 2, 3, 4, 8, 12, 16):
            scale = (np.max(x) - np.min(x)) / (2**bits - 1)
            zero = -1 * np.round(np.min(x) / scale)
            codes = np.clip(np.round(x / scale + zero), 0, 2**bits - 1).astype(np.int32)
            cases.append(case(f"uint{bits}-asym-original", x, scale, zero, codes, (codes - zero) * scale))
            if bits >= 2:
                scale = np.max(np.abs(x)) / (2 ** (bits - 1) - 1)
                codes = np.clip(np.round(x / scale), -(2**bits) - 1, 2 ** (bits - 1) - 1).astype(np.int32)
                cases.append(case(f"int{bits}-sym-original", x, scale, 0, codes, codes * scale))
    write("original", {"numpy": np.__version__}, cases)


def onnx():
    import onnx as ox
    import onnxruntime as ort
    from onnx import TensorProto as tp
    from onnx import helper as h
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    def run(nodes, feeds, outputs, opset=21):
        types = {np.dtype("float32"): tp.FLOAT, np.dtype("uint8"): tp.UINT8, np.dtype("int8"): tp.INT8}
        types |= {np.dtype("uint16"): tp.UINT16, np.dtype("int16"): tp.INT16}
        ins = [h.make_tensor_value_info(k, types[v.dtype], v.shape) for k, v in feeds.items()]
        outs = [h.make_tensor_value_info(k, t, None) for k, t in outputs.items()]
        model = h.make_model(h.make_graph(nodes, "g", ins, outs), opset_imports=[h.make_opsetid("", opset)], ir_version=10)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(list(outputs), feeds)

    cases = []
    for x in inputs().values():
        x = x.astype(np.float32)
        q, s, z = run(
            [h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])],
            {"x": x},
            {"q": tp.UINT8, "s": tp.FLOAT, "z": tp.UINT8},
        )
        (y,) = run([h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], {"q": q, "s": s, "z": z}, {"y": tp.FLOAT})
        cases.append(case("uint8-asym", x, s, z, q, y))

        # Static quantization in every 8- and 16-bit type, with the scale of onnxruntime's quantizer where it is symmetric.
        for name, dtype, otype, low, high in [
            ("int8-sym", np.int8, tp.INT8, -127, 127),
            ("int16-sym", np.int16, tp.INT16, -32767, 32767),
            ("uint8-sym", np.uint8, tp.UINT8, 0, 255),
        ]:
            zp, scale = compute_scale_zp(x.min(), x.max(), np.array(low, dtype), np.array(high, dtype), symmetric=True)
            s, z = np.float32(scale), dtype(zp)
            feeds = {"x": x, "s": np.array(s), "z": np.array(z)}
            (q,) = run([h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])], feeds, {"q": otype})
            feeds = {"q": q, "s": np.array(s), "z": np.array(z)}
            (y,) = run([h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], feeds, {"y": tp.FLOAT})
            cases.append(case(name, x, s, z, q, y))
        for name, dtype, otype in [
            ("uint8-asym", np.uint8, tp.UINT8),
            ("int8-asym", np.int8, tp.INT8),
            ("uint16-asym", np.uint16, tp.UINT16),
            ("int16-asym", np.int16, tp.INT16),
        ]:
            for scale, zero_point in [(0.2, 3), (0.05, 17), (1.0, 0), (0.1, 101)]:
                s, z = np.float32(scale), dtype(zero_point)
                feeds = {"x": x, "s": np.array(s), "z": np.array(z)}
                (q,) = run([h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])], feeds, {"q": otype})
                feeds = {"q": q, "s": np.array(s), "z": np.array(z)}
                (y,) = run([h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], feeds, {"y": tp.FLOAT})
                cases.append(case(name, x, s, z, q, y, given=True))
    # The pair of fbgemm's QuantUtils.h: dividing gives 127.499992, multiplying by the reciprocal 127.5.
    x, s, z = np.array([0.273939937], np.float32), np.float32(0.00214854861), np.int8(0)
    (q,) = run(
        [h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])], {"x": x, "s": np.array(s), "z": np.array(z)}, {"q": tp.INT8}
    )
    cases.append(case("int8-asym", x, s, z, q, q * s, given=True))
    write("onnx", {"onnxruntime": ort.__version__, "onnx": ox.__version__, "numpy": np.__version__}, cases)


def pytorch():
    import torch
    from torch.ao.quantization import observer as ob

    cases = []

    def add(scheme, x, observer, channel_axis=None):
        observer(x)
        scale, zero_point = observer.calculate_qparams()
        low, high = observer.quant_min, observer.quant_max
        if channel_axis is None:
            y = torch.fake_quantize_per_tensor_affine(x, scale.item(), int(zero_point.item()), low, high)
        else:
            y = torch.fake_quantize_per_channel_affine(x, scale, zero_point.int(), channel_axis, low, high)
        codes = None
        if (low, high) in [(0, 255), (-128, 127)] and channel_axis is None:
            codes = torch.quantize_per_tensor(x, scale.item(), int(zero_point.item()), observer.dtype).int_repr().numpy()
        cases.append(case(scheme, x.numpy(), scale.numpy(), zero_point.numpy(), codes, y.numpy()))

    for name, x in inputs().items():
        x = torch.from_numpy(x.astype(np.float32))
        affine, symmetric = torch.per_tensor_affine, torch.per_tensor_symmetric
        add("uint8-asym-pytorch", x, ob.MinMaxObserver(dtype=torch.quint8, qscheme=affine))
        add("int8-asym-pytorch", x, ob.MinMaxObserver(dtype=torch.qint8, qscheme=affine))
        add("int8-sym-pytorch", x, ob.MinMaxObserver(dtype=torch.qint8, qscheme=symmetric))
        add("uint8-sym-pytorch", x, ob.MinMaxObserver(dtype=torch.quint8, qscheme=symmetric))
        add("uint4-asym-pytorch", x, ob.MinMaxObserver(dtype=torch.quint8, qscheme=affine, quant_min=0, quant_max=15))
        add("int4-sym-pytorch", x, ob.MinMaxObserver(dtype=torch.qint8, qscheme=symmetric, quant_min=-8, quant_max=7))
        add("uint4-sym-pytorch", x, ob.MinMaxObserver(dtype=torch.quint8, qscheme=symmetric, quant_min=0, quant_max=15))
        add("int3-asym-pytorch", x, ob.MinMaxObserver(dtype=torch.qint8, qscheme=affine, quant_min=-4, quant_max=3))
    x = torch.from_numpy(inputs()["normal"].astype(np.float32).reshape(10, 20))
    for axis in (0, 1):
        for name, dtype, scheme in [
            (f"uint8-asym-axis{axis}-pytorch", torch.quint8, torch.per_channel_affine),
            (f"int8-sym-axis{axis}-pytorch", torch.qint8, torch.per_channel_symmetric),
        ]:
            add(name, x, ob.PerChannelMinMaxObserver(ch_axis=axis, dtype=dtype, qscheme=scheme), axis)
    write("pytorch", {"torch": torch.__version__, "numpy": np.__version__}, cases)


def tflite():
    """QUANTIZE and DEQUANTIZE of the runtime; it has no kernel that computes parameters, so they are given."""
    from importlib.metadata import version

    import flatbuffers
    import tflite as tf
    from ai_edge_litert.interpreter import Interpreter

    def model(n, dtype, scale, zero_point):
        b = flatbuffers.Builder(1024)

        def vector(items, start, add):
            start(b, len(items))
            for item in reversed(items):
                add(item)
            return b.EndVector()

        names = [b.CreateString(name) for name in ("x", "q", "y")]
        shapes = [vector([n], tf.TensorStartShapeVector, b.PrependInt32) for _ in names]
        scales = vector([scale], tf.QuantizationParametersStartScaleVector, b.PrependFloat32)
        zero_points = vector([zero_point], tf.QuantizationParametersStartZeroPointVector, b.PrependInt64)
        tf.QuantizationParametersStart(b)
        tf.QuantizationParametersAddScale(b, scales)
        tf.QuantizationParametersAddZeroPoint(b, zero_points)
        quantization = tf.QuantizationParametersEnd(b)
        tensors = []
        for name, shape, kind in zip(names, shapes, [tf.TensorType.FLOAT32, dtype, tf.TensorType.FLOAT32]):
            tf.TensorStart(b)
            tf.TensorAddShape(b, shape)
            tf.TensorAddType(b, kind)
            tf.TensorAddBuffer(b, 0)
            tf.TensorAddName(b, name)
            if kind != tf.TensorType.FLOAT32:
                tf.TensorAddQuantization(b, quantization)
            tensors.append(tf.TensorEnd(b))
        operators = []
        for index, (source, target) in enumerate([(0, 1), (1, 2)]):
            ins = vector([source], tf.OperatorStartInputsVector, b.PrependInt32)
            outs = vector([target], tf.OperatorStartOutputsVector, b.PrependInt32)
            tf.OperatorStart(b)
            tf.OperatorAddOpcodeIndex(b, index)
            tf.OperatorAddInputs(b, ins)
            tf.OperatorAddOutputs(b, outs)
            operators.append(tf.OperatorEnd(b))
        codes = []
        for code in (tf.BuiltinOperator.QUANTIZE, tf.BuiltinOperator.DEQUANTIZE):
            tf.OperatorCodeStart(b)
            tf.OperatorCodeAddDeprecatedBuiltinCode(b, code)
            tf.OperatorCodeAddBuiltinCode(b, code)
            tf.OperatorCodeAddVersion(b, 1)
            codes.append(tf.OperatorCodeEnd(b))
        tensors = vector(tensors, tf.SubGraphStartTensorsVector, b.PrependUOffsetTRelative)
        ins = vector([0], tf.SubGraphStartInputsVector, b.PrependInt32)
        outs = vector([1, 2], tf.SubGraphStartOutputsVector, b.PrependInt32)
        operators = vector(operators, tf.SubGraphStartOperatorsVector, b.PrependUOffsetTRelative)
        tf.SubGraphStart(b)
        tf.SubGraphAddTensors(b, tensors)
        tf.SubGraphAddInputs(b, ins)
        tf.SubGraphAddOutputs(b, outs)
        tf.SubGraphAddOperators(b, operators)
        graphs = vector([tf.SubGraphEnd(b)], tf.ModelStartSubgraphsVector, b.PrependUOffsetTRelative)
        codes = vector(codes, tf.ModelStartOperatorCodesVector, b.PrependUOffsetTRelative)
        tf.BufferStart(b)
        buffers = vector([tf.BufferEnd(b)], tf.ModelStartBuffersVector, b.PrependUOffsetTRelative)
        tf.ModelStart(b)
        tf.ModelAddVersion(b, 3)
        tf.ModelAddOperatorCodes(b, codes)
        tf.ModelAddSubgraphs(b, graphs)
        tf.ModelAddBuffers(b, buffers)
        b.Finish(tf.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    cases = []
    for x in inputs().values():
        x = x.astype(np.float32)
        if np.abs(x).max() > 1e9:
            continue  # x / scale must fit an int32 there
        for name, dtype, choices in [
            ("int8-asym-tflite", tf.TensorType.INT8, [(0.2, 3), (0.05, -17), (1.0, 0), (0.1, 101)]),
            ("uint8-asym-tflite", tf.TensorType.UINT8, [(0.2, 3), (0.05, 17), (1.0, 0), (0.1, 101)]),
            ("int16-sym-full-tflite", tf.TensorType.INT16, [(0.2, 0), (0.001, 0)]),
        ]:
            for scale, zero_point in choices:
                # Kernels of the runtime itself: its delegate computes with another rounding.
                interpreter = Interpreter(
                    model_content=model(len(x), dtype, scale, zero_point), experimental_op_resolver_type=reference_kernels()
                )
                interpreter.allocate_tensors()
                interpreter.set_tensor(0, x)
                interpreter.invoke()
                q, y = interpreter.get_tensor(1).copy(), interpreter.get_tensor(2).copy()
                cases.append(case(name, x, np.float32(scale), zero_point, q, y, given=True))
    write("tflite", {"ai-edge-litert": version("ai-edge-litert"), "tflite": version("tflite"), "numpy": np.__version__}, cases)


def reference_kernels():
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_REF


if __name__ == "__main__":
    {"original": original, "onnx": onnx, "pytorch": pytorch, "tflite": tflite}[sys.argv[1]]()
