"""FGNAS: networks found by the search, with a number of channels and a mix of activations for each layer.

Paper: Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Fig. 1(e) and 4. The
supernet is fgnas_supernet.py; mobile_sr/architecture_search/compaction.py extracts the configuration and weights of this
network. With all channels in every layer it is a plain residual network (`uniform`).

The channels of the trunk are in order of first use: those of the head, then those that each block adds. A block adds its
residual to any of them (`residual`, indices of channels in the trunk; indices past its end create channels).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models import counts
from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, Shape, at_most_one, check_output_activation

# In this order the channels with PReLU are contiguous, and so are those with ReLU or PReLU and those with tanh.
MIXES = ("relu", "relu+prelu", "prelu", "prelu+tanh", "relu+prelu+tanh", "relu+tanh", "tanh")
MERGES = ("zeros", "slices", "gather")


@keras.saving.register_keras_serializable("mobile_sr")
class MixOfActivations(keras.layers.Layer):
    """Sums of ReLU, PReLU and tanh, a different mix for each group of channels: [N, H, W, C] -> [N, H, W, C].

    Args:
        mix: {name in MIXES: number of channels}; the groups are in the order of MIXES.
    """

    def __init__(self, mix: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mix = mix
        self.counts = [mix.get(name, 0) for name in MIXES]
        self.straight = sum(self.counts[:3])  # number of channels without tanh, which are the first
        self.steep = np.repeat([2.0 if "relu+prelu" in name else 1.0 for name in MIXES], self.counts)

    def build(self, input_shape: Shape) -> None:
        count = sum(self.counts[1:5])
        if count:
            start, limit = keras.initializers.Constant(0.25), at_most_one
            self.alpha = self.add_weight(shape=(count,), initializer=start, constraint=limit, name="alpha")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        straight, linear_end, channels = self.straight, sum(self.counts[:6]), x.shape[-1]
        linear = self._linear(_channels(x, 0, linear_end)) if linear_end else None
        tanh = ops.tanh(_channels(x, straight, channels)) if straight < channels else None
        parts = []
        if straight:
            parts.append(_channels(linear, 0, straight))
        if straight < linear_end:
            parts.append(_channels(linear, straight, linear_end) + _channels(tanh, 0, linear_end - straight))
        if linear_end < channels:
            parts.append(_channels(tanh, linear_end - straight, channels - straight))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

    def _linear(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """ReLU, PReLU or their sum by channel, in one formula: XNNPACK does not run a separate ReLU in 8 bits."""
        if not hasattr(self, "alpha"):
            return lone_relu(x)
        zeros = [
            ops.zeros((self.counts[index],), self.alpha.dtype) for index in (0, 5)
        ]  # slopes of channels with a ReLU but no PReLU
        alpha, steep = ops.concatenate([zeros[0], self.alpha, zeros[1]]), ops.cast(self.steep[: x.shape[-1]], x.dtype)
        return x * alpha + ops.relu(x * (steep - alpha))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mix": self.mix}


def lone_relu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Exact ReLU of some channels of a convolution. It is fused into a product: XNNPACK does not run RELU in 8 bits."""
    half = ops.relu(x * 0.5)
    return half + half


def _padded(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))


def _channels(x: keras.KerasTensor, start: int, stop: int) -> keras.KerasTensor:
    return x if (start, stop) == (0, x.shape[-1]) else x[..., start:stop]


