"""Line and scatter plots as standalone SVG files, for docs/ and reports."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from mobile_sr.converters.printable import html_text
from mobile_sr.evaluation import svg
from mobile_sr.evaluation.axes import Axis, plot_axis

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

WIDE, NARROW = 760, 440  # widths of a plot: the usual one, and for phones
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 70, 20, 44, 54
_LEGEND = 20  # height of the legend's line, between title and axes
_LINE, _NEAR = 14, 26  # of a label: height, and the distance it keeps from other points
_COLOURS = ("#2563a8", "#c2410c", "#4d7c0f", "#7e22ce", "#0f766e", "#a16207")
_MARKS = (  # one shape per colour, for prints in gray
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.7-3.7h7.4v7.4h-7.4z",
    "M0-5L5 4H-5z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "M0 5L5-4H-5z",
    "M-1.5-5h3v3.5H5v3H1.5V5h-3V1.5H-5v-3h3.5z",
)


def plot(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float, str]], bool]],
    log_x: bool = False,
    links: Sequence[tuple[Point, Point]] = (),
    width: int = WIDE,
) -> str:
    """Returns the text of an SVG file.

    Args:
        title: heading of the plot.
        x_label, y_label: labels of the axes.
        series: [(name, [(x, y, label)], joined)]. A series with a name appears in the legend ('' for none). `label` is drawn
            next to its point ('' for none). A line connects the points of a series that is `joined`.
        log_x: use a logarithmic horizontal axis; all x must be above 0.
        links: [((x, y), (x, y))]: pairs of points, of any series, to connect by a thin gray line.
        width: of the plot, in pixels.
    Raises: ValueError when there are no points.
    """
    points = [point for _, members, _ in series for point in members]
    if not points:
        raise ValueError("nothing to plot")
    top = _TOP + (_LEGEND if any(name for name, *_ in series) else 0)
    x_axis = plot_axis([x for x, _, _ in points], _LEFT, width - _RIGHT, log_x)
    y_axis = plot_axis([y for _, y, _ in points], _HEIGHT - _BOTTOM, top)
    right = width - _RIGHT
    parts = _frame(x_label, y_label, x_axis, y_axis, top, right)
    placed = [(name, [(x_axis(x), y_axis(y), label) for x, y, label in members], joined) for name, members, joined in series]
    link_lines = [[(x_axis(x), y_axis(y)) for x, y in pair] for pair in links]
    parts += [_line(line, "#999", 1) for line in link_lines]
    lines = [[(x, y) for x, y, _ in members] for _, members, joined in placed if joined]
    dots = [(x, y) for _, members, _ in placed for x, y, _ in members]
    taken = [_around(x, y, 5) for x, y in dots]
    taken += [_around(x, y, 2) for line in (*lines, *link_lines) for x, y in _along(line)]
    legend_x = _LEFT
    for k, (name, members, joined) in enumerate(placed):
        colour = _COLOURS[k % len(_COLOURS)]
        if joined:
            parts.append(_line([(x, y) for x, y, _ in members], colour, 2))
        for x, y, label in members:
            parts.append(_mark(k, x, y))
            if label:
                anchor, label_x, box = _place_label((x, y), svg.LETTER * len(label), (top, right), taken, dots)
                taken.append(box)
                parts.append(svg.text(label_x, box[3] - 3, label, text_anchor=anchor, fill=colour))
        if name:
            parts.append(_mark(k, legend_x + 5, _TOP))
            parts.append(svg.text(legend_x + 15, _TOP + 4, name, class_="legend"))
            legend_x += 15 + svg.LETTER * len(name) + 20
    return svg.document(title, width, _HEIGHT, parts, left=_LEFT, style=".grid { stroke: #ddd; }")


def _frame(x_label: str, y_label: str, x_axis: Axis, y_axis: Axis, top: float, right: float) -> list[str]:
    """Grid, ticks and the labels of the axes."""
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for value, x in x_axis.ticks():
        parts.append(svg.element("line", class_="grid", x1=x, y1=top, x2=x, y2=bottom))
        parts.append(svg.text(x, bottom + 18, f"{value:g}", text_anchor="middle"))
    for value, y in y_axis.ticks():
        parts.append(svg.element("line", class_="grid", x1=_LEFT, y1=y, x2=right, y2=y))
        parts.append(svg.text(_LEFT - 8, y + 4, f"{value:g}", text_anchor="end"))
    parts.append(svg.text((_LEFT + right) / 2, _HEIGHT - 12, x_label, text_anchor="middle"))
    turned = f"translate(16 {(top + bottom) / 2}) rotate(-90)"
    parts.append(svg.element("text", html_text(y_label), transform=turned, text_anchor="middle"))
    return parts


def _mark(k: int, x: float, y: float) -> str:
    """A point of series k."""
    shape, colour = _MARKS[k % len(_MARKS)], _COLOURS[k % len(_COLOURS)]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}" fill="{colour}"/>'


def _line(points: Iterable[Point], colour: str, width: int) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


def _along(line: Iterable[Point]) -> Iterator[Point]:
    """Points about 4 pixels apart on a line."""
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        count = max(1, round(math.hypot(x1 - x0, y1 - y0) / 4))
        yield from ((x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(count + 1))


def _place_label(
    dot: Point, width: float, corner: tuple[float, float], taken: list[Box], dots: list[Point]
) -> tuple[str, float, Box]:
    """Returns (text-anchor, x, box) for the label of the point `dot`.

    The label is inside the axes, whose (top, right) is `corner`, overlaps the boxes `taken` as little as possible, and keeps
    far enough from other points to be read as the label of its own.
    """
    (x, y), (top, right_end) = dot, corner
    candidates = [(anchor, at, down) for anchor, at in (("start", x + 8), ("end", x - 8)) for down in (-7, -14, 0)]
    sides = (("middle", x), ("start", x - 0.15 * width), ("end", x + 0.15 * width))
    candidates += [(anchor, at, down) for anchor, at in sides for down in (-21, 7)]

    def box(candidate: tuple[str, float, int]) -> Box:
        anchor, at, down = candidate
        left = at - {"start": 0, "middle": 0.5, "end": 1}[anchor] * width
        return left, y + down, left + width, y + down + _LINE

    def cost(candidate: tuple[str, float, int]) -> float:
        left, over, right, under = box(candidate)
        outside = left < _LEFT or right > right_end or over < top or under > _HEIGHT - _BOTTOM
        covered = sum(max(0, min(right, r) - max(left, a)) * max(0, min(under, b) - max(over, t)) for a, t, r, b in taken)
        gaps = [math.hypot(max(left - a, a - right, 0), max(over - b, b - under, 0)) for a, b in dots if (a, b) != dot]
        return 1e4 * outside + 10 * covered + sum(max(0, _NEAR - gap) for gap in gaps)

    best = min(candidates, key=cost)
    return best[0], best[1], box(best)
