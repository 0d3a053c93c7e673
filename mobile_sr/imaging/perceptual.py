"""Perceptual metrics of the IQA-PyTorch library (pyiqa), such as LPIPS, DISTS and NIQE, for `compare --metric NAME`.

The library is an extra. It downloads the weights that a metric needs when it is first used.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from mobile_sr.errors import UserError, did_you_mean

_EXTRA = "pip install 'mobile-sr[perceptual]'"


def load(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """Load a metric.

    Args:
        name: name of the metric in pyiqa: lpips, dists, niqe, fsim, ...

    Returns:
        A function of (SR, HR), both [H, W, 3] uint8. A metric without reference does not read the HR image.

    Raises:
        UserError: the library is not installed, there is no such metric, or its weights cannot be loaded.
    """
    if find_spec("pyiqa") is None:
        raise UserError(f"--metric {name}: perceptual metrics need pyiqa; {_EXTRA}, or give FILE.py:FUNCTION")
    # The library prints the progress of downloads to stdout, which may be the JSON of the command.
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        import pyiqa
        import torch

        known = pyiqa.list_models()
        if name not in known:
            raise UserError(f"--metric {name}: pyiqa has no such metric{did_you_mean(name, known)}")
        try:
            metric = pyiqa.create_metric(name, device="cpu")
        except OSError as error:  # of the network or of the disk; URLError and HTTPError are of this type
            raise UserError(f"--metric {name}: its weights could not be loaded ({error}); check the connection") from None

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / 255)

    def measure(sr: np.ndarray, hr: np.ndarray) -> float:
        images = [sr, hr] if metric.metric_mode == "FR" else [sr]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(metric(*map(tensor, images)))

    return measure
