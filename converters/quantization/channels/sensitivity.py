"""Measures how strongly noise in a tensor changes the network's output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample

Inputs = Mapping[int, np.ndarray]  # {input tensor: array}
IMAGES = 2  # number of crops on which the sensitivity is measured


def crops(graph: FloatGraph, samples: Sequence[Sample]) -> list[Inputs]:
    """Return IMAGES inputs: the middle of some of the first half of the samples, as large as the smallest one that they have.

    The network works with that size.
    """
    by_tensor = [graph.by_tensor(sample) for sample in samples]
    images = [array for inputs in by_tensor for array in inputs.values() if array.ndim == 4]
    sides = [min((array.shape[axis] for array in images), default=0) for axis in (1, 2)]
    result: list[Inputs] = []
    for index in np.linspace(0, len(samples) / 2, IMAGES, endpoint=False).astype(int):
        cut = dict(by_tensor[index])
        for tensor, array in cut.items():
            if array.ndim == 4:
                rows, columns = (
                    slice((whole - side) // 2, (whole + side) // 2) for whole, side in zip(array.shape[1:3], sides, strict=True)
                )
                cut[tensor] = array[:, rows, columns]
        result.append(cut)
    return result


def sensitivity(
    graph: FloatGraph,
    tensor: int,
    samples: Sequence[Inputs],
    amplitudes: np.ndarray,
    seed: int = 0,
    span: float | None = None,
) -> np.ndarray:
    """Return S, [C, C], of a tensor: noise e, independent from pixel to pixel, changes the largest output by E[e^T S e].

    This is the mean squared change, in units of the square of the output's range; in a network with exits, whose largest output
    has an image of each, the sum over them. All channels get the same noise, one after the other; the products of the changes
    are the elements of S.

    Args:
        graph: the network.
        tensor: an activation [1, H, W, C].
        samples: inputs of the network.
        amplitudes: [C] standard deviations of the noise in each channel, small enough for the network to be linear.
        seed: of the noise.
        span: range of the output; None for that on the samples.
    """
    from ai_edge_litert import schema_py_generated as schema

    shapes: list[tuple[int, ...]] = []
    graph.visit([tensor], samples, lambda _, values: shapes.append(values.shape))
    noise, noisy = graph.add_activation("noise", tensor), graph.add_activation("noisy", tensor)
    before = list(graph.ops), [list(op.inputs) for op in graph.ops], list(graph.graph.inputs)
    for op in graph.ops:
        op.inputs = [noisy if index == tensor else index for index in op.inputs]
    position = next(k for k, op in enumerate(graph.ops) if tensor in op.outputs)
    graph.add_op(position + 1, "ADD", [tensor, noise], [noisy], schema.AddOptionsT())
    graph.graph.inputs = [*before[2], noise]
    rng = np.random.default_rng(seed)
    total, power = np.zeros((len(amplitudes), len(amplitudes))), 0.0
    widest, share = 0.0, 1.0  # range of the output; pixels of the tensor for each of its values
    try:
        for inputs, shape in zip(samples, shapes, strict=True):
            pattern = rng.standard_normal(shape[:-1]).astype(np.float32)
            noisy_inputs = [{**inputs, noise: values} for values in _patterns(pattern, amplitudes)]
            found = np.stack([image.astype(np.float64).ravel() for image in images(graph, noisy_inputs)])
            changes = (found[1:] - found[0]) / amplitudes[:, None]
            total += changes @ changes.T
            power += float(np.square(pattern, dtype=np.float64).sum())
            widest, share = max(widest, float(np.ptp(found[0]))), pattern.size / found.shape[1]
    finally:
        graph.graph.operators, kept, graph.graph.inputs = before
        for op, own in zip(graph.ops, kept, strict=True):
            op.inputs = own
    return total / power * share * image_count(graph) / (span or max(widest, 1e-30)) ** 2


def _patterns(pattern: np.ndarray, amplitudes: np.ndarray) -> list[np.ndarray]:
    """No noise, and the noise `pattern` [1, H, W] in each channel alone."""
    result = [np.zeros((*pattern.shape, len(amplitudes)), np.float32) for _ in range(len(amplitudes) + 1)]
    for channel, amplitude in enumerate(amplitudes):
        result[channel + 1][..., channel] = pattern * np.float32(amplitude)
    return result


def image_count(graph: FloatGraph) -> int:
    """Return how many images the largest output has: several in a network with exits, whose other output has one."""
    channels = [graph.shape(tensor)[-1] for tensor in graph.graph.outputs]
    return max(channels) // 3 if min(channels) == 3 and all(count % 3 == 0 for count in channels) else 1


def images(graph: FloatGraph, samples: Sequence[Sample]) -> list[np.ndarray]:
    """Return the largest output on each sample."""
    found: dict[int, list[np.ndarray]] = {}
    graph.visit(graph.graph.outputs, samples, lambda tensor, values: found.setdefault(tensor, []).append(values.copy()))
    return max(found.values(), key=lambda values: values[0].size)


def work(graph: FloatGraph, samples: Sequence[Sample]) -> int:
    """Return about how many multiply-adds the convolutions of a graph need for samples."""
    weights = sum(math.prod(graph.shape(op.inputs[1])) for op in graph.ops if graph.name(op) == "CONV_2D")
    return weights * sum(max(math.prod(array.shape[1:-1]) for array in graph.by_tensor(each).values()) for each in samples)
