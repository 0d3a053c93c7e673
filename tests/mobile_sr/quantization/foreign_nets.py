"""Small networks x2 as others would write them, all with the same weights, which are better than bicubic interpolation.

The first layer passes the image on and adds random features; the last layer is their least-squares fit to HR pixels of
scikit-image's photographs. This takes a fraction of a second and gives weights and activations like those of training.
"""

import functools

import keras
import numpy as np
from keras import layers

from mobile_sr.imaging import luminance, sample_images
from mobile_sr.imaging.resize import downscale
from tests.converters.formats.onnx_nets import node, save

SCALE = 2
FEATURES = 16
RIDGE = 2e-5  # about the variance of 8-bit rounding: weights that do not amplify it
SLOPE = 0.25  # of PReLU


@functools.lru_cache(maxsize=2)
def weights(channels=3):
    """(first kernel, its bias, last kernel, its bias): 3x3, channels -> FEATURES -> channels * 4 in DEPTH_TO_SPACE's order."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.25, (3, 3, channels, FEATURES)).astype(np.float32)
    first -= first.mean((0, 1)) * (np.arange(FEATURES) % 2)  # every second one sees edges, the others brightness, too
    first[..., :channels] = 0
    first[1, 1, :, :channels] = np.eye(channels)
    bias = np.zeros(FEATURES, np.float32)
    inputs, targets = [], []
    pairs = list(_pairs(channels))
    first /= np.max([np.abs(_convolve(lr, first, bias)).max((0, 1)) for _, lr in pairs], 0)  # all in -1..1
    for hr, lr in pairs:
        hidden = _convolve(lr, first, bias)
        hidden = np.where(hidden < 0, SLOPE * hidden, hidden)
        inputs.append(_patches(hidden).reshape(-1, 9 * FEATURES))
        h, w = lr.shape[:2]
        targets.append(hr.reshape(h, 2, w, 2, channels).transpose(0, 2, 1, 3, 4).reshape(h * w, -1))
    x, y = np.concatenate(inputs)[::3], np.concatenate(targets)[::3]
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    fit = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y).astype(np.float32)
    return first.astype(np.float32), bias, fit[:-1].reshape(3, 3, FEATURES, -1), fit[-1]


def _pairs(channels):
    for _, hr in sample_images.images(sample_images.CALIBRATION):
        hr = hr[100:300, 100:300]
        lr = downscale(hr, SCALE)
        if channels == 1:
            hr, lr = (luminance.of_rgb(image, luminance.STUDIO) for image in (hr, lr))
        yield hr / 255, lr / 255


def _patches(image):
    """[H, W, C] -> [H, W, 3, 3, C], zeros outside."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1)).transpose(0, 1, 3, 4, 2)


def _convolve(image, kernel, bias):
    return np.tensordot(_patches(image), kernel, 3) + bias


def functional(size=(None, None), white=1, channels=3, clip=True):
    """A functional Keras model: Conv2D, PReLU and Conv2DTranspose; values in 0..white."""
    image = keras.Input((*size, channels), name="image")
    x = layers.PReLU(keras.initializers.Constant(SLOPE), shared_axes=[1, 2], name="slopes")(
        layers.Conv2D(FEATURES, 3, padding="same", name="features")(image)
    )
    x = layers.Conv2DTranspose(channels, 6, strides=2, padding="same", name="enlarge")(x)
    model = keras.Model(image, layers.ReLU(max_value=float(white), name="clip")(x) if clip else x, name="functional")
    first, bias, last, last_bias = weights(channels)
    # Conv2DTranspose: output 2i + p reads the input i + d at the kernel's p + 2 - 2d.
    kernel = np.zeros((6, 6, channels, FEATURES), np.float32)
    for p in np.ndindex(2, 2):
        for d in np.ndindex(3, 3):
            part = last[d[0], d[1], :, (2 * p[0] + p[1]) * channels :][:, :channels]
            kernel[p[0] + 4 - 2 * d[0], p[1] + 4 - 2 * d[1]] = part.T
    common = last_bias.reshape(4, channels).mean(0)  # one bias for all subpixels: they hardly differ
    model.set_weights([first / white, bias, np.full((1, 1, FEATURES), SLOPE), kernel * white, common * white])
    return model


def with_pixel_shuffle(size=(20, 24)):
    """A functional Keras model of fixed size whose pixel shuffle is Reshape, Permute, Reshape."""
    height, width = size
    image = keras.Input((*size, 3))
    x = layers.PReLU(keras.initializers.Constant(SLOPE), shared_axes=[1, 2])(layers.Conv2D(FEATURES, 3, padding="same")(image))
    x = layers.Conv2D(12, 3, padding="same")(x)
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((height, width, 2, 2, 3))(x))
    model = keras.Model(image, layers.ReLU(max_value=1.0)(layers.Reshape((2 * height, 2 * width, 3))(x)), name="shuffle")
    first, bias, last, last_bias = weights()
    model.set_weights([first, bias, np.full((1, 1, FEATURES), SLOPE), last, last_bias])
    return model


class Subclassed(keras.Model):
    """A subclassed Keras model with TensorFlow's own pixel shuffle; it has no inputs before its first call."""

    def __init__(self):
        super().__init__(name="subclassed")
        first, bias, last, last_bias = (keras.initializers.Constant(values) for values in weights())
        same = {"padding": "same"}
        self.first = layers.Conv2D(FEATURES, 3, kernel_initializer=first, bias_initializer=bias, **same)
        self.slopes = layers.PReLU(keras.initializers.Constant(SLOPE), shared_axes=[1, 2])
        self.last = layers.Conv2D(12, 3, kernel_initializer=last, bias_initializer=last_bias, **same)

    def call(self, x):
        import tensorflow as tf

        return tf.clip_by_value(tf.nn.depth_to_space(self.last(self.slopes(self.first(x))), 2), 0.0, 1.0)


def onnx(path, shape=("n", 3, "h", "w")):
    """Write an NCHW ONNX file as PyTorch does: Conv, PRelu, Conv, DepthToSpace CRD, Clip."""
    first, bias, last, last_bias = weights()
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1]),
        node("PRelu", ["c", "slope"], ["r"]),
        node("Conv", ["r", "w2", "b2"], ["d"], pads=[1, 1, 1, 1]),
        node("DepthToSpace", ["d"], ["s"], blocksize=2, mode="CRD"),
        node("Clip", ["s", "zero", "one"], ["y"]),
    ]
    order = np.arange(12).reshape(4, 3).T.ravel()  # PyTorch's order of the channels before the pixel shuffle
    constants = {
        "w1": first.transpose(3, 2, 0, 1),
        "b1": bias,
        "slope": np.full((FEATURES, 1, 1), SLOPE, np.float32),
        "w2": last[..., order].transpose(3, 2, 0, 1),
        "b2": last_bias[order],
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    return save(path, nodes, constants, list(shape))
