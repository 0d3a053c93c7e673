"""EFDN of team NEESR, third of the main track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.3; Wang, "Edge-Enhanced Feature Distillation Network for Efficient Super-Resolution",
CVPRW 2022, names the same idea. RFDN with fewer channels, without skips in its stages and without the concatenation of all
blocks; here with the edge-oriented branches merged into 3x3 convolutions, as submitted. Published for 0..255.
"""

from mobile_sr.models.ntire2022.blocks import assemble, coarse_two, distillation_block, esa, in_a_row

RECEPTIVE_FIELD = None  # the attention's low resolution lies on the picture as a whole
SMALLEST_SIDE = 5  # LR pixels: with its border repeated, one window of the pooling


def build(scale=4, output_activation="clipped_relu", channels=42, distilled=10, attention=10, blocks=4):
    """EFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 272,038 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels, distilled, attention: of the features, of what a stage puts aside, inside ESA. blocks: how many.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 5.
    Raises: ValueError for another output activation.
    """

    def attend(x, prefix):
        return esa(x, attention, prefix, coarse_two)

    def block(x, name):
        return distillation_block(x, distilled, name, attend, residual=False)

    return assemble("efdn", scale, output_activation, channels, in_a_row(block, blocks))