@keras.saving.register_keras_serializable("mobile_sr")
class SpreadConv2D(keras.layers.Layer):
    """A 3x3 convolution with outputs at `positions` among `width` channels and zeros elsewhere.

    The kernel [3, 3, C_in, len(positions)] has no zeros; `call` inserts them.

    Args:
        positions: ascending indices of the output channels that are computed.
        width: number of output channels.
        kernel_initializer: as for keras.layers.Conv2D.
    """

    def __init__(
        self,
        positions: Sequence[int],
        width: int,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.positions, self.width = list(positions), width
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        filters = len(self.positions)
        self.kernel = self.add_weight(
            shape=(3, 3, input_shape[-1], filters), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(filters,), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        spread = ops.cast(np.eye(self.width)[self.positions], self.kernel.dtype)
        kernel, bias = ops.matmul(self.kernel, spread), ops.matmul(self.bias[None], spread)[0]
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            "positions": self.positions,
            "width": self.width,
            "kernel_initializer": initializer,
        }


@keras.saving.register_keras_serializable("mobile_sr")
class PadChannels(keras.layers.Layer):
    """Appends channels of zeros: [N, H, W, C] -> [N, H, W, width]."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return _padded(x, self.width)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("mobile_sr")
class AddAt(keras.layers.Layer):
    """Adds a residual [N, H, W, len(positions)] to some channels of a trunk [N, H, W, C], with C <= width.

    Args:
        positions: ascending indices of the channels that the residual is added to.
        width: number of output channels.
        form: 'slices' (concatenates runs of adjacent channels) or 'gather' (spreads the residual by a gather).
    """

    def __init__(self, positions: Sequence[int], width: int, form: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.positions, self.width, self.form = list(positions), width, form

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        x, y = inputs
        if self.form == "gather":
            sources = np.full(self.width, len(self.positions))
            sources[self.positions] = np.arange(len(self.positions))
            y = ops.take(_padded(y, y.shape[-1] + 1), sources, axis=-1)
            return _padded(x, self.width) + y
        channels, parts, used = x.shape[-1], [], 0
        kinds = [(index < channels, index in self.positions) for index in range(self.width)]
        for (in_trunk, in_residual), group in itertools.groupby(range(self.width), key=kinds.__getitem__):
            run = list(group)
            part = x[..., run[0] : run[-1] + 1] if in_trunk else None
            if in_residual:
                added = y[..., used : used + len(run)]
                part, used = added if part is None else part + added, used + len(run)
            parts.append(part)
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return (*input_shapes[0][:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "positions": self.positions, "width": self.width, "form": self.form}


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    head: int = 64,
    blocks: Sequence[Mapping[str, Any] | None] = (),
    tail: Sequence[int] = (),
    merge: str = "zeros",
) -> keras.Model:
    """FGNAS as a functional Keras model.

    Args:
        scale: positive int.
        output_activation: 'clipped_relu' or 'linear'.
        head: channels of the first convolution, at least 1.
        blocks: list of {"pointwise": channels of the 1x1 convolution or None, "mix": {name in MIXES: channels}, "residual":
            indices of the trunk's channels that the block adds to}; None for a block that has vanished.
        tail: indices of the head's channels that the body's last convolution adds to; [] without a body.
        merge: how a residual is added to some of the trunk's channels, one of MERGES. The weights are the same for all.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an invalid architecture or argument.
    """
    check_output_activation(output_activation)
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
    check(head, blocks, tail)

    def add(x: keras.KerasTensor, y: keras.KerasTensor, positions: Sequence[int], name: str) -> keras.KerasTensor:
        width = max(x.shape[-1], positions[-1] + 1)
        if len(positions) == width:
            y = keras.layers.Conv2D(width, 3, padding="same", name=f"{name}_conv2")(y)
        elif merge == "zeros":
            y = SpreadConv2D(positions, width, name=f"{name}_conv2")(y)
        else:
            y = keras.layers.Conv2D(len(positions), 3, padding="same", name=f"{name}_conv2")(y)
            return AddAt(positions, width, merge, name=name)([x, y])
        x = x if x.shape[-1] == width else PadChannels(width, name=f"{name}_pad")(x)
        return keras.layers.Add(name=name)([x, y])

    lr = keras.Input((None, None, 3), name="lr")
    features = x = keras.layers.Conv2D(head, 3, padding="same", name="head")(lr)
    for index, block in enumerate(blocks):
        if block is not None:
            name = f"block{index + 1}"
            y = keras.layers.Conv2D(block["pointwise"], 1, name=f"{name}_pointwise")(x) if block["pointwise"] else x
            plain = set(block["mix"]) == {"relu"}
            channels, activation = sum(block["mix"].values()), "relu" if plain else None
            y = keras.layers.Conv2D(
                channels, 3, padding="same", activation=activation, kernel_initializer="he_normal", name=f"{name}_conv1"
            )(y)
            y = y if plain else MixOfActivations(block["mix"], name=f"{name}_activation")(y)
            x = add(x, y, block["residual"], name)
    x = add(features, x, tail, "tail") if tail else features
    x = keras.layers.Conv2D(3 * scale**2, 3, padding="same", bias_initializer=GRAY, name="last")(x)
    sr = DepthToSpace(scale, name="pixels")(x)
    sr = ClippedReLU(name="sr")(sr) if output_activation == "clipped_relu" else sr
    return keras.Model(lr, sr, name=f"fgnas_x{scale}")


def check(head: int, blocks: Sequence[Mapping[str, Any] | None], tail: Sequence[int]) -> None:
    """Checks the arguments of `build`. Raises: ValueError, naming the part, if they are not a valid architecture."""
    if not _is_count(head):
        raise ValueError("head must be a whole number of at least 1")
    width = head
    for index, block in enumerate(blocks):
        if block is not None:
            if block["pointwise"] is not None and not _is_count(block["pointwise"]):
                raise ValueError(f"block {index + 1}: pointwise must be a whole number of at least 1 or null")
            unknown = set(block["mix"]) - set(MIXES)
            if unknown or not block["mix"] or not all(map(_is_count, block["mix"].values())):
                raise ValueError(
                    f"block {index + 1}: mix must give a number of channels to some of {MIXES}, got {block['mix']}"
                )
            width = _grown(width, block["residual"], f"block {index + 1}: residual")
    if tail:
        _grown(head, tail, "tail")
    elif any(blocks):
        raise ValueError("tail must not be empty if there are blocks")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _grown(width: int, positions: Sequence[int], what: str) -> int:
    """The number of channels of the trunk after adding a residual at `positions`."""
    new = [index for index in positions if index >= width]
    if (
        not positions
        or sorted(set(positions)) != list(positions)
        or positions[0] < 0
        or new != [*range(width, width + len(new))]
    ):
        raise ValueError(
            f"{what} must be ascending channel indices of a trunk with {width} channels, "
            f"new ones following its last without gaps; got {positions}"
        )
    return width + len(new)


def uniform(blocks: int, channels: int) -> dict[str, Any]:
    """Architecture of a hand-made peer: all channels and ReLU in every layer, no 1x1 convolutions (EDSR's block)."""
    positions = list(range(channels))
    block = {"pointwise": None, "mix": {"relu": channels}, "residual": positions}
    return {"head": channels, "blocks": [block] * blocks, "tail": positions}


def executed_multiply_adds(model: keras.Model, lr_pixels: float) -> float:
    """Multiply-adds that the exported 'zeros' form executes, including channels filled with zeros."""
    return counts.multiply_adds(model, lr_pixels, executed=True)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 2 per block, 1 each for the head, the tail and the last layer."""
    return 3 + 2 * sum(block is not None for block in config.get("blocks", ()))
