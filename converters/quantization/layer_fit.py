"""Fits each convolution to its result in the float network, with its inputs as the 8-bit file computes them.

Rounding changes the inputs of a layer. A part of the change is a linear function of these inputs, above all that of weights:
where a long skip carries the image through the first convolution, it is most of the final error. Least squares over calibration
images remove this part, layer by layer in the order of execution, and the fitted weights are rounded as in gptq.py. Frantar et
al. (gptq.py) fit to the inputs of the float network instead.

The fit needs many positions. With 40,000 of them, it fits their noise: chainsr_m_x3 then lost 0.04 dB and gained 0.02 with
600,000 (docs/measurements/quantization.md). Flat colours and ramps are small images; with no more weight than their positions,
xlsr_x3 was off by 4 levels on blue instead of 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import gptq, quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite.constants import BIASED

POSITIONS = 600_000  # image positions of the fit, at most about this number
WORK = 4e10  # likewise, positions times the square of the input weights of an output: seconds for a wide layer
EVERY = 2  # all layers but the last ones are fitted on every second sample
MOST_LAYERS = 64  # with more convolutions only the last ones are fitted: each one needs a run of the layers before it
FEWEST = 20  # positions for each input weight of an output
PLAIN = 1152  # positions that a flat colour or a ramp counts as, whatever its size: twice those of the default ones
RIDGE = 1e-3  # pulls the weights to those before the fit, a share of the mean variance of the inputs; 1e-4 distorts test cards
_SOURCE, _WEIGHTS, _ = BIASED["CONV_2D"]


def fit(
    data: bytes, original: bytes, samples: Sequence[Sample], per_tensor: bool = False, photographs: int | None = None
) -> bytes:
    """Fit the convolutions of a float .tflite to those of the original network.

    Only ordinary ones are fitted: without groups, of stride 1, with SAME padding.

    Args:
        data: float .tflite with the weights and ranges for the quantizer (quantizer.convert).
        original: float .tflite with the same channels, before its weights were rounded.
        samples: inputs on which to fit, such as [1, H, W, 3] float32 images.
        per_tensor: whether the quantized file has one scale for a whole kernel.
        photographs: how many samples come before the flat colours and ramps, each of which counts as PLAIN positions; None
            for all.

    Returns:
        The float .tflite with fitted weights, rounded to values of the quantizer.
    """
    graph, target = FloatGraph(data), FloatGraph(original)
    quantized = FloatGraph(quantizer.convert(data, "int8", samples, per_tensor))
    convolutions = [_convolutions(each) for each in (graph, target, quantized)]
    if len({len(each) for each in convolutions}) > 1:  # operators became convolutions in the integer form
        return data
    layers, last = list(zip(*convolutions, strict=True)), _last(graph)
    numbered = [(sample, photographs is None or index < photographs) for index, sample in enumerate(samples)]
    for op, target_op, quantized_op in layers:
        is_last = any(op is each for each in last)
        if _is_ordinary(graph, op) and (is_last or len(layers) <= MOST_LAYERS):
            own = numbered if is_last else numbered[::EVERY]
            if fitted := _fitted(graph, op, _moments(target, target_op, quantized, quantized_op, own), per_tensor):
                graph.set_constant(op.inputs[_WEIGHTS], fitted[0])
                graph.set_constant(graph.bias(op), fitted[1])
                _replace(quantized, quantized_op, *fitted, per_tensor)
    return graph.packed()


def fits_all(graph: FloatGraph) -> bool:
    """Return whether `fit` fits all convolutions of a graph that have enough positions."""
    layers = _convolutions(graph)
    return len(layers) <= MOST_LAYERS and all(_is_ordinary(graph, op) for op in layers)


def _convolutions(graph: FloatGraph) -> list[Any]:
    return [op for op in graph.ops if graph.name(op) == "CONV_2D"]


def _last(graph: FloatGraph) -> list[Any]:
    """The convolutions with no other one between them and an output of the graph: one for each exit of a network."""
    producers, waiting = graph.producers(), list(graph.graph.outputs)
    found: list[Any] = []
    while waiting:
        op = producers.get(waiting.pop())
        if op is not None and graph.name(op) == "CONV_2D":
            found.append(op)
        elif op is not None:
            waiting += op.inputs
    return found


def _is_ordinary(graph: FloatGraph, op: Any) -> bool:
    kernel, options = graph.shape(op.inputs[_WEIGHTS]), op.builtinOptions
    has_same_padding = options.padding == 0 or kernel[1:3] == [1, 1]
    is_dense = graph.shape(op.inputs[_SOURCE])[-1] == kernel[-1] and (options.strideH, options.strideW) == (1, 1)
    return is_dense and has_same_padding and graph.has_constant_weights(op)


def _fitted(graph: FloatGraph, op: Any, moments: gptq.InputHessian, per_tensor: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """(kernel, bias) of a convolution, None if the positions are too few."""
    kernel = graph.constant(op.inputs[_WEIGHTS])
    assert kernel is not None  # by _is_ordinary
    flat = np.moveaxis(kernel.astype(np.float64), 0, -1).reshape(-1, len(kernel))
    if moments.count < FEWEST * len(flat):
        return None
    means, products = moments.of(0)
    mean, goal = np.split(means, [len(flat)])
    covariance, with_goal = np.split(products[: len(flat)], [len(flat)], axis=1)
    ridge = RIDGE * np.diag(covariance).mean() * np.eye(len(flat))
    if not ridge.any():  # all inputs of the layer are constant
        return None
    fitted = flat + np.linalg.solve(covariance + ridge, with_goal - covariance @ flat)
    steps = np.broadcast_to(np.abs(fitted).max(axis=None if per_tensor else 0) / 127, len(kernel))
    rounded = gptq.round_columns(fitted, covariance, np.maximum(steps, 1e-12))
    return rounded.T.reshape(kernel.shape).astype(np.float32), (goal - mean @ rounded).astype(np.float32)


def _moments(
    target: FloatGraph, target_op: Any, quantized: FloatGraph, quantized_op: Any, samples: Sequence[tuple[Sample, bool]]
) -> gptq.InputHessian:
    """The moments of a convolution's inputs in the 8-bit graph, followed by its results in the float graph, without activation.

    The samples are (input, whether it is a photograph).
    """
    goals: list[np.ndarray] = []
    _, *size, channels = quantized.shape(quantized_op.inputs[_WEIGHTS])
    positions = min(POSITIONS, WORK / (size[0] * size[1] * channels) ** 2)
    inputs, kinds = [sample for sample, _ in samples], [is_photograph for _, is_photograph in samples]

    def keep(_: int, values: np.ndarray) -> None:
        step = _step(values, len(samples), positions)
        goals.append(values[:, ::step, ::step].reshape(-1, values.shape[-1]).copy())

    activation = target.activation(target_op)
    target.set_activation(target_op, "NONE")
    target.visit(target_op.outputs, inputs, keep)
    target.set_activation(target_op, activation)

    moments, remaining, source = gptq.InputHessian(), zip(goals, kinds, strict=True), quantized_op.inputs[_SOURCE]

    def add(_: int, values: np.ndarray) -> None:
        step = _step(values, len(samples), positions)
        patches = gptq.patches(real(quantized, source, values), (size[0], size[1]), 1, step, gptq.dilation(quantized_op))
        goal, is_photograph = next(remaining)
        moments.add(np.concatenate([patches, goal[:, None]], axis=2), 1 if is_photograph else PLAIN / (len(goal) * step**2))

    quantized.visit([source], [integers(quantized, sample) for sample in inputs], add)
    return moments


def _step(values: np.ndarray, count: int, positions: float) -> int:
    """Every how many rows and columns of one of `count` samples to use for that number of positions together."""
    return max(1, round((values.shape[1] * values.shape[2] * count / positions) ** 0.5))


def _replace(quantized: FloatGraph, op: Any, weights: np.ndarray, bias: np.ndarray, per_tensor: bool) -> None:
    """Give a convolution of an 8-bit graph other weights, which are values of the quantizer."""
    scales = np.abs(weights).max(axis=None if per_tensor else (1, 2, 3)).reshape(-1).astype(np.float64) / 127
    input_scale, _ = _quantization(quantized, op.inputs[_SOURCE])
    scales = np.maximum(scales, np.maximum(np.abs(bias) / (input_scale * 2.0**30), 1e-12))  # the bias is an int32
    entries = (
        (op.inputs[_WEIGHTS], np.round(weights / scales.reshape(-1, 1, 1, 1)).astype(np.int8), scales),
        (quantized.bias(op), np.round(bias / (scales * input_scale)).astype(np.int32), scales * input_scale),
    )
    for tensor, values, own in entries:
        quantized.set_constant(tensor, values)
        quantization = quantized.graph.tensors[tensor].quantization
        if quantization is not None:
            quantization.scale, quantization.zeroPoint = own.astype(np.float32).tolist(), [0] * len(own)


def integers(graph: FloatGraph, sample: Sample) -> list[np.ndarray]:
    """Return a sample as the inputs of an int8 graph."""
    by_tensor = graph.by_tensor(sample)
    result = []
    for tensor in graph.graph.inputs:
        scale, zero = _quantization(graph, tensor)
        result.append(np.clip(np.round(by_tensor[tensor] / scale) + zero, -128, 127).astype(np.int8))
    return result


def real(graph: FloatGraph, tensor: int, values: np.ndarray) -> np.ndarray:
    """Return the float32 values of an activation of an int8 graph."""
    scale, zero = _quantization(graph, tensor)
    return (values.astype(np.float32) - zero) * scale


def _quantization(graph: FloatGraph, tensor: int) -> tuple[np.float32, np.float32]:
    """(scale, zero point) of an activation."""
    entry = graph.graph.tensors[tensor].quantization
    return np.float32(entry.scale[0]), np.float32(entry.zeroPoint[0])
