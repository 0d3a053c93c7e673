"""Further descendants of RFDN in the NTIRE 2022 efficient super-resolution challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import Architecture
from mobile_sr.converters.pytorch.maps.common import ESA_THREE, STAGES, blocks, distillation, head_and_tail
from mobile_sr.converters.pytorch.maps.ntire2022 import RFDN_SIZES, fuses_four, rfdn


def repafdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RePAFDN as submitted: blocks of two stages, the last of three."""
    names = distillation(config, ESA_THREE) | {"pa.conv": "body_attention_conv"}
    for source, target in blocks(config)[:-1]:
        names |= {f"{source}.c4": f"{target}_stage3"}
        del names[f"{source}.c3_d"], names[f"{source}.c3_r"]
    return names


def faster_rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of FasterRFDN as submitted."""
    return distillation(config, ESA_THREE) | {f"{source}.c4": f"{target}_stage4_refine" for source, target in blocks(config)}


def afdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of AFDN as submitted; the second half's convolutions are numbered backwards."""
    names = distillation(config, {})
    for source, target in blocks(config):
        for half, first, second in ((1, "11", "12"), (2, "22", "21")):
            names |= {f"{source}.ATB.ATB_{first}": f"{target}_esa_half{half}_conv1"}
            names |= {f"{source}.ATB.ATB_{second}": f"{target}_esa_half{half}_conv2"}
    return names


