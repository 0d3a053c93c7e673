"""Bicubic upscaling as a layer, for networks that refine an upscaled image."""

from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import Shape
from mobile_sr.models.ntire2022.blocks import edge_pad


@keras.saving.register_keras_serializable("mobile_sr")
class BicubicUpscale(keras.layers.Layer):
    """Bicubic upscaling, [N, H, W, 3] -> [N, H * scale, W * scale, 3]: Keys' cubic.

    Border pixels are repeated. The layer is one convolution with fixed kernels, one per phase, and a depth_to_space. It has no
    weights and neither rounds nor clips.

    Args:
        scale: upscaling factor.
        a: the cubic's parameter, -0.5 as in MATLAB's imresize, or -0.75 as in PyTorch's interpolate.
    """

    CONVOLUTIONS = 1  # number of convolutions in a converted file

    def __init__(self, scale: int, a: float = -0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.scale = self.block_size = scale  # counts.py counts its output pixels as after a depth_to_space

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        x = ops.conv(
            edge_pad(edge_pad(x)),
            ops.convert_to_tensor(phases(self.scale, self.a), x.dtype),
            padding="valid",
            data_format="channels_last",
        )
        return ops.depth_to_space(x, self.scale) if self.scale > 1 else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h * self.scale, w and w * self.scale, c)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "a": self.a}


def phases(scale: int, a: float = -0.5) -> np.ndarray:
    """Convolution kernel [5, 5, 3, 3 * scale**2] float32: the weights of the LR neighbourhood for each HR pixel and channel."""
    position = (np.arange(scale) + 0.5) / scale - 0.5  # in LR pixels from the centre
    x = np.abs(position[None] - np.arange(-2, 3)[:, None])
    taps = np.where(x <= 1, ((a + 2) * x - (a + 3)) * x * x + 1, np.where(x < 2, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a, 0))
    kernel = np.einsum("yi,xj,cd->yxcijd", taps, taps, np.eye(3))
    return kernel.reshape(5, 5, 3, -1).astype(np.float32)
