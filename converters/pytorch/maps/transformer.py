"""Networks of the NTIRE 2022 challenge with attention within windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, Size
from mobile_sr.converters.pytorch.maps.common import ESA_THREE, STAGES, blocks, head_and_tail

# Tables that the authors' code computes from the size of a window.
_COMPUTED = (r".*\.attn\.relative_position_index", r".*\.attn_mask")


def imdtn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDTN as submitted."""
    names = head_and_tail(fused=True)
    for k in range(1, config["blocks"] + 1):
        names |= {f"IMDTB{k}.c{stage}": f"block{k}_stage{stage}_conv" for stage in (*STAGES, 4)}
        names |= _swin(f"IMDTB{k}.transformer.residual_group", f"block{k}_swin", config["window"])
    return names


def hnct(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of HNCT as submitted."""
    names = head_and_tail(fused=True)
    for source, target in blocks(config):
        body = f"{source}.swinT.transformer_body.0"
        names |= {f"{source}.c1_r": f"{target}_conv", f"{body}.patch_embed.norm": f"{target}_norm"}
        names |= {f"{source}.sparatt._Spartial_Attention__layer.0": f"{target}_pixels_conv"}
        names |= {key: layer for key, layer in _swin(body, f"{target}_swin", config["window"]).items() if ".norm" not in key}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in ESA_THREE.items()}
    return names


def imdeception(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDeception as submitted, whose grouped convolutions are one convolution for each group."""
    names = {"feat_conv0": "head", "conv_fuse0": "blocks_fuse", "conv_fuse1": "body", "conv_out": "tail"}
    units = {"conv0": "stage1", "conv1": "stage2", "conv2": "stage3", "conv3_shal": "stage4"}
    for index in range(1, 7):
        source, target = f"block{index}" if index < 6 else "block6_shal", f"block{index}"
        for a, b in units.items():
            names |= {f"{source}.{a}.conv0.conv2d_block.{group}": f"{target}_{b}_grouped" for group in range(4)}
            names |= {f"{source}.{a}.conv1": f"{target}_{b}_mix"}
        names |= {f"{source}.conv_fuse0": f"{target}_fuse"}
    for k, block in ((1, 2), (2, 4)):
        names |= {f"self_attention{k}.conv_phi_theta_g": f"attended{block}_qkv"}
        names |= {f"self_attention{k}.conv_out": f"attended{block}_project"}
    return names


def _swin(source: str, target: str, window: int) -> dict[str, str]:
    """Keys of two Swin Transformer layers."""
    parts = {"norm1": "norm1", "attn": "attention", "norm2": "norm2"}
    parts |= {"attn.qkv": f"qkv_window{window}_linear", "attn.proj": f"project_window{window}_linear"}
    parts |= {"mlp.fc1": "mlp1_tokens_linear", "mlp.fc2": "mlp2_tokens_linear"}
    return {f"{source}.blocks.{k}.{a}": f"{target}_layer{k + 1}_{b}" for k in (0, 1) for a, b in parts.items()}


def _swin_sizes(source: str) -> dict[str, Size]:
    """How the shapes tell the sizes of Swin Transformer layers."""
    table = f"{source}.blocks.0.attn.relative_position_bias_table"

    def window(shapes: Shapes) -> int:
        return (int(shapes[table][0] ** 0.5) + 1) // 2

    return {"heads": f"{table}[1]", "window": window, "hidden": f"{source}.blocks.0.mlp.fc1.weight[0]"}


ARCHITECTURES = {
    "imdeception": Architecture(
        imdeception,
        {"core": "block6_shal.conv_fuse0.weight[0]"},
        scale="conv_out.weight[0]",
        not_stored="sizes of the windows and patches of the attention",
    ),
    "imdtn": Architecture(
        imdtn,
        {
            "channels": "fea_conv.weight[0]",
            "blocks": "IMDTB*.c4.weight",
            **_swin_sizes("IMDTB1.transformer.residual_group"),
        },
        unused=_COMPUTED,
    ),
    "hnct": Architecture(
        hnct,
        {
            "channels": "fea_conv.weight[0]",
            "attention": "B1.esa.conv1.weight[0]",
            "blocks": "B*.c1_r.weight",
            **_swin_sizes("B1.swinT.transformer_body.0"),
        },
        unused=_COMPUTED,
    ),
}
