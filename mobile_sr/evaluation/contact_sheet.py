"""Contact sheet: crops of several images in several versions on one image, with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mobile_sr.converters.printable import printable

_ZOOM = 2  # output pixels per pixel of a crop
_GAP, _LINE, _FONT = 10, 18, 13  # between crops; height of a line of text; its size: output pixels
_BACK, _INK = (255, 255, 255), (28, 36, 48)


def draw(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> np.ndarray:
    """Draw crops, one image per row.

    Args:
        rows: [(name of the image, [(caption, [h, w, 3] uint8)])]. All rows have the same number of crops.

    Returns:
        [H, W, 3] uint8: the crops enlarged twice by nearest neighbour, each caption below its crop.
    """
    cell = _ZOOM * max(max(image.shape[:2]) for _, crops in rows for _, image in crops)
    columns = len(rows[0][1])
    height = _GAP + len(rows) * (cell + 2 * _LINE + _GAP)
    sheet = Image.new("RGB", (_GAP + columns * (cell + _GAP), height), _BACK)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for row, (name, crops) in enumerate(rows):
        top = _GAP + row * (cell + 2 * _LINE + _GAP)
        pen.text((_GAP, top), _fitting(name, columns * cell, font), _INK, font)
        for column, (caption, image) in enumerate(crops):
            left = _GAP + column * (cell + _GAP)
            enlarged = np.ascontiguousarray(image.repeat(_ZOOM, 0).repeat(_ZOOM, 1))
            sheet.paste(Image.fromarray(enlarged), (left, top + _LINE))
            pen.text((left, top + _LINE + cell + 2), _fitting(caption, cell, font), _INK, font)
    return np.asarray(sheet)


def _fitting(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, shortened in the middle until it is at most `width` pixels wide."""
    text = printable(text)
    kept = min(len(text), width)  # a letter has a pixel or more
    while True:
        shown = text if kept == len(text) else f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
        if kept <= 2 or font.getlength(shown) <= width:
            return shown
        kept -= 1
