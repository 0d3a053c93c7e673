"""Costs of a network: multiply-adds, parameters, and the NTIRE challenge's FLOPs and activations.

This is the only module that knows how many multiply-adds a layer performs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_RECTIFIERS = ("ReLU", "LeakyReLU", "PReLU", "ScalarPReLU", "AnySlopePReLU")
_MEASURES = ("script_flops", "flops", "multiply_adds", "activations", "convolutions")


def convolution(taps: int, inputs: Any, outputs: Any) -> Any:
    """Multiply-adds of a convolution for each pixel of its output, without the bias.

    Args:
        taps: kernel height times kernel width.
        inputs: input channels that one output channel reads, an int, a float or a scalar tensor.
        outputs: output channels, likewise.
    """
    return taps * inputs * outputs


def per_pixel(layer: keras.layers.Layer, executed: bool = False) -> int:
    """Multiply-adds of a layer for each pixel of its output; 0 for a layer without convolution or attention.

    A layer counts by its `kernel` [..., inputs, outputs], of which each weight is used once for each output pixel, or by its
    method `products`, which returns a tuple of counts. Biases and activations are not counted. Masks count as all ones.

    Args:
        layer: a built Keras layer.
        executed: count the output channels that a `nas.fgnas.SpreadConv2D` fills with zeros, too.
    """
    if hasattr(layer, "kernel"):
        *taps, inputs, outputs = layer.kernel.shape
        return convolution(math.prod(taps), inputs, getattr(layer, "width", outputs) if executed else outputs)
    return sum(layer.products()) if hasattr(layer, "products") else 0


def multiply_adds(model: keras.Model, lr_pixels: float, executed: bool = False) -> float:
    """Multiply-adds of all convolutions and of attention within windows, for an LR input of a number of pixels.

    Counts by number of pixels, not by height and width: a layer's output has as many pixels as its input, scale**2 times as
    many after depth_to_space, 1 / stride**2 after a convolution or pooling with a stride, and one after a global mean.
    Borders and rounding at strides are ignored; `counts` includes them. For a 1280x720 output, the literature's unit, pass
    1280 * 720 / scale**2.

    Args:
        model: functional Keras model of this package.
        lr_pixels: pixels of the LR input.
        executed: see `per_pixel`.
    Returns: an int if `lr_pixels` is one and the network has no strides.
    """
    total: float = 0
    pixels = {id(model.inputs[0]): lr_pixels}
    for layer in model.layers:
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        size = max((pixels.get(id(source), 0) for source in sources), default=pixels.get(id(layer.output), 0))
        if isinstance(getattr(layer, "strides", None), tuple) and layer.strides != (1, 1):
            size = size / math.prod(layer.strides)
        total += size * per_pixel(layer, executed)
        kind = type(layer).__name__
        pixels[id(layer.output)] = 1 if kind in ("GlobalMean", "GlobalPool") else size * getattr(layer, "block_size", 1) ** 2
    return total


def counts(model: keras.Model, height: int = 256, width: int = 256, script_skips: Collection[str] = ()) -> dict[str, int]:
    """The measures of the NTIRE 2022 efficient super-resolution challenge for an LR input of one size.

    Li et al., CVPRW 2022, Table 1, lists them for 256x256 as its script counts them: multiply-adds of convolutions without
    biases, plus 1 for each output element of a ReLU, LeakyReLU or PReLU. Additions, products, concatenation, sigmoid, GELU,
    SiLU, softmax, layer normalization, pooling, resizing and depth_to_space are free. Five rows depend on quirks of the
    script:

    - It hooks modules. It misses FMEN's LeakyReLU, which is called as a function (`script_skips`).
    - For a linear layer it multiplies the lengths of the *second* axes of input and output, as if they were channels. In
      BSRN and MobileSR they are heights or the pixels of a window: a layer on [1, H, W, C] counts H * H for any C. In IMDTN
      and HNCT they are the pixels of a window (layers named *_window6_linear) or of the whole image (*_tokens_linear).
    - It does not count a linear layer as a convolution. The 1x1 layers of these networks are therefore missing from
      their activations and #Conv.

    Args:
        model: functional Keras model of this package, with layers named as in ntire2022/blocks.py.
        height: height of the LR input in pixels.
        width: width of the LR input in pixels.
        script_skips: class names of the layers that the script misses.
    Returns: {"parameters", "script_flops", "flops", "multiply_adds", "activations", "convolutions"}, ints. `multiply_adds` are
        the true ones of convolutions, linear layers and attention. `flops` adds 1 for each output element of a rectifier:
        the script's rule without its quirks. `activations` are the elements of all convolution outputs.
    """
    shapes: dict[int, tuple[int, ...]] = {
        id(t): (1, height, width, 3) if len(t.shape) == 4 else (1, *t.shape[1:]) for t in model.inputs
    }
    result: dict[str, int] = {"parameters": model.count_params(), **dict.fromkeys(_MEASURES, 0)}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        several = isinstance(layer.input, list)
        before = [shapes[id(t)] for t in (layer.input if several else [layer.input])]
        after = shapes[id(layer.output)] = layer.compute_output_shape(before if several else before[0])
        if kind == "WindowAttention":
            pixels, windows = layer.padded_pixels(*after[1:3])
            result["multiply_adds"] += pixels * per_pixel(layer)
            result["script_flops"] += 2 * windows * (pixels // windows) ** 2
        elif hasattr(layer, "products") and not hasattr(layer, "kernel"):
            result["multiply_adds"] += after[1] * after[2] * per_pixel(layer)
        elif hasattr(layer, "kernel"):
            products = after[1] * after[2] * per_pixel(layer)
            linear = layer.name.endswith("_linear")
            result["multiply_adds"] += products
            result["script_flops"] += _script_linear(layer.name, before[0], after) if linear else products
            result["activations"] += 0 if linear else math.prod(after)
            result["convolutions"] += 0 if linear else 1
        if _rectifies(layer, kind):
            result["flops"] += math.prod(after)
            result["script_flops"] += 0 if kind in script_skips else math.prod(after)
    result["flops"] += result["multiply_adds"]
    return result


def _script_linear(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """What the script counts for a linear layer, see `counts`; the name tells the second axis in the published code."""
    pixels = after[1] * after[2]
    if name.endswith("_tokens_linear"):
        return pixels**2
    window = re.search(r"_window(\d+)_linear$", name)
    return pixels * int(window[1]) ** 2 if window else before[1] * after[1]


def _rectifies(layer: keras.layers.Layer, kind: str) -> bool:
    activation: Any = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) in ("relu", "relu6") or kind in _RECTIFIERS
