"""Channels that cost no time are given back to a searched supernet, before it is cut to its compact network.

Times rise in steps: a kernel that works on 64 channels at once takes as long for 12. Gradient descent closes channels all the
same on its way to closing a layer.
"""

import numpy as np
from keras import ops

from mobile_sr.converters.fgnas_compact import opened
from mobile_sr.models.nas import fgnas_supernet


def reopen(model, fits):
    """Open all channels of each layer that has open ones, then whole blocks that have vanished, where `fits()` holds with them.

    From the picture on. A channel takes the sub-features that most of its layer's open ones have. What the network computes
    stays the same: channels come back with zeros in front of the next sum, from which training can move them.
    Args:
        model: fgnas_supernet's; its gates and weights are changed.
        fits: whether the network with the gates it has now is cheap enough.
    Returns: the number of channels that were opened.
    """
    count = 0
    for gate, conv, axis in _layers(model):
        closed = _open([gate], fits) if opened(gate).any() else {}
        if closed:
            _silence(conv, axis, closed[gate])
            count += len(closed[gate])
    for block in fgnas_supernet.searchable_blocks(model):
        closed = {} if _is_left(block) else _open(block.gates().values(), fits)
        if closed:
            _silence(block.conv2, 3, np.arange(block.conv2.filters))
            count += sum(map(len, closed.values()))
    return count


def _open(gates, fits):
    """Open the closed channels of these gates, {gate: their numbers}; where that does not fit leave all as it was, {}."""
    before, found = {}, {}
    for gate in gates:
        now = opened(gate)
        closed = np.flatnonzero(~now.any(axis=-1))
        if not gate.rate or not len(closed):
            continue
        before[gate], found[gate] = ops.convert_to_numpy(gate.stored), closed
        patterns, times = np.unique(now[now.any(axis=-1)], axis=0, return_counts=True)
        pattern = patterns[times.argmax()] if len(patterns) else np.ones(now.shape[1], bool)
        after = before[gate].copy()
        after[closed] = np.where(pattern, 1.0, 0.0) / gate.rate
        gate.stored.assign(after)
    if not found or fits():
        return found
    for gate, stored in before.items():
        gate.stored.assign(stored)
    return {}


def _is_left(block):
    return all(opened(gate).any() for gate in block.gates().values())


def _layers(model):
    """(gate, the convolution that its channels meet a sum with, their axis in its kernel) of all layers that are left."""
    yield model.get_layer("head").gate, model.get_layer("head").conv, 3
    for block in fgnas_supernet.searchable_blocks(model):
        gates = block.gates()
        if _is_left(block):
            if block.pointwise:
                yield gates["pointwise"], block.pointwise, 3
            yield gates["activation"], block.conv2, 2
            yield gates["residual"], block.conv2, 3
    yield model.get_layer("tail").gate, model.get_layer("tail").conv, 3


def _silence(conv, axis, channels):
    """Zero the convolution's weights for these inputs (axis 2) or outputs (axis 3)."""
    kernel = np.moveaxis(ops.convert_to_numpy(conv.kernel).copy(), axis, 0)
    kernel[channels] = 0
    conv.kernel.assign(np.moveaxis(kernel, 0, axis))
    if axis == 3:
        bias = ops.convert_to_numpy(conv.bias).copy()
        bias[channels] = 0
        conv.bias.assign(bias)
