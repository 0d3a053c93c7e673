"""Horizontal bar charts as inline SVG that follow the page's colours, light or dark."""

import math

from mobile_sr.converters.printable import html_text

_WIDTH, _LABELS, _ROW, _BAR, _TOP, _GAP, _VALUE = 1100, 210, 32, 11, 44, 34, 58  # of the view box

STYLE = """
svg.chart { width: 100%; min-width: 760px; display: block; margin-bottom: 14px; font-size: 12px;
  font-variant-numeric: tabular-nums; }
svg.chart text { fill: var(--ink); } svg.chart text.soft { fill: var(--soft); }
svg.chart text.worst { fill: var(--bad); font-weight: 700; }
svg.chart .grid { stroke: var(--line); stroke-width: 1; } svg.chart .axis { stroke: var(--soft); stroke-width: 1; }
svg.chart .a { fill: var(--mark); } svg.chart .b { fill: var(--soft); opacity: .55; } svg.chart .worst { fill: var(--bad); }
"""


def bars(title, labels, panels):
    """An SVG element with one row per label and one or more panels of bars side by side.

    Args:
        title: what the chart shows, for screen readers.
        labels: [(text, whether the row is marked as one of the worst)].
        panels: [{"title": text, "share": of the width, "series": [(name, CSS class 'a' or 'b', values, format)]}]; a value
            is a number, None for no bar, or infinity (a bar to the end); format makes its text. "ticks": format of the axis.
    """
    inner = _WIDTH - _LABELS - (len(panels) - 1) * _GAP
    height = _TOP + len(labels) * _ROW + 20
    parts, left = [], _LABELS
    for panel in panels:
        width = inner * panel["share"]
        parts.append(_panel(panel, left, width - _VALUE, height, [marked for _, marked in labels]))
        left += width + _GAP
    for row, (label, marked) in enumerate(labels):
        y = _TOP + row * _ROW + _ROW / 2 + 4
        kind = ' class="worst"' if marked else ""
        parts.append(f'<text x="{_LABELS - 10}" y="{y:.1f}" text-anchor="end"{kind}>{html_text(label)}</text>')
    return (
        f'<div class="scroll"><svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{html_text(title)}">{"".join(parts)}</svg></div>'
    )


def _panel(panel, left, width, height, marked):
    series = panel["series"]
    finite = [v for *_, values, _ in series for v in values if v is not None and math.isfinite(v)]
    low, high, step = _axis(min([0, *finite]), max([0, *finite]))

    def place(value):
        return left + (min(max(value, low), high) - low) / (high - low) * width

    ticks = panel.get("ticks", "{:g}".format)
    parts = [f'<text x="{left:.1f}" y="12" class="soft">{html_text(panel["title"])}</text>', _legend(series, left)]
    for k in range(round((high - low) / step) + 1):
        value = round(low + k * step, 12)
        x = place(value)
        kind = "axis" if abs(value) < step / 1e6 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" y1="{_TOP - 4}" x2="{x:.1f}" y2="{height - 18}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle" class="soft" font-size="10">{ticks(value)}</text>'
        )
    thickness = _BAR if len(series) > 1 else 2 * _BAR
    for row in range(len(marked)):
        for k, (name, kind, values, form) in enumerate(series):
            value = values[row]
            if value is None:
                continue
            y = _TOP + row * _ROW + (_ROW - thickness * len(series)) / 2 + k * thickness
            a, b = sorted((place(0), place(value)))
            kind = "worst" if marked[row] and kind == "a" else kind
            parts.append(
                f'<rect class="{kind}" x="{a:.1f}" y="{y:.1f}" width="{max(b - a, 0.5):.1f}" height="{thickness - 1}" rx="2">'
                f"<title>{html_text(f'{name}: {form(value)}')}</title></rect>"
                f'<text x="{b + 5:.1f}" y="{y + thickness / 2 + 3.5:.1f}"{_text_size(series)}>{html_text(form(value))}</text>'
            )
    return "".join(parts)


def _text_size(series):
    return ' font-size="10"' if len(series) > 1 else ""


def _legend(series, left):
    if len(series) < 2:
        return ""
    parts, x = [], left
    for name, kind, *_ in series:
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="20" width="10" height="10" rx="2"/>')
        parts.append(f'<text x="{x + 15:.1f}" y="29" class="soft">{html_text(name)}</text>')
        x += 15 + 7 * len(name) + 20
    return "".join(parts)


def _axis(low, high):
    """(low, high, step) with round steps, about five of them."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 6)
    # A bar may reach 2 % of a step beyond the axis: no step of its own for a rounding error.
    return math.floor(low / step + 0.02) * step, max(math.ceil(high / step - 0.02), 1) * step, step
