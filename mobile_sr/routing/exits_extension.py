"""The extension for networks with exits, see `mobile_sr.extensions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile_sr.routing.exits_training import ExitsExport as Export
from mobile_sr.routing.exits_training import ExitsTraining as Training

NETWORKS = "networks with exits"
ADDED = ("exits",)
UPSCALER = "mobile_sr.routing.exits"

__all__ = ["ADDED", "NETWORKS", "UPSCALER", "Export", "Training", "handles"]


def handles(network: Mapping[str, Any]) -> bool:
    """Whether a configuration has exits."""
    return bool(network.get("exits"))
