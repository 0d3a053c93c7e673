"""What a network's values mean, and whether it works: value range and channel order, measured on a sample image.

`possible` collects what a sidecar, the tensors and the options say, `measure` finds the rest, and `check` compares the SR
output with bicubic interpolation. .tflite, .onnx, .keras and imported checkpoints all go through here.
"""

import dataclasses
import functools
import math
import sys

import numpy as np

from mobile_sr.converters.quiet import say
from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import tensor_values

SAMPLE_SIDE = 32  # LR pixels of the sample for a network of any size: enough to tell, and quick for large networks
# In dB. Packaged networks are 1 to 4 dB above bicubic on the sample, imports in the wrong range 6 and more below.
MAX_BELOW_BICUBIC = 3.0
ORDERS = ("rgb", "bgr")
RANGE_OPTIONS = {str(key): key for key in tensor_values.FLOAT_RANGES}
OPTIONS = ("range", "range_in", "range_out", "order")

_MAX_ERROR = 255**2 / 10**1.5  # 15 dB: an output with a larger squared error is not the image in any range
# By what factor another choice's squared error must be smaller. An unclipped network of 0..1 also runs at 0..255, measured
# 1 to 2 dB worse. A gain error weighs 4 times less about gray (-1..1) than above black (0..1), whatever the network's range.
_CLEARLY_BETTER = 2  # 3 dB
_CLEARLY_BETTER_ABOUT_GRAY = 5  # 7 dB
_CLEARLY_BETTER_FAR_FROM_BICUBIC = 8  # 9 dB
_CLEARLY_BGR = 1.12  # 0.5 dB: packaged networks, trained on RGB, gain at most 0.1 dB as BGR and lose up to 0.3 dB
_AMBIGUOUS = 1.25  # 1 dB


@dataclasses.dataclass(frozen=True)
class ModelIO:
    """Value ranges (keys of tensor_values.RANGES) and channel order of a network's input and output.

    `measured` tells that the sample image decided; `remark` is a line for the user, None where there is nothing to say.
    """

    range_in: int = 1
    range_out: int = 1
    order: str = "rgb"
    measured: bool = False
    remark: str | None = None

    def facts(self):
        """JSON-able: {"range_in": [low, high], "range_out", "order", "measured"}."""
        ranges = {key: list(tensor_values.RANGES[getattr(self, key)]) for key in ("range_in", "range_out")}
        return {**ranges, "order": self.order, "measured": self.measured}

    def __str__(self):
        return f"{range_text(self.range_in)} in, {range_text(self.range_out)} out, {self.order.upper()}"


def run_float(forward, image, io):
    """Upscale [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 RGB in 0..1 with a network of float values.

    Args:
        forward: function of [H, W, 3] uint8 in the network's channel order and its range to the output's values.
    """
    values = forward(in_order(image, io.order), io.range_in)
    return in_order(tensor_values.from_float(values, io.range_out), io.order)


def range_text(key):
    """A range of tensor_values.RANGES in words, such as '0..255'."""
    return "{}..{}".format(*tensor_values.RANGES[key])


def in_order(image, order):
    """[H, W, 3] RGB in a channel order, or back."""
    return np.ascontiguousarray(image[..., ::-1]) if order == "bgr" else image


def possible(name, options, sidecar, inputs=tensor_values.FLOAT_RANGES, outputs=tensor_values.FLOAT_RANGES):
    """What is left to measure: (ranges in, ranges out, orders), each a tuple with the preferred value first.

    Args:
        options: of the model string; those of OPTIONS are removed.
        sidecar: sidecar.Sidecar of the file.
        inputs, outputs: what the tensors allow (tensor_values.value_ranges).
    Raises: UserError when an option is unknown, contradicts the sidecar, or does not fit a quantized tensor.
    """
    given = {key: options.pop(key) for key in OPTIONS if key in options}
    if "range" in given and {"range_in", "range_out"} & given.keys():
        raise UserError(f"{name}: give range, or range_in and range_out, not both")
    for key, text in given.items():
        if key == "order" and text not in ORDERS:
            raise UserError(f"{name}: order={text}; use rgb or bgr")
        if key != "order" and text not in RANGE_OPTIONS:
            raise UserError(f"{name}: {key}={text}; use 1 (values in 0..1), 255 (0..255) or -1 (-1..1)")
    said = sidecar_range(sidecar)
    if said:
        for key, text in given.items():
            known = "rgb" if key == "order" else str(said)
            if text != known:
                raise UserError(f"{name}: {key}={text}, but its sidecar says {known}; leave the option out")
        inputs = outputs = (said,)
    ends = {"range_in": inputs, "range_out": outputs}
    for key in ("range", "range_in", "range_out"):
        if key not in given:
            continue
        wanted = RANGE_OPTIONS[given[key]]
        taking = [end for end in (ends if key == "range" else (key,)) if wanted in ends[end]]
        if not taking:
            raise UserError(f"{name}: {key}={given[key]} is for float values; this file is quantized and says its own")
        ends.update((end, (wanted,)) for end in taking)
    orders = (given["order"],) if "order" in given else ("rgb",) if said else ORDERS
    return ends["range_in"], ends["range_out"], orders


