"""NLFFC of team Virtual_Reality in the NTIRE 2022 efficient super-resolution challenge. It cannot be exported to .tflite.

Paper: Li et al., CVPRW 2022, the team's row of Table 1 (not ranked); their code: the bicubically upscaled image passes through
fast Fourier convolutions (Chi et al., "Fast Fourier Convolution", NeurIPS 2020), whose halves of the channels are local and
global. The global half is convolved in the spectrum of the columns, and is joined by a non-local context of the local half.
Published for 0..255.

TFLite has no operator for the inverse real FFT, and its RFFT2D supports lengths that are powers of 2 only. The network can be
trained, imported, evaluated and run as a Keras model, in float.
"""

import keras
from keras import ops

from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, Shape, check_output_activation
from mobile_sr.models.ntire2022.blocks import ChannelRange, conv, conv1x1, leaky
from mobile_sr.models.ntire2022.layers import FineSoftmax

RECEPTIVE_FIELD = None  # a spectrum depends on the whole column
NOT_CONVERTIBLE = "TFLite has no inverse real FFT"
SCRIPT_SKIPS = ("Activation",)  # created at each call in the published code; the challenge's script misses it


@keras.saving.register_keras_serializable("mobile_sr")
class ColumnSpectrum(keras.layers.Layer):
    """Real FFT of each column, divided by sqrt(H): [N, H, W, C] -> [N, H // 2 + 1, W, 2 * C].

    Channel 2 * c is the real part of channel c, and 2 * c + 1 the imaginary part.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        height = ops.shape(x)[1]
        real, imaginary = ops.rfft(ops.transpose(x, (0, 2, 3, 1)))
        both = ops.transpose(ops.stack([real, imaginary], axis=3), (0, 4, 1, 2, 3))  # [N, rows, W, C, 2]
        both = ops.reshape(both, (*ops.shape(both)[:3], 2 * x.shape[-1]))
        return both * ops.cast(height, x.dtype) ** -0.5

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h // 2 + 1, w, 2 * c)


@keras.saving.register_keras_serializable("mobile_sr")
class FromColumnSpectrum(keras.layers.Layer):
    """Reverts ColumnSpectrum, with the height of a second input: [N, H // 2 + 1, W, 2 * C], [N, H, W, K] -> [N, H, W, C].

    The second input tells odd heights from even ones.
    """

    def call(self, inputs: tuple[keras.KerasTensor, keras.KerasTensor]) -> keras.KerasTensor:
        x, like = inputs
        height = ops.shape(like)[1]
        both = ops.reshape(x, (*ops.shape(x)[:3], x.shape[-1] // 2, 2))
        both = ops.transpose(both, (0, 2, 3, 1, 4))
        y = ops.irfft((both[..., 0], both[..., 1]), fft_length=height)
        return ops.transpose(y, (0, 3, 1, 2)) * ops.cast(height, x.dtype) ** 0.5

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        x, like = input_shape
        return (*like[:3], x[-1] // 2)


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 9,
) -> keras.Model:
    """NLFFC as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 423,404 parameters at any scale.
        output_activation: 'clipped_relu', or 'linear' for the ReLU of the published network.
        channels: feature channels, an even number.
        blocks: number of blocks. The output of every fourth block k has a skip from block k / 2.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """
    check_output_activation(output_activation)
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")
    half = channels // 2

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        near, far = (ChannelRange(k * half, (k + 1) * half, name=f"{name}_half{k + 1}")(x) for k in (0, 1))
        parts = [
            leaky(conv(near, half, f"{name}_near"), f"{name}_near_act", 0.2),
            leaky(conv(far, half, f"{name}_from_global"), f"{name}_from_global_act", 0.2),
        ]
        local = keras.layers.Add(name=f"{name}_local")(parts)
        spectrum = conv1x1(ColumnSpectrum(name=f"{name}_fft")(far), channels, f"{name}_spectrum")
        y = FromColumnSpectrum(name=f"{name}_inverse")([leaky(spectrum, f"{name}_spectrum_act", 0.2), far])
        context = conv1x1(_context(near, f"{name}_context"), half, f"{name}_context_out")
        return keras.layers.Concatenate(name=name)([local, keras.layers.Add(name=f"{name}_global")([context, y])])

    lr = keras.Input((None, None, 3), name="lr")
    x = conv1x1(BicubicUpscale(scale, -0.75, name="bicubic")(lr), channels, "head")
    outputs = [x]
    for index in range(1, blocks):
        x = conv1x1(block(x, f"block{index}"), channels, f"block{index}_mix")
        x = keras.layers.Add(name=f"block{index}_skip")([x, outputs[index // 2]]) if index % 4 == 0 else x
        outputs.append(x)
    sr = keras.layers.ReLU(name="rectified")(conv1x1(block(x, f"block{blocks}"), 3, "tail"))
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"nlffc_x{scale}")


def _context(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies x by a softmax over the pixels, computed by convolutions from x times another such mask."""
    mask = keras.layers.Activation("relu", name=f"{name}_mask_act")(conv1x1(x, 1, f"{name}_mask"))
    mask = FineSoftmax((1, 2), name=f"{name}_softmax1")(mask)
    y = keras.layers.Multiply(name=f"{name}_masked")([x, mask])
    y = leaky(conv1x1(y, x.shape[-1], f"{name}_conv1"), f"{name}_act1", 0.2)
    y = leaky(conv(y, x.shape[-1], f"{name}_conv2"), f"{name}_act2", 0.2)
    y = FineSoftmax((1, 2), name=f"{name}_softmax2")(conv(y, x.shape[-1], f"{name}_conv3"))
    return keras.layers.Multiply(name=name)([y, x])
