"""Reopens channels of a searched supernet that cost no time, before it is reduced to its compact network.

Run time grows in steps: a kernel that works on 64 channels at once takes as long for 12. Gradient descent nevertheless closes
such channels, on its way to closing a whole layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from mobile_sr.architecture_search.compaction import opened
from mobile_sr.models.nas import fgnas_supernet

if TYPE_CHECKING:
    import keras


def reopen(model: keras.Model, fits: Callable[[], bool]) -> int:
    """Open all channels of each layer that has open ones, then whole blocks that were removed, as long as the network fits.

    Layers are visited from the input on. A reopened channel gets the sub-features that most of the open channels of its layer
    have. The network's output does not change: the weights of the next sum for these channels are set to zero, and training
    can change them later.

    Args:
        model: the model of fgnas_supernet. Its gates and weights are changed.
        fits: function that returns whether the network with its current gates is cheap enough.

    Returns:
        The number of opened channels.
    """
    count = 0
    for gate, conv, axis in _layers(model):
        closed = _open([gate], fits) if opened(gate).any() else {}
        if closed:
            _silence(conv, axis, closed[gate])
            count += len(closed[gate])
    for block in fgnas_supernet.searchable_blocks(model):
        closed = {} if _is_alive(block) else _open(block.gates().values(), fits)
        if closed:
            _silence(block.conv2, 3, np.arange(block.conv2.filters))
            count += sum(map(len, closed.values()))
    return count


def _open(gates: Iterable[Any], fits: Callable[[], bool]) -> dict[Any, np.ndarray]:
    """Open the closed channels of these gates: {gate: channel indices}. If this does not fit, undo it and return {}."""
    before, closed_channels = {}, {}
    for gate in gates:
        now = opened(gate)
        closed = np.flatnonzero(~now.any(axis=-1))
        if not gate.rate or not len(closed):
            continue
        before[gate], closed_channels[gate] = ops.convert_to_numpy(gate.stored), closed
        patterns, counts = np.unique(now[now.any(axis=-1)], axis=0, return_counts=True)
        pattern = patterns[counts.argmax()] if len(patterns) else np.ones(now.shape[1], bool)
        after = before[gate].copy()
        after[closed] = np.where(pattern, 1.0, 0.0) / gate.rate
        gate.stored.assign(after)
    if not closed_channels or fits():
        return closed_channels
    for gate, stored in before.items():
        gate.stored.assign(stored)
    return {}


def _is_alive(block: Any) -> bool:
    return all(opened(gate).any() for gate in block.gates().values())


def _layers(model: keras.Model) -> Iterator[tuple[Any, keras.layers.Layer, int]]:
    """(gate, convolution whose weights for the gate's channels enter the next sum, axis of these channels in its kernel).

    Only layers with open channels are included.
    """
    yield model.get_layer("head").gate, model.get_layer("head").conv, 3
    for block in fgnas_supernet.searchable_blocks(model):
        gates = block.gates()
        if _is_alive(block):
            if block.pointwise:
                yield gates["pointwise"], block.pointwise, 3
            yield gates["activation"], block.conv2, 2
            yield gates["residual"], block.conv2, 3
    yield model.get_layer("tail").gate, model.get_layer("tail").conv, 3


def _silence(conv: keras.layers.Layer, axis: int, channels: np.ndarray) -> None:
    """Set the weights of a convolution for these inputs (axis 2) or outputs (axis 3) to zero."""
    kernel = np.moveaxis(ops.convert_to_numpy(conv.kernel).copy(), axis, 0)
    kernel[channels] = 0
    conv.kernel.assign(np.moveaxis(kernel, 0, axis))
    if axis == 3:
        bias = ops.convert_to_numpy(conv.bias).copy()
        bias[channels] = 0
        conv.bias.assign(bias)
