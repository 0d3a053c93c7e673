"""Networks with attention by statistics of the whole image, and the depthwise RFDN, of the NTIRE 2022 challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size
from mobile_sr.converters.pytorch.maps.common import ESA_THREE, STAGES, blocks, distillation, head_and_tail
from mobile_sr.converters.pytorch.maps.ntire2022 import RFDN_SIZES


def prrn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of PRRN as submitted."""
    names = {"conv_first": "head", "conv3_end": "body", "upsampler.0": "tail"}
    parts = {"conv1_1": "masked1", "conv1_2": "plain1", "conv3_1": "masked2", "conv3_2": "masked3", "conv3_3": "plain2"}
    parts |= {"conv1_end": "fuse", "sca.conv1": "channels_conv", "pgam_1.pa.conv": "attention_pixels_conv"}
    parts |= {"pgam_1.ca.conv1": "attention_channels_conv", "pgam_1.conv1": "attention_gate", "pgam_1.conv2": "attention_conv"}
    for k in range(1, config["blocks"] + 1):
        names |= {f"scpa_v{k}.{source}": f"block{k}_{target}" for source, target in parts.items()}
        names |= {f"conv1_mid_{k}": f"join{k}"}
    return names


def aaln(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of AALN as submitted; the second mean shift cancels the mean of the upscaled input."""
    names = {
        "sub_mean": "mean",
        "tail_conv": "blocks_fuse",
        "upsample.0": "body",
        "upsample.1": "body_act",
        "upsample.2": "tail",
    }
    names |= {"input.0": "head1", "input.1": "head1_act", "input.2": "head2", "input.3": "head2_act"}
    parts = {"conv_3.0": "conv1", "conv_3.1": "conv1_act", "conv_5.0": "conv2", "conv_5.1": "conv2_act", "conv_1": "fuse"}
    parts |= {"att.upper_branch.1": "channels_of_mean", "att.lower_branch.0": "channels_of_deviation"}
    parts |= {"att.fuse.0": "channels_expand"}
    for source, target in blocks(config):
        for unit in (0, 1):
            names |= {f"{source}.conv_block{unit}.{a}": f"{target}_unit{unit + 1}_{b}" for a, b in parts.items()}
        names |= {f"{source}.compress": f"{target}_fuse", f"{source}.att.act": f"{target}_pixels_act"}
        names |= {f"{source}.att.d_conv": f"{target}_pixels_depthwise1", f"{source}.att.p_conv": f"{target}_pixels_depthwise2"}
    return names


def _cancel_means(state: dict[str, Any]) -> dict[str, Any]:
    """Removes the second mean shift of AALN and MDAN. Raises ValueError unless it is the opposite of the first."""
    result = folding.without_identity(state, "sub_mean", "add_mean")
    if not np.allclose(result.pop("add_mean.bias"), -result["sub_mean.bias"]):
        raise ValueError("add_mean is not the opposite of sub_mean")
    return result


def lwfanet(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of LWFANet as submitted."""
    names = {"conv_first": "head", "conv_body": "body", "conv_L": "narrow", "conv_hr": "hr", "conv_last": "tail"}
    names |= {f"conv_up{step}": f"up{step}_conv" for step in ((1, 2) if config["scale"] == 4 else (1,))}
    parts = {"ca.fc1": "channels_squeeze", "ca.fc2": "channels_excite"}
    parts |= {"sa1.sa_conv": "pixels1_conv", "sa2.sa_conv": "pixels2_conv"}
    parts |= {f"conv{depth}_{k}": f"branch{depth}_conv{k}" for depth in (1, 2, 3, 4) for k in range(1, depth + 2)}
    for k in range(config["blocks"]):
        names |= {f"body.{k}.{source}": f"block{k + 1}_{target}" for source, target in parts.items()}
    return names


def depthwise_rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the depthwise RFDN as submitted, prepared by `_merge_skips`."""
    names = distillation(config, {"conv1": "reduce", "conv_f": "skip", "conv4": "expand", "con_": "conv1"})
    for source, target in blocks(config):
        for stage in STAGES:
            del names[f"{source}.c{stage}_r"]
            for pair, index in ((1, 0), (2, 2)):
                names |= {f"{source}.c{stage}_r.{index}.0.fn": f"{target}_stage{stage}_refine_depthwise{pair}"}
                names |= {f"{source}.c{stage}_r.{index}.1": f"{target}_stage{stage}_refine_mix{pair}"}
    return names


def _merge_skips(state: dict[str, Any]) -> dict[str, Any]:
    """Adds the skips to the depthwise kernels, and reorders the channels behind PixelUnshuffle to those of space_to_depth."""
    result = dict(state)
    for key, value in state.items():
        if key.endswith(".fn.weight"):
            result[key] = value.copy()
            result[key][:, :, 1, 1] += 1
        elif key.endswith(".esa.con_.weight"):
            order = np.arange(value.shape[1]).reshape(-1, 4).T.ravel()
            result[key] = value[:, order]
    return result


def imdn_cca(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the original IMDN as its authors published it."""
    names = head_and_tail(fused=True)
    for k in range(1, config["blocks"] + 1):
        names |= {f"IMDB{k}.c{stage}": f"block{k}_conv{stage}" for stage in (1, 2, 3, 4)}
        names |= {f"IMDB{k}.c5": f"block{k}_fuse"}
        names |= {f"IMDB{k}.cca.conv_du.0": f"block{k}_cca_squeeze", f"IMDB{k}.cca.conv_du.2": f"block{k}_cca_excite"}
    return names


def rlcsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RLCSR as submitted, prepared by `_fold_rlcsr`."""
    names = {key: layer for key, layer in distillation(config, ESA_THREE).items() if key.startswith("B")} | {
        "c.0": "blocks_fuse"
    }
    for source, target in (("conv1_", "head"), ("convl", "reduce"), ("upsampler.0.conv1_", "tail")):
        names |= {f"{source}{k}": f"{target}_{part}" for k, part in ((1, "row"), (2, "column"), (3, "square"))}
    names |= {"convl11": "body_row", "convl22": "body_column", "convl33": "body_square"}
    names |= {f"reduction{k}": f"join{k}" for k in range(1, config["blocks"])}
    names |= {"BAM.ca.fc1": "attention_channels_squeeze", "BAM.ca.fc2": "attention_channels_excite"}
    return names | {"BAM.sa.conv1": "attention_pixels"}


def _fold_rlcsr(state: dict[str, Any]) -> dict[str, Any]:
    """Folds RLCSR's weight normalization, channel shuffles and the factor of its layer attention.

    That attention has one layer, whose softmax is 1: it computes x + gamma * x in front of three linear convolutions.
    """
    result = folding.weight_norm(state)
    gain = 1 + float(np.asarray(result.pop("la.gamma")).reshape(()))
    for key in ("convl11.weight", "convl22.weight", "convl33.weight"):
        result[key] = gain * result[key]
    for match in folding.matches(result, r"(reduction\d)\.weight"):
        result[match[0]] = folding.unshuffled(result[match[0]], 2)
    return result


_MDAN_UNITS = ("bs1", "bs11", "bs2", "bs22", "bs3", "bs33")


def mdan(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of MDAN as submitted, prepared by `_fold_mdan`."""
    names = {"sub_mean": "mean", "conv_first": "head", "conv_add": "blocks_fuse", "out1": "tail"}
    units = {"group_conv": "groups", "depth_conv": "depthwise", "point_conv": "mix"}
    for k in range(1, config["blocks"] + 1):
        for unit, source in enumerate(_MDAN_UNITS[: len(config["dilations"])], 1):
            target = f"block{k}_unit{unit}"
            names |= {f"BS{k}.{source}.conv_last": f"{target}_fuse"}
            for stage in STAGES:
                for a, b in units.items():
                    names |= {f"BS{k}.{source}.conv3_{stage}.{a}": f"{target}_stage{stage}_near_{b}"}
                    names |= {f"BS{k}.{source}.convd_{stage}.{a}": f"{target}_stage{stage}_far_{b}"}
        parts = {"tail1": "plain", "conv": "values", "conv_end": "fuse"}
        parts |= {f"tail2.{a}": f"separable_{b}" for a, b in units.items()}
        parts |= {f"conv3.{a}": f"logits_{b}" for a, b in units.items()}
        names |= {f"upb{k}.{a}": f"attention{k}_{b}" for a, b in parts.items()}
    return names


def _fold_mdan(state: dict[str, Any]) -> dict[str, Any]:
    """Folds MDAN's weight normalization and the factors behind its attentions, and removes the second mean shift."""
    result = _cancel_means(folding.weight_norm(state))
    for match in folding.matches(result, r"scale(\d+)\.scale"):
        factor = float(np.asarray(result.pop(match[0])).reshape(()))
        for part in ("weight", "bias"):
            result[f"upb{match[1]}.conv_end.{part}"] = factor * result[f"upb{match[1]}.conv_end.{part}"]
    return result


def _mdan_dilations(shapes: Shapes) -> tuple[int, ...]:
    """The published dilations of as many units as a block has; a state dict tells their number only."""
    return (1, 1, 2, 2, 3, 3)[: read_size("BS1.bs*.conv_last.weight", shapes)]


def nlffc(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of NLFFC as submitted."""
    names = {"c0": "head"}
    parts = {"conv0": "context_out", "conv1": "near", "conv2": "from_global", "SpT.conv": "spectrum"}
    parts |= {"GlobContext.conv1": "context_mask", **{f"GlobContext.conv{k}": f"context_conv{k - 1}" for k in (2, 3, 4)}}
    for k in range(1, config["blocks"] + 1):
        names |= {f"b{k}.{a}": f"block{k}_{b}" for a, b in parts.items()}
        names |= {f"c{k}": f"block{k}_mix" if k < config["blocks"] else "tail"}
    return names


_RFDN = {name: size for name, size in RFDN_SIZES.items() if name != "attention"}
ARCHITECTURES = {
    "prrn": Architecture(prrn, {"channels": "conv_first.weight[0]", "blocks": "conv1_mid_*.weight"}),
    "aaln": Architecture(
        aaln,
        {
            "channels": "input.0.weight[0]",
            "attention": "B1.conv_block0.att.fuse.0.weight[1]",
            "blocks": "B*.compress.weight",
        },
        255,
        "upsample.2.weight[0]",
        prepare=_cancel_means,
    ),
    "lwfanet": Architecture(
        lwfanet,
        {
            "channels": "conv_first.weight[0]",
            "attention": "body.0.ca.fc1.weight[0]",
            "blocks": "body.*.ca.fc1.weight",
            "upscaled": "conv_L.weight[0]",
        },
        scale=lambda shapes: 4 if "conv_up2.weight" in shapes else 2,
    ),
    "mdan": Architecture(
        mdan,
        {"channels": "conv_first.weight[0]", "blocks": "upb*.conv_end.weight", "dilations": _mdan_dilations},
        255,
        "out1.weight[0]",
        not_stored="dilations",
        prepare=_fold_mdan,
    ),
    "nlffc": Architecture(
        nlffc,
        {"channels": "c0.weight[0]", "blocks": "b*.SpT.conv.weight"},
        255,
        scale=lambda shapes: 4,
        not_stored="the scale",
    ),
    "imdn_cca": Architecture(
        imdn_cca,
        {
            "channels": "fea_conv.weight[0]",
            "attention": "IMDB1.cca.conv_du.0.weight[0]",
            "blocks": "IMDB*.c5.weight",
        },
    ),
    "rlcsr": Architecture(
        rlcsr,
        {**RFDN_SIZES, "channels": "conv1_1.weight[0]", "squeezed": "BAM.ca.fc1.weight[0]"},
        255,
        "upsampler.0.conv1_1.weight[0]",
        unused=(r"(LR_conv|last_conv|last|outconv)\..*", r"(res|in)_scale\.scale"),
        prepare=_fold_rlcsr,
    ),
    "depthwise_rfdn": Architecture(
        depthwise_rfdn,
        {**_RFDN, "attention": "B1.esa.conv1.weight[0]"},
        255,
        unused=(r"B\d+\.esa\.conv_max\..*",),
        prepare=_merge_skips,
    ),
}
