"""Networks of residual blocks, cells and attention in the NTIRE 2022 efficient super-resolution challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size
from mobile_sr.converters.pytorch.maps.common import ESA, ESA_THREE, SC_PA, blocks


def esan(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ESAN as submitted."""
    names = {"upconv0": "shortcut", "conv_first.0": "head", "upconv.0": "tail"}
    attention = {key: layer for key, layer in ESA.items() if layer != "skip"}
    attention |= {f"conv3_{k}": f"conv{k}" for k in (1, 2, 3)}
    for k in range(config["blocks"]):
        source, target = f"recon_trunk.0.{k}", f"block{k + 1}"
        names |= {f"{source}.conv{i}": f"{target}_conv{i}" for i in (1, 2)}
        names |= {f"{source}.ESA.{a}": f"{target}_esa_{b}" for a, b in attention.items()}
    return names


def resdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ResDN as submitted; `_fold_mean` has folded the second mean shift."""
    names = {"sub_mean": "mean", "fea_conv": "head", "tail.0": "body", "tail.1": "tail"}
    for k in range(1, config["blocks"] + 1):
        source, target = f"body_unit{k}", f"block{k}"
        for stage in (1, 2, 3):
            for act, (part, layer) in enumerate((("expansion", "expand"), ("compression", "compress")), 1):
                names |= {f"{source}.{part}{stage}.0": f"{target}_stage{stage}_act{act}"}
                names |= {f"{source}.{part}{stage}.1": f"{target}_stage{stage}_{layer}"}
        names |= {f"{source}.conv_tail.0": f"{target}_act", f"{source}.conv_tail.1": f"{target}_fuse"}
        names |= {f"{source}.attention.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
    for step in range(1, config["blocks"]):
        names |= {f"T_tdm{step}.0": f"down{step}_top", f"L_tdm{step}.0": f"down{step}_lateral"}
    return names


def _fold_mean(state: dict[str, Any]) -> dict[str, Any]:
    """Moves ResDN's second mean shift into the last bias. Raises ValueError if a shift also scales."""
    result = folding.without_identity(state, "sub_mean", "add_mean")
    bias, mean = result["tail.1.bias"], result.pop("add_mean.bias")
    result["tail.1.bias"] = bias + np.repeat(mean, bias.size // mean.size)  # PixelShuffle's channels are c * s * s + ...
    return result


def efdn_nku(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of NKU-ESR's EFDN as submitted."""
    names = {"head": "head", "tail.0": "tail", **{f"local_fuse.{k}": f"fuse{k + 1}" for k in range(3)}}
    for k in range(4):
        source, target = f"cells.{k}", f"cell{k + 1}"
        for stage, part in enumerate(("conv1x1", "rep_conv", "rep_conv"), 1):
            names |= {
                f"{source}.conv{stage}.{part}": f"{target}_conv{stage}",
                f"{source}.conv{stage}.act": f"{target}_act{stage}",
            }
        names |= {f"{source}.branch.{k}": f"{target}_branch{k + 1}" for k in range(4)} | {f"{source}.fuse": f"{target}_fuse"}
        names |= {f"{source}.att.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
    return names


def rfesr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RFESR as submitted, prepared by `_unshuffle`."""
    names = {"fea_conv": "head", "LR_conv": "body", "upsampler.0": "tail"}
    attention = {key: layer for key, layer in ESA.items() if layer != "skip"} | {"conv_max.0": "near", "conv3.0": "far"}
    for source, target in blocks(config):
        for k in range(4):
            unit = f"{target}_unit{k + 1}"
            names |= {
                f"{source}.b{k}": unit,
                f"{source}.b{k}.body.0": f"{unit}_conv1",
                f"{source}.b{k}.body.2": f"{unit}_conv2",
            }
            names |= {f"{source}.b{k}.body.3.{a}": f"{unit}_esa_{b}" for a, b in attention.items()}
        names |= {source: target, **{f"{source}.reduction{k}": f"{target}_join{k}" for k in (1, 2, 3)}}
    return names


def _unshuffle(state: dict[str, Any]) -> dict[str, Any]:
    """Folds RFESR's channel shuffles into the 1x1 convolutions behind them, and copies these for their three uses."""
    result = folding.weight_norm(state)
    for match in folding.matches(result, r"(B\d+\.reduction)\.weight"):
        weight, bias = (result.pop(f"{match[1]}.{name}") for name in ("weight", "bias"))
        shuffled = folding.unshuffled(weight, 2)
        for k in (1, 2, 3):
            result[f"{match[1]}{k}.weight"], result[f"{match[1]}{k}.bias"] = shuffled, bias
    return result


def nasnet_bn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of NASNetBN as submitted, without batch normalization."""
    names = {"conv_first": "head", "HRconv": "hr", "conv_last": "tail", "upconv1": "up1"}
    names |= {"upconv2": "up2"} if config["scale"] == 4 else {}
    for k, kind in enumerate(config["cells"]):
        source, target = f"recon_trunk.{k}", f"block{k + 1}"
        if kind.startswith("inverted"):
            names |= {
                f"{source}.conv.{i}": f"{target}_{layer}" for i, layer in ((0, "expand"), (3, "depthwise"), (6, "project"))
            }
        else:
            names |= {f"{source}.conv{i}": f"{target}_conv{i}" for i in (1, 2)}
    return names


def _fold_nasnet(state: dict[str, Any]) -> dict[str, Any]:
    for match in folding.matches(state, r"(recon_trunk\.\d+)\.bn(\d)\.running_var"):
        state = folding.batch_norm_after(state, f"{match[1]}.conv{match[2]}", f"{match[1]}.bn{match[2]}")
    for match in folding.matches(state, r"(recon_trunk\.\d+\.conv)\.(\d)\.running_var"):
        state = folding.batch_norm_after(state, f"{match[1]}.{int(match[2]) - 1}", f"{match[1]}.{match[2]}")
    return state


def _cells(shapes: Shapes) -> tuple[str, ...]:
    """Kinds of NASNetBN's blocks. Whether a residual block has ReLU or LeakyReLU is not stored: as in the published network."""
    published = (
        "leaky inverted6 relu leaky leaky inverted3 inverted6 relu inverted3 inverted3 inverted3 inverted3 relu leaky leaky"
    )
    known, result = (*published.split(), "inverted6"), []
    for k in range(read_size("recon_trunk.*.conv1.weight", shapes) + read_size("recon_trunk.*.conv.0.weight", shapes)):
        if f"recon_trunk.{k}.conv.0.weight" in shapes:
            outputs, inputs = shapes[f"recon_trunk.{k}.conv.0.weight"][:2]
            result.append(f"inverted{outputs // inputs}")
        else:
            result.append(known[k] if k < len(known) and not known[k].startswith("inverted") else "leaky")
    return tuple(result)


def mdgn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of MDGN as submitted."""
    names = {"fea_conv": "head", "LR_conv": "body", "upsampler.0": "tail"}
    for k in range(config["blocks"]):
        source, target = f"B.{k}", f"block{k + 1}"
        for stage in (1, 2, 3):
            names |= {f"{source}.f{stage}.0": f"{target}_conv{stage}", f"{source}.f{stage}.1": f"{target}_act{stage}"}
        names |= {f"{source}.conv_fuse.0": f"{target}_fuse", f"{source}.conv_fuse.1": f"{target}_fused"}
        names |= {f"{source}.sa.0": f"{target}_gate"}
    return names


def scet(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of SCET as submitted, prepared by `_reorder`."""
    names = {"conv3": "head", "path1.2": "body", "path1.4": "body_tail", "path2.1": "head_tail"}
    for k in range(config["blocks"]):
        names |= {f"path1.0.arr.{k}.{source}": f"block{k + 1}_{target}" for source, target in SC_PA.items()}
    parts = {
        "norm1.body": "norm1",
        "norm2.body": "norm2",
        "attn": "attention",
        "attn.qkv": "qkv",
        "attn.project_out": "project",
    }
    parts |= {"attn.qkv_dwconv": "qkv_depthwise", "ffn.project_in": "ffn", "ffn.dwconv": "ffn_depthwise"}
    parts |= {"ffn.project_out": "ffn_project"}
    return names | {f"path1.1.arr.0.{source}": f"transformer_{target}" for source, target in parts.items()}


def _reorder(state: dict[str, Any]) -> dict[str, Any]:
    """Reorders the channels between SCET's blocks, because the head's features also go to a depth_to_space.

    Its channels have another order than those of PixelShuffle (keras_weights.py changes those of the head). The blocks read and
    write the same channels, so they are changed as well.
    """
    result = dict(state)
    channels, colours = result["conv3.weight"].shape[0], result["path2.1.weight"].shape[1]
    order = np.arange(channels).reshape(colours, -1).T.ravel()
    for key in state:
        if key.endswith((".conv1_a.weight", ".conv1_b.weight", ".qkv.weight", ".project_in.weight")) or key == "path1.2.weight":
            result[key] = result[key][:, order]
        elif key.endswith((".project_out.weight", ".body.weight", ".body.bias")) or key.endswith(".conv3.weight"):
            result[key] = result[key][order]
    return result


def _head_count(shapes: Shapes) -> int:
    return shapes["path1.1.arr.0.attn.temperature"][0]


def _shuffle_scale(key: str) -> Any:
    """Returns a function that tells the scale from a convolution behind a PixelShuffle of as many channels as the head has."""

    def scale(shapes: Shapes) -> int:
        return int((shapes["conv3.weight"][0] // shapes[key][1]) ** 0.5)

    return scale


ARCHITECTURES = {
    "mdgn": Architecture(mdgn, {"channels": "fea_conv.weight[0]", "blocks": "B.*.conv_fuse.0.weight"}, 255),
    "esan": Architecture(
        esan,
        {
            "channels": "conv_first.0.weight[0]",
            "attention": "recon_trunk.0.0.ESA.conv1.weight[0]",
            "blocks": "recon_trunk.0.*.conv1.weight",
        },
        255,
        "upconv0.weight[0]",
    ),
    "resdn": Architecture(
        resdn,
        {
            "channels": "fea_conv.weight[0]",
            "distilled": lambda shapes: shapes["body_unit1.expansion2.0.weight"][0] - shapes["fea_conv.weight"][0],
            "attention": "body_unit1.attention.conv1.weight[0]",
            "blocks": "body_unit*.conv_tail.1.weight",
        },
        scale="tail.1.weight[0]",
        prepare=_fold_mean,
    ),
    "efdn_nku": Architecture(
        efdn_nku,
        {"channels": "head.weight[0]", "attention": "cells.0.att.conv1.weight[0]"},
        scale="tail.0.weight[0]",
    ),
    "rfesr": Architecture(
        rfesr,
        {
            "channels": "fea_conv.weight[0]",
            "attention": "B1.b0.body.3.conv1.weight[0]",
            "blocks": "B*.reduction1.weight",
        },
        255,
        not_stored="dilations",
        unused=(r"c\.0\..*", r".*\.conv_f\..*", r".*\.conv3_\..*"),
        prepare=_unshuffle,
    ),
    "nasnet_bn": Architecture(
        nasnet_bn,
        {"channels": "conv_first.weight[0]", "cells": _cells},
        scale=lambda shapes: (
            4 if "upconv2.weight" in shapes else int((shapes["upconv1.weight"][0] // shapes["upconv1.weight"][1]) ** 0.5)
        ),
        not_stored="which residual blocks have LeakyReLU",
        prepare=_fold_nasnet,
    ),
    "scet": Architecture(
        scet,
        {
            "channels": "conv3.weight[0]",
            "hidden": "path1.1.arr.0.ffn.project_out.weight[1]",
            "heads": _head_count,
            "blocks": "path1.0.arr.*.conv3.weight",
        },
        scale=_shuffle_scale("path2.1.weight"),
        prepare=_reorder,
    ),
}
