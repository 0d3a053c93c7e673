"""Value ranges and channels of a network, and a check of its output on a sample image.

`possible` collects what the sidecar, the tensors and the options determine. `measure` determines the rest on a sample
image. `check` compares the SR output with bicubic interpolation. All file formats (.tflite, .onnx, .keras, imported
checkpoints) use this module.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError
from mobile_sr.imaging import luminance, sample_images
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.inference import tensor_layout, tensor_values

if TYPE_CHECKING:
    from mobile_sr.inference.sidecar import Sidecar
    from mobile_sr.inference.tensor_layout import TensorLayout

Choices = tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]  # candidate ranges in, ranges out, channel orders
Choice = tuple[int, int, str]  # range in, range out, channel order

SAMPLE_SIDE = 32  # LR pixels of the sample side for dynamic sizes: large enough to decide, fast for large networks
# In dB. On the sample, packaged networks are 1 to 4 dB above bicubic; imports in the wrong range are 6 dB or more below.
MAX_BELOW_BICUBIC = 3.0
NEVER_POOR = 40.0  # dB: a large sample image is smooth (bicubic 48 dB at 640x360), and rounding alone may cost 3 dB there
RANGE_OPTIONS = {str(key): key for key in tensor_values.FLOAT_RANGES}
OPTIONS = ("range", "range_in", "range_out", "order")  # of `possible`
ALL_OPTIONS = (*OPTIONS, tensor_layout.OPTION)

_MAX_ERROR = 255**2 / 10**1.5  # 15 dB: with a larger squared error the range is certainly wrong
# Factors by which the squared error of another choice must be smaller. An unclipped network for 0..1 also runs at 0..255,
# measured 1 to 2 dB worse. A gain error weighs 4 times less around gray (-1..1) than above black (0..1), for any network.
_CLEARLY_BETTER = 2  # 3 dB
_CLEARLY_BETTER_ABOUT_GRAY = 5  # 7 dB
_CLEARLY_BETTER_FAR_FROM_BICUBIC = 8  # 9 dB
_CLEARLY_BGR = 1.12  # 0.5 dB: run as BGR, packaged networks (trained on RGB) gain up to 0.1 dB or lose up to 0.3 dB
_AMBIGUOUS = 1.25  # 1 dB
_FLAT = 1e-4  # of white: below this, an image differs from one colour by rounding errors only


@dataclasses.dataclass(frozen=True)
class ModelIO:
    """Value ranges, channels and layout of a network's input and output.

    Attributes:
        range_in, range_out: keys of `tensor_values.RANGES`.
        order: 'rgb' or 'bgr' for three channels, a key of `luminance.RANGES` for one; for input and output.
        measured: whether they were determined on the sample image.
        remark: a line for the user; None if there is nothing unusual.
        layout: the layout of the tensors.
    """

    range_in: int = 1
    range_out: int = 1
    order: str = "rgb"
    measured: bool = False
    remark: str | None = None
    layout: TensorLayout = tensor_layout.TensorLayout()

    @property
    def is_luma(self) -> bool:
        """Whether the network upscales Y alone."""
        return self.order in luminance.RANGES

    def facts(self) -> dict[str, Any]:
        """Returns a JSON-able dict: {"range_in": [low, high], "range_out", "order", "layout", "channels", "measured"}."""
        ranges = {key: list(tensor_values.RANGES[getattr(self, key)]) for key in ("range_in", "range_out")}
        tensors = {"layout": str(self.layout), "channels": self.layout.channels}
        return {**ranges, "order": self.order, **tensors, "measured": self.measured}

    def __str__(self) -> str:
        return f"{range_text(self.range_in)} in, {range_text(self.range_out)} out, {order_text(self.order)}"

    def reach(self, receptive_field: int | None) -> int | None:
        """Returns a network's receptive field in LR pixels, including the bicubic interpolation of Cb and Cr."""
        return max(receptive_field, luminance.REACH) if self.is_luma and receptive_field is not None else receptive_field


def run_float(forward: Callable[[np.ndarray, int], np.ndarray], image: np.ndarray, io: ModelIO) -> np.ndarray:
    """Upscales [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 RGB in 0..1 with a float network.

    Args:
        forward: function of (result of `to_network`, range in) that returns the raw output, [H * s, W * s, C].
        image: the LR image.
        io: value ranges and channels of the network.
    """
    values = forward(to_network(image, io.order), io.range_in)
    return from_network(tensor_values.from_float(values, io.range_out), io.order, image)


