"""Writes files/, model files as the formats' own packages write them, and files.json, what is in them.

    python make_files.py

Needs numpy 2.4.6, ml_dtypes 0.6.0, safetensors 0.8.0, gguf 0.19.0, onnx 1.23.2 and pyarrow 26.0.1. The values come from these packages too: f16,
bf16 and the floats of 8 bits by numpy and ml_dtypes, ggml's blocks by gguf's decoders.

files.json holds for each file its tensors, in the order that they are read in,

    name, shape, stored, dtype, bits

where bits are the hex digits of the values, big-endian, 8 for each f32 and 16 for each f64; and `skipped`, the names and how they are stored.
"""

import json
import shutil
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).parent / "files"
LISTED = {}


def bits(values):
    wide = np.float64 if values.dtype.itemsize == 8 else np.float32
    return np.ascontiguousarray(values).astype(wide).astype(">f8" if wide is np.float64 else ">f4").tobytes().hex()


def listed(file, tensors, skipped=()):
    """`tensors` are (name, how it is stored, the values as f32 or f64 in their shape)."""
    LISTED[file] = {
        "tensors": [
            {"name": name, "shape": list(values.shape), "stored": stored, "dtype": str(values.dtype), "bits": bits(values)}
            for name, stored, values in tensors
        ],
        "skipped": [{"name": name, "stored": stored} for name, stored in skipped],
    }


def wide(values):
    """As they are read: integers of more than 16 bits and f64 are f64, the rest f32."""
    values = np.asarray(values)
    is_f64 = (values.dtype.kind == "f" and values.dtype.itemsize == 8) or (values.dtype.kind in "iu" and values.dtype.itemsize > 2)
    return values.astype(np.float64 if is_f64 else np.float32)


RNG = np.random.default_rng(7)


def sample(dtype, shape):
    """Numbers of a float type with all that it has at its ends: zeros, subnormals, the largest, infinities and NaN where there are some."""
    values = (RNG.standard_normal(shape) * 3).astype(dtype)
    flat = values.reshape(-1)
    info = ml_dtypes.finfo(dtype)
    with np.errstate(over="ignore"):
        ends = np.array([0.0, -0.0, info.max, info.min, info.smallest_subnormal, np.inf, -np.inf, np.nan]).astype(dtype)
    flat[: min(len(ends), len(flat))] = ends[: len(flat)]
    return values


SAFETENSORS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
# As its writer calls them.
WRITER = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}


def write_safetensors(file, tensors, **metadata):
    kept = {name: np.frombuffer(values.tobytes() or b"\0", np.uint8) for name, _, values in tensors}
    specs = {
        name: safetensors.TensorSpec(
            dtype=WRITER[stored], shape=list(values.shape), data_ptr=kept[name].ctypes.data, data_len=values.nbytes
        )
        for name, stored, values in tensors
    }
    (OUT / file).write_bytes(safetensors.serialize(specs, metadata=metadata or None))


def in_file_order(file, tensors):
    raw = (OUT / file).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return sorted(tensors, key=lambda tensor: header[tensor[0]]["data_offsets"])


