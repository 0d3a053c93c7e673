"""SVG charts of the channels and activations of an FGNAS architecture, after Kim et al. 2022, Fig. 4(b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr.evaluation import svg
from mobile_sr.models.nas import fgnas

_BAR, _GAP, _PAUSE, _HEIGHT, _TOP, _LEFT = 12, 2, 12, 220, 52, 20
_MIN_WIDTH = 640  # room for the title and the legend of a network of few blocks
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
    unit, x = _HEIGHT / channels, _LEFT
    parts: list[str] = []
    bottom = _TOP + _HEIGHT

    def bar(layers: Sequence[tuple[str, int]], label: str) -> None:
        """Add one bar of stacked (kind, channels)."""
        nonlocal x
        y: float = bottom
        for kind, count in layers:
            y -= count * unit
            parts.append(svg.rect(x, y, _BAR, count * unit, f"{label} {kind}, {count}", fill=_COLOURS[kind]))
        total = sum(count for _, count in layers)
        parts.append(svg.text(x + _BAR / 2, y - 3, str(total), text_anchor="middle", font_size=9))
        x += _BAR + _GAP

    def name(text: str, start: float) -> None:
        parts.append(svg.text((start + x - _GAP) / 2, bottom + 16, text, text_anchor="middle"))

    start, trunk = x, architecture["head"]
    bar([("convolution", trunk)], "head")
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
        trunk = max(trunk, block["residual"][-1] + 1)
        bar([("trunk", trunk)], f"after block {index + 1}")
        name(str(index + 1), start)
    x += _PAUSE
    start = x
    if architecture["tail"]:
        bar([("convolution", len(architecture["tail"]))], "tail")
    name("tail", start)
    used = {mix for block in architecture["blocks"] if block for mix in block["mix"]}
    kinds = ["convolution", "pointwise", *(mix for mix in fgnas.MIXES if mix in used), "residual", "trunk"]
    width = max(x, _MIN_WIDTH)
    names, last = svg.legend([(kind, _COLOURS[kind]) for kind in kinds], "fill", _LEFT, bottom + 42, width)
    return svg.document(title, width + _LEFT, last + 16, [*parts, names], left=_LEFT)


def plot_chain(architecture: Mapping[str, Any], channels: int, title: str) -> str:
    """Return a standalone SVG with one bar for the head and one per layer of a plain chain.

    Args:
        architecture: {"channels", "layers", "widths"} as in models/chainsr.py.
        channels: number of channels of the supernet, the full height of the chart.
        title: title of the chart.
    """
    unit, bottom = _HEIGHT / channels, _TOP + _HEIGHT
    bars = [("head", architecture["channels"]), *((str(k + 1), width) for k, width in enumerate(architecture["widths"]))]
    parts, x, bar = [], _LEFT, 2 * _BAR
    for name, width in bars:
        colour = _COLOURS["convolution" if name == "head" else "residual"]
        parts.append(svg.rect(x, bottom - width * unit, bar, width * unit, f"{name}: {width} channels", fill=colour))
        parts.append(svg.text(x + bar / 2, bottom - width * unit - 3, str(width), text_anchor="middle", font_size=9))
        parts.append(svg.text(x + bar / 2, bottom + 16, name, text_anchor="middle"))
        x += bar + _PAUSE
    return svg.document(title, max(x, _MIN_WIDTH) + _LEFT, bottom + 32, parts, left=_LEFT)