def range_text(key: int) -> str:
    """Formats a range of `tensor_values.RANGES` as text, such as '0..255'."""
    return "{}..{}".format(*tensor_values.RANGES[key])


def order_text(order: str) -> str:
    """Formats a channel order as text, such as 'BGR' or 'Y in 16..235'."""
    return "Y in {}..{}".format(*luminance.RANGES[order]) if order in luminance.RANGES else order.upper()


def to_network(image: np.ndarray, order: str) -> np.ndarray:
    """Converts [H, W, 3] uint8 RGB to a network's channels: [H, W, 3] uint8, or the Y in levels, [H, W, 1] float32."""
    if order in luminance.RANGES:
        return luminance.of_rgb(image, order)
    return np.ascontiguousarray(image[..., ::-1]) if order == "bgr" else image


def from_network(sr: np.ndarray, order: str, image: np.ndarray) -> np.ndarray:
    """Converts a network's decoded output to RGB.

    Args:
        sr: [H * s, W * s, 3] uint8 or float32 in 0..1; or the Y, [H * s, W * s, 1] float32 in 0..1.
        order: channel order of the network.
        image: [H, W, 3] uint8 RGB, the LR image, whose Cb and Cr complete a Y.

    Returns:
        [H * s, W * s, 3] RGB in the dtype of `sr`.
    """
    if order in luminance.RANGES:
        return luminance.upscale_chroma(image, sr, order)
    return np.ascontiguousarray(sr[..., ::-1]) if order == "bgr" else sr


def possible(
    name: str | Path,
    options: dict[str, str],
    sidecar: Sidecar,
    inputs: tuple[int, ...] = tensor_values.FLOAT_RANGES,
    outputs: tuple[int, ...] = tensor_values.FLOAT_RANGES,
    channels: int = 3,
) -> Choices:
    """Returns the value ranges and channel orders that are left to measure.

    Args:
        name: name of the file in messages.
        options: options of the model string; those in OPTIONS are removed.
        sidecar: Sidecar of the file.
        inputs, outputs: ranges that the tensors allow, see `tensor_values.value_ranges`.
        channels: number of channels of the network, 3 or 1.

    Returns:
        (ranges in, ranges out, orders), each a tuple with the preferred value first.

    Raises:
        UserError: an option is unknown, contradicts the sidecar, or does not apply to a quantized tensor.
    """
    given = {key: options.pop(key) for key in OPTIONS if key in options}
    if "range" in given and {"range_in", "range_out"} & given.keys():
        raise UserError(f"{name}: give range, or range_in and range_out, not both")
    orders: tuple[str, ...] = sidecars.ORDERS[channels]
    for key, text in given.items():
        if key == "order" and text not in orders:
            use = "use rgb or bgr" if channels == 3 else "with one channel use y (levels 16..235) or y_full (0..255)"
            raise UserError(f"{name}: order={text}; {use}")
        if key != "order" and text not in RANGE_OPTIONS:
            raise UserError(f"{name}: {key}={text}; use 1 (values in 0..1), 255 (0..255) or -1 (-1..1)")
    recorded = sidecar_range(sidecar)
    recorded_order = sidecar.order or ("rgb" if recorded and channels == 3 else None)
    if recorded_order and recorded_order not in orders:
        raise UserError(f"{name}: its sidecar says order {recorded_order}, but it has {channels} channel(s)")
    for key, text in given.items():
        known = recorded_order if key == "order" else recorded
        if known and text != str(known):
            raise UserError(f"{name}: {key}={text}, but its sidecar says {known}; omit the option")
    if recorded:
        inputs = outputs = (recorded,)
    ends = {"range_in": inputs, "range_out": outputs}
    for key in ("range", "range_in", "range_out"):
        if key not in given:
            continue
        requested = RANGE_OPTIONS[given[key]]
        matches = [end for end in (ends if key == "range" else (key,)) if requested in ends[end]]
        if not matches:
            raise UserError(
                f"{name}: {key}={given[key]} is for float values; the range of this file follows from its quantization"
            )
        ends.update((end, (requested,)) for end in matches)
    order = given.get("order", recorded_order)
    return ends["range_in"], ends["range_out"], (order,) if order else orders


def sidecar_range(sidecar: Sidecar) -> int | None:
    """Returns the key of RANGES that a sidecar records as `value_range`; None if it has none."""
    recorded = sidecar.value_range
    return next((key for key in tensor_values.FLOAT_RANGES if recorded == list(tensor_values.RANGES[key])), None)


