"""PSNR over time and flicker of an upscaled clip against its HR frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.evaluation import evaluate, plots
from mobile_sr.imaging import metrics

_MAX_POINTS = 500  # of a line in the plot; longer clips are averaged over blocks of frames


class ClipScores:
    """Scores the frames of a clip one after the other.

    Flicker is the RMS, over the Y channel of a frame, of how the error changes from the frame before: (SR - HR) of this
    frame minus (SR - HR) of the last one, in levels of 0..255. It is the difference between the temporal differences of SR
    and HR. An error that stays the same in every frame adds nothing.

    Attributes:
        rows: {"frame", "psnr", "bicubic_psnr", "flicker", "bicubic_flicker"} of each frame; the flicker of the first is None.
    """

    def __init__(self, shave: int) -> None:
        """`shave`: pixels cut from each border, the scale in the literature."""
        self.shave = shave
        self.rows: list[dict[str, Any]] = []
        self._errors: dict[str, np.ndarray] = {}

    def add(self, name: str, hr: np.ndarray, sr: np.ndarray, bicubic: np.ndarray) -> None:
        """Scores a frame: [H, W, 3] uint8 each."""
        row: dict[str, Any] = {"frame": name}
        for key, image in (("", sr), ("bicubic_", bicubic)):
            row[f"{key}psnr"] = metrics.psnr(image, hr, "y", self.shave)
            inner = slice(self.shave, hr.shape[0] - self.shave), slice(self.shave, hr.shape[1] - self.shave)
            error = metrics.rgb_to_y(image[inner]) - metrics.rgb_to_y(hr[inner])
            last = self._errors.get(key)
            row[f"{key}flicker"] = None if last is None else math.sqrt(float(np.mean((error - last) ** 2)))
            self._errors[key] = error
        self.rows.append(row)

    def summary(self) -> dict[str, Any]:
        """Returns {"protocol", "mean": {"psnr", "bicubic_psnr", "flicker", "bicubic_flicker"}, "frames": rows}."""
        keys = ("psnr", "bicubic_psnr", "flicker", "bicubic_flicker")
        means = {key: evaluate.mean_of(self.rows, key) for key in keys}
        return {"protocol": metrics.protocol(self.shave, "y"), "mean": means, "frames": self.rows}


def describe(summary: Mapping[str, Any]) -> str:
    """Returns one line: the gain over bicubic and the flicker of a clip."""
    mean = summary["mean"]
    text = {key: "-" if value is None else f"{value:.2f}" for key, value in mean.items()}
    gain = "-" if None in (mean["psnr"], mean["bicubic_psnr"]) else f"{mean['psnr'] - mean['bicubic_psnr']:+.2f}"
    return (
        f"{gain} dB over bicubic ({text['psnr']} and {text['bicubic_psnr']} dB); "
        f"flicker {text['flicker']} levels, bicubic {text['bicubic_flicker']}"
    )


def plot(rows: Sequence[Mapping[str, Any]], model: str) -> str:
    """Returns an SVG plot of the PSNR over the frames; '' if no frame has a finite PSNR."""
    length = math.ceil(len(rows) / _MAX_POINTS)  # frames of a point
    series = []
    for name, key in ((model, "psnr"), ("bicubic", "bicubic_psnr")):
        means = [
            (start + (length + 1) / 2, evaluate.mean_of(rows[start : start + length], key))
            for start in range(0, len(rows), length)
        ]
        series.append((name, [(frame, mean, "") for frame, mean in means if mean is not None], True))
    if not any(points for _, points, _ in series):
        return ""
    return plots.plot("PSNR over time", "frame", "PSNR of Y, dB", series)
