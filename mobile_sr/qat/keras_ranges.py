"""Finds the activations of a float .tflite that a fake-quantized network rounds, so that both have the same ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.converters.quantization import range_clipping
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample

if TYPE_CHECKING:
    from mobile_sr.models.train_time.quantized_network import QuantizedNetwork

SAMPLE_SIDE = 48  # LR pixels of the image that shows which tensors of the file have which range
TOLERANCE = 1e-4  # of the largest value; Keras and XNNPACK sum in different orders


def of_tensors(net: QuantizedNetwork, data: bytes, sample: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return {activation of a .tflite: (low, high)} of a network's ranges, without those that are fixed.

    Tensors that the network does not round are left out.

    Args:
        net: the fake-quantized network.
        data: the float32 .tflite of the same weights.
        sample: an input of the network.
    """
    graph = FloatGraph(data)
    low, high = (limits.numpy().tolist() for limits in (net.low, net.high))
    return {graph.tensor_name(tensor): (low[index], high[index]) for tensor, index in _quantizers(net, graph, sample).items()}


def clip(
    net: QuantizedNetwork, data: bytes, sample: np.ndarray, photographs: Sequence[Sample], exact: Sequence[Sample]
) -> None:
    """Give a network the ranges that `export` would: those of least squared error, where they are narrower.

    Args:
        net: the fake-quantized network with measured ranges.
        data: the float32 .tflite of the same weights.
        sample: an input of the network.
        photographs, exact: inputs of the network, as for `range_clipping.least_error`.
    """
    graph = FloatGraph(data)
    ranges = range_clipping.least_error(graph, photographs, exact)
    low, high = net.low.numpy(), net.high.numpy()
    by_quantizer: dict[int, list[tuple[float, float]]] = {}
    for tensor, index in _quantizers(net, graph, sample).items():
        by_quantizer.setdefault(index, []).append(ranges[tensor])
    for index, limits in by_quantizer.items():  # of all tensors that share it, such as the inputs of a concatenation
        low[index], high[index] = max(low[index], min(limits)[0]), min(high[index], max(end for _, end in limits))
    net.set_ranges(low, high)


def _quantizers(net: QuantizedNetwork, graph: FloatGraph, sample: Sample) -> dict[int, int]:
    """{tensor of a graph: number of the quantizer} of the tensors that the network rounds and whose range is not fixed.

    A tensor belongs to a quantizer that rounds the same values, in any order: the converter moves transpositions. If several
    do, such as before and after an activation without effect, tensors and quantizers are paired in the order of the network.
    """
    by_size: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index, value in net.trace(sample):
        values = np.sort(np.asarray(value).reshape(-1))
        by_size.setdefault(values.size, []).append((index, values))
    used: set[tuple[int, int]] = set()  # (size, position)
    result: dict[int, int] = {}

    def match(tensor: int, values: np.ndarray) -> None:
        values = np.sort(values.reshape(-1))
        limit = TOLERANCE * np.abs(values).max()
        equal = [k for k, (_, other) in enumerate(by_size.get(values.size, ())) if np.abs(other - values).max() <= limit]
        if not equal or not values.any():
            return
        position = min(equal, key=lambda k: ((values.size, k) in used, k))
        used.add((values.size, position))
        index = by_size[values.size][position][0]
        if not net.fixed[index]:
            result[tensor] = index

    graph.visit([tensor for op in graph.ops for tensor in op.outputs if graph.is_float(tensor)], [sample], match)
    return result
