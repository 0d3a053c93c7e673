"""Keys of the checkpoints of models/classic: CARN, WDSR, RDN, SRResNet, MSRResNet, SAN and VDSR.

EDSR and RCAN are in adadsr.py, FSRCNN and ESPCN in mobile.py, SMSR in sparse.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, State, read_size
from mobile_sr.converters.pytorch.maps import adadsr
from mobile_sr.models import DIV2K_MEAN

# VDSR's conversions of Y, as in models/classic/vdsr.py, which imports Keras.
TO_Y = np.array([[65.481], [128.553], [24.966]]) / 255
OFFSET = 16 / 255
FROM_Y = np.full((1, 3), 255 / 219)

_STAGES = (1, 2, 3)  # of a cascade of CARN


def carn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of https://github.com/nmhkahn/CARN-pytorch in the form that `carn_state` returns."""
    names = {"sub_mean.shifter": "mean", "entry": "head", "exit": "tail"}
    names |= {f"upsample.up{config['scale']}.body.{3 * k}": f"up{k + 1}" for k in range(2 if config["scale"] == 4 else 1)}
    parts = {0: "conv1", 2: "conv2"} | ({} if config["groups"] == 1 else {4: "mix"})
    for k in range(1, config["cascades"] + 1):
        names |= {f"c{k}.body.0": f"fuse{k}"}
        for stage in _STAGES:
            names |= {f"b{k}.c{stage}.body.0": f"block{k}_fuse{stage}"}
            names |= {f"b{k}.b{stage}.body.{i}": f"block{k}_block{stage}_{part}" for i, part in parts.items()}
    return names


def carn_state(state: State) -> dict[str, Any]:
    """Copies the shared blocks of CARN-M, adds the last mean to the last bias, and names an upsampler after its scale.

    Raises:
        KeyError: a key is missing.
        ValueError: a mean shift also scales.
    """
    result = folding.without_identity(dict(state), "sub_mean.shifter", "add_mean.shifter")
    result["exit.bias"] = np.asarray(result["exit.bias"], np.float64) + result.pop("add_mean.shifter.bias")
    for match in folding.matches(result, r"b(\d+)\.b1\.(body\.4\.weight)"):
        shared = [key for key in result if key.startswith(f"b{match[1]}.b1.")]
        result |= {f"b{match[1]}.b{stage}.{key.split('.', 2)[2]}": result[key] for key in shared for stage in _STAGES[1:]}
    if "upsample.up.body.0.weight" in result:
        shapes = {key: np.shape(value) for key, value in result.items()}
        scale = 4 if "upsample.up.body.3.weight" in shapes else math.isqrt(_growth(shapes, "upsample.up.body.0", "exit"))
        result = {key.replace("upsample.up.", f"upsample.up{scale}."): value for key, value in result.items()}
    groups = _carn_groups({key: np.shape(value) for key, value in result.items()})
    for key in [key for key in result if groups > 1 and key.startswith("upsample.up")]:
        # Within each group, from the channels of PixelShuffle to those of depth_to_space; keras_weights.py has no groups.
        channels = result["exit.weight"].shape[1] // groups
        split = np.reshape(result[key], (groups, channels, -1, *np.shape(result[key])[1:]))
        result[key] = np.reshape(np.swapaxes(split, 1, 2), np.shape(result[key]))
    return result


def _growth(shapes: Shapes, key: str, following: str) -> int:
    """Factor by which a convolution in front of a pixel shuffle has more channels than the one behind it reads."""
    return shapes[f"{key}.weight"][0] // shapes[f"{following}.weight"][1]


def _carn_scales(shapes: Shapes) -> list[int]:
    """Scales of the upsamplers, the largest first: the published networks have three."""
    return [scale for scale in (4, 3, 2) if f"upsample.up{scale}.body.0.weight" in shapes]


def _carn_groups(shapes: Shapes) -> int:
    outputs, inputs = shapes["b1.b1.body.0.weight"][:2]
    return outputs // inputs


