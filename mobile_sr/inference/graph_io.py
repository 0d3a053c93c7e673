"""Identification of the image input, the SR output and extra scalar inputs of a .tflite graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobile_sr.inference import tensor_layout

if TYPE_CHECKING:
    from mobile_sr.converters.tflite.flatbuffer import Graph, Tensor
    from mobile_sr.inference.tensor_layout import TensorLayout

IMAGE_DTYPES = ("float32", "uint8", "int8", "int16")
SR_OUTPUT_NAMES = ("sr", "output_0")  # names of the SR output in the signatures of this project and of Keras
SCALAR_DTYPES = ("float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")


class GraphIOError(ValueError):
    """Raised if a graph is not a network from one image to one larger image; the message gives the reason."""


@dataclasses.dataclass
class GraphIO:
    """Tensor indices of a graph's inputs and outputs.

    Attributes:
        image: the image input.
        sr: the SR output.
        layout: their layout.
        scalars: the other inputs by name.
    """

    image: int
    sr: int
    layout: TensorLayout
    scalars: dict[str, int]


def find(graph: Graph, layout: str | None = None, channels: int | None = None) -> GraphIO:
    """Identifies the inputs and the SR output of a graph. Outputs that are not images with the input's channels are ignored.

    Args:
        graph: the graph.
        layout, channels: layout and channels of the image input if they are known, see `tensor_layout.find`.

    Raises:
        GraphIOError: the graph does not map one image, plus optional scalars, to one image.
    """
    tensors = graph.tensors
    scalars = {scalar_names(graph, i)[0]: i for i in graph.inputs if _is_scalar(tensors[i])}
    for name, index in scalars.items():
        if tensors[index].dtype not in SCALAR_DTYPES:
            raise GraphIOError(f"input {name} is {tensors[index].dtype}; supported scalar types: {', '.join(SCALAR_DTYPES)}")
    image = _one(graph, [i for i in graph.inputs if i not in scalars.values()], "input")
    images = [i for i in graph.outputs if _why_not(tensors[i]) is None]
    expected = tensor_layout.channels_of(tensors[image].shape) & ({channels} if channels else set(tensor_layout.CHANNELS))
    alike = [i for i in images if tensor_layout.channels_of(tensors[i].shape) & expected]
    outputs = alike or images or graph.outputs
    named = [i for i in outputs if graph.output_names.get(i) in SR_OUTPUT_NAMES]
    if len(outputs) > 1 and len(named) == 1:  # another output may be a depth map of three channels
        outputs = named
    sr = _one(graph, outputs, "output")
    try:
        layouts = tensor_layout.find(tensors[image].shape, tensors[sr].shape, layout, channels)
    except tensor_layout.LayoutError as error:
        raise GraphIOError(str(error)) from None
    return GraphIO(image, sr, layouts[0], scalars)


def scalar_names(graph: Graph, index: int) -> list[str]:
    """Returns the names that select a scalar input: its signature name, then the tensor's name without and with affixes."""
    full = graph.tensors[index].name
    short = full.removesuffix(":0")
    names = [graph.input_names.get(index), short.removeprefix("serving_default_"), short, full]
    return list(dict.fromkeys(name for name in names if name)) or [f"input{index}"]


def _is_scalar(tensor: Tensor) -> bool:
    sides = len(tensor.shape)
    return all(side == 1 for side in tensor.shape) or (sides < 4 and all(side in (1, -1) for side in tensor.shape))


def _one(graph: Graph, indices: Sequence[int], what: str) -> int:
    """Returns the only image among the tensors."""
    images = [i for i in indices if _why_not(graph.tensors[i]) is None]
    if len(images) > 1:
        names = ", ".join(graph.tensors[i].name for i in images)
        raise GraphIOError(f"{len(images)} image {what}s ({names}); expected one")
    if not indices:
        raise GraphIOError(f"no image {what}")
    for index in indices:
        tensor = graph.tensors[index]
        reason = _why_not(tensor)
        if reason:
            raise GraphIOError(f"{what} {tensor.name} is {tensor.dtype} {tensor.shape}: {reason}")
    return images[0]


def _why_not(tensor: Tensor) -> str | None:
    """Returns the reason why a tensor is not an image, or None if it is one."""
    reason = tensor_layout.why_not_image(tensor.shape)
    if reason:
        return reason
    if tensor.shape[0] not in (1, -1):
        return f"batch of {tensor.shape[0]}; {tensor_layout.EXPECTED}"
    if tensor.dtype not in IMAGE_DTYPES:
        return f"unsupported image type; use {', '.join(IMAGE_DTYPES)}"
    if tensor.dtype != "float32" and len(tensor.scales) not in ((0, 1) if tensor.dtype == "uint8" else (1,)):
        return "an image needs one scale and zero point"
    return None
