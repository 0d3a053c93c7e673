"""SVG charts of the channels and activations of an FGNAS architecture, after Kim et al. 2022, Fig. 4(b)."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from mobile_sr.models.nas import fgnas

_BAR, _GAP, _PAUSE, _HEIGHT, _TOP = 12, 2, 12, 220, 40
_COLOURS = {"convolution": "#64748b", "pointwise": "#94a3b8", "residual": "#2563a8", "trunk": "#e2e8f0"} | dict(
    zip(fgnas.MIXES, ("#c2410c", "#d97706", "#eab308", "#84cc16", "#15803d", "#0f766e", "#7e22ce"), strict=True)
)


def plot(architecture: Mapping[str, Any], channels: int, title: str) -> str:
    """Return a standalone SVG with one bar per layer. The height of a bar is the number of channels.

    Args:
        architecture: {"head", "blocks", "tail"} as in models/nas/fgnas.py.
        channels: number of channels of the supernet, the full height of the chart.
        title: title of the chart.
    """
    unit, x = _HEIGHT / channels, 20
    parts: list[str] = []
    bottom = _TOP + _HEIGHT

    def bar(layers: Iterable[tuple[str, int]], label: str = "") -> None:
        """Add one bar of stacked (kind, channels)."""
        nonlocal x
        y: float = bottom
        for kind, count in layers:
            y -= count * unit
            about = f"{label} {kind}, {count}".strip()
            rect = f'<rect x="{x}" y="{y:.1f}" width="{_BAR}" height="{count * unit:.1f}" fill="{_COLOURS[kind]}">'
            parts.append(f"{rect}<title>{html.escape(about)}</title></rect>")
        total = sum(count for _, count in layers)
        parts.append(f'<text x="{x + _BAR / 2}" y="{y - 3:.1f}" text-anchor="middle" font-size="8">{total}</text>')
        x += _BAR + _GAP

    def name(text: str, start: float) -> None:
        parts.append(f'<text x="{(start + x - _GAP) / 2}" y="{bottom + 16}" text-anchor="middle">{html.escape(text)}</text>')

    start, width = x, architecture["head"]
    bar([("convolution", width)], "head")
    name("head", start)
    for index, block in enumerate(architecture["blocks"]):
        x += _PAUSE
        start = x
        if block is None:
            x += _BAR
            name(f"({index + 1})", start)
            continue
        if block["pointwise"]:
            bar([("pointwise", block["pointwise"])], f"block {index + 1}")
        bar([(mix, block["mix"][mix]) for mix in fgnas.MIXES if mix in block["mix"]], f"block {index + 1}")
        bar([("residual", len(block["residual"]))], f"block {index + 1}")
        width = max(width, block["residual"][-1] + 1)
        bar([("trunk", width)], f"behind block {index + 1}")
        name(str(index + 1), start)
    x += _PAUSE
    start = x
    if architecture["tail"]:
        bar([("convolution", len(architecture["tail"]))], "tail")
    name("tail", start)
    used = {mix for block in architecture["blocks"] if block for mix in block["mix"]}
    kinds = ["convolution", "pointwise", *(mix for mix in fgnas.MIXES if mix in used), "residual", "trunk"]
    at, row = 20, bottom + 42
    for kind in kinds:
        if at + 30 + 7 * len(kind) > max(x, 420):
            at, row = 20, row + 18
        parts.append(f'<rect x="{at}" y="{row - 9}" width="10" height="10" fill="{_COLOURS[kind]}"/>')
        parts.append(f'<text x="{at + 14}" y="{row}">{html.escape(kind)}</text>')
        at += 30 + 7 * len(kind)
    size = f"0 0 {max(x, 420) + 20} {row + 16}"
    style = "text { font-family: system-ui, sans-serif; font-size: 12px; fill: #222; } text[font-size] { font-size: 9px; }"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img"><title>{html.escape(title)}</title>'
    head += f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    return f'{head}<text x="20" y="22" style="font-weight: 600">{html.escape(title)}</text>{"".join(parts)}</svg>\n'
