"""Axes and channels of a network's image tensors: channels last (NHWC) or first (NCHW), RGB or Y alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.errors import UserError

if TYPE_CHECKING:
    from mobile_sr.inference.sidecar import Sidecar

NHWC, NCHW = "nhwc", "nchw"
NAMES = (NHWC, NCHW)
CHANNELS = (3, 1)  # RGB, Y
OPTION = "layout"
EXPECTED = "expected [1, H, W, C] or [1, C, H, W] with 3 channels (RGB) or 1 (Y)"
_TRIAL_SIDE = 16  # LR pixels of a dynamic side in `first_that_runs`

Shape = Sequence[Any]  # sides; a dynamic one is negative, None or a name


class LayoutError(ValueError):
    """Raised if tensor shapes do not belong to a network from one image to one image; the message gives the reason."""


@dataclasses.dataclass(frozen=True)
class TensorLayout:
    """Layout of the image input and the SR output of a network.

    Attributes:
        channels: 3 for RGB, 1 for Y.
        input, output: NHWC or NCHW.
    """

    channels: int = 3
    input: str = NHWC
    output: str = NHWC

    def __str__(self) -> str:
        return self.input if self.input == self.output else f"{self.input} in, {self.output} out"

    def to_input(self, image: np.ndarray) -> np.ndarray:
        """Converts [H, W, C] to the input's [1, H, W, C] or [1, C, H, W]."""
        return image[None] if self.input == NHWC else np.ascontiguousarray(image.transpose(2, 0, 1))[None]

    def from_output(self, values: np.ndarray) -> np.ndarray:
        """Converts the output's [1, H, W, C] or [1, C, H, W] to [H, W, C]."""
        return values[0] if self.output == NHWC else np.ascontiguousarray(values[0].transpose(1, 2, 0))

    def input_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Returns the input's shape for an image of (H, W)."""
        return (1, *size, self.channels) if self.input == NHWC else (1, self.channels, *size)

    def input_size(self, shape: Shape) -> tuple[int, int] | None:
        """Returns (H, W) of the input's shape; None if a side is dynamic, or 0 as in damaged files."""
        return _size(shape, self.input)

    def scale(self, size: tuple[int, int], shape: Shape) -> int:
        """Returns the scale factor from an input of (H, W) to an output shape; 0 if it is unknown or not an integer."""
        if len(shape) != 4 or shape[_axis(self.output)] != self.channels:
            return 0
        larger = _size(shape, self.output)
        scale = larger[0] // size[0] if larger else 0
        return scale if larger == (size[0] * scale, size[1] * scale) else 0


def _axis(layout: str) -> int:
    return 3 if layout == NHWC else 1


def _is_known(side: Any) -> bool:
    return isinstance(side, int) and side >= 0


def _size(shape: Shape, layout: str) -> tuple[int, int] | None:
    height, width = shape[1:3] if layout == NHWC else shape[2:4]
    return (height, width) if _is_known(height) and _is_known(width) and height * width else None


def _readings(shape: Shape) -> list[tuple[int, str]]:
    """Returns the (channels, layout) that a shape allows. Dynamic channels count only if no axis has a number of CHANNELS."""
    every = list(itertools.product(CHANNELS, NAMES))
    exact = [(channels, layout) for channels, layout in every if shape[_axis(layout)] == channels]
    return exact or [(channels, layout) for channels, layout in every if not _is_known(shape[_axis(layout)])]


def why_not_image(shape: Shape) -> str | None:
    """Returns why a tensor of this shape is not an RGB or Y image; None if it is one."""
    if len(shape) != 4:
        return f"not an image; {EXPECTED}"
    return None if _readings(shape) else f"{shape[3]} channels; {EXPECTED}"


def channels_of(shape: Shape) -> set[int]:
    """Returns the numbers of channels that an image tensor of this shape may have."""
    return {channels for channels, _ in _readings(shape)}


