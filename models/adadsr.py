"""AdaDSR's additions to a backbone: the adapter that predicts a depth per pixel, and the masks computed from it.

Paper: Liu et al., "Deep Adaptive Inference Networks for Single Image Super-Resolution", ECCV Workshops 2020: adapter in
Sec. 3.3 with Eqs. 3-5, sparse convolution in Sec. 3.2. Used by edsr.py and rcan.py.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import ScalarPReLU, Shape

DEPTHS = ("none", "input", "fixed")
DEPTH_SCALES = ("first", "last")


def check_depth(depth: str, depth_scales: str) -> None:
    """Checks the arguments of an adapter. Raises: ValueError if one is not in DEPTHS or DEPTH_SCALES."""
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {DEPTHS}, got {depth!r}")
    if depth_scales not in DEPTH_SCALES:
        raise ValueError(f"depth_scales must be one of {DEPTH_SCALES}, got {depth_scales!r}")


@keras.saving.register_keras_serializable("mobile_sr")
class DepthProduct(keras.layers.Layer):
    """Multiplies features [N, H, W, C] by a depth [N, 1] per image."""

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        x, depth = inputs
        return x * ops.reshape(depth, (-1, 1, 1, 1))

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return input_shapes[0]


@keras.saving.register_keras_serializable("mobile_sr")
class ScaledByDepth(DepthProduct):
    """x * depth + bias, [N, H, W, C] and [N, 1] -> [N, H, W, C].

    After a convolution without bias it scales the kernel of that convolution, but not the bias (Eq. 4).
    """

    def build(self, input_shapes: Sequence[Shape]) -> None:
        self.bias = self.add_weight(shape=(input_shapes[0][-1],), initializer="zeros", name="bias")

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        return super().call(inputs) + self.bias


def adapter(
    features: keras.KerasTensor,
    desired: keras.KerasTensor | None,
    channels: int,
    maps: int,
    depth_scales: str = "first",
) -> keras.KerasTensor:
    """The lightweight adapter network P of Sec. 3.3: five 3x3 convolutions, PReLUs with a single slope, a final ReLU.

    Biases start at 0 and the last kernel is positive at the start: before training, the depth is proportional to the desired
    depth. `start_at` then sets the factor to 1.

    Args:
        features: [N, H, W, C], the head's output.
        desired: [N, 1], the desired depth in blocks, or None for a fixed depth (FAdaEDSR).
        channels: channels of the hidden layers.
        maps: number of depth maps, one for EDSR, one per group for RCAN.
        depth_scales: what `desired` multiplies: 'first', the kernel of the first convolution (the paper), or 'last', the
            output (the authors' release of AdaEDSR).
    Returns: [N, H, W, maps], depths >= 0 in blocks.
    """
    x = features
    for index in range(4):
        scaled = index == 0 and desired is not None and depth_scales == "first"
        x = keras.layers.Conv2D(
            channels, 3, padding="same", kernel_initializer="he_normal", use_bias=not scaled, name=f"adapter{index + 1}"
        )(x)
        if scaled:
            x = ScaledByDepth(name="adapter1_depth")([x, desired])
        x = ScalarPReLU(name=f"adapter{index + 1}_prelu")(x)
    x = keras.layers.Conv2D(
        maps,
        3,
        padding="same",
        activation="relu",
        kernel_initializer=keras.initializers.RandomUniform(0.0, 0.1),
        dtype="float32",  # bfloat16 has 8 bits of mantissa and cannot distinguish a depth of 7.1 from 7.12
        name="adapter5",
    )(x)
    last_scaled = desired is not None and depth_scales == "last"
    return DepthProduct(name="depth_scaled")([x, desired]) if last_scaled else x


def start_at(model: keras.Model, lr: np.ndarray, depth: float) -> None:
    """Scales the adapter's last kernel to give a mean depth on some images; call it before training.

    Args:
        model: a model with an adapter whose last bias is 0. Modified in place.
        lr: [N, h, w, 3] float32 in 0..1.
        depth: in blocks: the desired depth passed to the model, and the mean of the depth map afterwards.
    """
    inputs = [lr, np.full((len(lr), 1), depth, np.float32)] if len(model.inputs) > 1 else lr
    mean = float(ops.mean(model(inputs, training=False)[1]))
    last = model.get_layer("adapter5")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * depth / max(mean, 1e-6), bias])


def follow_green(model: keras.Model) -> None:
    """Makes the depth maps equal the desired depth times the image's green channel: masks of known shape, for measurements."""
    head, bias = model.get_layer("head").get_weights()
    head[..., 0], bias[0] = 0, 0
    head[1, 1, 1, 0] = 1
    model.get_layer("head").set_weights([head, bias])
    for layer in [layer for layer in model.layers if layer.name.startswith("adapter")]:
        arrays = [w * 0 for w in layer.get_weights()]
        if hasattr(layer, "kernel"):
            arrays[0][1, 1, 0] = 1 if layer.name == "adapter5" else np.eye(1, arrays[0].shape[3])
        layer.set_weights(arrays)


@keras.saving.register_keras_serializable("mobile_sr")
class DepthMask(keras.layers.Layer):
    """The mask of a block: clamp(depth - block, 0, 1) (Eqs. 3 and 5), [N, H, W, M] -> [N, H, W, 1].

    Computed with two ReLUs, which run in XNNPACK in 8 bits; the MINIMUM of a clamp does not.

    Args:
        block: number of the block, from 0.
        depth_map: number of the depth map, from 0.
    """

    def __init__(self, block: int, depth_map: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block, self.depth_map = block, depth_map

    def call(self, depth: keras.KerasTensor) -> keras.KerasTensor:
        above = depth[..., self.depth_map : self.depth_map + 1] - self.block
        return ops.relu(above) - ops.relu(above - 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block, "depth_map": self.depth_map}
