"""Writes the .f32 files beside it from the weights of all-MiniLM-L6-v2.

    python3 notebooks/data/slice.py model.safetensors

model.safetensors is the file of this name at https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2. A tensor that was cut to the same
rows before is taken as it is.
"""

import json
import pathlib
import struct
import sys

# File, tensor, and the rows that are kept; None keeps all.
SLICES = [
    ("query.weight", "encoder.layer.0.attention.self.query.weight", None),
    ("word_embeddings", "embeddings.word_embeddings.weight", (2000, 2256)),
    ("output.dense", "encoder.layer.0.output.dense.weight", (32, 160)),
    ("layer_norm", "embeddings.LayerNorm.weight", None),
]


def main(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    for file, tensor, rows in SLICES:
        entry = header[tensor]
        assert entry["dtype"] == "F32", entry
        start, end = entry["data_offsets"]
        count, *row = entry["shape"]
        if rows and count > rows[1] - rows[0]:
            row_bytes = (end - start) // count
            start, end = start + rows[0] * row_bytes, start + rows[1] * row_bytes
            count = rows[1] - rows[0]
        out = pathlib.Path(__file__).parent / f"minilm-l6.{file}.f32"
        out.write_bytes(values[start:end])
        print(out.name, [count, *row])


main(sys.argv[1])
