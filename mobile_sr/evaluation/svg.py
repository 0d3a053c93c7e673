"""SVG elements and standalone SVG files, shared by all charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mobile_sr.converters.printable import html_text

LETTER = 7  # estimated width of a letter of 12 px
_SWATCH, _SPACE = 15, 20  # widths in a legend: coloured square and gap before a name; gap after it


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """Returns an element.

    Args:
        name: tag, such as 'rect'.
        content: markup inside of the element.
        attributes: `text_anchor` becomes text-anchor. `class_` becomes class and is the first one. Floats get one decimal.
    """
    ordered = sorted(attributes.items(), key=lambda item: item[0] != "class_")
    words = [f'{key.rstrip("_").replace("_", "-")}="{_number(value)}"' for key, value in ordered]
    start = " ".join([name, *words])
    return f"<{start}>{content}</{name}>" if content else f"<{start}/>"


def _number(value: str | float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, **attributes: str | float) -> str:
    """Returns a text element. `content` is plain text; `y` is its baseline."""
    return element("text", html_text(content), x=x, y=y, **attributes)


def rect(x: float, y: float, width: float, height: float, tooltip: str = "", **attributes: str | float) -> str:
    """Returns a rectangle with an optional tooltip, which is plain text."""
    content = element("title", html_text(tooltip)) if tooltip else ""
    return element("rect", content, x=x, y=y, width=width, height=height, **attributes)


def legend(
    entries: Sequence[tuple[str, str]], colour: str, left: float, y: int, right: float = math.inf, **attributes: str
) -> tuple[str, int]:
    """Returns the elements of a legend, and the baseline of its last line.

    Args:
        entries: [(name, value of the square's colour attribute)].
        colour: the attribute that colours a square, 'fill' or 'class_'.
        left, y: start of the first line and its baseline.
        right: x that no line exceeds.
        attributes: attributes of the names.
    """
    parts, x = [], left
    for name, value in entries:
        if x > left and x + _SWATCH + LETTER * len(name) > right:
            x, y = left, y + _SPACE
        parts.append(rect(x, y - 9, 10, 10, rx=2, **{colour: value}))
        parts.append(text(x + _SWATCH, y, name, **attributes))
        x += _SWATCH + LETTER * len(name) + _SPACE
    return "".join(parts), y


def document(title: str, width: int, height: int, parts: Iterable[str], left: int = 20, style: str = "") -> str:
    """Returns the text of an SVG file with a white background and a heading.

    Args:
        title: heading, and description for screen readers.
        width, height: size in pixels.
        parts: elements below the heading.
        left: x of the heading.
        style: style sheet.
    """
    # Attributes of the root, which attributes of an element override. A style sheet would override those of the elements.
    font = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" {font}>'
        f"{element('title', html_text(title))}{element('style', style) if style else ''}"
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f"{text(left, 24, title, font_size=16, font_weight=600)}{''.join(parts)}</svg>\n"
    )
