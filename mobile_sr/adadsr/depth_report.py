"""Depths in a comparison's report: the lines, legend and heat maps of models with a desired depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mobile_sr.adadsr import depth_map, depth_usage
from mobile_sr.converters.printable import html_text


def _text(report: Mapping[str, Any]) -> str:
    depth = report["depth"]
    return f"Depth of the {depth['of']}, means over the images: {depth_usage.describe(depth, depth['deepest'])}."


def lines(report: Mapping[str, Any]) -> list[str]:
    """Returns the Markdown lines about the depths of a report (`compare.compare`); [] without depths."""
    return [_text(report), ""] if "depth" in report else []


def legend(report: Mapping[str, Any]) -> str:
    """Returns the HTML paragraph that explains the heat maps; '' without depths."""
    if "depth" not in report:
        return ""
    bar = f'<span class="scale" style="background:{depth_map.css_gradient()}"></span>'
    return (
        f'<p class="soft">{_text(report)}<br>The heat maps show the depth over the whole LR image and frame the crop: '
        f'<span class="legend">0 {bar} {report["depth"]["deepest"]:g} blocks</span></p>'
    )


def figure(crop: Mapping[str, Any], data_url: Callable[[np.ndarray, str], str]) -> str:
    """Returns the HTML figure with the depths of the whole image and a frame around the crop; '' without depths.

    Args:
        crop: from `compare.compare`.
        data_url: function from ([h, w, 3] uint8, format such as 'jpeg') to a data URL.
    """
    if "heat_map" not in crop:
        return ""
    row, depth = crop["row"], crop["row"]["depth"]
    (left, top, width, height), (rows, columns) = crop["window"], crop["size"]
    frame = f"left:{left / columns:.2%};top:{top / rows:.2%};width:{width / columns:.2%};height:{height / rows:.2%}"
    desired = "" if depth["desired"] is None else f", desired {depth['desired']:.2f}"
    caption = f"depth: mean {depth['mean']:.2f}{desired}"
    return (
        f'<figure><div class="heat" style="max-width:{165 * columns // rows}px"><img alt="{html_text(row["name"])}: depth" '
        f'src="{data_url(crop["heat_map"], "jpeg")}"><i style="{frame}"></i></div><figcaption>{caption}</figcaption></figure>'
    )
