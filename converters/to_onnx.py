"""Converts a float .tflite file to ONNX.

It does not start from the Keras model, because tf2onnx then writes grouped convolutions that ONNX Runtime rejects.
"""

from __future__ import annotations

import collections
import tempfile
import warnings
from pathlib import Path
from typing import Any

from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer

OPSET = 17
_OUTPUTS = {"output_0": "sr", "output_1": "depth_map"}  # names in the signatures of our networks with a depth map


def convert(tflite: bytes) -> bytes:
    """Convert a float32 .tflite file to ONNX.

    The input `lr` is [batch, height, width, 3] float32 in 0..1, the output is `sr`. Layout and range are those of the
    .tflite file. Networks with a depth map also have the output `depth_map`, and the input `desired_depth` if the .tflite has.

    Args:
        tflite: bytes of the .tflite file.

    Returns:
        The bytes of the ONNX file.

    Raises:
        ImportError: onnx or tf2onnx is not installed.
        RuntimeError: the conversion failed.
    """
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx
        import tf2onnx

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(_with_unique_names(tflite))
            try:
                model, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
            except Exception as error:  # tf2onnx raises many types
                raise RuntimeError(f"tf2onnx cannot convert it: {error}") from error
    _name_inputs_and_outputs(model.graph, flatbuffer.parse(tflite))
    _expand_gelu(onnx, model.graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise RuntimeError(f"tf2onnx wrote an invalid ONNX file: {error}") from error
    return model.SerializeToString()


def _with_unique_names(tflite: bytes) -> bytes:
    """The file with a name of its own for each tensor: tf2onnx takes constants of one name for one constant."""
    graph = FloatGraph(tflite)
    seen: collections.Counter[bytes] = collections.Counter()
    for tensor in graph.graph.tensors:
        seen[tensor.name] += 1
        if seen[tensor.name] > 1:
            tensor.name = (tensor.name or b"") + b"_copy%d" % seen[tensor.name]
    return graph.packed() if max(seen.values()) > 1 else tflite


def describe(data: bytes) -> dict[str, Any]:
    """Summarize an ONNX file.

    Args:
        data: bytes of the file.

    Returns:
        {"ops", "inputs", "outputs", "size_bytes"}, in the form of audit.describe.
    """
    import onnx

    graph = onnx.load_from_string(data).graph

    def tensor(value: Any) -> dict[str, Any]:
        tensor_type = value.type.tensor_type
        shape = [dim.dim_value or -1 for dim in tensor_type.shape.dim]
        dtype = onnx.TensorProto.DataType.Name(tensor_type.elem_type).lower()
        dtype = {"float": "float32"}.get(dtype, dtype)
        return {"name": value.name, "dtype": dtype, "shape": shape, "scale": None, "zero_point": None}

    return {
        "ops": dict(sorted(collections.Counter(node.op_type for node in graph.node).items())),
        "inputs": [tensor(value) for value in graph.input],
        "outputs": [tensor(value) for value in graph.output],
        "size_bytes": len(data),
    }


def _expand_gelu(onnx: Any, graph: Any) -> None:
    """Replace each exact GELU, which tf2onnx leaves as TFLite's operator, by x * (erf(x / sqrt 2) + 1) / 2."""
    nodes = []
    for node in graph.node:
        if node.op_type != "TFL_GELU" or any(a.name == "approximate" and a.i for a in node.attribute):
            nodes.append(node)
            continue
        (x,), (y,) = node.input, node.output
        last = x
        for kind, number in (("Div", 2**0.5), ("Erf", None), ("Add", 1.0), ("Mul", 0.5), ("Mul", x)):
            inputs = [last] if number is None else [last, number]
            if isinstance(number, float):
                inputs[1] = f"{y}_number{len(graph.initializer)}"
                graph.initializer.append(onnx.helper.make_tensor(inputs[1], onnx.TensorProto.FLOAT, [], [number]))
            last = y if number == x else f"{y}_part{len(nodes)}"
            nodes.append(onnx.helper.make_node(kind, inputs, [last]))
    del graph.node[:]
    graph.node.extend(nodes)


def _name_inputs_and_outputs(graph: Any, source: flatbuffer.Graph) -> None:
    """Name the inputs and outputs (lr and sr, if there is one of each), and give the images' dynamic dimensions names."""
    names: dict[str, str] = {}
    for values, indices, signature, only in (
        (graph.input, source.inputs, source.input_names, "lr"),
        (graph.output, source.outputs, source.output_names, "sr"),
    ):
        if len(values) == 1:
            names[values[0].name] = only
            continue
        wanted = {source.tensors[index].name: _OUTPUTS.get(signature[index], signature[index]) for index in indices}
        names.update({value.name: wanted[value.name] for value in values})
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in [*graph.input, *graph.output]:
        value.name = names[value.name]
        sides = ("batch", *(f"sr_{side}" if value.name == "sr" else side for side in ("height", "width")))
        for dim, side in zip(value.type.tensor_type.shape.dim, sides, strict=False):
            if not dim.dim_value:
                dim.dim_param = side
    del graph.value_info[:]  # their generated dimension names would contradict the new ones
