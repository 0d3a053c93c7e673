"""Bicubic enlarging as a layer, for the networks that refine an enlarged picture."""

import keras
import numpy as np
from keras import ops

from mobile_sr.models.ntire2022.blocks import edge_pad


@keras.saving.register_keras_serializable("mobile_sr")
class BicubicUpscale(keras.layers.Layer):
    """[N, H, W, 3] -> [N, H * scale, W * scale, 3], Keys' cubic with a = -0.5 and clamped borders, as MATLAB's imresize.

    One convolution of fixed kernels, one for each phase, and a depth_to_space; nothing is trained, rounded or clipped.
    """

    CONVOLUTIONS = 1  # that a converted file has of it

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = self.block_size = scale  # its pixels are counted as a depth_to_space's

    def call(self, x):
        x = ops.conv(
            edge_pad(edge_pad(x)),
            ops.convert_to_tensor(phases(self.scale), x.dtype),
            padding="valid",
            data_format="channels_last",
        )
        return ops.depth_to_space(x, self.scale) if self.scale > 1 else x

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        return (n, h and h * self.scale, w and w * self.scale, c)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def phases(scale):
    """[5, 5, 3, 3 * scale**2] float32: what each of the pixels that an LR pixel becomes takes of its neighbours."""
    position = (np.arange(scale) + 0.5) / scale - 0.5  # in LR pixels from the middle
    x = np.abs(position[None] - np.arange(-2, 3)[:, None])
    taps = np.where(x <= 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))
    kernel = np.einsum("yi,xj,cd->yxcijd", taps, taps, np.eye(3))
    return kernel.reshape(5, 5, 3, -1).astype(np.float32)
