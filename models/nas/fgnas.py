"""FGNAS: what a search leaves over of the supernet, with its own number of channels and mix of activations in every layer.

Paper: Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Fig. 1(e) and 4. The
supernet is models/nas/fgnas_supernet.py; converters/fgnas_compact.py makes a configuration and weights of this network from it.
With all channels in every layer it is a plain residual network (`uniform`).

The trunk's channels stand in the order in which they first carry something: the head's, then what each block adds. A
residual fills any of them (`residual`, places in the trunk; those behind its end are new).
"""

import itertools
import math

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, at_most_one, check_output_activation

# The order makes the channels of PReLU, of ReLU or PReLU, and of tanh contiguous.
MIXES = ("relu", "relu+prelu", "prelu", "prelu+tanh", "relu+prelu+tanh", "relu+tanh", "tanh")
MERGES = ("zeros", "slices", "gather")


@keras.saving.register_keras_serializable("mobile_sr")
class MixOfActivations(keras.layers.Layer):
    """Sums of ReLU, PReLU and tanh, another mix for each group of channels: [N, H, W, C] -> the same.

    Args:
        mix: {name of MIXES: channels}; the groups stand in the order of MIXES.
    """

    def __init__(self, mix, **kwargs):
        super().__init__(**kwargs)
        self.mix = mix
        self.counts = [mix.get(name, 0) for name in MIXES]
        self.straight = sum(self.counts[:3])  # channels without tanh, which come first
        self.steep = np.repeat([2.0 if "relu+prelu" in name else 1.0 for name in MIXES], self.counts)

    def build(self, input_shape):
        count = sum(self.counts[1:5])
        if count:
            start, limit = keras.initializers.Constant(0.25), at_most_one
            self.alpha = self.add_weight(shape=(count,), initializer=start, constraint=limit, name="alpha")

    def call(self, x):
        straight, unbent, channels = self.straight, sum(self.counts[:6]), x.shape[-1]
        linear = self._linear(_channels(x, 0, unbent)) if unbent else None
        bent = ops.tanh(_channels(x, straight, channels)) if straight < channels else None
        parts = []
        if straight:
            parts.append(_channels(linear, 0, straight))
        if straight < unbent:
            parts.append(_channels(linear, straight, unbent) + _channels(bent, 0, unbent - straight))
        if unbent < channels:
            parts.append(_channels(bent, unbent - straight, channels - straight))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

    def _linear(self, x):
        """ReLU + PReLU, each where it is wanted; one formula for all, as XNNPACK runs no ReLU of its own in 8 bits."""
        if not hasattr(self, "alpha"):
            return lone_relu(x)
        none = [ops.zeros((self.counts[place],), self.alpha.dtype) for place in (0, 5)]
        alpha, steep = ops.concatenate([none[0], self.alpha, none[1]]), ops.cast(self.steep[: x.shape[-1]], x.dtype)
        return x * alpha + ops.relu(x * (steep - alpha))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mix": self.mix}


def lone_relu(x):
    """ReLU of a part of a convolution's channels, exactly: as the end of a product, for XNNPACK runs no RELU in 8 bits."""
    half = ops.relu(x * 0.5)
    return half + half


def _padded(x, width):
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))


def _channels(x, start, stop):
    return x if (start, stop) == (0, x.shape[-1]) else x[..., start:stop]


@keras.saving.register_keras_serializable("mobile_sr")
class SpreadConv2D(keras.layers.Layer):
    """A 3x3 convolution whose outputs stand at `positions` among `width` channels, with zeros elsewhere.

    The kernel [3, 3, C_in, len(positions)] holds the outputs alone; the zeros are put in when it is used.
    """

    def __init__(self, positions, width, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.positions, self.width = list(positions), width
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        filters = len(self.positions)
        self.kernel = self.add_weight(
            shape=(3, 3, input_shape[-1], filters), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(filters,), initializer="zeros", name="bias")

    def call(self, x):
        places = ops.cast(np.eye(self.width)[self.positions], self.kernel.dtype)
        kernel, bias = ops.matmul(self.kernel, places), ops.matmul(self.bias[None], places)[0]
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.width)

    def get_config(self):
        start = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "positions": self.positions, "width": self.width, "kernel_initializer": start}


