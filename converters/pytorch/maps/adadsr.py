"""Keys of EDSR, RCAN, AdaEDSR, AdaRCAN and FAdaEDSR.

Three formats are read: that of https://github.com/csmliu/AdaDSR (Liu et al., ECCV Workshops 2020); that of the authors of EDSR
(https://github.com/sanghyun-son/EDSR-PyTorch) and RCAN (https://github.com/yulunzhang/RCAN); and that of BasicSR's EDSR.
`edsr_state` and `rcan_state` convert the others to the first one, and all to plain names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr import models
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size

State = dict[str, Any]  # {key: array}, kernels [O, I, H, W]
_MEAN_IN, _MEAN_OUT = "mean", "mean_out"  # prefixes of the two mean shifts after `_plain`
_PREDICTOR = "predictor.layer0.weight"
# EDSR's authors train 32 blocks of 256 channels with residuals times 0.1; networks of 64 channels without a factor. No key
# tells it. AdaDSR's release has no such factor.
_SCALED_CHANNELS, _RESIDUAL_SCALE = 256, 0.1
_FORMS = ("mean_shift", "depth", "depth_scales")  # arguments that differ among the published networks


def edsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of EDSR, AdaEDSR and FAdaEDSR in the form that `edsr_state` returns."""
    names = _outside(config)
    for k in range(config["blocks"]):
        names |= {f"block{k}.layer{2 * i}": f"block{k + 1}_conv{i + 1}" for i in range(2)}
    return names


