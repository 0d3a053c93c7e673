"""A line or scatter plot as a standalone SVG, for docs/ and reports."""

import itertools
import math

from mobile_sr.converters.printable import html_text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 460, 70, 20, 44, 54
_LEGEND = 20  # the height of its line, between title and axes
_LETTER, _LINE, _NEAR = 7, 14, 26  # a label's width per letter, its height, and how far it keeps from other points
_COLOURS = ("#2563a8", "#c2410c", "#4d7c0f", "#7e22ce", "#0f766e", "#a16207")
_MARKS = (  # one shape for each colour, for print in gray
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.7-3.7h7.4v7.4h-7.4z",
    "M0-5L5 4H-5z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "M0 5L5-4H-5z",
    "M-1.5-5h3v3.5H5v3H1.5V5h-3V1.5H-5v-3h3.5z",
)


def plot(title, x_label, y_label, series, log_x=False, links=()):
    """The text of an SVG file.

    Args:
        log_x: the horizontal axis is logarithmic; its values are above 0.
        series: [(name, [(x, y, label)], joined)]: points with a label each ('' for none), joined by a line or not; a
            name that is not '' stands in the legend.
        links: [((x, y), (x, y))]: two points of any series each, joined by a thin gray line.
    Raises: ValueError when there is no point.
    """
    points = [point for _, found, _ in series for point in found]
    if not points:
        raise ValueError("nothing to plot")
    top = _TOP + (_LEGEND if any(name for name, *_ in series) else 0)
    across = (_LogAxis if log_x else _Axis)([x for x, _, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for _, y, _ in points], _HEIGHT - _BOTTOM, top)
    parts = _frame(title, x_label, y_label, across, up, top)
    placed = [(name, [(across(x), up(y), label) for x, y, label in found], joined) for name, found, joined in series]
    links = [[(across(x), up(y)) for x, y in pair] for pair in links]
    parts += [_line(pair, "#999", 1) for pair in links]
    lines = [[place[:2] for place in found] for _, found, joined in placed if joined]
    dots = [place[:2] for _, found, _ in placed for place in found]
    taken = [_around(x, y, 5) for x, y in dots]
    taken += [_around(x, y, 2) for line in (*lines, *links) for x, y in _along(line)]
    left = _LEFT
    for k, (name, found, joined) in enumerate(placed):
        colour = _COLOURS[k % len(_COLOURS)]
        if joined:
            parts.append(_line([place[:2] for place in found], colour, 2))
        for x, y, label in found:
            parts.append(_mark(k, x, y))
            if label:
                anchor, at, box = _place_label((x, y), _LETTER * len(label), top, taken, dots)
                taken.append(box)
                text = f'<text x="{at:.1f}" y="{box[3] - 3:.1f}" text-anchor="{anchor}" fill="{colour}">'
                parts.append(f"{text}{html_text(label)}</text>")
        if name:
            parts.append(_mark(k, left + 5, _TOP))
            parts.append(f'<text class="legend" x="{left + 15}" y="{_TOP + 4}">{html_text(name)}</text>')
            left += 15 + _LETTER * len(name) + 20
    # Attributes, which what stands on an element overrides; a style sheet would override the elements.
    font = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {font}>'
    style = "<style>.grid { stroke: #ddd; }</style>"
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    return f"{head}<title>{html_text(title)}</title>{style}{background}{''.join(parts)}</svg>\n"


def _frame(title, x_label, y_label, across, up, top):
    """Title, grid, ticks and the axes' labels."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<text x="{_LEFT}" y="24" font-size="16" font-weight="600">{html_text(title)}</text>']
    for value, at in across.ticks():
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    for value, at in up.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle, side = (_LEFT + right) / 2, (top + bottom) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{html_text(x_label)}</text>')
    parts.append(f'<text transform="translate(16 {side}) rotate(-90)" text-anchor="middle">{html_text(y_label)}</text>')
    return parts


def _mark(k, x, y):
    """A point of series k."""
    shape, colour = _MARKS[k % len(_MARKS)], _COLOURS[k % len(_COLOURS)]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}" fill="{colour}"/>'


def _line(places, colour, width):
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _around(x, y, reach):
    return x - reach, y - reach, x + reach, y + reach


def _along(places):
    """Points about 4 pixels apart on the line through `places`."""
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        count = max(1, round(math.hypot(x1 - x0, y1 - y0) / 4))
        yield from ((x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(count + 1))


def _place_label(dot, width, top, taken, dots):
    """(text-anchor, x, box) of a label of the point `dot`; a box is (left, top, right, bottom).

    It lies inside the axes, over as little of the boxes `taken` as can be, and far enough from other dots to be read as its
    own point's.
    """
    x, y = dot
    places = [(anchor, at, down) for anchor, at in (("start", x + 8), ("end", x - 8)) for down in (-7, -14, 0)]
    sides = (("middle", x), ("start", x - 0.15 * width), ("end", x + 0.15 * width))
    places += [(anchor, at, down) for anchor, at in sides for down in (-21, 7)]

    def box(place):
        anchor, at, down = place
        left = at - {"start": 0, "middle": 0.5, "end": 1}[anchor] * width
        return left, y + down, left + width, y + down + _LINE

    def cost(place):
        left, over, right, under = box(place)
        outside = left < _LEFT or right > _WIDTH - _RIGHT or over < top or under > _HEIGHT - _BOTTOM
        covered = sum(max(0, min(right, r) - max(left, a)) * max(0, min(under, b) - max(over, t)) for a, t, r, b in taken)
        gaps = [math.hypot(max(left - a, a - right, 0), max(over - b, b - under, 0)) for a, b in dots if (a, b) != dot]
        return 1e4 * outside + 10 * covered + sum(max(0, _NEAR - gap) for gap in gaps)

    best = min(places, key=cost)
    return best[0], best[1], box(best)


class _Axis:
    """Values to places between two ends, with round ticks."""

    def __init__(self, values, start, stop):
        low, high = min(values), max(values)
        spread = (high - low) or abs(high) or 1.0
        self.low, self.high = low - 0.06 * spread, high + 0.06 * spread
        self.start, self.stop = start, stop

    def __call__(self, value):
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self):
        """[(value, place)] at multiples of 1, 2 or 5 times a power of ten, about six of them."""
        raw = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= raw)
        first = math.ceil(self.low / step)
        values = [round(k * step, 10) for k in range(first, math.floor(self.high / step) + 1)]
        return [(value, self(value)) for value in values]


class _LogAxis(_Axis):
    """The same of logarithms, with ticks at 1, 2 and 5 times powers of ten, or at these powers alone."""

    def __init__(self, values, start, stop):
        super().__init__([math.log10(value) for value in values], start, stop)

    def __call__(self, value):
        return super().__call__(math.log10(value))

    def ticks(self):
        """[(value, place)]"""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        digits = (1, 2, 5) if self.high - self.low < 3 else (1,)
        values = [round(digit * 10.0**power, 10) for power in powers for digit in digits]
        return [(value, self(value)) for value in values if self.low <= math.log10(value) <= self.high]
