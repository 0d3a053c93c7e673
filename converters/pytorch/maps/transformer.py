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
