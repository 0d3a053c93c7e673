"""mobile-sr: super-resolution networks for phones, from training to a verified uint8 .tflite file.

The public API: `load`, `train`, `search`, `export`, `evaluate`, `compare`, `benchmark` and `inspect`, documented in
mobile_sr/api.py; typed results in mobile_sr/results.py; `UserError`, a ValueError, for everything that the caller can fix.
"""

from mobile_sr.api import benchmark, compare, evaluate, export, inspect, load, search, train
from mobile_sr.errors import UserError

__version__ = "0.1.0"
__all__ = ["UserError", "benchmark", "compare", "evaluate", "export", "inspect", "load", "search", "train"]
