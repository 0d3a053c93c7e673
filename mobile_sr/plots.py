"""A line or scatter plot as a standalone SVG, for docs/ and reports."""

import html
import math

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 460, 70, 20, 44, 54
_COLOURS = ("#2563a8", "#c2410c", "#4d7c0f", "#7e22ce", "#0f766e", "#a16207")


def plot(title, x_label, y_label, series, log_x=False):
    """The text of an SVG file.

    Args:
        log_x: the horizontal axis is logarithmic; its values are above 0.
        series: [(name, [(x, y, label)], joined)]: points with a label each ('' for none), joined by a line or not; a
            name that is not '' stands in the legend.
    Raises: ValueError when there is no point.
    """
    points = [point for _, found, _ in series for point in found]
    if not points:
        raise ValueError("nothing to plot")
    across = (_LogAxis if log_x else _Axis)([x for x, _, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for _, y, _ in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text x="{_LEFT}" y="24" font-size="16" font-weight="600">{html.escape(title)}</text>']
    for value, at in across.ticks():
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    for value, at in up.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{html.escape(x_label)}</text>')
    side = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text transform="translate(16 {side}) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>')
    dots = [(across(x), up(y)) for x, y, _ in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    for k, (name, found, joined) in enumerate(series):
        colour = _COLOURS[k % len(_COLOURS)]
        places = [(across(x), up(y), label) for x, y, label in found]
        if joined:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, label in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            if label:
                box = _free_box(x, y, 7 * len(label), taken)
                taken.append(box)
                parts.append(f'<text x="{box[0]:.1f}" y="{box[3] - 3:.1f}" fill="{colour}">{html.escape(label)}</text>')
        if name:
            y = _HEIGHT - _BOTTOM - 14 - 18 * (len(series) - 1 - k)
            parts.append(f'<circle cx="{_WIDTH - 190}" cy="{y - 4}" r="4" fill="{colour}"/>')
            parts.append(f'<text x="{_WIDTH - 180}" y="{y}">{html.escape(name)}</text>')
    style = "text { font: 12px system-ui, sans-serif; fill: #222; } .grid { stroke: #ddd; }"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    return f"{head}<title>{html.escape(title)}</title><style>{style}</style>{background}{''.join(parts)}</svg>\n"


def _free_box(x, y, width, taken):
    """(left, top, right, bottom) of a label beside a point: in the picture, over as few of the boxes `taken` as can be."""
    boxes = [(x + gap, y + down, x + gap + width, y + down + 14) for gap in (7, -7 - width) for down in (3, -15, -7)]

    def overlaps(box):
        left, top, right, bottom = box
        outside = left < _LEFT or right > _WIDTH
        return 100 * outside + sum(left < r and a < right and top < b and t < bottom for a, t, r, b in taken)

    return min(boxes, key=overlaps)


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
