"""The extension for networks with AdaDSR's adapter, see `mobile_sr.extensions`."""

from __future__ import annotations

from mobile_sr.adadsr.depth_export import DepthExport as Export
from mobile_sr.adadsr.depth_training import DepthTraining as Training
from mobile_sr.adadsr.depth_training import at_full_depth as teacher
from mobile_sr.models import has_depth as handles

NETWORKS = "networks with depth maps"
ADDED = ("depth", "adapter_channels", "depth_scales")
UPSCALER = "mobile_sr.adadsr.depth_upscaler"

__all__ = ["ADDED", "NETWORKS", "UPSCALER", "Export", "Training", "handles", "teacher"]
