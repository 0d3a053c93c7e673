"""Estimated Arm instructions of an 8-bit .tflite file for `inspect`, by kind of operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobile_sr.converters.tflite import arm64_cost, flatbuffer, runtime
from mobile_sr.inference import graph_io, tensor_layout

SIZE = (32, 32)  # LR (H, W) of a file with a dynamic size
_DATA_DEPENDENT = ("WHERE", "IF", "WHILE", "UNIQUE")  # what follows them depends on the image, as AdaDSR's sparse path


def estimate(data: bytes, graph: flatbuffer.Graph) -> dict[str, Any] | None:
    """Estimates what XNNPACK's kernels execute on a Cortex-A76 (models/nas/arm64.py).

    Args:
        data: bytes of a file that the runtime accepts, with the graph as its first subgraph.
        graph: its graph.

    Returns:
        JSON-able {"per_lr_pixel": instructions, "by_operator": {name: instructions per LR pixel}, "operators": [{"name",
        "output", "per_lr_pixel", None without a figure}], "without_figure": {name: count}, "size": [H, W]}. None unless the
        file maps one 8-bit image to another, and if what it executes depends on the image.
    """
    try:
        ends = graph_io.find(graph)
    except graph_io.GraphIOError:
        return None
    if graph.tensors[ends.image].dtype not in ("int8", "uint8"):
        return None
    if any(op.name in _DATA_DEPENDENT for op in graph.ops):
        return None
    shape = graph.tensors[ends.image].shape
    sides = shape[1:3] if ends.layout.input == tensor_layout.NHWC else shape[2:4]
    height, width = (side if side > 0 else own for side, own in zip(sides, SIZE, strict=True))
    costs = _costs(data, graph, ends.image, ends.layout.input_shape((height, width)))
    rows, by_operator, without = [], dict[str, float](), dict[str, int]()
    for cost in costs:
        per_pixel = None if cost.instructions is None else cost.instructions / (height * width)
        rows.append({"name": cost.name, "output": cost.output, "per_lr_pixel": per_pixel})
        if per_pixel is None:
            without[cost.name] = without.get(cost.name, 0) + 1
        else:
            by_operator[cost.name] = by_operator.get(cost.name, 0.0) + per_pixel
    return {
        "per_lr_pixel": sum(by_operator.values()),
        "by_operator": by_operator,
        "operators": rows,
        "without_figure": without,
        "size": [height, width],
    }


def of_patch(path: str | Path, side: int) -> float | None:
    """Estimates the instructions per LR pixel of an 8-bit NHWC .tflite with a dynamic size, such as a patch classifier.

    Args:
        path: the file; its values may be other than an image's.
        side: side in LR pixels of the image that it runs on.

    Returns:
        The estimate, to which operators without a figure add nothing; None for a float file.
    """
    data = Path(path).read_bytes()
    graph = flatbuffer.parse(data)
    (image,) = graph.image_inputs()
    if graph.tensors[image].dtype not in ("int8", "uint8"):
        return None
    return sum(cost.instructions or 0.0 for cost in _costs(data, graph, image, (1, side, side, 3))) / side**2


def _costs(data: bytes, graph: flatbuffer.Graph, image: int, size: tuple[int, ...]) -> list[arm64_cost.OperatorCost]:
    """Returns the cost of each operator for a shape of the image input."""
    return arm64_cost.estimate(graph, shapes(data, graph, image, size))


def shapes(data: bytes, graph: flatbuffer.Graph, image: int, size: tuple[int, ...]) -> dict[int, list[int]]:
    """Returns {tensor index: shape} of all tensors for a shape of the image input.

    Args:
        data: bytes of a file that the runtime accepts, with the graph as its first subgraph.
        graph: its graph.
        image: tensor index of the image input.
        size: shape of the image input, such as (1, H, W, 3).
    """
    # Without XNNPACK, which does not tell the shapes inside of its partitions.
    interpreter = runtime.create_interpreter(data, delegate=False)
    interpreter.resize_tensor_input(image, size)
    interpreter.allocate_tensors()
    if min(graph.tensors[image].shape) < 0:  # some shapes are known after a run only
        interpreter.invoke()
    return {int(tensor["index"]): tensor["shape"].tolist() for tensor in interpreter.get_tensor_details()}


def describe(record: dict[str, Any]) -> str:
    """Returns one line: the sum, and the operators without a figure."""
    without = ", ".join(f"{count} {name}" for name, count in record["without_figure"].items())
    text = f"{record['per_lr_pixel']:,.0f} instructions per LR pixel on an Arm Cortex-A76, estimated"
    return f"{text}; without {without}" if without else text
