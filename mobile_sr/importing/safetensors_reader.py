"""Reader for .safetensors files: a length of 8 bytes, a JSON header with types, shapes and offsets, then the bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from mobile_sr.inference import weights

_TYPES = {  # bfloat16 is the upper half of a float32
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
}
_MAX_HEADER = 100 * 1024**2  # bytes, the format's own limit


def is_safetensors(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a .safetensors file."""
    return start[8:9] == b"{" and start[3:8] == bytes(5)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns {name: array}; float16 and bfloat16 become float32.

    Raises:
        ValueError: the file is damaged, or has a tensor of an unknown type.
    """
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, _MAX_HEADER):
        raise ValueError(f"its header has {length:,} bytes, the file {len(data):,}")
    if len(data) > weights.MAX_BYTES:
        raise ValueError(f"it has {len(data):,} bytes; the limit is {weights.MAX_BYTES:,}")
    header = json.loads(data[8 : 8 + length])
    tensors = data[8 + length :]
    return {name: _array(name, entry, tensors) for name, entry in header.items() if name != "__metadata__"}


def _array(name: str, entry: dict[str, object], tensors: bytes) -> np.ndarray:
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _TYPES:
        raise ValueError(f"{name} has the unknown type {kind}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [-1]
    if len(numbers) != len(shape) + 2 or not all(type(n) is int and n >= 0 for n in numbers):  # type: ignore[arg-type]
        raise ValueError(f"{name} has an invalid shape or offset")
    start, end = numbers[-2:]
    dtype = np.dtype(_TYPES[str(kind)])
    if end > len(tensors) or end - start != math.prod(numbers[:-2]) * dtype.itemsize:
        raise ValueError(f"{name} has {end - start} bytes at {start}, which does not agree with its shape or the file")
    array = np.frombuffer(tensors[start:end], dtype).reshape(numbers[:-2])
    if kind == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if kind == "F16" else array
