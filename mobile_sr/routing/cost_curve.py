"""PSNR against instructions: networks of routed models beside other models, and their distance from the line through those."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

TITLE = "PSNR against Cortex-A76 instructions (estimated) per LR pixel"


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
        """Returns the dB above the line through the line's models. None outside of their costs, and for one of them."""
        line = sorted((point.instructions, point.psnr) for point in points if point.is_line)
        if self.is_line:
            return None
        for (cost, psnr), (next_cost, next_psnr) in itertools.pairwise(line):
            if cost <= self.instructions <= next_cost and next_cost > cost:
                share = (self.instructions - cost) / (next_cost - cost)
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
    lines = [TITLE + ("; + and -: dB above the line through the models that are not routed" if has_line else "")]
    for point in sorted(points, key=lambda point: point.instructions):
        above = point.above(points)
        text = f"{point.name:<{width}}  {point.instructions:>9,.0f}  {point.psnr:8.3f} dB"
        lines.append(text if above is None else f"{text}  {above:+.3f}")
    return lines
