"""The classifier that tells how hard every patch of an image is to upscale; no super-resolution network itself.

The idea is ClassSR's (Kong et al., CVPR 2021), the layers are our own: a strided convolution, 1x1 ones and the mean over a
patch. No kernel crosses a patch's border: one run on a whole image gives what each patch alone would.
"""

import keras

STRIDE = 4  # a patch's side is a multiple of it


def build(classes=3, patch=32, channels=32):
    """The classifier as a functional Keras model.

    Args:
        classes: how many networks there are to choose from.
        patch: side of a patch in LR pixels, a multiple of STRIDE.
        channels: of the hidden layers.
    Returns: keras.Model, [N, H * patch, W * patch, 3] float32 RGB in 0..1 -> logits [N, H, W, classes].
    Raises: ValueError for another patch.
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
    logits = conv(x, classes, "logits", "zeros", activation=None)  # every patch starts undecided
    return keras.Model(lr, logits, name="patch_classifier")


def _details(shape, dtype=None):
    """Kernels that start blind to the mean of a block, which tells little, and large, because details are small."""
    kernel = keras.initializers.HeNormal()(shape, dtype=dtype)
    return 4 * (kernel - keras.ops.mean(kernel, axis=(0, 1), keepdims=True))


def multiply_adds(model):
    """Multiply-adds per LR pixel of a classifier."""
    pixels, total = 1.0, 0.0
    for layer in model.layers:
        pixels /= getattr(layer, "strides", getattr(layer, "pool_size", (1, 1)))[0] ** 2
        if hasattr(layer, "kernel"):
            total += pixels * layer.kernel.shape[0] * layer.kernel.shape[1] * layer.kernel.shape[2] * layer.kernel.shape[3]
    return total
