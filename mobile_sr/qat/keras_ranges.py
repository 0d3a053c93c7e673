"""Finds the activations of a float .tflite that a fake-quantized network rounds, to give them the ranges that it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph

if TYPE_CHECKING:
    from mobile_sr.models.train_time.quantized_network import QuantizedNetwork

TOLERANCE = 1e-4  # of the largest value; Keras and XNNPACK sum in different orders


def of_tensors(net: QuantizedNetwork, data: bytes, sample: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return {activation of a .tflite: (low, high)} of a network's ranges, without those that are fixed.

    A tensor belongs to a quantizer that rounds the same values, in any order: the converter moves transpositions. If several
    do, such as before and after an activation without effect, tensors and quantizers are paired in the order of the network.
    Tensors that the network does not round are left out.

    Args:
        net: the fake-quantized network.
        data: the float32 .tflite of the same weights.
        sample: an input of the network.
    """
    graph = FloatGraph(data)
    by_size: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index, value in net.trace(sample):
        values = np.sort(np.asarray(value).reshape(-1))
        by_size.setdefault(values.size, []).append((index, values))
    used: set[tuple[int, int]] = set()  # (size, position)
    low, high = (limits.numpy().tolist() for limits in (net.low, net.high))
    result: dict[str, tuple[float, float]] = {}

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
            result[graph.tensor_name(tensor)] = low[index], high[index]

    graph.visit([tensor for op in graph.ops for tensor in op.outputs if graph.is_float(tensor)], [sample], match)
    return result
