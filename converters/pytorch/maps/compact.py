"""Small networks of others: Real-ESRGAN's Compact, SPAN, IMDN-RTC, Bicubic++ and PAN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr import models
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size
from mobile_sr.converters.pytorch.maps.common import SC_PA


def compact(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of Compact: convolutions and PReLUs in turn."""
    names = {f"body.{2 * (config['blocks'] + 1)}": "tail"}
    for index in range(config["blocks"] + 1):
        names |= {f"body.{2 * index}": f"conv{index + 1}", f"body.{2 * index + 1}": f"act{index + 1}"}
    return names


def _last(shapes: Shapes) -> int:
    """Index of Compact's last convolution."""
    return max(int(key.split(".")[1]) for key in shapes if key.startswith("body.") and key.count(".") == 2)


def _compact_scale(shapes: Shapes) -> int:
    return int((shapes[f"body.{_last(shapes)}.weight"][0] // 3) ** 0.5)


def span(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of SPAN, prepared by `_merge_branches`."""
    names = {"mean": "mean", "conv_1": "head", "conv_2": "body", "conv_cat": "fuse", "upsampler.0": "tail"}
    for k in range(1, config["blocks"] + 1):
        names |= {f"block_{k}.c{stage}_r": f"block{k}_conv{stage}" for stage in (1, 2, 3)}
        names |= {f"block_{k}.half": f"block{k}_centred"}
    return names


def _merge_branches(state: dict[str, Any]) -> dict[str, Any]:
    """Merges the branches of SPAN's convolutions, and adds the constants that its code contains.

    A convolution is a 1x1 plus a chain of 1x1, 3x3 and 1x1. The published eval_conv is the same, but may be out of date; it is
    used where the branches are missing.
    """
    result = {}
    for key, value in state.items():
        prefix, _, rest = key.partition(".eval_conv.")
        if rest:
            branches = [f"{prefix}.{name}.{end}" for name in ("sk", "conv.0", "conv.1", "conv.2") for end in ("weight", "bias")]
            if all(name in state for name in branches):
                value = _merged(*(np.asarray(state[name], np.float64) for name in branches))[rest]
            result[f"{prefix}.{rest}"] = value
        elif ".sk." not in key and ".conv." not in key:
            result[key] = value
    result["conv_1.weight"] = 255.0 * np.asarray(result["conv_1.weight"], np.float64)
    result["mean.bias"] = -np.asarray(models.DIV2K_MEAN)  # in SPAN's code
    for key in list(result):
        if key.endswith(".c3_r.bias"):
            result[key.replace(".c3_r.", ".half.")] = np.full(1, -0.5)
    return result


def _merged(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Weight and bias of one 3x3 convolution, from those of the 1x1 convolution and of the chain."""
    skip, skip_bias, first, first_bias, middle, middle_bias, last, last_bias = arrays
    weight = np.einsum("ob,bahw,ai->oihw", last[:, :, 0, 0], middle, first[:, :, 0, 0])
    weight[:, :, 1, 1] += skip[:, :, 0, 0]
    inner = np.einsum("bahw,a->b", middle, first_bias) + middle_bias
    return {"weight": weight, "bias": last[:, :, 0, 0] @ inner + last_bias + skip_bias}


def imdn_rtc(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDN-RTC: those of the challenge's IMDN with other names in the blocks."""
    names, count = {"model.0": "head", "model.2": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"model.1.sub.{k}.c{stage}": f"block{k + 1}_conv{stage}" for stage in (1, 2, 3, 4)}
        names |= {f"model.1.sub.{k}.c5": f"block{k + 1}_fuse"}
    return names | {f"model.1.sub.{count}": "body"}


def bicubic_plus_plus(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of Bicubic++: convolutions in turn."""
    return {"conv0": "head", "conv_out": "tail"} | {f"conv{k}": f"conv{k}" for k in range(1, config["blocks"] + 1)}


def _bicubic_plus_plus_blocks(shapes: Shapes) -> int:
    """Its blocks: the convolutions conv0, conv1, ... without the first."""
    count: int = read_size("conv*.weight", shapes)
    return count - 1


def _bicubic_plus_plus_scale(shapes: Shapes) -> int:
    """Its scale: the pixel shuffle is by twice the scale."""
    return math.isqrt(shapes["conv_out.weight"][0] // 3) // 2


def pan(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of PAN. Those of its blocks are SCET's with another prefix."""
    names = {"conv_first": "head", "trunk_conv": "body", "conv_last": "tail"}
    for step in (1, 2) if config["scale"] == 4 else (1,):
        names |= {f"upconv{step}": f"up{step}_conv", f"att{step}.conv": f"up{step}_attention_conv"}
        names |= {f"HRconv{step}": f"up{step}_refine"}
    for k in range(config["blocks"]):
        names |= {f"SCPA_trunk.{k}.{source}": f"block{k + 1}_{target}" for source, target in SC_PA.items()}
    return names


def _pan_variants(shapes: Shapes) -> tuple[dict[str, Any], ...]:
    """x2 and x3 have the same shapes: the sample image tells them apart."""
    return () if "upconv2.weight" in shapes else ({"scale": 3},)


ARCHITECTURES = {
    "imdn_rtc": Architecture(
        imdn_rtc,
        {"channels": "model.0.weight[0]", "blocks": "model.1.sub.*.c5.weight"},
        scale="model.2.weight[0]",
    ),
    "bicubic_plus_plus": Architecture(
        bicubic_plus_plus,
        {"channels": "conv0.weight[0]", "blocks": _bicubic_plus_plus_blocks},
        scale=_bicubic_plus_plus_scale,
    ),
    "pan": Architecture(
        pan,
        {
            "channels": "conv_first.weight[0]",
            "upscaled": "upconv1.weight[0]",
            "blocks": "SCPA_trunk.*.conv3.weight",
        },
        scale=lambda shapes: 4 if "upconv2.weight" in shapes else 2,
        variants=_pan_variants,
    ),
    "compact": Architecture(
        compact,
        {"channels": "body.0.weight[0]", "blocks": lambda shapes: _last(shapes) // 2 - 1},
        scale=_compact_scale,
    ),
    "span": Architecture(
        span,
        {"channels": "conv_1.weight[0]", "blocks": "block_*.c1_r.weight"},
        prepare=_merge_branches,
    ),
}