def make_safetensors():
    numbers = [(f"of {stored.lower()}", stored, sample(dtype, (3, 5))) for stored, dtype in SAFETENSORS.items()]
    every = np.arange(256, dtype=np.uint8)
    for stored in ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]:
        numbers.append((f"all {stored.lower()}", stored, every.view(SAFETENSORS[stored]).reshape(16, 16)))
    numbers.append(("all f8_e8m0", "F8_E8M0", every.view(ml_dtypes.float8_e8m0fnu)))
    numbers.append(("a number", "F32", np.float32(2.5).reshape(())))
    others = [
        ("i64", "I64", np.arange(3)),
        ("i32", "I32", np.arange(3, dtype=np.int32)),
        ("i8", "I8", np.arange(4, dtype=np.int8)),
        ("u8", "U8", np.arange(4, dtype=np.uint8)),
        ("bool", "BOOL", np.ones(3, bool)),
        ("empty", "F32", np.zeros((0, 4), np.float32)),
    ]
    write_safetensors("dtypes.safetensors", numbers + others, made_by="make_files.py")
    order = in_file_order("dtypes.safetensors", numbers + others)
    is_number = {name for name, _, _ in numbers}
    listed(
        "dtypes.safetensors",
        [(name, stored, wide(values)) for name, stored, values in order if name in is_number],
        [(name, stored) for name, stored, values in order if name not in is_number],
    )

    folder = OUT / "sharded"
    folder.mkdir()
    shards = {
        "model-00001-of-00002.safetensors": [("b", "F32", sample(np.float32, (2, 3))), ("ids", "I64", np.arange(2))],
        "model-00002-of-00002.safetensors": [("a", "F16", sample(np.float16, (9,)))],
    }
    for file, tensors in shards.items():
        write_safetensors(f"sharded/{file}", tensors)
    index = {"metadata": {"total_size": 58}, "weight_map": {name: file for file, tensors in shards.items() for name, _, _ in tensors}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    tensors = [(name, stored, wide(values)) for tensors in shards.values() for name, stored, values in tensors if stored != "I64"]
    listed("sharded", tensors, [("ids", "I64")])


def make_npy():
    arrays = {}
    for name in ["float64", "float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]:
        dtype = np.dtype(name)
        if dtype.kind == "f":
            arrays[name] = sample(dtype, (4, 3))
        else:
            info = np.iinfo(dtype)
            # What f64 holds of 64 bits.
            low, high = max(info.min, -(2**53)), min(info.max, 2**53)
            arrays[name] = np.array([[low, high, 1], [0, 2, high // 3]], dtype)
    for name, array in list(arrays.items()):
        if array.dtype.itemsize > 1:
            arrays[f"{name} big"] = array.astype(array.dtype.newbyteorder(">"))
    arrays["fortran"] = np.asfortranarray(sample(np.float32, (5, 7)))
    arrays["fortran 3"] = np.asfortranarray(RNG.standard_normal((4, 3, 5)))
    arrays["fortran 1"] = np.asfortranarray(sample(np.float32, (1, 9)))
    arrays["scalar"] = np.array(1.5)
    others = {
        "bool": np.ones(2, bool),
        "complex": np.ones(2, np.complex64),
        "text": np.array(["a", "bc"]),
        "bytes": np.array([b"a", b"bc"]),
        "time": np.array(["2020-01-01"], "datetime64[D]"),
        "record": np.zeros(2, [("a", "<f4"), ("b", "<i8", (2,))]),
        "bfloat16": np.ones(2, ml_dtypes.bfloat16),
        "object": np.array([None, 1], object),
        "none": np.zeros((3, 0), np.float32),
    }
    every = arrays | others
    np.savez(OUT / "arrays.npz", allow_pickle=True, **every)
    np.savez_compressed(OUT / "compressed.npz", allow_pickle=True, **every)

    def stored(array):
        descr = np.lib.format.dtype_to_descr(array.dtype)
        return descr if isinstance(descr, str) else repr(descr)

    tensors = [(name, stored(array), wide(array)) for name, array in arrays.items()]
    listed("arrays.npz", tensors, [(name, stored(array)) for name, array in others.items()])
    is_left_out = {"fortran", "fortran 3"}
    listed(
        "compressed.npz",
        [tensor for tensor in tensors if tensor[0] not in is_left_out],
        [(name, stored(array)) for name, array in every.items() if name in is_left_out or name in others],
    )
    for name in ["float32", "float64 big", "fortran", "fortran 3", "int64"]:
        file = f"{name.replace(' ', '_')}.npy"
        np.save(OUT / file, arrays[name])
        listed(file, [(file[:-4], stored(arrays[name]), wide(arrays[name]))])
    with open(OUT / "version_3.npy", "wb") as file:
        np.lib.format.write_array(file, arrays["float16"], version=(3, 0))
    listed("version_3.npy", [("version_3", "<f2", wide(arrays["float16"]))])


# The f16 numbers of a block: their offsets. Others would be larger than is likely.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
    "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [], "NVFP4": [], "TQ1_0": [52], "TQ2_0": [64],
}


def gguf_blocks(name, blocks):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    data = RNG.integers(0, 256, (blocks, size), dtype=np.uint8)
    for at in HALVES[name]:
        data[:, at : at + 2] = RNG.uniform(0.001, 0.1, blocks).astype("<f2").view(np.uint8).reshape(blocks, 2)
    if name == "MXFP4":
        data[:, 0] = RNG.integers(120, 130, blocks)
    if name == "NVFP4":
        data[:, :4] = RNG.integers(0x30, 0x48, (blocks, 4))
    return kind, elements, data


def make_gguf():
    for version in [2, 3]:
        writer = gguf.GGUFWriter(OUT / f"types_v{version}.gguf", "llama")
        writer.add_string("general.name", "quantlens")
        writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "ü"])
        writer.add_array("tokenizer.ggml.scores", [0.5, 1.0])
        writer.add_bool("a.flag", True)
        writer.add_float64("a.number", 2.5)
        if version == 2:
            writer.add_custom_alignment(64)
        tensors, skipped = [], []

        def add(name, values, kind):
            values = values.reshape(values.shape)
            data = values if values.dtype != ml_dtypes.bfloat16 else values.view(np.uint8)
            writer.add_tensor(name, data, raw_dtype=kind)

        for name, dtype in [("F32", np.float32), ("F16", np.float16), ("F64", np.float64)]:
            values = sample(dtype, (3, 5))
            writer.add_tensor(f"of {name}", values)
            tensors.append((f"of {name}", name, wide(values)))
        values = sample(ml_dtypes.bfloat16, (2, 4, 3))
        writer.add_tensor("of BF16", values.view(np.uint8).reshape(2, 4, 6), raw_dtype=gguf.GGMLQuantizationType.BF16)
        tensors.append(("of BF16", "BF16", wide(values)))
        for name in HALVES:
            kind, elements, data = gguf_blocks(name, 2)
            data = data.reshape(2, -1)
            writer.add_tensor(f"of {name}", data, raw_dtype=kind)
            tensors.append((f"of {name}", name, gguf.quants.dequantize(data, kind).astype(np.float32).reshape(2, elements)))
        writer.add_tensor("ids", np.arange(5, dtype=np.int32))
        skipped.append(("ids", "I32"))
        kind = gguf.GGMLQuantizationType.IQ2_XXS
        writer.add_tensor("iq2", RNG.integers(0, 256, (1, 66), dtype=np.uint8), raw_dtype=kind)
        skipped.append(("iq2", "IQ2_XXS"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if version == 2:
            # The writer has version 3 only; in little-endian files the two differ in the number alone.
            raw = bytearray((OUT / "types_v2.gguf").read_bytes())
            raw[4] = 2
            (OUT / "types_v2.gguf").write_bytes(raw)
        listed(f"types_v{version}.gguf", tensors, skipped)


ONNX = {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "FLOAT16": np.float16,
    "BFLOAT16": ml_dtypes.bfloat16,
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}


def onnx_model(initializers):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["c"], name="one", value=helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0]))
    node = helper.make_node("Add", ["x", "c"], ["y"], name="add")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([constant, node], "g", [x], [y], initializer=initializers)
    return helper.make_model(graph)


def typed(name, kind, values):
    """The same tensor, its values not as raw bytes but in the field for their type."""
    tensor = TensorProto(name=name, data_type=getattr(TensorProto, kind), dims=values.shape)
    if kind == "FLOAT":
        tensor.float_data.extend(values.reshape(-1).tolist())
    elif kind == "DOUBLE":
        tensor.double_data.extend(values.reshape(-1).tolist())
    else:
        width = np.uint8 if values.dtype.itemsize == 1 else np.uint16
        tensor.int32_data.extend(values.view(width).astype(np.int32).reshape(-1).tolist())
    return tensor


def make_onnx():
    tensors, initializers = [], []
    for kind, dtype in ONNX.items():
        values = sample(dtype, (3, 5))
        raw = TensorProto(name=f"raw {kind}", data_type=getattr(TensorProto, kind), dims=values.shape, raw_data=values.tobytes())
        initializers += [raw, typed(f"typed {kind}", kind, values)]
        tensors += [(f"raw {kind}", kind, wide(values)), (f"typed {kind}", kind, wide(values))]
    others = [numpy_helper.from_array(np.arange(3), "ids"), numpy_helper.from_array(np.arange(3, dtype=np.int8), "codes")]
    others.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"a"]))
    onnx.save(onnx_model(initializers + others), OUT / "initializers.onnx")
    skipped = [("ids", "INT64"), ("codes", "INT8"), ("text", "STRING"), ("c", "FLOAT")]
    listed("initializers.onnx", tensors, skipped)

    big, small = sample(np.float32, (20, 20)), sample(np.float16, (3,))
    model = onnx_model([numpy_helper.from_array(big, "big"), numpy_helper.from_array(small, "small")])
    onnx.save(model, OUT / "external.onnx", save_as_external_data=True, location="external.onnx.data", size_threshold=100)
    listed("external.onnx", [("big", "FLOAT", big), ("small", "FLOAT16", wide(small))], [("c", "FLOAT")])


