"""How the files are written: safetensors with a header in a fixed order, so that equal numbers give equal bytes."""

import json
import struct
from pathlib import Path

import torch

KINDS = {torch.float64: "F64", torch.int64: "I64"}


def save(path, tensors, **meta):
    """Tensors (f64 or i64) by name; settings and scalars as JSON strings in the file's metadata."""
    header, at, order = {"__metadata__": {k: json.dumps(v) for k, v in meta.items()}}, 0, sorted(tensors)
    for name in order:
        t = tensors[name].detach()
        header[name] = {"dtype": KINDS[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + 8 * t.numel()]}
        at += 8 * t.numel()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].detach().contiguous().numpy().tobytes())
    print(f"{Path(path).name}: {len(order)} tensors, {at} bytes")


def load(path):
    """({name: tensor}, metadata with its JSON read)."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    meta = {k: json.loads(v) for k, v in header.pop("__metadata__", {}).items()}
    types = {kind: dtype for dtype, kind in KINDS.items()}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + x for x in entry["data_offsets"])
        dtype = types[entry["dtype"]]
        values = (
            torch.frombuffer(bytearray(data[begin:end]), dtype=dtype) if end > begin else torch.empty(0, dtype=dtype)
        )
        tensors[name] = values.view(entry["shape"])
    return tensors, meta
