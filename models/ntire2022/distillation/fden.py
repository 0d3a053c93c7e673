"""FDEN of team NJU_MCG in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, NJU_MCG's section: RFDN with few channels, a wide 1x1 layer in front of each 3x3 convolution, and
attention by a Laplacian pyramid. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import ResizeLike, all_fused, assemble, conv, conv1x1, leaky

RECEPTIVE_FIELD = None  # the grid of the pyramid is aligned with the whole image
SMALLEST_SIDE = 8  # LR pixels; one pixel is left after three poolings
LEVELS = (1, 2, 3)


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 29,
    distilled: int = 14,
    expanded: int = 145,
    attention: int = 7,
    blocks: int = 4,
) -> keras.Model:
    """FDEN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 275,239 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        expanded: channels of the 1x1 layers in front of the 3x3 convolutions.
        attention: channels inside the pyramid.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 8.
    Raises: ValueError for an unknown output activation.
    """

    def refine(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = leaky(conv1x1(x, expanded, f"{name}_expand"), f"{name}_act")
        y = conv(conv1x1(y, channels, f"{name}_squeeze"), channels, f"{name}_refine")
        return keras.layers.Add(name=f"{name}_sum")([y, x])

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = []
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            kept.append(leaky(conv(x, distilled, f"{prefix}_distill", 1, use_bias=False), f"{prefix}_distilled"))
            x = refine(x, prefix)
        kept.append(conv(x, channels, f"{name}_stage4"))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return _pyramid_attention(x, attention, f"{name}_pyramid")

    return assemble("fden", scale, output_activation, channels, all_fused([block] * blocks))


def _pyramid_attention(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Multiplies x by a mask of three levels of a Laplacian pyramid, and joins the finest level to the result."""
    level = squeezed = conv(x, width, f"{name}_squeeze", 1, "relu")
    details = []
    for k in LEVELS:
        pooled = keras.layers.MaxPooling2D(2, name=f"{name}_pool{k}")(level)
        lower = conv(pooled, width, f"{name}_down{k}", activation="relu")
        detail = keras.layers.Subtract(name=f"{name}_detail{k}")([level, ResizeLike(name=f"{name}_up{k}")([lower, level])])
        details.append(ResizeLike(name=f"{name}_resize{k}")([detail, squeezed]) if k > 1 else detail)
        level = lower
    logits = conv1x1(keras.layers.Concatenate(name=f"{name}_details")(details), x.shape[-1], f"{name}_excite")
    masked = keras.layers.Multiply(name=f"{name}_masked")([x, keras.layers.Activation("sigmoid", name=f"{name}_mask")(logits)])
    return conv1x1(keras.layers.Concatenate(name=f"{name}_concat")([masked, details[0]]), x.shape[-1], f"{name}_fuse")
