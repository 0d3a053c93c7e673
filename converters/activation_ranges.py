"""Measures activation ranges on calibration images; post-training quantization derives its scales from them.

The float network runs through XNNPACK with all activations as outputs. This is ten times faster for XLSR, and five times
faster for IMDN, than TensorFlow's own calibration with its slow kernels. TensorFlow's calibration also reads the inputs of an
operator after the operator ran. An addition or a product may have written its result into that memory by then, so a residual
would get the range of its sum with the trunk and a scale that is too coarse.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer, runtime

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

# Limit of tanh's input, chosen by measurement (docs/measurements/quantization.md): its 8-bit result is then -126..126 of
# -128..127.
_TANH_LIMIT = math.atanh(1 - 2 / 128)
TANH = -_TANH_LIMIT, _TANH_LIMIT * 127 / 128  # gives a zero point of 0
_MAX_RUN_BYTES = 2**30  # of activations in one run; larger networks are measured in several runs


@contextlib.contextmanager
def fast_calibration() -> Iterator[None]:
    """Context in which TensorFlow's 8-bit converter measures ranges with `with_ranges`.

    The 16-bit converter does not use the replaced class and calibrates as before.
    """
    from tensorflow.lite.python import lite

    module = lite._calibrator
    original = module.Calibrator

    class Calibrator(lite._calibrator.Calibrator):
        def calibrate(self, dataset_gen):
            return with_ranges(self._model_content, dataset_gen())

    module.Calibrator = Calibrator
    try:
        yield
    finally:
        module.Calibrator = original


def with_ranges(data: bytes, samples: Iterable[Sequence[np.ndarray] | dict[str, np.ndarray]]) -> bytes:
    """Add the minimum and maximum of every activation to a float .tflite file, in the form that the quantizer reads.

    Every range includes 0. An activation that was always 0 gets the range of its operator's inputs. An activation that only
    tanh reads is limited to -2.42..2.40: values beyond come out at most two steps off, and all others get finer steps.

    Args:
        data: bytes of the file; one subgraph.
        samples: input values of each run: lists of arrays in the order of the inputs, or dicts by the names of the
            signature.

    Returns:
        The bytes of the file with ranges.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    by_tensor = [_by_tensor(model, sample) for sample in samples]
    results = [int(tensor) for op in graph.operators for tensor in op.outputs]
    ranges = {tensor: _range(sample[tensor] for sample in by_tensor) for tensor in by_tensor[0]}
    for part in _parts([t for t in results if graph.tensors[t].type == schema.TensorType.FLOAT32], graph, by_tensor):
        ranges |= _run(model, part, by_tensor)
    for op in graph.operators:  # always 0, e.g. the residual of a block that no image activated: it would give no scale
        for tensor in (t for t in op.outputs if ranges.get(t) == (0, 0)):
            ranges[tensor] = _range(np.array(ranges[t]) for t in op.inputs if t in ranges)
    for tensor in _read_by_tanh(model):
        if tensor in ranges:
            ranges[tensor] = max(ranges[tensor][0], TANH[0]), min(ranges[tensor][1], TANH[1])
    for tensor, (low, high) in ranges.items():
        quantization = graph.tensors[tensor].quantization or schema.QuantizationParametersT()
        quantization.min, quantization.max = [low], [high]
        graph.tensors[tensor].quantization = quantization
    return flatbuffer.pack(model)


def _read_by_tanh(model: schema.ModelT) -> list[int]:
    """Activations that only tanh reads."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    readers: dict[int, set[int | None]] = {int(tensor): {None} for tensor in graph.outputs}
    for op in graph.operators:
        for tensor in op.inputs:
            readers.setdefault(int(tensor), set()).add(model.operatorCodes[op.opcodeIndex].builtinCode)
    return [tensor for tensor, kinds in readers.items() if kinds == {schema.BuiltinOperator.TANH}]


def _by_tensor(model: schema.ModelT, sample: Sequence[np.ndarray] | dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """{index of the input tensor: array}."""
    if isinstance(sample, dict):
        indices = {entry.name.decode(): entry.tensorIndex for entry in model.signatureDefs[0].inputs}
        return {indices[name]: np.asarray(array) for name, array in sample.items()}
    return {int(tensor): np.asarray(array) for tensor, array in zip(model.subgraphs[0].inputs, sample, strict=True)}


def _range(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    limits = [(0.0, 0.0)] + [(float(array.min()), float(array.max())) for array in arrays]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _parts(tensors: Sequence[int], graph: Any, samples: Sequence[Mapping[int, np.ndarray]]) -> list[list[int]]:
    """Split the tensors into runs of at most _MAX_RUN_BYTES, by static shapes; dynamic sides count as the largest image's."""
    pixels = max(math.prod(array.shape[1:3]) for array in samples[0].values() if array.ndim == 4)
    parts: list[list[int]] = []
    remaining = 0
    for tensor in tensors:
        shape, signature = graph.tensors[tensor].shape, graph.tensors[tensor].shapeSignature
        dynamic = signature is not None and -1 in list(signature)[1:]
        size = 4 * math.prod(map(int, shape)) * (pixels if dynamic else 1)
        if size > remaining or not parts:
            parts.append([])
            remaining = _MAX_RUN_BYTES
        parts[-1].append(tensor)
        remaining -= size
    return parts


def _run(
    model: schema.ModelT, tensors: Sequence[int], samples: Sequence[Mapping[int, np.ndarray]]
) -> dict[int, tuple[float, float]]:
    """{tensor: (minimum, maximum)} over the samples."""
    graph = model.subgraphs[0]
    original = graph.outputs, model.signatureDefs
    graph.outputs, model.signatureDefs = tensors, []
    interpreter = runtime.create_interpreter(flatbuffer.pack(model))
    graph.outputs, model.signatureDefs = original
    low, high, shapes = np.zeros(len(tensors)), np.zeros(len(tensors)), None
    for sample in samples:
        if shapes != (shapes := {tensor: array.shape for tensor, array in sample.items()}):
            for tensor, shape in shapes.items():
                interpreter.resize_tensor_input(tensor, shape)
            interpreter.allocate_tensors()
        for tensor, array in sample.items():
            interpreter.set_tensor(tensor, array)
        interpreter.invoke()
        for index, tensor in enumerate(tensors):
            values = interpreter.tensor(tensor)()
            low[index], high[index] = min(low[index], values.min()), max(high[index], values.max())
            del values  # a view; the interpreter refuses to run while one exists
    return {tensor: (float(low[index]), float(high[index])) for index, tensor in enumerate(tensors)}
