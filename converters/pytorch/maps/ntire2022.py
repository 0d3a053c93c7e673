"""The baselines and winners of the NTIRE 2022 efficient super-resolution challenge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size
from mobile_sr.converters.pytorch.maps.common import (
    COARSE_THREE,
    ESA_ONE,
    ESA_THREE,
    ESA_TWO,
    STAGES,
    blocks,
    distillation,
    head_and_tail,
)


def imdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDN, in the form of the challenge's baseline."""
    names, count = {"model.0": "head", "model.2": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"model.1.sub.{k}.conv{stage}.0": f"block{k + 1}_conv{stage}" for stage in STAGES}
        names |= {f"model.1.sub.{k}.conv4": f"block{k + 1}_conv4", f"model.1.sub.{k}.conv1x1": f"block{k + 1}_fuse"}
    return names | {f"model.1.sub.{count}": "body"}


def rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RFDN and its pruned version."""
    return distillation(config, ESA_THREE)


def efdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of EFDN as submitted, with plain convolutions."""
    return distillation(config, ESA_TWO, ".conv3x3", fused=False)


def rlfn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RLFN as submitted."""
    names = head_and_tail()
    for source, target in blocks(config):
        names |= {f"{source}.c{k}_r": f"{target}_conv{k}" for k in STAGES} | {f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in ESA_ONE.items()}
    return names


def fmen(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of FMEN as submitted, with plain convolutions."""
    names = {"head": "head", "warmup.0": "warmup", "lr_conv": "body", "tail.0": "tail"}

    def attention(source: str, target: str, pairs: int) -> dict[str, str]:
        result = {f"{source}.squeeze": f"{target}_squeeze", f"{source}.excitate": f"{target}_excite"}
        for pair in range(pairs):
            result |= {f"{source}.convs.{pair}.conv{k}.rep_conv": f"{target}_pair{pair + 1}_conv{k}" for k in (1, 2)}
        return result

    names |= attention("warmup.1", "warmup_attention", 2)
    for k in range(config["blocks"]):
        names |= {f"basic_blocks.{k}.conv{i}.rep_conv": f"block{k + 1}_conv{i}" for i in (1, 2)}
        names |= attention(f"hfabs.{k}", f"block{k + 1}_attention", 1)
    return names