def make_tables():
    rows = 50
    columns = {
        "f64": RNG.standard_normal(rows) * 10.0 ** RNG.integers(-30, 30, rows),
        "f32": RNG.standard_normal(rows).astype(np.float32),
        "i8": RNG.integers(-128, 128, rows).astype(np.int8),
        "u16": RNG.integers(0, 65536, rows).astype(np.uint16),
        "i32": RNG.integers(-(2**31), 2**31, rows).astype(np.int32),
        "u32": RNG.integers(0, 2**32, rows).astype(np.uint32),
        "i64": RNG.integers(-(2**53), 2**53, rows),
        "few": RNG.choice([0.5, -1.25, 3.0], rows),
    }
    names = {"f64": "DOUBLE", "f32": "FLOAT", "i8": "INT32 Int8", "u16": "INT32 UInt16", "i32": "INT32", "u32": "INT32 UInt32", "i64": "INT64"}
    others = {"text": [f"t{row % 3}" for row in range(rows)], "flag": [row % 2 == 0 for row in range(rows)]}
    table = pa.table(columns | {"f16": pa.array(columns["f32"].astype(np.float16))} | others | {"null": pa.array([None] + [1.0] * (rows - 1))})
    tensors = [(name, names.get(name, "DOUBLE"), wide(values)) for name, values in columns.items()]
    tensors.append(("f16", "FIXED_LEN_BYTE_ARRAY Float16", wide(columns["f32"].astype(np.float16))))
    writers = {
        "plain": {"compression": "NONE", "use_dictionary": False},
        "snappy": {"compression": "SNAPPY"},
        "zstd_v2": {"compression": "ZSTD", "data_page_version": "2.0"},
        "split": {"compression": "LZ4", "use_dictionary": False, "use_byte_stream_split": ["f64", "f32", "i32", "i64"]},
        "gzip_delta": {"compression": "GZIP", "use_dictionary": False, "column_encoding": {"i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED"}},
    }
    skipped = [("text", "BYTE_ARRAY String"), ("flag", "BOOLEAN"), ("null", "DOUBLE")]
    for name, options in writers.items():
        pq.write_table(table, OUT / f"{name}.parquet", row_group_size=20, data_page_size=64, write_batch_size=4, **options)
        listed(f"{name}.parquet", tensors, skipped)

    lines = [",".join(["f64", "few", "i64", "text", '"with, comma"'])]
    for row in range(rows):
        lines.append(f'{columns["f64"][row]!r},{columns["few"][row]},{columns["i64"][row]},"line\n{row}, ""x""",{row}.5'.replace("np.float64(", "").replace(")", ""))
    (OUT / "table.csv").write_text("\n".join(lines) + "\n")
    listed(
        "table.csv",
        [
            ("f64", "number", columns["f64"]),
            ("few", "number", columns["few"]),
            ("i64", "number", wide(columns["i64"])),
            ("with, comma", "number", np.arange(rows) + 0.5),
        ],
        [("text", "text")],
    )


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    make_safetensors()
    make_npy()
    make_gguf()
    make_onnx()
    make_tables()
    (OUT.parent / "files.json").write_text(json.dumps(LISTED, indent=1) + "\n")
