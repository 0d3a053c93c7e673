"""EDSR and RCAN, in the names of their authors' code; EDSR also in those of BasicSR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes

_MEAN = np.array((0.4488, 0.4371, 0.4040))  # of DIV2K's images in 0..1
_SCALED = 256  # channels from which EDSR multiplies its residuals by 0.1


def _ends(scale: int, blocks: int) -> dict[str, str]:
    """Keys outside of the body; `blocks` is the number of its parts in front of the last convolution."""
    names = {"sub_mean": "mean", "head.0": "head", f"body.{blocks}": "body", "tail.0.0": "up1", "tail.1": "tail"}
    return names | ({"tail.0.2": "up2"} if scale == 4 else {})


def edsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of EDSR, prepared by `_edsr_state`."""
    names = _ends(config["scale"], config["blocks"])
    for k in range(config["blocks"]):
        names |= {f"body.{k}.body.0": f"block{k + 1}_conv1", f"body.{k}.body.2": f"block{k + 1}_conv2"}
    return names


def rcan(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RCAN, prepared by `_fold_mean`."""
    names = _ends(config["scale"], config["groups"])
    parts = {"body.0": "conv1", "body.2": "conv2", "body.3.conv_du.0": "squeeze", "body.3.conv_du.2": "excite"}
    for g in range(config["groups"]):
        for k in range(config["blocks"]):
            names |= {f"body.{g}.body.{k}.{a}": f"group{g + 1}_block{k + 1}_{b}" for a, b in parts.items()}
        names |= {f"body.{g}.body.{config['blocks']}": f"group{g + 1}_end"}
    return names


def _fold_mean(state: dict[str, Any]) -> dict[str, Any]:
    """Moves the second mean shift into the last bias."""
    result = folding.without_identity(state, "sub_mean", "add_mean")
    result["tail.1.bias"] = result["tail.1.bias"] + result.pop("add_mean.bias")
    return result


def _edsr_state(state: dict[str, Any]) -> dict[str, Any]:
    """Renames BasicSR's keys, folds the mean, and for 256 channels or more the factor 0.1 of the residuals."""
    result = _fold_mean(_of_basicsr(state) if "conv_first.weight" in state else state)
    if result["head.0.weight"].shape[0] >= _SCALED:
        for key in result:
            if key.startswith("body.") and key.rpartition(".")[0].endswith(".body.2"):
                result[key] = 0.1 * result[key]
    return result


def _of_basicsr(state: dict[str, Any]) -> dict[str, Any]:
    """Renames the keys of BasicSR's EDSR, and adds the mean that its code contains, for images in 0..255."""
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    names = {"conv_first": "head.0", "conv_after_body": f"body.{blocks}", "conv_last": "tail.1"}
    names |= {f"upsample.{k}": f"tail.0.{k}" for k in (0, 2)}
    names |= {f"body.{k}.conv{i}": f"body.{k}.body.{2 * i - 2}" for k in range(blocks) for i in (1, 2)}
    result = {}
    for key, value in state.items():
        prefix, _, end = key.rpartition(".")
        result[f"{names.get(prefix, prefix)}.{end}"] = value
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        result |= {f"{name}.weight": np.eye(3).reshape(3, 3, 1, 1), f"{name}.bias": sign * 255.0 * _MEAN}
    return result


def _scale(shapes: Shapes) -> int:
    outputs, inputs = shapes["tail.0.0.weight"][:2]
    return 4 if "tail.0.2.weight" in shapes else int((outputs // inputs) ** 0.5)


def _subtracted(shapes: Shapes) -> str:
    return "subtracted"


ARCHITECTURES = {
    "edsr": Architecture(
        edsr,
        {"channels": "head.0.weight[0]", "blocks": "body.*.body.0.weight", "input_mean": _subtracted},
        255,
        _scale,
        not_stored="the factor of the residuals (0.1 with 256 channels or more, else 1)",
        prepare=_edsr_state,
    ),
    "rcan": Architecture(
        rcan,
        {
            "channels": "head.0.weight[0]",
            "groups": "body.*.body.0.body.0.weight",
            "blocks": "body.0.body.*.body.0.weight",
            "reduction": lambda shapes: shapes["head.0.weight"][0] // shapes["body.0.body.0.body.3.conv_du.0.weight"][0],
            "input_mean": _subtracted,
        },
        255,
        _scale,
        prepare=_fold_mean,
    ),
}