def find(
    input_shape: Shape | None, output_shape: Shape | None, layout: str | None = None, channels: int | None = None
) -> list[TensorLayout]:
    """Returns the layouts that the shapes of input and output allow, the most likely one first.

    Args:
        input_shape, output_shape: the shapes; None if unknown.
        layout: the input's layout, if it is given.
        channels: the number of channels, if it is given.

    Raises:
        LayoutError: there is none.
    """
    shapes = [(None,) * 4 if shape is None else shape for shape in (input_shape, output_shape)]
    for shape in shapes:
        reason = why_not_image(shape)
        if reason:
            raise LayoutError(f"{list(shape)}: {reason}")
    inputs, outputs = map(_readings, shapes)
    layouts = [TensorLayout(c, i, o) for (c, i), (also, o) in itertools.product(inputs, outputs) if c == also]
    if not layouts:
        raise LayoutError(f"maps {_count(inputs[0][0])} to {_count(outputs[0][0])}; {EXPECTED} at both ends")
    fitting = [x for x in layouts if layout in (None, x.input) and channels in (None, x.channels)]
    if not fitting:
        asked = " and ".join([*([f"layout {layout}"] if layout else []), *([_count(channels)] if channels else [])])
        raise LayoutError(f"its input {list(shapes[0])} does not have {asked}")
    fitting.sort(key=lambda x: x.input != x.output)
    return [x for x in fitting if _may_upscale(x, *shapes)] or fitting


def _count(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"


def _may_upscale(layout: TensorLayout, input_shape: Shape, output_shape: Shape) -> bool:
    size, larger = layout.input_size(input_shape), _size(output_shape, layout.output)
    return size is None or larger is None or layout.scale(size, output_shape) > 0


def given(name: str | Path, options: dict[str, str], sidecar: Sidecar) -> tuple[str | None, int | None]:
    """Returns (layout, channels) from the options and the sidecar of a file, each None if not given.

    Args:
        name: name of the file in messages.
        options: options of the model string; OPTION is removed.
        sidecar: Sidecar of the file.

    Raises:
        UserError: the option is invalid or contradicts the sidecar.
    """
    layout = options.pop(OPTION, None)
    if layout not in (None, *NAMES):
        raise UserError(f"{name}: {OPTION}={layout}; use {' or '.join(NAMES)}")
    if layout and sidecar.layout and layout != sidecar.layout:
        raise UserError(f"{name}: {OPTION}={layout}, but its sidecar says {sidecar.layout}; omit the option")
    return layout or sidecar.layout, sidecar.channels


def first_that_runs(
    name: str | Path, layouts: Iterable[TensorLayout], shape: Shape | None, run: Callable[[np.ndarray], np.ndarray]
) -> tuple[TensorLayout, int]:
    """Runs a float network on zeros in each layout until its output is an image.

    Args:
        name: name of the network in messages.
        layouts: the candidates, see `find`.
        shape: the input's shape; None if unknown.
        run: function from the input tensor to the output tensor, which raises UserError on failure.

    Returns:
        (layout, scale factor).

    Raises:
        UserError: none of the layouts works; the message is that of the first one.
    """
    failure: UserError | None = None
    for layout in layouts:
        size = (layout.input_size(shape) if shape else None) or (_TRIAL_SIDE, _TRIAL_SIDE)
        try:
            out = run(np.zeros(layout.input_shape(size), np.float32)).shape
        except UserError as error:
            failure = failure or error
            continue
        scale = layout.scale(size, out)
        if scale:
            return layout, scale
        reason = why_not_image(out) or "not an integer scale of the same number of channels"
        failure = failure or UserError(f"{name}: maps {size[1]}x{size[0]} to {out}: {reason}; not a super-resolution network")
    assert failure is not None  # `find` returns at least one layout
    raise failure


def with_sides(shape: Shape, size: tuple[int, int]) -> list[int]:
    """Returns a shape of four sides with the (H, W) of `size` where they are dynamic; N is then 1, C is 3."""
    layout = NCHW if shape[1] in CHANNELS and shape[3] not in CHANNELS else NHWC
    sides = TensorLayout(3, layout).input_shape(size)
    return [side if _is_known(side) else own for side, own in zip(shape, sides, strict=True)]
