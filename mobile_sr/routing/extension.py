"""The extension for the joint training of networks and a classifier, see `mobile_sr.extensions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile_sr import models
from mobile_sr.routing.joint_training import JointExport as Export
from mobile_sr.routing.joint_training import JointTraining as Training
from mobile_sr.routing.joint_training import resolve

NETWORKS = "jointly trained networks"
ADDED: tuple[str, ...] = ()

__all__ = ["ADDED", "NETWORKS", "Export", "Training", "handles", "resolve"]


def handles(network: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a joint model."""
    return network.get("network") == models.CLASSSR