def fden(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of FDEN as submitted."""
    names = head_and_tail(fused=True)
    for k in range(1, config["blocks"] + 1):
        source, target = f"IMDB{k}", f"block{k}"
        for stage in STAGES:
            names |= {f"{source}.c{stage}_d": f"{target}_stage{stage}_distill"}
            for index, layer in ((0, "expand"), (2, "squeeze"), (3, "refine")):
                names |= {f"{source}.c{stage}_r.{index}": f"{target}_stage{stage}_{layer}"}
        names |= {f"{source}.c4": f"{target}_stage4", f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.sa.{layer}": f"{target}_pyramid_{layer}" for layer in ("squeeze", "fuse", "excite")}
        names |= {f"{source}.sa.down{level}.1": f"{target}_pyramid_down{level}" for level in (1, 2, 3)}
    return names


def m_rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of m-RFDN as submitted, without batch normalization."""
    names = {"fea_conv": "head", "c.0": "blocks_fuse", "LR_conv": "body", "conv_last": "tail"}
    for step in (1, 2) if config["scale"] == 4 else (1,):
        names |= {f"upconv{step}": f"up{step}_conv", f"att{step}.conv": f"up{step}_attention_conv"}
        names |= {f"HRconv{step}": f"up{step}_refine"}

    def multiception(source: str, target: str, sizes: tuple[int, ...]) -> dict[str, str]:
        separate = {f"{source}.seps.{index}": f"{target}_depthwise{size}" for index, size in enumerate(sizes)}
        return {**separate, f"{source}.pointwise": target}

    for source, target in blocks(config):
        for stage in STAGES:
            names |= multiception(f"{source}.c{stage}_d", f"{target}_stage{stage}_distill", (1,))
            names |= multiception(f"{source}.c{stage}_r", f"{target}_stage{stage}_refine", (1, 3, 5))
        names |= multiception(f"{source}.c4", f"{target}_stage4", (1, 3, 5)) | {f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
    return names


def _fold_multiception(state: dict[str, Any]) -> dict[str, Any]:
    """Folds the batch normalizations in front of and behind each 1x1 convolution of m-RFDN."""
    for match in folding.matches(state, r"(.*)\.pointwise\.weight"):
        state = folding.batch_norm_after(state, f"{match[1]}.pointwise", f"{match[1]}.bn2")
        state = folding.batch_norm_before(state, f"{match[1]}.bn1", f"{match[1]}.pointwise")
    return state


def msdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of MSDN as submitted."""
    names = {"fea_conv": "head", "C.0.0": "blocks_fuse", "C.1": "body", "upsampler.0": "tail"}
    parts = {"c1_d.0": "stage1_distill", "c1_r.0.0": "stage1_expand", "c1_r.1.0": "stage1_refine", "c2_d.0": "stage2_distill"}
    parts |= {"c2_r.0": "stage2_refine", "c3.0": "stage3", "c4": "fuse"}
    parts |= {"attention.head": "attention_reduce", "attention.LKA.0": "attention_depthwise1"}
    parts |= {
        "attention.LKA.1": "attention_depthwise2",
        "attention.LKA.2": "attention_mix",
        "attention.tail": "attention_expand",
    }
    for k in range(config["blocks"]):
        names |= {f"B.{k}.{source}": f"block{k + 1}_{target}" for source, target in parts.items()}
    return names


def sfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of SFDN as submitted."""
    return {key: layer for key, layer in rfdn(config).items() if not key.endswith(".esa.conv_f")}


def cl_rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of CL-RFDN as submitted, with plain convolutions."""
    names = distillation(config, ESA_THREE, ".conv3x3")
    del names["fea_conv"], names["LR_conv"]
    return names | {"fea_conv.conv3x3": "head", "c.1": "blocks_fused"}


def bmdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of BMDN as submitted."""
    names = distillation(config, ESA_THREE)
    for source, target in blocks(config):
        names |= {f"{source}.c{stage}_b": f"{target}_stage{stage}_bridge" for stage in STAGES}
    return names


def esa_rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of Alpan's network as submitted."""
    names = {"fea_conv.conv": "head", "c.conv": "blocks_fuse", "LR_conv.conv": "body", "upsampler.0.conv": "tail"}
    for k in range(config["blocks"]):
        source, target = f"mods.{k}", f"block{k + 1}"
        for stage in range(config["stages"]):
            names |= {f"{source}.convs.{stage}.conv": f"{target}_stage{stage + 1}_refine"}
            names |= {f"{source}.esa.{stage}.{a}": f"{target}_stage{stage + 1}_esa_{b}" for a, b in ESA_THREE.items()}
        names |= {f"{source}.esa_last.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
        names |= {f"{source}.conv_last.conv": f"{target}_fuse"}
    return names


def rfdnext(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RFDNeXt as submitted."""
    return distillation(config, {}) | {
        f"{source}.esa.conv.{index}": f"{target}_next_{layer}"
        for source, target in blocks(config)
        for index, layer in ((0, "depthwise"), (1, "expand"), (3, "project"))
    }


_FASTER_SIZES = {name: size for name, size in RFDN_SIZES.items() if name != "distilled"}
_AFDN_SIZES = {name: size for name, size in RFDN_SIZES.items() if name != "attention"}
ARCHITECTURES = {
    "repafdn": Architecture(repafdn, RFDN_SIZES),
    "dilated_rfdn": Architecture(rfdn, RFDN_SIZES, agrees=fuses_four, not_stored="dilations"),
    "faster_rfdn": Architecture(faster_rfdn, _FASTER_SIZES, agrees=lambda shapes: not fuses_four(shapes)),
    "afdn": Architecture(afdn, _AFDN_SIZES, 255),
    "fden": Architecture(
        fden,
        {
            "channels": "fea_conv.weight[0]",
            "distilled": "IMDB1.c1_d.weight[0]",
            "expanded": "IMDB1.c1_r.0.weight[0]",
            "attention": "IMDB1.sa.squeeze.weight[0]",
            "blocks": "IMDB*.c5.weight",
        },
        255,
    ),
    "m_rfdn": Architecture(
        m_rfdn,
        {
            **RFDN_SIZES,
            "distilled": "B1.c1_d.pointwise.weight[0]",
            "upscaled": "HRconv1.weight[0]",
        },
        scale=lambda shapes: 4 if "upconv2.weight" in shapes else 2,
        prepare=_fold_multiception,
    ),
    "sfdn": Architecture(sfdn, RFDN_SIZES),
    "cl_rfdn": Architecture(cl_rfdn, {**RFDN_SIZES, "channels": "fea_conv.conv3x3.weight[0]"}, 255),
    "bmdn": Architecture(bmdn, RFDN_SIZES),
    "esa_rfdn": Architecture(
        esa_rfdn,
        {
            "channels": "fea_conv.conv.weight[0]",
            "attention": "mods.0.esa_last.conv1.weight[0]",
            "stages": "mods.0.convs.*.conv.weight",
            "blocks": "mods.*.conv_last.conv.weight",
        },
        scale="upsampler.0.conv.weight[0]",
    ),
    "rfdnext": Architecture(rfdnext, _AFDN_SIZES),
    "msdn": Architecture(
        msdn,
        {
            "channels": "fea_conv.weight[0]",
            "distilled": "B.0.c1_d.0.weight[0]",
            "attention": "B.0.attention.head.weight[0]",
            "blocks": "B.*.c4.weight",
        },
        255,
        not_stored="dilations",
    ),
}
