"""What AdaDSR adds to a backbone: the adapter that predicts a depth per pixel, and the masks made from it.

Paper: Liu et al., "AdaDSR: Adaptive Depth Super-Resolution", ECCV Workshops 2020, Sec. 3. Shared by edsr.py and rcan.py.
"""

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import ScalarPReLU

DEPTHS = ("none", "input", "fixed")
DEPTH_SCALES = ("first", "last")


def check_depth(depth, depth_scales):
    """Raises: ValueError for an adapter that does not exist."""
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {DEPTHS}, got {depth!r}")
    if depth_scales not in DEPTH_SCALES:
        raise ValueError(f"depth_scales must be one of {DEPTH_SCALES}, got {depth_scales!r}")


@keras.saving.register_keras_serializable("mobile_sr")
class DepthProduct(keras.layers.Layer):
    """[N, H, W, C] times [N, 1]."""

    def call(self, inputs):
        x, depth = inputs
        return x * ops.reshape(depth, (-1, 1, 1, 1))

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]


@keras.saving.register_keras_serializable("mobile_sr")
class ScaledByDepth(DepthProduct):
    """x * depth + bias: with a convolution without bias before it, a convolution whose kernel, not bias, is scaled (Eq. 4).

    [N, H, W, C] and [N, 1] -> [N, H, W, C].
    """

    def build(self, input_shapes):
        self.bias = self.add_weight(shape=(input_shapes[0][-1],), initializer="zeros", name="bias")

    def call(self, inputs):
        return super().call(inputs) + self.bias


def adapter(features, desired, channels, maps, depth_scales="first"):
    """The lightweight network P of Sec. 3.2: five 3x3 convolutions, one slope per PReLU, ReLU at the end.

    Args:
        features: [N, H, W, C], the head's. desired: [N, 1], the desired depth, None for a fixed depth (FAdaEDSR).
        channels: of the hidden layers. maps: depth maps, one for EDSR, one per group for RCAN.
        depth_scales: where `desired` acts: 'first', on the first convolution's kernel (the paper), or 'last', on the
            last output (the authors' release of AdaEDSR).
    Returns: [N, H, W, maps], depths >= 0 in blocks. Biases start at 0 and the last kernel positive, so that the depth is
        proportional to the desired one before training; `start_at` then makes the factor 1.
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
        dtype="float32",  # 8 bits of mantissa cannot tell a depth of 7.1 from 7.12
        name="adapter5",
    )(x)
    last_scaled = desired is not None and depth_scales == "last"
    return DepthProduct(name="depth_scaled")([x, desired]) if last_scaled else x


def start_at(model, lr, depth):
    """Scale the adapter's last kernel until the mean depth on images is the one wanted; for a network before its training.

    Args:
        model: with an adapter whose last bias is 0. lr: [N, h, w, 3] float32 in 0..1.
        depth: in blocks: what is given as the desired depth, and the mean of the map afterwards.
    """
    inputs = [lr, np.full((len(lr), 1), depth, np.float32)] if len(model.inputs) > 1 else lr
    mean = float(ops.mean(model(inputs, training=False)[1]))
    last = model.get_layer("adapter5")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * depth / max(mean, 1e-6), bias])


def follow_green(model):
    """Make a network's depth maps the desired depth times the image's green: masks of known shape, for measurements."""
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
    """The mask of block `block` (counted from 0) of a depth map: clamp(depth - block, 0, 1) (Eqs. 3 and 5).

    [N, H, W, M] -> [N, H, W, 1], from map number `depth_map`. Written with two ReLUs, which survive 8 bits: a clamp's
    MINIMUM does not run in XNNPACK.
    """

    def __init__(self, block, depth_map=0, **kwargs):
        super().__init__(**kwargs)
        self.block, self.depth_map = block, depth_map

    def call(self, depth):
        above = depth[..., self.depth_map : self.depth_map + 1] - self.block
        return ops.relu(above) - ops.relu(above - 1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def get_config(self):
        return {**super().get_config(), "block": self.block, "depth_map": self.depth_map}