def bsrn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of BSRN as submitted, with linear layers as 1x1 convolutions."""
    names = {"c1": "blocks_fuse_linear", "upsampler.upsampleOneStep.0": "tail"}

    def blueprint(source: str, target: str) -> dict[str, str]:
        return {f"{source}.pw": f"{target}_linear", f"{source}.dw": f"{target}_depthwise"}

    names |= blueprint("fea_conv", "head") | blueprint("c2", "body")
    for source, target in blocks(config):
        for k in STAGES:
            names |= {f"{source}.c{k}_d": f"{target}_stage{k}_distill_linear"}
            names |= blueprint(f"{source}.c{k}_r", f"{target}_stage{k}_refine")
        names |= blueprint(f"{source}.c4", f"{target}_stage4")
        names |= {
            f"{source}.c5": f"{target}_fuse_linear",
            source: f"{target}_esa_weights",
            f"{source}.esa.conv2": f"{target}_esa_stride",
        }
        names |= {f"{source}.conv_out": f"{target}_esa_out_linear"}
        for a, b in (("conv1", "reduce"), ("conv_f", "skip"), ("conv4", "expand")):
            names |= {f"{source}.esa.{a}": f"{target}_esa_{b}_linear"}
        for a, b in COARSE_THREE.items():
            names |= blueprint(f"{source}.esa.{a}", f"{target}_esa_{b}")
    return names


def arfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ARFDN as submitted."""
    names = head_and_tail(fused=True)
    for source, target in blocks(config):
        for k in STAGES:
            names |= {f"{source}.c{k - 1}_d": f"{target}_stage{k}_distill"}
            names |= {f"{source}.c{k}_{part}": f"{target}_stage{k}_{part}" for part in ("l1", "l2", "m1", "m2")}
        names |= {f"{source}.c4": f"{target}_stage4", f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.mpa.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
    return names


def imdn_plus(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDN+ as submitted, with plain convolutions."""
    names, count = {"FEM.0": "head", "RM.0": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"FEM.1.sub.{k}.c{stage}": f"block{k + 1}_conv{stage}" for stage in range(1, 7)}
        names |= {f"FEM.1.sub.{k}.c7": f"block{k + 1}_fuse"}
    return names | {f"FEM.1.sub.{count}": "body"}


def mobilesr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of MobileSR as submitted."""
    names = {"head": "head", "fuse": "fuse", "tail": "tail", "upsapling.0": "up1"}
    names |= {"upsapling.2": "up2"} if config["scale"] == 4 else {}
    for k in range(len(config["ratios"])):
        former, latter, target = f"body.layers.{k}.0", f"body.layers.{k}.1", f"block{k + 1}"
        names |= {f"{former}.pos_embed": f"{target}_position", f"{former}.attn": f"{target}_attention"}
        names |= {f"{former}.norm{i}": f"{target}_norm{i}" for i in (1, 2)}
        names |= {f"{former}.mlp.fc.0": f"{target}_mlp1_linear", f"{former}.mlp.fc.2": f"{target}_mlp2_linear"}
        names |= {f"{latter}.net.{i}": f"{target}_{part}" for i, part in ((0, "expand"), (2, "depthwise"), (4, "project"))}
    return names


def _ratios(shapes: Shapes) -> tuple[int, ...]:
    """MobileSR's expansion ratio of each block."""
    count = read_size("body.layers.*.0.mlp.fc.0.weight", shapes)
    every = [shapes[f"body.layers.{k}.0.mlp.fc.0.weight"] for k in range(count)]
    return tuple(outputs // inputs for outputs, inputs, *_ in every)


def _mobilesr_scale(shapes: Shapes) -> int:
    """Its scale: two steps of 2, or one."""
    outputs, inputs = shapes["upsapling.0.weight"][:2]
    return 4 if "upsapling.2.weight" in shapes else math.isqrt(outputs // inputs)


def fuses_four(shapes: Shapes) -> bool:
    """Whether the blocks join four equal parts, as in RFDN."""
    return shapes["B1.c5.weight"][1] == 4 * shapes["B1.c1_d.weight"][0]


RFDN_SIZES = {
    "channels": "fea_conv.weight[0]",
    "distilled": "B1.c1_d.weight[0]",
    "attention": "B1.esa.conv1.weight[0]",
    "blocks": "B*.c5.weight",
}
ARCHITECTURES = {
    "imdn": Architecture(
        imdn,
        {"channels": "model.0.weight[0]", "blocks": "model.1.sub.*.conv1x1.weight"},
        scale="model.2.weight[0]",
    ),
    "rfdn": Architecture(rfdn, RFDN_SIZES, 255, agrees=fuses_four),
    "rlfn": Architecture(
        rlfn,
        {
            "channels": "fea_conv.weight[0]",
            "middle": "B1.c1_r.weight[0]",
            "attention": "B1.esa.conv1.weight[0]",
            "blocks": "B*.c5.weight",
        },
        255,
    ),
    "fmen": Architecture(
        fmen,
        {
            "channels": "head.weight[0]",
            "attention": "hfabs.0.squeeze.weight[0]",
            "blocks": "hfabs.*.squeeze.weight",
        },
        255,
        "tail.0.weight[0]",
    ),
    "efdn": Architecture(efdn, RFDN_SIZES, 255),
    "bsrn": Architecture(
        bsrn,
        {**RFDN_SIZES, "channels": "fea_conv.pw.weight[0]"},
        scale="upsampler.upsampleOneStep.0.weight[0]",
    ),
    "arfdn": Architecture(
        arfdn,
        {
            "channels": "fea_conv.weight[0]",
            "distilled": "B1.c0_d.weight[0]",
            "attention": "B1.mpa.conv1.weight[0]",
            "blocks": "B*.c5.weight",
        },
    ),
    "imdn_plus": Architecture(
        imdn_plus,
        {"channels": "FEM.0.weight[0]", "blocks": "FEM.1.sub.*.c7.weight"},
        scale="RM.0.weight[0]",
    ),
    "pruned_rfdn": Architecture(rfdn, RFDN_SIZES, 255, agrees=fuses_four),
    "mobilesr": Architecture(
        mobilesr,
        {"channels": "head.weight[0]", "ratios": _ratios},
        scale=_mobilesr_scale,
    ),
}
