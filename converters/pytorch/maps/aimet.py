"""Keys of the checkpoints of https://github.com/quic/aimet-model-zoo (super-resolution): QuickSRNet, SESR and XLSR.

Their images are in 0..1. SESR is published as it is trained, with two convolutions in each linear block, or collapsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, State, read_size


def quicksrnet(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of QuickSRNet: convolutions and clips in turn."""
    names = {f"cnn.{2 * k}": f"conv{k + 1}" for k in range(config["blocks"] + 1)}
    return names | {"conv_last": "tail"} | ({"anchor.net": "anchor"} if config["anchor"] else {})


def sesr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of SESR in the form that `sesr_state` returns."""
    names = {"conv_first": "head", "conv_last": "tail"}
    return names | {f"residual_block.{k}": f"conv{k + 1}" for k in range(config["blocks"])}


def xlsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of XLSR."""
    names = {"residual": "shortcut", "cnn.0": "head", "cnn.2": "head_mix", "tail.0": "tail_mix", "tail.2": "tail"}
    for k in range(3):
        names |= {f"cnn.{k + 3}.net.0": f"gblock{k + 1}_grouped", f"cnn.{k + 3}.net.2": f"gblock{k + 1}_mix"}
    return names


def sesr_state(state: State) -> dict[str, Any]:
    """Collapses the linear blocks of SESR, and removes the anchor, which repeats the input.

    A block is a k x k convolution without a bias and a 1x1 convolution: together, a k x k convolution. The 3x3 ones have a
    skip, which is the identity as a kernel. A collapsed block has the skip in its kernel already.

    Raises:
        KeyError: a key is missing.
        ValueError: the anchor does not repeat the input.
    """
    result = {}
    for key, value in state.items():
        prefix, _, part = key.rpartition(".")
        block, _, layer = prefix.rpartition(".")
        if layer == "conv_expand" and f"{block}.conv_squeeze.weight" not in state:
            result[f"{block}.{part}"] = value
        elif layer == "conv_expand":
            wide = np.asarray(value, np.float64)
            narrow = np.asarray(state[f"{block}.conv_squeeze.weight"], np.float64)[:, :, 0, 0]
            kernel = np.einsum("om,mihw->oihw", narrow, wide)
            if block.startswith("residual_block."):
                middle = kernel.shape[-1] // 2
                kernel[:, :, middle, middle] += np.eye(kernel.shape[0])
            result[f"{block}.weight"] = kernel
        elif layer == "conv_squeeze" and part == "bias":
            result[f"{block}.bias"] = value
        elif layer != "conv_squeeze":
            result[key] = value
    anchor, bias = (np.asarray(result.pop(f"anchor.net.{part}")) for part in ("weight", "bias"))
    repeats = np.repeat(np.eye(3), len(anchor) // 3, axis=0)
    if np.any(bias) or not np.array_equal(anchor[:, :, 0, 0], repeats):
        raise ValueError("anchor.net does not repeat the input")
    return result


def _has_xlsr_sizes(shapes: Shapes) -> bool:
    """Whether the convolutions are those of XLSR, the only size of it."""
    return shapes["cnn.3.net.0.weight"] == (32, 8, 3, 3) and shapes["tail.0.weight"][:2] == (32, 48)


ARCHITECTURES = {
    "quicksrnet": Architecture(
        quicksrnet,
        {
            "channels": "cnn.0.weight[0]",
            "blocks": lambda shapes: read_size("cnn.*.weight", shapes) - 1,
            "anchor": lambda shapes: "anchor.net.weight" in shapes,
        },
        scale="conv_last.weight[0]",
        told_range=lambda state: 1,  # its activations are clipped to 0..1
    ),
    "sesr": Architecture(
        sesr,
        {"channels": "conv_first.weight[0]", "blocks": "residual_block.*.weight"},
        scale="conv_last.weight[0]",
        prepare=sesr_state,
    ),
    "xlsr": Architecture(xlsr, {}, scale=lambda shapes: math.isqrt(shapes["tail.2.weight"][0] // 3), agrees=_has_xlsr_sizes),
}