@functools.lru_cache(maxsize=8)
def _sample(size: tuple[int, int], scale: int, gray: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns (HR, LR, PSNR of bicubic in dB) for the sample image of LR size (H, W), in colour or in gray."""
    hr, lr = sample_images.pair(size[0], size[1], scale)
    if gray:
        hr, lr = (np.repeat((luminance.of_rgb(x, luminance.FULL) + 0.5).astype(np.uint8), 3, axis=2) for x in (hr, lr))
    return hr, lr, _psnr(_error(lr if scale == 1 else imresize(lr, scale), hr))


def measure(
    forward: Callable[[np.ndarray, int], np.ndarray],
    decode: Callable[[np.ndarray, int], np.ndarray],
    size: tuple[int, int],
    scale: int,
    choices: Choices,
) -> ModelIO:
    """Determines the ModelIO among `choices` whose output is closest to the sample image.

    The preferred ranges are kept unless others are 3 dB better. The margin is 7 dB for -1..1 at both ends if the preferred
    ranges work, and 9 dB for an output that stays 3 dB below bicubic. RGB is kept unless BGR is 0.5 dB better, and
    Y in 16..235 unless 0..255 is; Y is measured on a gray sample image. All preferred values are kept if no choice reaches
    15 dB.

    Args:
        forward: function of (result of `to_network`, range in) that returns the network's raw output.
        decode: function of (raw output, range out) that returns the image, uint8 or float32 in 0..1.
        size: LR (H, W) of the sample image.
        scale: scale factor of the network.
        choices: candidates, see `possible`.
    """
    inputs, outputs, orders = choices
    if max(map(len, choices)) == 1:
        return ModelIO(inputs[0], outputs[0], orders[0])
    luma = orders[0] in luminance.RANGES
    hr, lr, bicubic = _sample(tuple(size), scale, luma)
    errors: dict[Choice, float] = {}
    near = 255**2 / 10 ** ((bicubic - MAX_BELOW_BICUBIC) / 10)

    def run(order: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        image = to_network(lr, order)
        for range_in in inputs:
            raw = forward(image, range_in)
            for out in outputs:
                errors[range_in, out, order] = _error(from_network(decode(raw, out), order, lr), hr)

    run(orders[0], inputs, outputs)
    chosen = closest(errors, near)
    if len(orders) > 1:
        if errors[chosen] <= _MAX_ERROR:
            run(orders[1], (chosen[0],), (chosen[1],))
        else:
            run(orders[1], inputs, outputs)
        chosen = closest(errors, near)
    best = min(errors, key=errors.__getitem__)
    remark = None
    default = (inputs[0], outputs[0], orders[0])
    if chosen != default:
        remark = f"{ModelIO(*chosen)}: measured on a sample image"
    elif best[:2] != chosen[:2] and errors[best] <= _MAX_ERROR and errors[chosen] > _AMBIGUOUS * errors[best]:
        better = _psnr(errors[best]) - _psnr(errors[chosen])
        remark = f"{ModelIO(*chosen)}: assumed, although {ModelIO(*best)} is {better:.1f} dB better on a sample image"
    elif luma and len(orders) > 1:
        remark = f"{ModelIO(*chosen)}: assumed, as in MATLAB's rgb2ycbcr; Cb and Cr are upscaled by bicubic interpolation"
    return ModelIO(*chosen, measured=True, remark=remark)


def closest(errors: Mapping[Choice, float], near: float) -> Choice:
    """Selects the choice of `measure` from the errors of all candidates.

    Args:
        errors: {(range in, range out, order): mean squared error}, the preferred key first; infinity for NaN.
        near: largest squared error that counts as near to bicubic.
    """
    first = next(iter(errors))
    chosen = min((key for key in errors if key[2] == first[2]), key=errors.__getitem__)
    factor = _CLEARLY_BETTER
    if errors[chosen] > near:
        factor = _CLEARLY_BETTER_FAR_FROM_BICUBIC
    elif chosen[:2] == (-1, -1) and errors[first] <= near:
        factor = _CLEARLY_BETTER_ABOUT_GRAY
    if errors[chosen] > _MAX_ERROR or errors[first] < factor * errors[chosen]:
        chosen = first
    others = [key for key in errors if key[2] != first[2]]
    other = min(others, key=errors.__getitem__, default=chosen)
    if errors[other] <= _MAX_ERROR and _CLEARLY_BGR * errors[other] < errors[chosen]:
        return other
    return chosen


def _error(image: np.ndarray, target: np.ndarray) -> float:
    """Mean squared error in levels of 0..255; infinity if the output is not finite."""
    levels = image if image.dtype == np.uint8 else np.clip(image * np.float32(255), 0, 255)
    error = float(np.mean((levels.astype(np.float64) - target) ** 2))
    return error if math.isfinite(error) else math.inf


def _psnr(error: float) -> float:
    return math.inf if error == 0 else -math.inf if math.isinf(error) else 10 * math.log10(255**2 / error)


def sample_size(fixed: tuple[int, int] | None = None, smallest: int = 1) -> tuple[int, int]:
    """Returns the LR (H, W) of the sample image for a network with a fixed size or a minimum side."""
    return (fixed[0], fixed[1]) if fixed else (max(SAMPLE_SIDE, smallest),) * 2


def check(
    name: str | Path,
    run: Callable[[np.ndarray], np.ndarray],
    scale: int,
    size: tuple[int, int] = (SAMPLE_SIDE, SAMPLE_SIDE),
    gray: bool = False,
) -> dict[str, Any]:
    """Runs a network on the sample image and compares its output with bicubic interpolation.

    Args:
        name: name of the network in messages.
        run: function from [H, W, 3] uint8 to [H * s, W * s, 3], uint8 or float32 in 0..1.
        scale: scale factor of the network.
        size: LR (H, W) of the sample image.
        gray: whether the sample image is gray, for a network that upscales Y alone.

    Returns:
        {"psnr", "bicubic_psnr"} in dB and {"constant"}: whether the output is one flat colour.

    Raises:
        UserError: the output is not finite.
    """
    hr, lr, bicubic = _sample(tuple(size), scale, gray)
    image = check_finite(name, run(lr))
    levels = image if image.dtype == np.uint8 else np.clip(image, 0, 1)
    constant = bool((np.ptp(levels, axis=(0, 1)) < _FLAT).all())
    return {"psnr": _psnr(_error(image, hr)), "bicubic_psnr": bicubic, "constant": constant}


def check_finite(name: str | Path, values: np.ndarray) -> np.ndarray:
    """Returns the values unchanged. Raises UserError if one of them is NaN or infinite."""
    if values.dtype != np.uint8 and not np.isfinite(values).all():
        raise UserError(f"{name}: its output is not finite (NaN or infinity): broken weights, a bad conversion or an overflow")
    return values


def is_poor(figures: Mapping[str, Any]) -> bool:
    """Returns whether the figures of `check` indicate a wrong output."""
    return figures["constant"] or figures["psnr"] < min(figures["bicubic_psnr"] - MAX_BELOW_BICUBIC, NEVER_POOR)


def check_and_warn(
    name: str | Path,
    io: ModelIO,
    run: Callable[[np.ndarray], np.ndarray],
    scale: int,
    size: tuple[int, int],
    options: bool = True,
    hint: str | None = None,
) -> dict[str, Any]:
    """Like `check`; also prints `message`, if there is one, on standard error."""
    figures = check(name, run, scale, size, io.is_luma)
    line = message(name, io, figures, options, hint)
    if line:
        print_line(line, sys.stderr)
    return figures


def facts(io: ModelIO, figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the entry about a model in JSON results: {"values": `ModelIO.facts`, "sample": figures of `check` or None}."""
    return {"values": io.facts(), "sample": figures}


def message(
    name: str | Path, io: ModelIO, figures: Mapping[str, Any], options: bool = True, hint: str | None = None
) -> str | None:
    """Returns the line that a user should see about a loaded model; None if there is nothing unusual.

    Args:
        name: name of the model.
        io: its ModelIO.
        figures: its figures from `check`.
        options: whether the model supports the options in ALL_OPTIONS.
        hint: how to give them; None for a model string.
    """
    orders = "|".join(sidecars.ORDERS[1 if io.is_luma else 3])
    hint = hint or f"override with @range=1|255|-1 (or range_in, range_out) and @order={orders}"
    if not is_poor(figures):
        return f"note: {name}: {io.remark}; {hint}" if io.remark else None
    quality = f"{figures['psnr']:.1f} dB on a sample image, bicubic {figures['bicubic_psnr']:.1f} dB"
    what = f"its output is one flat colour, {quality}" if figures["constant"] else f"its PSNR is {quality}"
    if not options:
        return f"warning: {name}: {what}: untrained, or broken weights?"
    remark = io.remark or f"{io}: {'measured' if io.measured else 'assumed'}"
    return f"warning: {name}: {what}: wrong range, channel order or conversion? ({remark}; {hint})"
