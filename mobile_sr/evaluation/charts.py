"""Horizontal bar charts as inline SVG, in the light or dark colours of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr.converters.printable import html_text
from mobile_sr.evaluation import svg
from mobile_sr.evaluation.axes import bar_axis

_WIDTH, _LABELS, _ROW, _BAR, _TOP, _GAP, _VALUE = 1100, 210, 32, 11, 44, 34, 58  # in units of the view box


def bars(title: str, labels: Sequence[tuple[str, bool]], panels: Sequence[Mapping[str, Any]]) -> str:
    """Returns an SVG element with one row per label and one or more panels of bars side by side.

    The element needs the style sheet charts.css, which `report.document` includes.

    Args:
        title: description for screen readers.
        labels: [(text, whether to highlight the row as one of the worst)].
        panels: [{"title": text, "share": fraction of the width, "series": [(name, CSS class 'a' or 'b', values, format)]}].
            A value is a number, None for no bar, or infinity for a bar to the end of the axis. `format` is a function from a
            value to its text. "ticks" is an optional function from a tick's value to its text.
    """
    inner = _WIDTH - _LABELS - (len(panels) - 1) * _GAP
    height = _TOP + len(labels) * _ROW + 20
    parts, left = [], float(_LABELS)
    for panel in panels:
        width = inner * panel["share"]
        parts.append(_panel(panel, left, width - _VALUE, height, [highlighted for _, highlighted in labels]))
        left += width + _GAP
    for row, (label, highlighted) in enumerate(labels):
        y = _TOP + row * _ROW + _ROW / 2 + 4
        parts.append(svg.text(_LABELS - 10, y, label, text_anchor="end", **({"class_": "worst"} if highlighted else {})))
    return (
        f'<div class="scroll"><svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{html_text(title)}">{"".join(parts)}</svg></div>'
    )


def _panel(panel: Mapping[str, Any], left: float, width: float, height: float, highlighted: Sequence[bool]) -> str:
    series = panel["series"]
    finite = [v for *_, values, _ in series for v in values if v is not None and math.isfinite(v)]
    axis = bar_axis(finite, left, left + width)
    tick_text = panel.get("ticks", "{:g}".format)
    parts = [svg.text(left, 12, panel["title"], class_="soft")]
    if len(series) > 1:
        parts.append(svg.legend([(name, kind) for name, kind, *_ in series], "class_", left, 29, class_="soft")[0])
    size: dict[str, Any] = {"font_size": 10} if len(series) > 1 else {}
    for value, x in axis.ticks():
        kind = "axis" if value == 0 else "grid"
        parts.append(svg.element("line", class_=kind, x1=x, y1=_TOP - 4, x2=x, y2=height - 18))
        parts.append(svg.text(x, height - 4, tick_text(value), text_anchor="middle", class_="soft", font_size=10))
    thickness = _BAR if len(series) > 1 else 2 * _BAR
    for row in range(len(highlighted)):
        for k, (name, kind, values, form) in enumerate(series):
            value = values[row]
            if value is None:
                continue
            y = _TOP + row * _ROW + (_ROW - thickness * len(series)) / 2 + k * thickness
            a, b = sorted((axis(0), axis(min(max(value, axis.low), axis.high))))
            kind = "worst" if highlighted[row] and kind == "a" else kind
            parts.append(svg.rect(a, y, max(b - a, 0.5), thickness - 1, f"{name}: {form(value)}", class_=kind, rx=2))
            parts.append(svg.text(b + 5, y + thickness / 2 + 3.5, form(value), **size))
    return "".join(parts)
