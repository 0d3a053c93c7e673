"""Parts of the key maps that several networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGES = (1, 2, 3)
ESA = {"conv1": "reduce", "conv_f": "skip", "conv2": "stride", "conv4": "expand"}
COARSE_THREE = {"conv_max": "conv1", "conv3": "conv2", "conv3_": "conv3"}
ESA_THREE = ESA | COARSE_THREE
ESA_ONE = ESA | {"conv3": "conv1"}
ESA_TWO = {"conv1": "reduce", "conv_f": "skip", "conv4": "expand", "conv_2": "conv1", "conv_3": "conv2", "conv_23": "conv3"}
# The self-calibrated block with pixel attention of PAN and SCET.
SC_PA = {"conv1_a": "plain1", "k1.0": "plain2", "conv1_b": "masked1", "PAConv.k2": "masked_gate", "PAConv.k3": "masked2"}
SC_PA |= {"PAConv.k4": "masked3", "conv3": "fuse"}


def blocks(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(block name B1, B2, ... in the checkpoint, block1, ... in the Keras network)."""
    return [(f"B{k}", f"block{k}") for k in range(1, config["blocks"] + 1)]


def head_and_tail(fused: bool = False) -> dict[str, str]:
    """Keys outside of the blocks; `fused` with the 1x1 convolution of all blocks."""
    names = {"fea_conv": "head", "LR_conv": "body", "upsampler.0": "tail"}
    return names | ({"c.0": "blocks_fuse"} if fused else {})


def distillation(config: Mapping[str, Any], esa: Mapping[str, str], refine: str = "", fused: bool = True) -> dict[str, str]:
    """Keys of RFDN and its relatives.

    Args:
        config: the configuration.
        esa: {name in the checkpoint: layer} inside the attention.
        refine: what follows the names of the 3x3 convolutions.
        fused: whether a 1x1 convolution joins all blocks.
    """
    names = head_and_tail(fused)
    for source, target in blocks(config):
        for k in STAGES:
            names |= {f"{source}.c{k}_d": f"{target}_stage{k}_distill", f"{source}.c{k}_r{refine}": f"{target}_stage{k}_refine"}
        names |= {f"{source}.c4{refine}": f"{target}_stage4", f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in esa.items()}
    return names
