"""Counts of what a routed model did: shares of its networks, and the cost of the choices and of all computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Tally:
    """Counts patches, and the cost per LR pixel of the chosen networks and of all computation."""

    def __init__(
        self, names: Sequence[str], costs: Mapping[str, tuple[Sequence[float], float]], chosen_for: str = "patches"
    ) -> None:
        """Starts with zero counts.

        Args:
            names: names of the networks, the cheapest first.
            costs: {kind of cost: (that of each network, that of the classifier)} per LR pixel.
            chosen_for: what a network is chosen for, one of CHOSEN_FOR.
        """
        self._names, self._costs, self._chosen_for = names, costs, chosen_for
        self._patches = np.zeros(len(names), int)
        self._kept, self._run = np.zeros(len(names)), np.zeros(len(names))
        self._pixels = self._classified = 0

    def add_image(self, chosen: np.ndarray, size: tuple[int, int], patch: int, classified: bool = True) -> None:
        """Counts the chosen networks of an image.

        Args:
            chosen: [rows, columns] ints, the network of each patch.
            size: (H, W) of the image in LR pixels; the classifier sees it padded to whole patches.
            patch: side of a patch in LR pixels.
            classified: whether the classifier was run.
        """
        heights, widths = (np.minimum(patch, side - np.arange(n) * patch) for side, n in zip(size, chosen.shape, strict=True))
        self._patches += np.bincount(chosen.ravel(), minlength=len(self._names))
        self._kept += np.bincount(chosen.ravel(), np.outer(heights, widths).ravel(), len(self._names))
        self._pixels += size[0] * size[1]
        self._classified += chosen.size * patch**2 if classified else 0

    def add_run(self, index: int, pixels: int) -> None:
        """Counts LR pixels, overlaps included, on which network `index` was run."""
        self._run[index] += pixels

    def summary(self) -> dict[str, Any] | None:
        """Returns the counts, or None if there are none.

        Returns:
            {"patches" or "images": {network: share 0..1}, "multiply_adds": {"chosen", "done", "largest"}}, multiply-adds per LR
            pixel, and "instructions" with the same keys if these are known. "chosen" counts the chosen networks without
            overlaps and classifier, as ClassSR does. "done" includes both. "largest" is the cost of the largest network
            without overlaps.
        """
        if not self._pixels:
            return None
        shares = self._patches / self._patches.sum()
        result: dict[str, Any] = {
            self._chosen_for: {name: float(share) for name, share in zip(self._names, shares, strict=True)},
        }
        for kind, (costs, classifier) in self._costs.items():
            done = float(self._run @ np.array(costs, float)) + self._classified * classifier
            chosen = float(self._kept @ np.array(costs, float))
            result[kind] = {"chosen": chosen / self._pixels, "done": done / self._pixels, "largest": float(costs[-1])}
        return result


CHOSEN_FOR = ("patches", "images")
KINDS = {"multiply_adds": "multiply-adds", "instructions": "Cortex-A76 instructions (estimated)"}


def describe(summary: Mapping[str, Any]) -> str:
    """Formats a Tally's summary as one line."""
    (chosen_for,) = summary.keys() & set(CHOSEN_FOR)
    parts = [f"{chosen_for}: " + ", ".join(f"{name} {share:.1%}" for name, share in summary[chosen_for].items())]
    for kind, words in KINDS.items():
        if counts := summary.get(kind):
            chosen, done = (f"{counts[key]:,.0f} ({counts[key] / counts['largest']:.1%})" for key in ("chosen", "done"))
            parts.append(f"{words} per LR pixel: {chosen} by choice, {done} done; largest {counts['largest']:,.0f}")
    return "; ".join(parts)
