"""From FGNAS's gated supernet to the compact network: channels without an open gate are cut out, also across skips.

The compact network computes what the gated one does (up to float rounding). Kim et al., JVCIR 2022, Sec. 3.2.
"""

import numpy as np
from keras import ops

from mobile_sr.models.nas import fgnas, fgnas_supernet


class Collapsed(ValueError):
    """Nothing that reads the picture is left."""


def compact(model, config):
    """(configuration of models/nas/fgnas.py, {variable path: array}) of a supernet with the gates it has now.

    A block vanishes when one of its layers has no open channel, and with it when the trunk that it reads is empty; so does
    the whole body when its last convolution has none.
    Raises: Collapsed when the head has no open channel.
    """
    head, tail, last = (model.get_layer(name) for name in ("head", "tail", "last"))
    first = np.flatnonzero(_alive(head.gate))
    body = np.flatnonzero(_alive(tail.gate))
    if not len(first):
        raise Collapsed("the first convolution has no open channel")
    arrays = {"head/kernel": _kernel(head.conv)[..., first], "head/bias": _bias(head.conv)[first]}
    blocks, trunk = [], list(first)  # the supernet's channels in the trunk's order
    for index, block in enumerate(fgnas_supernet.searchable_blocks(model)):
        found = _block(block, trunk, f"block{index + 1}") if len(body) else None
        if found is None:
            blocks.append(None)
        else:
            described, taken, trunk = found
            blocks.append(described)
            arrays |= taken
    ends, out = _places(list(first), body)
    order = _in_trunk_order(out, ends)
    if len(body):
        arrays |= {"tail_conv2/kernel": _kernel(tail.conv)[:, :, trunk][..., order], "tail_conv2/bias": _bias(tail.conv)[order]}
    arrays |= {"last/kernel": _kernel(last)[:, :, out], "last/bias": _bias(last)}
    parts = {"head": len(first), "blocks": blocks, "tail": ends}
    kept = {key: config[key] for key in ("scale", "output_activation") if key in config}
    return {"network": "fgnas", **kept, **parts}, arrays


def set_weights(model, arrays):
    """Give the compact Keras model the arrays."""
    model.set_weights([arrays[variable.path] for variable in model.variables])


def _block(block, trunk, name):
    """({"pointwise", "mix", "residual"}, arrays, the trunk behind it) of a SearchableBlock, None when it vanishes."""
    gates = {part: opened(gate) for part, gate in block.gates().items()}
    inner = {part: np.flatnonzero(values.any(axis=-1)) for part, values in gates.items()}
    if not all(len(channels) for channels in inner.values()):
        return None
    arrays, before, pointwise = {}, trunk, None
    if "pointwise" in inner:
        before = inner["pointwise"]
        pointwise = len(before)
        arrays[f"{name}_pointwise/kernel"] = _kernel(block.pointwise)[:, :, trunk][..., before]
        arrays[f"{name}_pointwise/bias"] = _bias(block.pointwise)[before]
    kinds = block.activation.kinds
    each = np.broadcast_to(gates["activation"], (len(gates["activation"]), len(kinds)))
    groups = {mix: [] for mix in fgnas.MIXES}
    for channel in inner["activation"]:
        groups["+".join(kind for kind, on in zip(kinds, each[channel], strict=True) if on)].append(channel)
    mixed = [channel for group in groups.values() for channel in group]
    arrays[f"{name}_conv1/kernel"] = _kernel(block.conv1)[:, :, before][..., mixed]
    arrays[f"{name}_conv1/bias"] = _bias(block.conv1)[mixed]
    curved = [channel for mix, group in groups.items() if "prelu" in mix for channel in group]
    if curved:
        arrays[f"{name}_activation/alpha"] = ops.convert_to_numpy(block.activation.alpha)[curved]
    places, grown = _places(trunk, inner["residual"])
    order = _in_trunk_order(grown, places)
    arrays[f"{name}_conv2/kernel"] = _kernel(block.conv2)[:, :, mixed][..., order] / len(kinds)
    arrays[f"{name}_conv2/bias"] = _bias(block.conv2)[order]
    mix = {mix: len(group) for mix, group in groups.items() if group}
    return {"pointwise": pointwise, "mix": mix, "residual": places}, arrays, grown


def _places(trunk, channels):
    """(Rising places in the trunk, new ones behind its end, of the supernet's `channels`; the trunk with the new ones)."""
    grown = trunk + [channel for channel in channels if channel not in trunk]
    return sorted(grown.index(channel) for channel in channels), grown


def _in_trunk_order(trunk, places):
    return [trunk[place] for place in places]


def opened(gate):
    """Which sub-features of a Gate's channels are open, [C, M] bools."""
    return ops.convert_to_numpy(gate.psi) > 0.5 if gate.rate else np.ones(gate.shape, bool)


def _alive(gate):
    return opened(gate).any(axis=-1)


def _kernel(conv):
    return ops.convert_to_numpy(conv.kernel)


def _bias(conv):
    return ops.convert_to_numpy(conv.bias)
