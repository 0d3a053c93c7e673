"""Measures how strongly noise in a tensor changes the network's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph

Inputs = Mapping[int, np.ndarray]  # {input tensor: array}


def sensitivity(graph: FloatGraph, tensor: int, samples: Sequence[Inputs], amplitudes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return S, [C, C], of a tensor: noise e, independent from pixel to pixel, changes the largest output by E[e^T S e].

    This is the mean squared change, in units of the square of the output's range. All channels get the same noise, one after
    the other; the products of the changes are the elements of S.

    Args:
        graph: the network.
        tensor: an activation [1, H, W, C].
        samples: inputs of the network.
        amplitudes: [C] standard deviations of the noise in each channel, small enough for the network to be linear.
        seed: of the noise.
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
    span, share = 0.0, 1.0  # of the output; pixels of the tensor for each of its values
    try:
        for inputs, shape in zip(samples, shapes, strict=True):
            pattern = rng.standard_normal(shape[:-1]).astype(np.float32)
            outputs = _outputs(graph, [{**inputs, noise: values} for values in _patterns(pattern, amplitudes)])
            changes = (outputs[1:] - outputs[0]) / amplitudes[:, None]
            total += changes @ changes.T
            power += float(np.square(pattern, dtype=np.float64).sum())
            span, share = max(span, float(np.ptp(outputs[0]))), pattern.size / outputs.shape[1]
    finally:
        graph.graph.operators, kept, graph.graph.inputs = before
        for op, own in zip(graph.ops, kept, strict=True):
            op.inputs = own
    return total / power * share / max(span, 1e-30) ** 2


def _patterns(pattern: np.ndarray, amplitudes: np.ndarray) -> list[np.ndarray]:
    """No noise, and the noise `pattern` [1, H, W] in each channel alone."""
    result = [np.zeros((*pattern.shape, len(amplitudes)), np.float32) for _ in range(len(amplitudes) + 1)]
    for channel, amplitude in enumerate(amplitudes):
        result[channel + 1][..., channel] = pattern * np.float32(amplitude)
    return result


def _outputs(graph: FloatGraph, samples: Sequence[Inputs]) -> np.ndarray:
    """[samples, values] of the largest output."""
    found: dict[int, list[np.ndarray]] = {}

    def keep(tensor: int, values: np.ndarray) -> None:
        found.setdefault(tensor, []).append(values.astype(np.float64).ravel())

    graph.visit(graph.graph.outputs, samples, keep)
    return max((np.stack(arrays) for arrays in found.values()), key=lambda values: values.size)
