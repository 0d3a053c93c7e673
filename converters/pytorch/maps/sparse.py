"""Keys of the checkpoints of SMSR (https://github.com/LongguangWang/SMSR)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, State, read_size
from mobile_sr.converters.pytorch.maps import adadsr

_LAYERS = 4  # of a module
_KINDS = ("dense", "sparse")


def smsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of SMSR in the form that `smsr_state` returns."""
    names = {"sub_mean": "mean", "head.0": "head1", "head.2": "head2", "tail.0": "tail"}
    names |= {"collect.0": "collect1", "collect.2": "collect2"}
    for k in range(len(config["dense"]) // _LAYERS):
        source, target = f"body.{k}", f"module{k + 1}"
        names |= {
            f"{source}.spa_mask.{i}": f"{target}_mask_{part}" for i, part in ((0, "conv1"), (3, "conv2"), (5, "difference"))
        }
        names |= {f"{source}.ca.conv_du.0": f"{target}_squeeze", f"{source}.ca.conv_du.2": f"{target}_excite"}
        names |= {f"{source}.body.collect": f"{target}_collect"}
        widths = {"dense": config["channels"], "sparse": 0}
        for layer, number in enumerate(config["dense"][_LAYERS * k :][:_LAYERS]):
            inputs, widths = widths, {"dense": number, "sparse": config["channels"] - number}
            for part in (f"{a}_to_{b}" for a in _KINDS for b in _KINDS if inputs[a] and widths[b]):
                names[f"{source}.body.body.{layer}.{part}"] = f"{target}_layer{layer + 1}_{part}"
    return names


def smsr_state(state: State) -> dict[str, Any]:
    """Splits SMSR's convolutions by its channel masks, and reduces the two outputs of a spatial mask to their difference.

    A channel is dense where the first of its two numbers is larger. The mean shifts cancel for the bicubic image.

    Raises:
        KeyError: a key is missing.
        ValueError: a mean shift also scales, or the two differ.
    """
    result = folding.without_identity(dict(state), "sub_mean", "add_mean")
    if not np.array_equal(result.pop("add_mean.bias"), -result["sub_mean.bias"]):
        raise ValueError("the two mean shifts differ")
    for match in folding.matches(result, r"(body\.\d+)\.body\.ch_mask"):
        source, mask = match[1], np.asarray(result.pop(match[0]))[0]  # [channels, layers, 2]
        is_dense = (mask[:, :, 0] > mask[:, :, 1]).T
        inputs = {"dense": np.arange(mask.shape[0]), "sparse": np.arange(0)}
        orders = []
        for layer, dense in enumerate(is_dense):
            kernel = np.asarray(result.pop(f"{source}.body.body.{layer}.weight"))
            outputs = {"dense": np.flatnonzero(dense), "sparse": np.flatnonzero(~dense)}
            for a, b in ((a, b) for a in _KINDS for b in _KINDS if inputs[a].size and outputs[b].size):
                result[f"{source}.body.body.{layer}.{a}_to_{b}.weight"] = kernel[outputs[b]][:, inputs[a]]
            orders.append(layer * mask.shape[0] + np.concatenate([outputs[kind] for kind in _KINDS]))
            inputs = outputs
        collect = f"{source}.body.collect.weight"
        result[collect] = np.asarray(result[collect])[:, np.concatenate(orders)]
        key = f"{source}.spa_mask.5"
        weight, bias = (np.asarray(result[f"{key}.{part}"], np.float64) for part in ("weight", "bias"))
        result |= {f"{key}.weight": weight[:, 1:] - weight[:, :1], f"{key}.bias": bias[1:] - bias[:1]}
    return result


def _dense(shapes: Shapes) -> tuple[int, ...]:
    """Numbers of dense channels of all convolutions."""
    modules = read_size("body.*.body.collect.weight", shapes)

    def number(module: int, layer: int) -> int:
        pattern = re.compile(rf"body\.{module}\.body\.body\.{layer}\.\w+_to_dense\.weight")
        return next((shape[0] for key, shape in shapes.items() if pattern.fullmatch(key)), 0)

    return tuple(number(module, layer) for module in range(modules) for layer in range(_LAYERS))


ARCHITECTURES = {
    "smsr": Architecture(
        smsr,
        {
            "channels": "head.0.weight[0]",
            "dense": _dense,
            "reduction": lambda shapes: shapes["head.0.weight"][0] // shapes["body.0.ca.conv_du.0.weight"][0],
        },
        255,
        "tail.0.weight[0]",
        prepare=smsr_state,
        told_range=adadsr.told_range,
        forms=("dense",),
    ),
}