@keras.saving.register_keras_serializable("mobile_sr")
class PadChannels(keras.layers.Layer):
    """[N, H, W, C] -> [N, H, W, width], zeros in the new channels."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def call(self, x):
        return _padded(x, self.width)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.width)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("mobile_sr")
class AddAt(keras.layers.Layer):
    """Adds [N, H, W, len(positions)] to those of `width` channels of a trunk with C <= width channels.

    Args:
        form: 'slices' (runs of neighbouring channels, concatenated) or 'gather' (the residual spread by a gather).
    """

    def __init__(self, positions, width, form, **kwargs):
        super().__init__(**kwargs)
        self.positions, self.width, self.form = list(positions), width, form

    def call(self, inputs):
        x, y = inputs
        if self.form == "gather":
            places = np.full(self.width, len(self.positions))
            places[self.positions] = np.arange(len(self.positions))
            y = ops.take(_padded(y, y.shape[-1] + 1), places, axis=-1)
            return _padded(x, self.width) + y
        old, parts, taken = x.shape[-1], [], 0
        kinds = [(place < old, place in self.positions) for place in range(self.width)]
        for (known, filled), run in itertools.groupby(range(self.width), key=kinds.__getitem__):
            run = list(run)
            part = x[..., run[0] : run[-1] + 1] if known else None
            if filled:
                added = y[..., taken : taken + len(run)]
                part, taken = added if part is None else part + added, taken + len(run)
            parts.append(part)
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shapes):
        return (*input_shapes[0][:-1], self.width)

    def get_config(self):
        return {**super().get_config(), "positions": self.positions, "width": self.width, "form": self.form}


def build(scale=2, output_activation="clipped_relu", head=64, blocks=(), tail=(), merge="zeros"):
    """FGNAS as a functional Keras model.

    Args:
        head: channels of the first convolution, at least 1.
        blocks: list of {"pointwise": channels of the 1x1 convolution or None, "mix": {name of MIXES: channels}, "residual":
            places in the trunk that the block adds to}, None for a block that has vanished.
        tail: places that the body's last convolution fills among the head's channels; [] without a body.
        merge: how a residual is added to some of the trunk's channels, of MERGES; the weights are the same.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an architecture that is none.
    """
    check_output_activation(output_activation)
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
    check(head, blocks, tail)

    def add(x, y, positions, name):
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


def check(head, blocks, tail):
    """Raises: ValueError, naming the part, when these are no architecture."""
    if not _is_count(head):
        raise ValueError("head must be a whole number of at least 1")
    width = head
    for index, block in enumerate(blocks):
        if block is not None:
            if block["pointwise"] is not None and not _is_count(block["pointwise"]):
                raise ValueError(f"block {index + 1}: pointwise must be a whole number of at least 1 or null")
            odd = set(block["mix"]) - set(MIXES)
            if odd or not block["mix"] or not all(map(_is_count, block["mix"].values())):
                raise ValueError(f"block {index + 1}: mix must give channels to some of {MIXES}, got {block['mix']}")
            width = _grown(width, block["residual"], f"block {index + 1}: residual")
    if tail:
        _grown(head, tail, "tail")
    elif any(blocks):
        raise ValueError("tail must not be empty behind blocks")


def _is_count(value):
    return isinstance(value, int) and value >= 1


def _grown(width, positions, what):
    """The trunk's width behind a residual at `positions`."""
    new = [place for place in positions if place >= width]
    if (
        not positions
        or sorted(set(positions)) != list(positions)
        or positions[0] < 0
        or new != [*range(width, width + len(new))]
    ):
        raise ValueError(
            f"{what} must be places in a trunk of {width} channels, rising, new ones behind its end; got {positions}"
        )
    return width + len(new)


def uniform(blocks, channels):
    """The arguments of a hand-made peer: every layer with all channels and ReLU, no 1x1 convolutions (EDSR's block)."""
    places = list(range(channels))
    block = {"pointwise": None, "mix": {"relu": channels}, "residual": places}
    return {"head": channels, "blocks": [block] * blocks, "tail": places}


def executed_multiply_adds(model, lr_pixels):
    """Multiply-adds that the exported 'zeros' form carries out, zero-filled channels included."""
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return lr_pixels * sum(math.prod(k.kernel.shape[:-1]) * getattr(k, "width", k.kernel.shape[-1]) for k in kernels)


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on: 2 a block, 1 each for head, body's end and last."""
    return 3 + 2 * sum(block is not None for block in config.get("blocks", ()))
