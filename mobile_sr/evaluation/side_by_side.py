"""Page with upscaled images beside bicubic interpolation, for `upscale --compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobile_sr.evaluation import compare, report, viewer
from mobile_sr.files import write_text
from mobile_sr.imaging import resize
from mobile_sr.imaging.images import read_image

MAX_IMAGES = 12  # in a page
_MARGIN = 4  # LR pixels around a part, for the taps of bicubic


def view(source: str | Path, target: str | Path, model: str, scale: int, max_pixels: int) -> viewer.View:
    """Returns an upscaled image and the bicubic interpolation of its source.

    Args:
        source, target: files of the image and of the SR output.
        model: name of the model.
        scale: its scale factor.
        max_pixels: of the output; of a larger one, the part in the middle.
    Raises: UserError when a file cannot be read.
    """
    lr, sr = read_image(source), read_image(target)
    height, width = lr.shape[:2]
    rows, columns = viewer.visible((height, width), (0, 0, width, height), max_pixels / scale**2)
    around = [slice(max(0, part.start - _MARGIN), part.stop + _MARGIN) for part in (rows, columns)]
    top, left = ((part.start - wide.start) * scale for part, wide in zip((rows, columns), around, strict=True))
    shown = np.ascontiguousarray(sr[tuple(slice(part.start * scale, part.stop * scale) for part in (rows, columns))])
    bicubic = resize.imresize(np.ascontiguousarray(lr[tuple(around)]), scale)
    bicubic = bicubic[top : top + shown.shape[0], left : left + shown.shape[1]]
    name = Path(source).name
    if shown.shape != sr.shape:
        name += f", the {shown.shape[1]}x{shown.shape[0]} pixels in the middle of {sr.shape[1]}x{sr.shape[0]}"
    panels = [("bicubic", bicubic, "bicubic"), (model, shown, model)]
    return viewer.View(name, panels, compare.window([bicubic, shown]))


def page(views: Sequence[viewer.View], model: str, scale: int, left_out: int = 0) -> str:
    """Returns a page that loads nothing from elsewhere: a viewer, and the crops that differ most.

    Args:
        views: from `view`.
        model, scale: name and scale factor of the model.
        left_out: number of images that are not in the page.
    """
    strips = []
    for entry in views:
        left, top, width, height = entry.window
        part = (slice(top, top + height), slice(left, left + width))
        crops = [(label, image[part], caption) for label, image, caption in entry.panels]
        strips.append(viewer.crops(entry.name, entry.name, crops))
    body = viewer.section(views, "bicubic", model) + "<h2>Where they differ most</h2>" + "".join(strips)
    about = f"x{scale}, on the right with {model}, on the left by bicubic interpolation."
    if left_out:
        about += f" The first {len(views)} images; {left_out} more were upscaled."
    return report.document(f"Upscaled with {Path(model).name}", about, body)


def write(path: str | Path, pairs: Sequence[tuple[Path, Path]], model: str, scale: int) -> None:
    """Write a page about the first MAX_IMAGES of upscaled files.

    Args:
        path: file to write.
        pairs: (source, target) of every image.
        model, scale: name and scale factor of the model.
    Raises: UserError when a file cannot be read or written.
    """
    shown = pairs[:MAX_IMAGES]
    limit = viewer.PAGE_PIXELS // (2 * len(shown))
    views = [view(source, target, model, scale, limit) for source, target in shown]
    write_text(path, page(views, model, scale, len(pairs) - len(shown)))
