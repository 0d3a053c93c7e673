"""A classifier that predicts how hard each patch of an image is to upscale. It is not a super-resolution network.

The idea is from ClassSR (Kong et al., CVPR 2021); the layers are our own: a strided convolution, 1x1 convolutions and the mean
over a patch. No kernel crosses the border of a patch: a run on a whole image equals separate runs on its patches.
"""

import keras

from mobile_sr.models import counts
from mobile_sr.models.layers import Shape

STRIDE = 4  # in LR pixels; the side of a patch is a multiple of it


def build(classes: int = 3, patch: int = 32, channels: int = 32) -> keras.Model:
    """The classifier as a functional Keras model.

    Args:
        classes: number of networks to choose from.
        patch: side of a patch in LR pixels, a multiple of STRIDE.
        channels: channels of the hidden layers.
    Returns: keras.Model, [N, H * patch, W * patch, 3] float32 RGB in 0..1 -> logits [N, H, W, classes].
    Raises: ValueError if `patch` is not a multiple of STRIDE.
    """
    if patch < STRIDE or patch % STRIDE:
        raise ValueError(f"patch must be a multiple of {STRIDE}, got {patch}")

    def conv(x, filters, name, initializer="he_normal", size=1, activation="relu"):
        return keras.layers.Conv2D(
            filters, size, strides=size, activation=activation, kernel_initializer=initializer, name=name
        )(x)

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, channels, "blocks", _details, size=STRIDE)
    x = conv(conv(x, channels, "mix1"), channels, "mix2")
    x = keras.layers.AveragePooling2D(patch // STRIDE, name="patches")(x)
    logits = conv(x, classes, "logits", "zeros", activation=None)  # all classes start equal
    return keras.Model(lr, logits, name="patch_classifier")


def _details(shape: Shape, dtype: str | None = None) -> keras.KerasTensor:
    """Initial kernels that ignore the mean of a block, which has little information, and are large, as details are small."""
    kernel = keras.initializers.HeNormal()(shape, dtype=dtype)
    return 4 * (kernel - keras.ops.mean(kernel, axis=(0, 1), keepdims=True))


def multiply_adds(model: keras.Model) -> float:
    """Multiply-adds of a classifier per LR pixel."""
    return counts.multiply_adds(model, 1.0)
