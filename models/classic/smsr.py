"""SMSR: convolutions of which a part of the channels is computed only where a mask finds details.

Paper: Wang et al., "Exploring Sparsity in Image Super-Resolution for Efficient Inference", CVPR 2021, Figs. 3 to 5, with 5
modules of 4 convolutions. A small network computes the spatial mask of a module. In each convolution, some channels are dense
and the others sparse; which ones is the result of training. Here the dense channels come first, and a convolution is four:
from dense and from sparse channels to dense and to sparse ones (Fig. 5).

This is the network's function in dense form: every convolution runs on the whole image, and the mask sets values to 0. It does
not save the multiply-adds that the paper saves, 41 % at x2. A mask is one where the second of two outputs of the mask's network
is larger than the first; here, their difference is the output. During training its gradient is that of a sigmoid; the paper
draws masks at random (Gumbel softmax) and learns the channels, too.
"""

from collections.abc import Sequence

import keras
from keras import ops

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.classic.rcan import channel_attention
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, Shape, SubPixelConv2DTranspose, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1
from mobile_sr.models.ntire2022.layers import Shift

RECEPTIVE_FIELD = None  # the channel attention pools over the whole image
LAYERS = 4  # of a module


@keras.saving.register_keras_serializable("mobile_sr")
class SparseMask(keras.layers.Layer):
    """1 where the first of two inputs is positive, else 0: [N, h, w, 1], [N, H, W, C] -> [N, H, W, 1].

    Computed as a steep ramp, for 8 bits, too. h and w are at least H and W; the rest is cut off.
    """

    SLOPE = 2.0**20

    def call(self, inputs: Sequence[keras.KerasTensor], training: bool | None = None) -> keras.KerasTensor:
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        x = x[:, :height, :width]
        mask = ops.minimum(ops.relu(x * self.SLOPE), 1.0)
        if not training:
            return mask
        soft = ops.sigmoid(x)
        return soft + ops.stop_gradient(mask - soft)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (*input_shape[1][:3], 1)


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    dense: Sequence[int] = (32,) * 20,
    reduction: int = 16,
) -> keras.Model:
    """SMSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 984,024 / 992,679 / 1,004,796 parameters.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 4.
        dense: number of dense channels of each convolution, four for each module; `import-weights` reads them from the channel
            masks of a checkpoint.
        reduction: factor by which the channel attention reduces the channels.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation, or `dense` that does not fit.
    """
    check_output_activation(output_activation)
    if not dense or len(dense) % LAYERS or min(dense) < 0 or max(dense) > channels:
        raise ValueError(f"dense must have {LAYERS} numbers of 0..{channels} for each module, got {tuple(dense)}")

    def mask(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = conv(x, channels // 4, f"{name}_conv1", activation="relu")
        y = keras.layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(y)
        y = conv(y, channels // 4, f"{name}_conv2", activation="relu")
        y = DepthToSpace(2, name=f"{name}_pixels")(SubPixelConv2DTranspose(1, 3, 2, padding=1, name=f"{name}_difference")(y))
        return SparseMask(name=name)([y, x])

    def masked(x: keras.KerasTensor, where: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.Multiply(name=name)([x, where])

    def module(x: keras.KerasTensor, numbers: Sequence[int], name: str) -> keras.KerasTensor:
        where = mask(x, f"{name}_mask")
        kept: list[keras.KerasTensor] = []
        before: dict[str, keras.KerasTensor] = {"dense": x}
        for layer, number in enumerate(numbers, 1):
            prefix, widths = f"{name}_layer{layer}", {"dense": number, "sparse": channels - number}
            after = {}
            for to, width in widths.items():
                if width:
                    parts = [conv(y, width, f"{prefix}_{kind}_to_{to}", use_bias=False) for kind, y in before.items()]
                    if to == "dense":  # sparse channels give something only inside of the mask
                        parts = [
                            masked(part, where, f"{prefix}_inside") if kind == "sparse" else part
                            for part, kind in zip(parts, before, strict=True)
                        ]
                    total = keras.layers.Add(name=f"{prefix}_{to}_sum")(parts) if len(parts) > 1 else parts[0]
                    total = masked(total, where, f"{prefix}_masked") if to == "sparse" else total
                    after[to] = keras.layers.ReLU(name=f"{prefix}_{to}")(total)
            kept += after.values()
            before = after
        y = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_collect")
        return keras.layers.Add(name=name)([channel_attention(y, channels, reduction, name), x])

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(Shift([-value for value in DIV2K_MEAN], name="mean")(lr), channels, "head1", activation="relu")
    head = x = conv(x, channels, "head2")
    outputs = []
    for index in range(len(dense) // LAYERS):
        x = module(x, dense[LAYERS * index :][:LAYERS], f"module{index + 1}")
        outputs.append(x)
    y = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate(name="concat")(outputs)
    y = conv(conv(y, channels, "collect1", 1, "relu"), channels, "collect2")
    x = conv(keras.layers.Add(name="body_skip")([y, head]), 3 * scale * scale, "tail")
    sr = keras.layers.Add(name="sum")([DepthToSpace(scale, name="pixels")(x), BicubicUpscale(scale, -0.75, name="bicubic")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"smsr_x{scale}")
