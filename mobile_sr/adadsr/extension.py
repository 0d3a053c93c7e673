"""The extension for networks with AdaDSR's adapter, see `mobile_sr.extensions`."""

from __future__ import annotations

from mobile_sr.adadsr.depth_export import DepthExport as Export
from mobile_sr.adadsr.depth_training import DepthTraining as Training
from mobile_sr.models import has_depth as handles

NETWORKS = "networks with depth maps"
ADDED = ("depth", "adapter_channels", "depth_scales")

__all__ = ["ADDED", "NETWORKS", "Export", "Training", "handles"]