def why_not_image(shape):
    """Why a tensor of this shape is not an NHWC image of three channels; None when it is. Unknown sides are no int."""
    if len(shape) != 4:
        return "not an image"
    if shape[1] in (1, 3) and shape[3] != 3:
        layout = "channels first (NCHW): convert it with channels last (NHWC)"
        return layout if shape[1] == 3 else f"{layout}; 1 channel, and luma-only networks are not supported"
    if shape[3] == 1:
        return "1 channel: luma-only networks are not supported"
    return f"{shape[3]} channels" if isinstance(shape[3], int) and shape[3] not in (-1, 3) else None


def sidecar_range(sidecar):
    """The key of RANGES that a sidecar says as `value_range`, None where it says none."""
    said = sidecar.value_range
    return next((key for key in tensor_values.FLOAT_RANGES if said == list(tensor_values.RANGES[key])), None)


@functools.lru_cache(maxsize=8)
def _sample(size, scale):
    """(HR, LR, bicubic's PSNR in dB) of the sample of LR (H, W)."""
    hr, lr = sample_images.pair(*size, scale)
    return hr, lr, _psnr(_error(lr if scale == 1 else imresize(lr, scale), hr))


def measure(forward, decode, size, scale, choices):
    """The ModelIO among `choices` (see `possible`) with which a network's output comes closest to the sample image.

    The preferred ranges are kept unless others are 3 dB better: 7 dB for -1..1 at both ends where the preferred ones work,
    9 dB for what stays 3 dB below bicubic. RGB is kept unless BGR is 0.5 dB better, and the preferred values altogether
    where nothing reaches 15 dB.

    Args:
        forward: function of ([H, W, 3] uint8, range in) that returns the network's raw output.
        decode: function of (raw output, range out) that returns the image, uint8 or float32 in 0..1.
        size: LR (H, W) of the sample. scale: the network's.
    """
    inputs, outputs, orders = choices
    if max(map(len, choices)) == 1:
        return ModelIO(inputs[0], outputs[0], orders[0])
    hr, lr, bicubic = _sample(tuple(size), scale)
    errors, near = {}, 255**2 / 10 ** ((bicubic - MAX_BELOW_BICUBIC) / 10)

    def run(order, inputs, outputs):
        image = in_order(lr, order)
        for range_in in inputs:
            raw = forward(image, range_in)
            errors.update({(range_in, out, order): _error(in_order(decode(raw, out), order), hr) for out in outputs})

    run(orders[0], inputs, outputs)
    chosen = closest(errors, near)
    if len(orders) > 1:
        if errors[chosen] <= _MAX_ERROR:
            run("bgr", chosen[:1], chosen[1:2])
        else:
            run("bgr", inputs, outputs)
        chosen = closest(errors, near)
    best = min(errors, key=errors.get)
    remark = None
    default = (inputs[0], outputs[0], orders[0])
    if chosen != default:
        remark = f"{ModelIO(*chosen)}: measured on a sample image"
    elif best[:2] != chosen[:2] and errors[best] <= _MAX_ERROR and errors[chosen] > _AMBIGUOUS * errors[best]:
        better = _psnr(errors[best]) - _psnr(errors[chosen])
        remark = f"{ModelIO(*chosen)}: assumed, though on a sample image {ModelIO(*best)} is {better:.1f} dB better"
    return ModelIO(*chosen, True, remark)


