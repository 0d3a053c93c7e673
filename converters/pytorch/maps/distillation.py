"""Further descendants of RFDN in the NTIRE 2022 efficient super-resolution challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile_sr.converters.pytorch.architecture import Architecture
from mobile_sr.converters.pytorch.maps.common import ESA_THREE, blocks, distillation
from mobile_sr.converters.pytorch.maps.ntire2022 import RFDN_SIZES, rfdn


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


_FASTER_SIZES = {name: size for name, size in RFDN_SIZES.items() if name != "distilled"}
ARCHITECTURES = {
    "repafdn": Architecture(repafdn, RFDN_SIZES),
    "dilated_rfdn": Architecture(rfdn, RFDN_SIZES),
    "faster_rfdn": Architecture(faster_rfdn, _FASTER_SIZES),
}
