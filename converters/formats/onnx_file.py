"""Converts ONNX files: the operators of convolutional networks, by a table of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.formats import tf_function
from mobile_sr.converters.formats.float_model import FloatModel, FormatError, SizeError
from mobile_sr.converters.formats.onnx_network import graph as graphs
from mobile_sr.converters.formats.onnx_network import rewrites
from mobile_sr.converters.quiet import quiet


def convert(path: Path, name: str, size: tuple[int, int] | None) -> FloatModel:
    """Convert an ONNX file.

    Images are channels last (NHWC) in the result, whatever the layout of the file.

    Args:
        path: the file.
        name: its name.
        size: (H, W) of a fixed input, None for the file's own or a dynamic one.

    Raises:
        FormatError: the file is damaged, has an unsupported operator, or is not a network from one image to one image.
    """
    tf_function.require_tensorflow(str(path))
    try:
        return _convert(graphs.read(path, size), name, size)
    except SizeError:
        if size is None:
            raise
        return _convert(graphs.read(path, size, exact=True), name, size)


def _convert(graph: graphs.OnnxGraph, name: str, size: tuple[int, int] | None) -> FloatModel:
    output, layout = _output(graph)
    rewrites.rewrite(graph)
    nodes = rewrites.needed(graph, output)
    notes = []
    if "NCHW" in (graph.layout, layout):
        notes.append("channels first: the .tflite is channels last (NHWC)")
    if len(graph.outputs) > 1:
        notes.append(f"of {len(graph.outputs)} outputs, only {output} is kept")
    if graph.size and graph.size != size:
        notes.append(f"fixed input size {graph.size[1]}x{graph.size[0]}")
    with quiet():
        import tensorflow as tf

        from mobile_sr.converters.formats.onnx_network.emitter import Emitter
        from mobile_sr.converters.formats.onnx_network.operators import OPERATORS

    def run(lr: Any) -> Any:
        return Emitter(graph, tf).run(nodes, OPERATORS, lr, output, layout)

    data = tf_function.convert(run, graph.path, graph.channels, graph.size)
    return FloatModel(data, name, "onnx", _reference(graph, output, layout), graph.size, graph.channels, notes=notes)


def _output(graph: graphs.OnnxGraph) -> tuple[str, str]:
    """Name and layout of the output that is an image larger than the input by an integer factor."""
    height, width = (graph.shapes(graph.image)[0][graph.layout.index(side)] for side in "HW")
    found = []
    for name in graph.outputs:
        shape = graph.shapes(name)[0]
        for layout in ("NCHW", "NHWC"):
            if len(shape) == 4 and shape[0] == 1 and shape[layout.index("C")] in (1, 3):
                h, w = shape[layout.index("H")], shape[layout.index("W")]
                if h % height == 0 and w % width == 0 and h // height == w // width:
                    found.append((name, layout))
                    break
    if len(found) != 1:
        shapes = ", ".join(f"{name} {list(graph.shapes(name)[0])}" for name in graph.outputs)
        raise FormatError(f"{graph.path}: maps {width}x{height} to {shapes}; expected one image, larger by an integer factor")
    return found[0]


def _reference(graph: graphs.OnnxGraph, output: str, layout: str) -> Callable[[np.ndarray], np.ndarray]:
    def run(lr: np.ndarray) -> np.ndarray:
        result = graph.run(lr.transpose(0, 3, 1, 2) if graph.layout == "NCHW" else lr)[graph.outputs.index(output)]
        return result.transpose(0, 2, 3, 1) if layout == "NCHW" else result

    return run