def _mean_range(state: State) -> int | None:
    """The mean of DIV2K is below 1 in 0..1."""
    bias = state.get("sub_mean.shifter.bias")
    return None if not isinstance(bias, np.ndarray) else 255 if np.abs(bias).max() > 1 else 1


def wdsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of https://github.com/JiahuiYu/wdsr_ntire2018 with plain kernels."""
    names = {"mean": "mean", "head.0": "head", "tail.0": "tail", "skip.0": "skip"}
    parts = ("expand", "", "project") if config["low_rank"] is None else ("expand", "", "squeeze", "project")
    for k in range(config["blocks"]):
        names |= {f"body.{k}.body.{i}": f"block{k + 1}_{part}" for i, part in enumerate(parts) if part}
    return names


def wdsr_state(state: State) -> dict[str, Any]:
    """Adds what WDSR's code contains: its networks compute 0.5 * f(2 * (image - mean)) + mean for images in 0..1."""
    result = folding.weight_norm(dict(state))
    mean = np.asarray(DIV2K_MEAN)
    for key in ("tail.0.weight", "tail.0.bias", "skip.0.bias"):  # the two factors of the skip's kernel cancel
        result[key] = 0.5 * np.asarray(result[key], np.float64)
    result["head.0.weight"] = 2.0 * np.asarray(result["head.0.weight"], np.float64)
    result["skip.0.bias"] += np.repeat(mean, result["skip.0.bias"].size // 3)  # PixelShuffle's channels are c * s * s + ...
    return {**result, "mean.bias": -mean}


def _low_rank(shapes: Shapes) -> int | None:
    return shapes["body.0.body.2.weight"][0] if "body.0.body.3.weight" in shapes else None


def rdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RDN as its authors and EDSR-PyTorch write them."""
    names = {"SFENet1": "head", "SFENet2": "head2", "GFF.0": "blocks_fuse", "GFF.1": "body"}
    steps = 2 if config["scale"] == 4 else 1
    names |= {f"UPNet.{2 * k}": f"up{k + 1}" for k in range(steps)} | {f"UPNet.{2 * steps}": "tail"}
    for k in range(config["blocks"]):
        names |= {f"RDBs.{k}.convs.{i}.conv.0": f"block{k + 1}_conv{i + 1}" for i in range(config["layers"])}
        names |= {f"RDBs.{k}.LFF": f"block{k + 1}_fuse"}
    return names


def rdn_state(state: State) -> dict[str, Any]:
    """Converts the names of https://github.com/yjn870/RDN-pytorch, for images in 0..1, to those of `rdn`."""
    steps = sum(key in state for key in ("upscale.0.weight", "upscale.2.weight"))
    names = {"sfe1": "SFENet1", "sfe2": "SFENet2", "gff": "GFF", "output": f"UPNet.{2 * steps}", "upscale": "UPNet"}
    result = {}
    for key, value in state.items():
        key = re.sub(r"rdbs\.(\d+)\.layers\.(\d+)\.conv\.", r"RDBs.\1.convs.\2.conv.0.", key)
        key = re.sub(r"rdbs\.(\d+)\.lff\.", r"RDBs.\1.LFF.", key)
        start, dot, rest = key.partition(".")
        result[f"{names.get(start, start)}{dot}{rest}"] = value
    return result


def _rdn_scale(shapes: Shapes) -> int:
    return 4 if "UPNet.4.weight" in shapes else math.isqrt(_growth(shapes, "UPNet.0", "UPNet.2"))


def srresnet(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of https://github.com/Lornatang/SRGAN-PyTorch in the form that `srresnet_state` returns."""
    names = {"conv1.0": "head", "conv1.1": "head_act", "conv2.0": "body", "conv3": "tail"}
    for k in range(config["blocks"]):
        names |= {f"trunk.{k}.rcb.{i}": f"block{k + 1}_{part}" for i, part in ((0, "conv1"), (2, "act"), (3, "conv2"))}
    for k in range(2 if config["scale"] == 4 else 1):
        names |= {f"upsampling.{k}.upsample_block.0": f"up{k + 1}", f"upsampling.{k}.upsample_block.2": f"up{k + 1}_act"}
    return names


def srresnet_state(state: State) -> dict[str, Any]:
    """Folds the batch normalization of SRResNet; older versions of its code write conv_block1 for conv1."""
    result = {key.replace("conv_block", "conv"): value for key, value in state.items()}
    for match in folding.matches(result, r"(trunk\.\d+\.rcb|conv2)\.(\d)\.running_var"):
        result = folding.batch_norm_after(result, f"{match[1]}.{int(match[2]) - 1}", f"{match[1]}.{match[2]}")
    return result


def _srresnet_scale(shapes: Shapes) -> int:
    if "upsampling.1.upsample_block.0.weight" in shapes:
        return 4
    return math.isqrt(_growth(shapes, "upsampling.0.upsample_block.0", "conv3"))


def msrresnet(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of BasicSR's MSRResNet."""
    names = {"conv_first": "head", "upconv1": "up1", "conv_hr": "hr", "conv_last": "tail"}
    names |= {"upconv2": "up2"} if config["scale"] == 4 else {}
    return names | {f"body.{k}.conv{i}": f"block{k + 1}_conv{i}" for k in range(config["blocks"]) for i in (1, 2)}


def _msrresnet_scale(shapes: Shapes) -> int:
    return 4 if "upconv2.weight" in shapes else math.isqrt(_growth(shapes, "upconv1", "conv_hr"))


def san(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of https://github.com/daitao/SAN in the form that `san_state` returns."""
    names = {"sub_mean": "mean", "head.0": "head", "gamma": "source", "tail.1": "tail"}
    names |= {f"tail.0.{2 * k}": f"up{k + 1}" for k in range(2 if config["scale"] == 4 else 1)}
    names |= {f"non_local{k}.{part}": f"non_local{k}_{part.lower()}" for k in (1, 2) for part in ("theta", "phi", "g", "W")}
    for k in range(config["groups"]):
        source, target = f"RG.{k}", f"group{k + 1}"
        names |= {f"{source}.soca.conv_du.0": f"{target}_squeeze", f"{source}.soca.conv_du.2": f"{target}_excite"}
        names |= {f"{source}.conv_last": f"{target}_end"}
        for i in range(config["blocks"]):
            names |= {f"{source}.rcab.{i}.conv_first.{2 * j}": f"{target}_block{i + 1}_conv{j + 1}" for j in range(2)}
    return names


def san_state(state: State) -> dict[str, Any]:
    """Adds the last mean to the last bias of SAN, and copies the non-local layer for its two uses.

    Raises:
        KeyError: a key is missing.
        ValueError: a mean shift also scales.
    """
    result = folding.without_identity(dict(state), "sub_mean", "add_mean")
    result["tail.1.bias"] = np.asarray(result["tail.1.bias"], np.float64) + result.pop("add_mean.bias")
    for key in [key for key in result if key.startswith("non_local.non_local.")]:
        value = result.pop(key)
        result |= {key.replace("non_local.non_local.", f"non_local{k}."): value for k in (1, 2)}
    result["gamma.weight"] = result.pop("gamma")
    return result


def _san_scale(shapes: Shapes) -> int:
    return 4 if "tail.0.2.weight" in shapes else math.isqrt(_growth(shapes, "tail.0.0", "tail.1"))


def vdsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of https://github.com/twtygqyy/pytorch-vdsr in the form that `vdsr_state` returns."""
    names = {"input": "conv1", "output": "tail"} | ({"luma": "luma", "rgb": "rgb"} if config["luma"] else {})
    return names | {f"residual_layer.{k}.conv": f"conv{k + 2}" for k in range(config["blocks"])}


def vdsr_state(state: State) -> dict[str, Any]:
    """Adds biases of 0 and the conversions of Y, and converts the names of https://github.com/Lornatang/VDSR-PyTorch.

    Raises:
        KeyError: a key is missing.
    """
    names = {"conv1.0": "input", "conv2": "output"}
    result = {}
    for key, value in state.items():
        prefix, _, part = key.rpartition(".")
        prefix = re.sub(r"trunk\.(\d+)\.conv", r"residual_layer.\1.conv", names.get(prefix, prefix))
        result[f"{prefix}.{part}"] = value
    for key in [key for key in result if key.endswith(".weight")]:
        result.setdefault(f"{key.removesuffix('.weight')}.bias", np.zeros(np.shape(result[key])[0]))
    if _is_luma({key: np.shape(value) for key, value in result.items()}):
        result |= {"luma.weight": TO_Y.T[:, :, None, None], "luma.bias": np.full(1, OFFSET)}
        result |= {"rgb.weight": FROM_Y.T[:, :, None, None], "rgb.bias": np.zeros(3)}
    return result


def _is_luma(shapes: Shapes) -> bool:
    return shapes["input.weight"][1] == 1


ARCHITECTURES = {
    "carn": Architecture(
        carn,
        {"channels": "entry.weight[0]", "cascades": "c*.body.0.weight", "groups": _carn_groups},
        scale=lambda shapes: _carn_scales(shapes)[0],
        variants=lambda shapes: tuple({"scale": scale} for scale in _carn_scales(shapes)[1:]),
        unused=(r"upsample\.up\d\..*",),  # of the other scales
        prepare=carn_state,
        told_range=_mean_range,
        forms=("groups",),
    ),
    "wdsr": Architecture(
        wdsr,
        {
            "channels": "head.0.weight[0]",
            "expanded": "body.0.body.0.weight[0]",
            "low_rank": _low_rank,
            "blocks": "body.*.body.0.weight",
        },
        scale="tail.0.weight[0]",
        not_stored="a factor of the residuals other than 1",
        prepare=wdsr_state,
        told_range=lambda state: 1,
    ),
    "rdn": Architecture(
        rdn,
        {
            "channels": "SFENet1.weight[0]",
            "growth": "RDBs.0.convs.0.conv.0.weight[0]",
            "blocks": "RDBs.*.LFF.weight",
            "layers": "RDBs.0.convs.*.conv.0.weight",
        },
        255,
        _rdn_scale,
        prepare=rdn_state,
        told_range=lambda state: 1 if "sfe1.weight" in state else None,
    ),
    "srresnet": Architecture(
        srresnet,
        {"channels": "conv1.0.weight[0]", "blocks": "trunk.*.rcb.0.weight"},
        scale=_srresnet_scale,
        prepare=srresnet_state,
    ),
    "msrresnet": Architecture(
        msrresnet,
        {"channels": "conv_first.weight[0]", "blocks": lambda shapes: read_size("body.*.conv1.weight", shapes)},
        scale=_msrresnet_scale,
    ),
    "san": Architecture(
        san,
        {
            "channels": "head.0.weight[0]",
            "groups": "RG.*.conv_last.weight",
            "blocks": "RG.0.rcab.*.conv_first.0.weight",
            "reduction": lambda shapes: shapes["head.0.weight"][0] // shapes["RG.0.soca.conv_du.0.weight"][0],
        },
        255,
        _san_scale,
        unused=(r"conv_last\..*", r"non_local\.soca\..*", r"RG\.\d+\.gamma"),  # in the code, but not in its forward pass
        prepare=san_state,
        told_range=adadsr.told_range,
    ),
    "vdsr": Architecture(
        vdsr,
        {"channels": "input.weight[0]", "blocks": "residual_layer.*.conv.weight", "luma": _is_luma},
        scale=lambda shapes: 4,  # the same network for all scales
        variants=({"scale": 3}, {"scale": 2}),
        prepare=vdsr_state,
        told_range=lambda state: 1,
        forms=("luma",),
    ),
}
