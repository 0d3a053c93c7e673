"""NASNetBN of team neptune in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, neptune's section: an SRResNet whose 16 blocks were found by architecture search. They are
residual blocks with ReLU or LeakyReLU, and inverted residuals (Sandler et al., CVPR 2018). Batch normalization is folded. The
result is added to the bilinearly upscaled input. Published for 0..1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1, leaky
from mobile_sr.models.ntire2022.mobilesr import BilinearUpscale

EXPANSION = {"inverted3": 3, "inverted6": 6}
SCRIPT_SKIPS = ("ReLU",)  # called as a function in the published code; the challenge's script misses it
CELLS = ("inverted3", "inverted6", "relu", "leaky")
# The result of the search.
PUBLISHED = tuple(CELLS[k] for k in (3, 1, 2, 3, 3, 0, 1, 2, 0, 0, 0, 0, 2, 3, 3, 1))


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    cells: Sequence[str] = PUBLISHED,
) -> keras.Model:
    """NASNetBN as a functional Keras model.

    Args:
        scale: 2, 3 or 4; 312,419 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        cells: kind of each block: 'relu' or 'leaky' for a residual block, 'inverted3' or 'inverted6' for an inverted residual
            with 3 or 6 times the channels inside.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or kind of block.
    """
    check_output_activation(output_activation)
    unknown = next((kind for kind in cells if kind not in CELLS), None)
    if unknown is not None:
        raise ValueError(f"cells must be of {', '.join(CELLS)}, got {unknown!r}")

    def inverted(x: keras.KerasTensor, name: str, expansion: int) -> keras.KerasTensor:
        y = _relu6(conv1x1(x, expansion * channels, f"{name}_expand"), f"{name}_act1")
        y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(y)
        return conv1x1(_relu6(y, f"{name}_act2"), channels, f"{name}_project")

    def residual(x: keras.KerasTensor, name: str, kind: str) -> keras.KerasTensor:
        y = conv(x, channels, f"{name}_conv1")
        y = leaky(y, f"{name}_act", 0.2) if kind == "leaky" else keras.layers.ReLU(name=f"{name}_act")(y)
        return conv(y, channels, f"{name}_conv2")

    lr = keras.Input((None, None, 3), name="lr")
    x = leaky(conv(lr, channels, "head"), "head_act", 0.1)
    for index, kind in enumerate(cells, 1):
        name = f"block{index}"
        y = inverted(x, name, EXPANSION[kind]) if kind in EXPANSION else residual(x, name, kind)
        x = keras.layers.Add(name=name)([x, y])
    for step, factor in enumerate((2, 2) if scale == 4 else (scale,), 1):
        x = DepthToSpace(factor, name=f"up{step}_pixels")(conv(x, channels * factor**2, f"up{step}"))
        x = leaky(x, f"up{step}_act", 0.1)
    x = conv(leaky(conv(x, channels, "hr"), "hr_act", 0.1), 3, "tail")
    sr = keras.layers.Add(name="sum")([x, BilinearUpscale(scale, name="bilinear")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"nasnet_bn_x{scale}")


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.Activation("relu6", name=name)(x)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on.

    1 for the head, 2 per residual block and 1 per inverted one, 1 for the first step of the upscaling, 1 for a second one at
    twice the size, and 1 for the last two convolutions at the HR size.
    """
    steps = 2 if config["scale"] == 4 else 1
    hr = 2 if config["scale"] == 2 else 1
    return 1 + sum(1 if kind in EXPANSION else 2 for kind in config["cells"]) + steps + hr
