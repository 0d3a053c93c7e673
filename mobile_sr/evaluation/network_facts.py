"""Facts about a network's file for `inspect`: of a .tflite, and of float networks of other formats."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters import to_onnx
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import audit
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare
from mobile_sr.importing import foreign
from mobile_sr.inference import litert, model_files
from mobile_sr.inference.keras_archive import KerasArchive
from mobile_sr.inference.onnx_model import OnnxModel


def inspect(model: str | Path) -> dict[str, Any]:
    """Return the facts of a file.

    Args:
        model: path or zoo name, with options as in 'net.tflite@signature=NAME'.

    Returns:
        Of a .tflite: as `compare.inspect`. Of another network from elsewhere: {"ops": {operator or kind of layer: count},
        "parameters", "inputs", "outputs": [{"name", "dtype", "shape", "scale": None, "zero_point": None}], "size_bytes"}.
        Networks that are neither .onnx nor .keras files are described by their float .tflite.

    Raises:
        UserError: the file is missing, damaged or not a super-resolution network, or an option does not match it.
    """
    if str(model) == "bicubic":
        return compare.inspect(model)
    if model_files.needs_conversion(model_files.split(model)[0]):
        return _converted(str(model))
    path, options = model_files.locate(model)
    suffix = path.suffix.lower() if path.is_file() else ""
    if suffix == ".onnx":
        OnnxModel(path, options=options)  # raises UserError if the file is unusable
        return _onnx(path)
    if suffix == ".keras":
        return _keras(KerasArchive(path, options), path)
    return compare.inspect(model)


def _converted(model: str) -> dict[str, Any]:
    data = foreign.float_tflite(model)
    facts = audit.describe(litert.parse_graph(data, model), len(data))
    graph = FloatGraph(data)
    constants = [graph.constant(tensor) for tensor in {tensor for op in graph.ops for tensor in op.inputs}]
    parameters = sum(values.size for values in constants if values is not None and values.dtype == np.float32)
    return {**facts, "parameters": parameters, "size_bytes": foreign.facts(model)["size_bytes"]}


def _onnx(path: Path) -> dict[str, Any]:
    try:
        import onnx
    except ImportError:
        raise UserError(f"{path}: reading its operators needs onnx; pip install 'mobile-sr[onnx]'") from None
    data = path.read_bytes()
    constants = onnx.load_from_string(data).graph.initializer
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    facts = to_onnx.describe(data)
    names = {constant.name for constant in constants}
    facts["inputs"] = [entry for entry in facts["inputs"] if entry["name"] not in names]  # old files list constants, too
    return {**facts, "parameters": sum(math.prod(constant.dims) for constant in constants if constant.data_type in floats)}


def _keras(archive: KerasArchive, path: Path) -> dict[str, Any]:
    model = archive.model
    layers = [layer for layer in model._flatten_layers(include_self=False) if type(layer).__name__ != "InputLayer"]

    def ends(tensors: Any) -> list[dict[str, Any]]:
        shapes = [(t.name, str(t.dtype), [-1 if side is None else side for side in t.shape]) for t in tensors or ()]
        return [{"name": n, "dtype": d, "shape": s, "scale": None, "zero_point": None} for n, d, s in shapes]

    return {
        "ops": dict(sorted(collections.Counter(type(layer).__name__ for layer in layers).items())),
        "parameters": model.count_params(),
        "inputs": ends(getattr(model, "inputs", None)),
        "outputs": ends(getattr(model, "outputs", None)),
        "size_bytes": path.stat().st_size,
    }
