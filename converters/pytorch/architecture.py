"""What `import-weights` knows about the checkpoints of a network: the names in them, their sizes and the range of images.

One `Architecture` for each network, in `key_maps.ARCHITECTURES`. A size is read from the shapes by a short text:
"fea_conv.weight[0]" is the length of that axis, and "B*.c5.weight" the number of keys that match, with * for a number.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# What functions of an Architecture raise on a state dict of another network, or on a damaged one.
MISFITS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
Config = Mapping[str, Any]  # a complete configuration, see models/__init__.py
Shapes = Mapping[str, tuple[int, ...]]  # {key: shape} of a state dict
State = Mapping[str, Any]  # {key: array}
Size = str | Callable[[Shapes], Any]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How the published checkpoint of a network is read.

    Attributes:
        names: function of a configuration that returns {prefix of the keys: layer name}. The rest of a key ("weight", "bias")
            depends on the class of the layer, see keras_weights.py. Several prefixes of one layer are concatenated along its
            output channels.
        sizes: {argument of the network's build(): how the shapes tell its value}.
        data_range: maximum of the images that the published network was trained on, 1 or 255.
        scale: how the shapes tell the channels of the last convolution, 3 * scale**2, or a function that returns the scale.
        variants: further values of build()'s arguments to try, which no shape tells, such as the dilation; or a function of
            the shapes that returns them.
        agrees: function of the shapes that excludes other networks with the same names.
        unused: regular expressions of keys that are in published files, but that the network does not use.
        not_stored: what neither names nor shapes tell, such as dilations; the published values are then assumed.
        prepare: function that merges or folds arrays of a state dict, such as batch normalization; see folding.py.
        told_range: function of a state dict that returns the range of its images, 1 or 255, or None if nothing tells it.
        forms: arguments of build() in which published networks differ.
    """

    names: Callable[[Config], dict[str, str]]
    sizes: Mapping[str, Size]
    data_range: int = 1
    scale: Size = "upsampler.0.weight[0]"
    variants: tuple[Config, ...] | Callable[[Shapes], tuple[Config, ...]] = ()
    agrees: Callable[[Shapes], bool] = bool
    unused: tuple[str, ...] = ()
    not_stored: str = ""
    prepare: Callable[[dict[str, Any]], dict[str, Any]] = dict
    told_range: Callable[[State], int | None] = lambda state: None
    forms: tuple[str, ...] = ()

    def options(self, shapes: Shapes) -> dict[str, Any] | None:
        """Returns {"scale", **sizes} as told by the shapes of a checkpoint, or None if it belongs to another network."""
        try:
            scale = read_size(self.scale, shapes)
            if isinstance(self.scale, str):
                scale = math.isqrt(scale // 3)
            options = {"scale": scale, **{name: read_size(size, shapes) for name, size in self.sizes.items()}}
            numbers = [value for value in options.values() if isinstance(value, int) and not isinstance(value, bool)]
            return options if min(numbers) > 0 and self.agrees(shapes) else None
        except MISFITS:
            return None

    def all_variants(self, shapes: Shapes) -> tuple[Config, ...]:
        """Returns the values to try, first those that the shapes tell."""
        return ({}, *(self.variants(shapes) if callable(self.variants) else self.variants))

    def is_unused(self, key: str) -> bool:
        """Whether the network ignores a key that published files contain."""
        return any(re.fullmatch(pattern, key) for pattern in self.unused)


def read_size(size: Size, shapes: Shapes) -> Any:
    """Returns a size that the shapes tell, an int for a text. Raises LookupError or ValueError if they do not tell it."""
    if callable(size):
        return size(shapes)
    key, bracket, axis = size.partition("[")
    if bracket:
        return shapes[key][int(axis.rstrip("]"))]
    pattern = re.compile(re.escape(size).replace(r"\*", r"\d+"))
    return sum(1 for key in shapes if pattern.fullmatch(key))


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    """Returns {key: shape} of the arrays of a state dict."""
    return {str(key): tuple(value.shape) for key, value in state.items() if isinstance(value, np.ndarray)}
