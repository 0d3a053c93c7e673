"""Accepts float .tflite files as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mobile_sr.converters.formats import verification
from mobile_sr.converters.formats.float_model import FloatModel, FormatError, fixed_size, image_ends
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import simplify


def convert(path: Path, name: str, size: tuple[int, int] | None) -> FloatModel:
    """Check a .tflite file.

    Args:
        path: the file.
        name: its name.
        size: (H, W) that is wanted, None for the file's own.

    Raises:
        FormatError: the file is damaged, quantized, or not a network from one image to one image.
    """
    try:
        data = path.read_bytes()
        graph = flatbuffer.parse(data)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
    except flatbuffer.TFLiteFileError as error:
        raise FormatError(f"{path}: {error}") from None
    quantized = next((tensor for tensor in graph.tensors if _is_quantized(tensor)), None)
    if quantized is not None:
        raise FormatError(
            f"{path}: already quantized (tensor {quantized.name} is {quantized.dtype}); start from the float32 .tflite or "
            "from the original network"
        )
    data = flatbuffer.as_first_subgraph(data, graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise FormatError(f"{path}: has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; expected one image each")
    image = graph.tensors[graph.inputs[0]]
    if image.dtype != "float32":
        raise FormatError(f"{path}: its input is {image.dtype}; expected float32")
    notes: list[str] = []
    layout, channels, own = image_ends(str(path), image.shape)
    if own is None and size is not None:
        try:
            data = simplify.fix_size(data, (1, *size, channels) if layout == "NHWC" else (1, channels, *size))
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from None
        notes.append(f"fixed to the input size {size[1]}x{size[0]}")
    else:
        size = fixed_size(str(path), own, size, notes)
    return FloatModel(data, name, "tflite", _reference(data, str(path), layout), size, channels, notes=notes)


def _reference(data: bytes, name: str, layout: str) -> Callable[[np.ndarray], np.ndarray]:
    def run(lr: np.ndarray) -> np.ndarray:
        if layout == "NHWC":
            return verification.run(data, lr, name)
        return verification.run(data, lr.transpose(0, 3, 1, 2), name).transpose(0, 2, 3, 1)

    return run


def _is_quantized(tensor: flatbuffer.Tensor) -> bool:
    """Whether a tensor is an 8-bit or 16-bit integer: weights or activations; indices and shapes are int32 and int64."""
    return tensor.dtype in ("int8", "uint8", "int16", "int4") and (len(tensor.scales) > 0 or not tensor.constant)