def closest(errors, near):
    """The key of `measure`'s choice.

    Args:
        errors: {(range in, range out, order): squared error}, the preferred key first; infinity for NaN.
        near: the squared error up to which an output counts as near to bicubic.
    """
    first = next(iter(errors))
    chosen = min((key for key in errors if key[2] == first[2]), key=errors.get)
    factor = _CLEARLY_BETTER
    if errors[chosen] > near:
        factor = _CLEARLY_BETTER_FAR_FROM_BICUBIC
    elif chosen[:2] == (-1, -1) and errors[first] <= near:
        factor = _CLEARLY_BETTER_ABOUT_GRAY
    if errors[chosen] > _MAX_ERROR or errors[first] < factor * errors[chosen]:
        chosen = first
    others = [key for key in errors if key[2] != first[2]]
    other = min(others, key=errors.get, default=chosen)
    if errors[other] <= _MAX_ERROR and _CLEARLY_BGR * errors[other] < errors[chosen]:
        return other
    return chosen


def _error(image, target):
    """Mean squared error in levels; infinity for an output that is not finite."""
    levels = image if image.dtype == np.uint8 else np.clip(image * np.float32(255), 0, 255)
    error = float(np.mean((levels.astype(np.float64) - target) ** 2))
    return error if math.isfinite(error) else math.inf


def _psnr(error):
    return math.inf if error == 0 else -math.inf if math.isinf(error) else 10 * math.log10(255**2 / error)


def sample_size(fixed=None, smallest=1):
    """LR (H, W) of the sample image for a network of a fixed size or of a shortest side."""
    return tuple(fixed) if fixed else (max(SAMPLE_SIDE, smallest),) * 2


def check(name, run, scale, size=(SAMPLE_SIDE, SAMPLE_SIDE)):
    """{"psnr", "bicubic_psnr"} in dB and {"constant"} of a network on the sample image.

    Args:
        run: function from [H, W, 3] uint8 to [H * s, W * s, 3], uint8 or float32 in 0..1.
    Raises: UserError when the output is not finite.
    """
    hr, lr, bicubic = _sample(tuple(size), scale)
    image = check_finite(name, run(lr))
    levels = image if image.dtype == np.uint8 else np.clip(image, 0, 1)
    constant = bool((np.ptp(levels, axis=(0, 1)) == 0).all())
    return {"psnr": _psnr(_error(image, hr)), "bicubic_psnr": bicubic, "constant": constant}


def check_finite(name, values):
    """The values as they are. Raises: UserError when one of them is NaN or infinite."""
    if values.dtype != np.uint8 and not np.isfinite(values).all():
        raise UserError(f"{name}: its output is not finite (NaN or infinity): broken weights, a bad conversion or an overflow")
    return values


def is_poor(figures):
    """Whether `check`'s figures are those of an output that cannot be right."""
    return figures["constant"] or figures["psnr"] < figures["bicubic_psnr"] - MAX_BELOW_BICUBIC


def check_and_warn(name, io, run, scale, size, options=True):
    """`check`, with a line on standard error where `message` has one. Raises: UserError as `check`."""
    figures = check(name, run, scale, size)
    line = message(name, io, figures, options)
    if line:
        say(line, sys.stderr)
    return figures


def facts(io, figures):
    """What JSON results say about a model: {"values": ModelIO.facts, "sample": `check`'s figures or None}."""
    return {"values": io.facts(), "sample": figures}


def message(name, io, figures, options=True):
    """The line that a user should see about a loaded model, None where all is as usual.

    Args:
        io: ModelIO. figures: of `check`.
        options: whether the model takes the options of OPTIONS.
    """
    hint = "override with @range=1|255|-1 (or range_in, range_out) and @order=rgb|bgr"
    if not is_poor(figures):
        return f"note: {name}: {io.remark}; {hint}" if io.remark else None
    reached = f"{figures['psnr']:.1f} dB on a sample image, bicubic {figures['bicubic_psnr']:.1f} dB"
    what = f"its output is one flat colour, {reached}" if figures["constant"] else f"its output is {reached}"
    if not options:
        return f"warning: {name}: {what}: untrained, or broken weights?"
    found = io.remark or f"{io}: {'measured' if io.measured else 'assumed'}"
    return f"warning: {name}: {what}: wrong range, channel order or conversion? ({found}; {hint})"
