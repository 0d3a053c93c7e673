"""Converts FGNAS's gated supernet to the compact network by removing channels without an open gate, also across skips.

The compact network computes the same function as the gated one, up to float rounding. Kim et al., JVCIR 2022, Sec. 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from mobile_sr.models.nas import fgnas, fgnas_supernet

if TYPE_CHECKING:
    import keras


class Collapsed(ValueError):
    """No open channel remains that reads the image."""


def compact(model: keras.Model, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Convert a supernet with its current gates to the compact network.

    A block is removed when one of its layers has no open channel, or when the trunk that it reads is empty. The whole body is
    removed when its last convolution has no open channel.

    Args:
        model: the supernet.
        config: configuration of the supernet.

    Returns:
        The configuration for models/nas/fgnas.py, and {variable path: array}.

    Raises:
        Collapsed: the head has no open channel.
    """
    head, tail, last = (model.get_layer(name) for name in ("head", "tail", "last"))
    first = np.flatnonzero(_alive(head.gate))
    body = np.flatnonzero(_alive(tail.gate))
    if not len(first):
        raise Collapsed("the first convolution has no open channel")
    arrays = {"head/kernel": _kernel(head.conv)[..., first], "head/bias": _bias(head.conv)[first]}
    blocks: list[dict[str, Any] | None] = []
    trunk: list[np.integer] = list(first)  # the supernet's channels in the order of the trunk
    for index, block in enumerate(fgnas_supernet.searchable_blocks(model)):
        result = _block(block, trunk, f"block{index + 1}") if len(body) else None
        if result is None:
            blocks.append(None)
        else:
            block_config, block_arrays, trunk = result
            blocks.append(block_config)
            arrays |= block_arrays
    tail_positions, out = _positions(list(first), body)
    order = _in_trunk_order(out, tail_positions)
    if len(body):
        arrays |= {"tail_conv2/kernel": _kernel(tail.conv)[:, :, trunk][..., order], "tail_conv2/bias": _bias(tail.conv)[order]}
    arrays |= {"last/kernel": _kernel(last)[:, :, out], "last/bias": _bias(last)}
    parts = {"head": len(first), "blocks": blocks, "tail": tail_positions}
    kept = {key: config[key] for key in ("scale", "output_activation") if key in config}
    return {"network": "fgnas", **kept, **parts}, arrays


def set_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the weights of the compact Keras model.

    Args:
        model: the network, built with the configuration of `compact`.
        arrays: {variable path: array}.
    """
    model.set_weights([arrays[variable.path] for variable in model.variables])


def _block(
    block: Any, trunk: list[np.integer], name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[np.integer]] | None:
    """({"pointwise", "mix", "residual"}, arrays, trunk after the block) of a SearchableBlock, None if it is removed."""
    gates = {part: opened(gate) for part, gate in block.gates().items()}
    inner = {part: np.flatnonzero(values.any(axis=-1)) for part, values in gates.items()}
    if not all(len(channels) for channels in inner.values()):
        return None
    arrays: dict[str, np.ndarray] = {}
    before: list[np.integer] | np.ndarray = trunk
    pointwise = None
    if "pointwise" in inner:
        before = inner["pointwise"]
        pointwise = len(before)
        arrays[f"{name}_pointwise/kernel"] = _kernel(block.pointwise)[:, :, trunk][..., before]
        arrays[f"{name}_pointwise/bias"] = _bias(block.pointwise)[before]
    kinds = block.activation.kinds
    each = np.broadcast_to(gates["activation"], (len(gates["activation"]), len(kinds)))
    groups: dict[str, list[np.integer]] = {mix: [] for mix in fgnas.MIXES}
    for channel in inner["activation"]:
        groups["+".join(kind for kind, on in zip(kinds, each[channel], strict=True) if on)].append(channel)
    mixed = [channel for group in groups.values() for channel in group]
    arrays[f"{name}_conv1/kernel"] = _kernel(block.conv1)[:, :, before][..., mixed]
    arrays[f"{name}_conv1/bias"] = _bias(block.conv1)[mixed]
    prelu = [channel for mix, group in groups.items() if "prelu" in mix for channel in group]
    if prelu:
        arrays[f"{name}_activation/alpha"] = ops.convert_to_numpy(block.activation.alpha)[prelu]
    positions, grown = _positions(trunk, inner["residual"])
    order = _in_trunk_order(grown, positions)
    arrays[f"{name}_conv2/kernel"] = _kernel(block.conv2)[:, :, mixed][..., order] / len(kinds)
    arrays[f"{name}_conv2/bias"] = _bias(block.conv2)[order]
    mix = {mix: len(group) for mix, group in groups.items() if group}
    return {"pointwise": pointwise, "mix": mix, "residual": positions}, arrays, grown


def _positions(trunk: list[np.integer], channels: Iterable[np.integer]) -> tuple[list[int], list[np.integer]]:
    """(sorted positions of the supernet's `channels` in the trunk, the trunk with missing channels appended)."""
    grown = [*trunk, *(channel for channel in channels if channel not in trunk)]
    return sorted(grown.index(channel) for channel in channels), grown


def _in_trunk_order(trunk: list[np.integer], positions: Iterable[int]) -> list[np.integer]:
    return [trunk[position] for position in positions]


def opened(gate: keras.layers.Layer) -> np.ndarray:
    """Return [C, M] bool: which sub-features of the channels of a Gate are open."""
    return ops.convert_to_numpy(gate.psi) > 0.5 if gate.rate else np.ones(gate.shape, bool)


def _alive(gate: keras.layers.Layer) -> np.ndarray:
    return np.any(opened(gate), axis=-1)


def _kernel(conv: keras.layers.Layer) -> np.ndarray:
    return ops.convert_to_numpy(conv.kernel)


def _bias(conv: keras.layers.Layer) -> np.ndarray:
    return ops.convert_to_numpy(conv.bias)
