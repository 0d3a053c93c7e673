"""PSNR against instructions: routed networks and exits beside static networks, and how far they are from the line."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

TITLE = "PSNR against Cortex-A76 instructions (estimated) per LR pixel"
SAME_COST = 1e-3  # an exit costs what a static network of as many layers costs, up to rounding


@dataclasses.dataclass
class Point:
    """A model of the curve.

    Attributes:
        name: name of the model.
        instructions: estimated Cortex-A76 instructions per LR pixel.
        psnr: mean PSNR in dB.
        is_line: whether the line goes through the model, rather than being compared with it.
    """

    name: str
    instructions: float
    psnr: float
    is_line: bool

    def above(self, points: Sequence[Point]) -> float | None:
        """Returns the dB above the line through the line's models. None outside of their costs, and for one of them.

        A cost that differs from one of theirs by SAME_COST counts as equal.
        """
        line = sorted((point.instructions, point.psnr) for point in points if point.is_line)
        if self.is_line:
            return None
        for (cost, psnr), (next_cost, next_psnr) in itertools.pairwise(line):
            if cost * (1 - SAME_COST) <= self.instructions <= next_cost * (1 + SAME_COST) and next_cost > cost:
                share = min(max((self.instructions - cost) / (next_cost - cost), 0.0), 1.0)
                return self.psnr - (psnr + share * (next_psnr - psnr))
        return None


def usable(name: str, instructions: float | None, psnr: float | None, is_line: bool) -> list[Point]:
    """Returns [a Point], or [] without instructions, as for float files, or without a finite PSNR."""
    if instructions is None or psnr is None or not math.isfinite(psnr):
        return []
    return [Point(name, instructions, psnr, is_line)]


def table(points: Sequence[Point]) -> list[str]:
    """Returns the lines of a table in ascending order of cost."""
    width = max(len(point.name) for point in points)
    has_line = sum(point.is_line for point in points) > 1
    lines = [TITLE + ("; + and -: dB above the line through the static networks" if has_line else "")]
    for point in sorted(points, key=lambda point: point.instructions):
        above = point.above(points)
        text = f"{point.name:<{width}}  {point.instructions:>9,.0f}  {point.psnr:8.3f} dB"
        lines.append(text if above is None else f"{text}  {above:+.3f}")
    return lines
