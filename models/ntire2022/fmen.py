"""FMEN of team NJU_Jet, second of the main track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.2; Du et al., "Fast and Memory-Efficient Network Towards Efficient Image
Super-Resolution", CVPRW 2022. As submitted: the re-parameterised blocks are single convolutions. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv, leaky

SLOPE = 0.1  # of the LeakyReLUs
SCRIPT_SKIPS = ("LeakyReLU",)  # one function outside of the published modules, which the challenge's script does not see


def build(scale=4, output_activation="clipped_relu", channels=50, attention=16, blocks=4):
    """FMEN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 341,066 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: of the features. attention: inside the attention blocks, of which the first has 4 fewer.
        blocks: pairs of residual and attention block, after the first attention.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for another output activation or 4 or fewer attention channels.
    """
    if attention <= 4:
        raise ValueError(f"attention must be above 4, got {attention}")

    def pair(x, name):
        filters = x.shape[-1]
        return conv(leaky(conv(x, filters, f"{name}_conv1"), f"{name}_act1", SLOPE), filters, f"{name}_conv2")

    def attend(x, name, width, pairs):
        """High-frequency attention: x times a mask of what `pairs` of 3x3 convolutions see."""
        y = leaky(conv(x, width, f"{name}_squeeze"), f"{name}_act", SLOPE)
        for index in range(pairs):
            y = pair(y, f"{name}_pair{index + 1}")
        y = conv(leaky(y, f"{name}_act2", SLOPE), channels, f"{name}_excite")
        return keras.layers.Multiply(name=name)([x, keras.layers.Activation("sigmoid", name=f"{name}_mask")(y)])

    def body(x):
        x = attend(conv(x, channels, "warmup"), "warmup_attention", attention - 4, 2)
        for index in range(blocks):
            x = attend(pair(x, f"block{index + 1}"), f"block{index + 1}_attention", attention, 1)
        return conv(x, channels, "body")

    return assemble("fmen", scale, output_activation, channels, body)


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on, of a complete configuration.

    3x3 convolutions in a row: head, warm-up 1 and 6 in its attention, a block 2 and 4, body's end, tail.
    """
    return 1 + 7 + 6 * config["blocks"] + 1 + 1
