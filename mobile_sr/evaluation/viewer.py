"""Parts of the report pages that show images: a viewer with a slider, crops side by side, and a strip of flat colours."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.printable import html_text
from mobile_sr.evaluation import templates
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.images import encode_image

PAGE_PIXELS = 24_000_000  # of the images of a viewer together, about 15 MB of JPEG in a page; larger images are cut
_LOSSLESS_PIXELS = 3_000_000  # up to this number together they are PNG, about 6 MB
_PER_ROW = 6  # crops side by side at most


@dataclasses.dataclass
class View:
    """An image to look at, in several versions.

    Attributes:
        name: of the image.
        panels: [(label, [H, W, 3] uint8, caption)]. All views of a viewer have the same labels.
        window: [left, top, width, height] of the part to keep in sight if the images are cut.
    """

    name: str
    panels: Sequence[tuple[str, np.ndarray, str]]
    window: Sequence[int]


def data_url(image: np.ndarray, kind: str = "png") -> str:
    """Returns an [H, W, 3] uint8 image as a data URL, in the format 'png' or 'jpeg'."""
    return f"data:image/{kind};base64," + base64.b64encode(encode_image(image, "." + kind)).decode()


def visible(size: tuple[int, int], window: Sequence[int], max_pixels: float) -> tuple[slice, slice]:
    """The (rows, columns) of a part of at most `max_pixels` around a window; the whole image if it is small enough."""
    height, width = size
    side = math.isqrt(int(max_pixels))
    if height * width <= max_pixels:
        return slice(0, height), slice(0, width)
    part_height, part_width = min(height, max(side, int(max_pixels // width))), min(width, max(side, int(max_pixels // height)))
    left, top, w, h = window
    y = min(max(0, top + h // 2 - part_height // 2), height - part_height)
    x = min(max(0, left + w // 2 - part_width // 2), width - part_width)
    return slice(y, y + part_height), slice(x, x + part_width)


def section(views: Sequence[View], left: str, right: str) -> str:
    """Returns a viewer as HTML: two versions of an image with a slider between them, and all versions side by side.

    The slider needs `report.js`, which `report.document` includes. Without JavaScript the images are side by side.

    Args:
        views: the images. They are stored once each: as PNG if they are small, else as JPEG of quality 95.
        left, right: labels of the versions to show first.
    """
    labels = [label for label, *_ in views[0].panels]
    limit = PAGE_PIXELS / (len(views) * len(labels))
    parts = [visible((view.panels[0][1].shape[0], view.panels[0][1].shape[1]), view.window, limit) for view in views]
    pixels = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in parts) * len(labels)
    kind = "png" if pixels <= _LOSSLESS_PIXELS else "jpeg"
    images = []
    for k, (view, (rows, columns)) in enumerate(zip(views, parts, strict=True)):
        height, width = view.panels[0][1].shape[:2]
        shown = (rows.stop - rows.start, columns.stop - columns.start)
        note = f"{width}x{height} pixels"
        if shown != (height, width):
            note = f"the {shown[1]}x{shown[0]} pixels at ({columns.start}, {rows.start}) of {note}"
        note += ", as JPEG" if kind == "jpeg" else ""
        figures = "".join(
            f'<figure data-view="{k}" data-panel="{j}"><img alt="{html_text(f"{view.name}: {label}")}" '
            f'src="{data_url(image[rows, columns], kind)}"><figcaption>{html_text(caption)}</figcaption></figure>'
            for j, (label, image, caption) in enumerate(view.panels)
        )
        images.append(f"<p><b>{html_text(view.name)}</b>, {note}</p>{_strip(figures, len(labels), 'whole')}")
    return templates.fill(
        "viewer.html",
        names="".join(f'<option value="{k}">{html_text(view.name)}</option>' for k, view in enumerate(views)),
        left=_options(labels, left),
        right=_options(labels, right),
        images="".join(images),
    )


def _options(labels: Sequence[str], chosen: str) -> str:
    return "".join(
        f'<option value="{k}"{" selected" if label == chosen else ""}>{html_text(label)}</option>'
        for k, label in enumerate(labels)
    )


def _strip(figures: str, count: int, kind: str = "") -> str:
    """Figures in rows of equal length, as far as possible; on phones in pairs, with an odd one first on a row of its own."""
    columns = math.ceil(count / math.ceil(count / _PER_ROW))
    classes = " ".join(filter(None, ("strip", kind, "odd" if count % 2 else "")))
    return f'<div class="{classes}" style="--columns:{columns}">{figures}</div>'


def crops(name: str, title: str, panels: Sequence[tuple[str, np.ndarray, str]], more: Sequence[str] = ()) -> str:
    """Returns crops side by side under a title as HTML.

    Args:
        name: of the image, for screen readers.
        title: text above the crops.
        panels: [(label, [h, w, 3] uint8, caption)].
        more: further figures as HTML.
    """
    figures = [
        f'<figure><img alt="{html_text(f"{name}: {label}")}" src="{data_url(image)}">'
        f"<figcaption>{html_text(caption)}</figcaption></figure>"
        for label, image, caption in panels
    ]
    figures += more
    return f"<p><b>{html_text(title)}</b></p>{_strip(''.join(figures), len(figures))}"


def colours(models: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Returns the flat colours of several models as HTML: the upper half of a field is the input, the lower half the output.

    Args:
        models: [(name, `compare.colour_error`)].
    """
    lines = []
    for name, errors in models:
        fields = []
        for entry in errors["colours"]:
            given, becomes = (f"rgb({','.join(map(str, entry[key]))})" for key in ("colour", "becomes"))
            text = f"{given} becomes {becomes}: {entry['error']} levels"
            mark = f"<b>{entry['error']}</b>" if entry["error"] > flat_colours.LIMIT else ""
            style = f"background:linear-gradient({given} 50%,{becomes} 50%)"
            fields.append(f'<span title="{text}" style="{style}">{mark}</span>')
        about = html_text(f"{name}: {flat_colours.describe(errors)}")
        lines.append(f'<p class="soft">{about}</p><div class="colours" role="img" aria-label="{about}">{"".join(fields)}</div>')
    return "".join(lines)
