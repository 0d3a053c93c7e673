"""The ranges of a float network's activations over calibration images: what post-training quantization takes its scales from.

Here the network runs through XNNPACK with all activations as outputs, ten times faster for XLSR and five for IMDN than in
TensorFlow's own calibration with slow kernels. That one also reads an operator's inputs after it ran: an addition or a
product may have put its result into their memory. A residual then gets the range of its sum with the trunk, too coarse a scale.
"""

import contextlib
import math

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

# What tanh is given at most, by measurement (docs/measurements/quantization.md): its 8-bit result is then -126..126 of
# -128..127.
_END = math.atanh(1 - 2 / 128)
TANH = -_END, _END * 127 / 128  # a zero point of 0
_AT_ONCE = 2**30  # bytes of activations that a run may hold; where there are more, parts of them have their own runs


@contextlib.contextmanager
def fast_calibration():
    """Meanwhile TensorFlow's 8-bit converter measures by `with_ranges` (its 16-bit one goes its own way)."""
    from tensorflow.lite.python import lite

    module = lite._calibrator
    theirs = module.Calibrator

    class Calibrator(theirs):
        def calibrate(self, dataset_gen):
            return with_ranges(self._model_content, dataset_gen())

    module.Calibrator = Calibrator
    try:
        yield
    finally:
        module.Calibrator = theirs


def with_ranges(data, samples):
    """A float .tflite file that holds the least and the largest value of every activation (and 0), as the quantizer wants them.

    Args:
        data: the file's bytes; one subgraph.
        samples: iterable of what the inputs get: lists of arrays in the inputs' order, or dicts by the signature's names.
    Returns: bytes. An activation that was always 0 has the range of its operator's inputs, one that only tanh reads at most
        -2.42..2.40: what is beyond comes out at most two steps off, and the rest gets finer steps.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    samples = [_by_tensor(model, sample) for sample in samples]
    made = [int(tensor) for op in graph.operators for tensor in op.outputs]
    ranges = {tensor: _range(sample[tensor] for sample in samples) for tensor in samples[0]}
    for part in _parts([t for t in made if graph.tensors[t].type == schema.TensorType.FLOAT32], graph, samples):
        ranges |= _run(model, part, samples)
    for op in graph.operators:  # 0 throughout, as the residual of a block that no image reached: no scale follows from that
        for tensor in (t for t in op.outputs if ranges.get(t) == (0, 0)):
            ranges[tensor] = _range(np.array(ranges[t]) for t in op.inputs if t in ranges)
    for tensor in _read_by_tanh(model):
        if tensor in ranges:
            ranges[tensor] = max(ranges[tensor][0], TANH[0]), min(ranges[tensor][1], TANH[1])
    for tensor, (least, most) in ranges.items():
        quantization = graph.tensors[tensor].quantization or schema.QuantizationParametersT()
        quantization.min, quantization.max = [least], [most]
        graph.tensors[tensor].quantization = quantization
    return flatbuffer.pack(model)


def _read_by_tanh(model):
    """The activations that only tanh reads."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    readers = {int(tensor): {None} for tensor in graph.outputs}
    for op in graph.operators:
        for tensor in op.inputs:
            readers.setdefault(int(tensor), set()).add(model.operatorCodes[op.opcodeIndex].builtinCode)
    return [tensor for tensor, kinds in readers.items() if kinds == {schema.BuiltinOperator.TANH}]


def _by_tensor(model, sample):
    """{index of the input tensor: array}."""
    if isinstance(sample, dict):
        places = {entry.name.decode(): entry.tensorIndex for entry in model.signatureDefs[0].inputs}
        return {places[name]: np.asarray(array) for name, array in sample.items()}
    return {int(tensor): np.asarray(array) for tensor, array in zip(model.subgraphs[0].inputs, sample, strict=True)}


def _range(arrays):
    limits = [(0.0, 0.0)] + [(float(array.min()), float(array.max())) for array in arrays]
    return min(least for least, _ in limits), max(most for _, most in limits)


def _parts(tensors, graph, samples):
    """The tensors in runs of at most _AT_ONCE bytes, by their static shapes; a dynamic side counts as the largest image's."""
    pixels = max(math.prod(array.shape[1:3]) for array in samples[0].values() if array.ndim == 4)
    parts, room = [], 0
    for tensor in tensors:
        shape, signature = graph.tensors[tensor].shape, graph.tensors[tensor].shapeSignature
        dynamic = signature is not None and -1 in list(signature)[1:]
        size = 4 * math.prod(map(int, shape)) * (pixels if dynamic else 1)
        if size > room or not parts:
            parts.append([])
            room = _AT_ONCE
        parts[-1].append(tensor)
        room -= size
    return parts


def _run(model, tensors, samples):
    """{tensor: (least, most)} over the samples."""
    from ai_edge_litert.interpreter import Interpreter

    graph = model.subgraphs[0]
    kept = graph.outputs, model.signatureDefs
    graph.outputs, model.signatureDefs = tensors, []
    interpreter = Interpreter(model_content=flatbuffer.pack(model))
    graph.outputs, model.signatureDefs = kept
    least, most, shapes = np.zeros(len(tensors)), np.zeros(len(tensors)), None
    for sample in samples:
        if shapes != (shapes := {tensor: array.shape for tensor, array in sample.items()}):
            for tensor, shape in shapes.items():
                interpreter.resize_tensor_input(tensor, shape)
            interpreter.allocate_tensors()
        for tensor, array in sample.items():
            interpreter.set_tensor(tensor, array)
        interpreter.invoke()
        for place, tensor in enumerate(tensors):
            values = interpreter.tensor(tensor)()
            least[place], most[place] = min(least[place], values.min()), max(most[place], values.max())
            del values  # a view, which the interpreter refuses to run beside
    return {tensor: (float(least[place]), float(most[place])) for place, tensor in enumerate(tensors)}