def rcan(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RCAN and AdaRCAN in the form that `rcan_state` returns."""
    names, blocks = _outside(config), config["blocks"]
    for group in range(config["groups"]):
        for k in range(blocks):
            source, target = f"group{group}.block{k}", f"group{group + 1}_block{k + 1}"
            names |= {f"{source}.layer{2 * i}": f"{target}_conv{i + 1}" for i in range(2)}
            names |= {f"{source}.cuca.conv_du.0": f"{target}_squeeze", f"{source}.cuca.conv_du.2": f"{target}_excite"}
        names |= {f"group{group}.block{blocks}": f"group{group + 1}_end"}
    return names


def _outside(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys outside of the blocks, with those of the adapter."""
    names = {_MEAN_IN: "mean", "head": "head", "body_lastconv": "body", "tail": "tail"}
    names |= {f"up.{k}.0": f"up{k + 1}" for k in range(2 if config["scale"] == 4 else 1)}
    if config["depth"] != "none":
        names |= {"predictor.layer0": "adapter1"}
        names |= {f"predictor.layer{k}.0": f"adapter{k}_prelu" for k in range(1, 5)}
        names |= {f"predictor.layer{k}.1": f"adapter{k + 1}" for k in range(1, 5)}
    if config["depth"] == "input" and config["depth_scales"] == "first":
        names |= {"predictor.depth": "adapter1_depth"}
    return names


def edsr_state(state: Mapping[str, Any]) -> State:
    """Converts the arrays of EDSR, AdaEDSR or FAdaEDSR in either format to the keys of `edsr`, with the last mean folded.

    Raises:
        KeyError: the format is another one.
        ValueError: a mean shift also scales.
    """
    state = _of_basicsr(state) if "conv_first.weight" in state else state
    result = dict(state)
    if "sub_mean.bias" in state:
        names = _official(state)
        blocks = read_size("body.*.body.0.weight", _shapes(state))
        names |= {f"body.{k}.body.{layer}": f"block{k}.layer{layer}" for k in range(blocks) for layer in (0, 2)}
        result = _renamed(state, {**names, f"body.{blocks}": "body_lastconv"})
        if result["body_lastconv.weight"].shape[0] == _SCALED_CHANNELS:
            for key in [key for key in result if re.fullmatch(r"block\d+\.layer2\.(weight|bias)", key)]:
                result[key] = np.asarray(result[key], np.float64) * _RESIDUAL_SCALE
    return _plain(result)


def rcan_state(state: Mapping[str, Any]) -> State:
    """Converts the arrays of RCAN or AdaRCAN in either format to the keys of `rcan`. Raises: as `edsr_state`."""
    result = dict(state)
    if "sub_mean.bias" in state:
        names, shapes = _official(state), _shapes(state)
        groups, blocks = (read_size(f"body.{key}.weight", shapes) for key in ("*.body.0.body.0", "0.body.*.body.0"))
        for group in range(groups):
            for k in range(blocks):
                source, target = f"body.{group}.body.{k}.body", f"group{group}.block{k}"
                names |= {f"{source}.{layer}": f"{target}.layer{layer}" for layer in (0, 2)}
                names |= {f"{source}.3.conv_du.{layer}": f"{target}.cuca.conv_du.{layer}" for layer in (0, 2)}
            names |= {f"body.{group}.body.{blocks}": f"group{group}.block{blocks}"}
        result = _renamed(state, {**names, f"body.{groups}": "body_lastconv"})
    result = _plain(result)
    if _PREDICTOR in result:  # the desired depth scales the kernel, and the bias is added behind it
        result["predictor.depth.bias"] = result.pop("predictor.layer0.bias")
    return result


def _of_basicsr(state: Mapping[str, Any]) -> State:
    """Renames the keys of BasicSR's EDSR, and adds the mean that its code contains, for images in 0..255."""
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    names = {"conv_first": "head.0", "conv_after_body": f"body.{blocks}", "conv_last": "tail.1"}
    names |= {f"upsample.{k}": f"tail.0.{k}" for k in (0, 2)}
    names |= {f"body.{k}.conv{i}": f"body.{k}.body.{2 * i - 2}" for k in range(blocks) for i in (1, 2)}
    result = _renamed(state, names)
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        result |= {f"{name}.weight": np.eye(3).reshape(3, 3, 1, 1), f"{name}.bias": sign * 255.0 * np.array(models.DIV2K_MEAN)}
    return result


def _official(state: Mapping[str, Any]) -> dict[str, str]:
    """{prefix: prefix in AdaDSR's format} outside of the body, for EDSR and RCAN as their authors publish them."""
    names = {"sub_mean": "head.0", "head.0": "head.1", "tail.1": "tail.0", "add_mean": "tail.1"}
    return names | {f"tail.0.{2 * k}": f"up.{k}.0" for k in range(2) if f"tail.0.{2 * k}.weight" in state}


def _renamed(state: Mapping[str, Any], names: Mapping[str, str]) -> State:
    """Replaces the prefixes of keys. Others keep theirs."""
    parts = ((key.rpartition("."), value) for key, value in state.items())
    return {f"{names.get(prefix, prefix)}.{last}": value for (prefix, _, last), value in parts}


def _plain(state: State) -> State:
    """Gives each layer of AdaDSR's format a prefix of its own, and adds the second mean to the last bias.

    The first mean stays a layer: outside of the image, its zero padding means the DIV2K mean.
    """
    names = {"head.0": _MEAN_IN, "head.1": "head", "tail.0": "tail", "tail.1": _MEAN_OUT}
    result = _renamed(state, names | ({"up.0": "up.0.0"} if "up.0.weight" in state else {}))
    for name in (_MEAN_IN, _MEAN_OUT):
        weight = np.asarray(result.pop(f"{name}.weight"))  # [3, 1, 1, 1], or the 3x3 identity
        if not np.array_equal(np.squeeze(weight), np.ones(3) if weight.shape[1] == 1 else np.eye(3)):
            raise ValueError("a mean shift has weights other than 1")
    result["tail.bias"] = np.asarray(result["tail.bias"], np.float64) + result.pop(f"{_MEAN_OUT}.bias")
    return result


def _shapes(state: Mapping[str, Any]) -> Shapes:
    return {key: value.shape for key, value in state.items() if isinstance(value, np.ndarray)}


def told_range(state: Mapping[str, Any]) -> int | None:
    """Returns the range of the training images: the mean of DIV2K is below 1 in 0..1 and above 100 in 0..255."""
    if "conv_first.weight" in state:  # BasicSR has the mean in its code, for 0..255
        return 255
    bias = state.get("sub_mean.bias", state.get("head.0.bias"))
    return None if not isinstance(bias, np.ndarray) or bias.shape != (3,) else 255 if np.abs(bias).max() > 1 else 1


def _scale(shapes: Shapes) -> int:
    outputs, inputs = shapes["up.0.0.weight"][:2]
    return 4 if "up.1.0.weight" in shapes else math.isqrt(outputs // inputs)


def _depth(shapes: Shapes) -> str:
    return "input" if _PREDICTOR in shapes else "none"


def _adapter_channels(shapes: Shapes) -> int | None:
    return shapes[_PREDICTOR][0] if _PREDICTOR in shapes else None


def _edsr_variants(shapes: Shapes) -> tuple[dict[str, Any], ...]:
    """FAdaEDSR has the names and shapes of AdaEDSR."""
    return ({"depth": "fixed"},) if _PREDICTOR in shapes else ()


def _mean_shift(shapes: Shapes) -> bool:
    return f"{_MEAN_IN}.bias" in shapes


ARCHITECTURES = {
    "edsr": Architecture(
        edsr,
        {
            "channels": "head.weight[0]",
            "blocks": "block*.layer0.weight",
            "depth": _depth,
            "adapter_channels": _adapter_channels,
            "depth_scales": lambda shapes: "last",  # AdaEDSR's release
            "mean_shift": _mean_shift,
        },
        255,
        _scale,
        variants=_edsr_variants,
        prepare=edsr_state,
        told_range=told_range,
        forms=_FORMS,
    ),
    "rcan": Architecture(
        rcan,
        {
            "channels": "head.weight[0]",
            "groups": "group*.block0.layer0.weight",
            "blocks": "group0.block*.layer0.weight",
            "reduction": lambda shapes: shapes["head.weight"][0] // shapes["group0.block0.cuca.conv_du.0.weight"][0],
            "depth": _depth,
            "adapter_channels": _adapter_channels,
            "mean_shift": _mean_shift,
        },
        255,
        _scale,
        prepare=rcan_state,
        told_range=told_range,
        forms=_FORMS,
    ),
}
