"""RFDN, the winner of AIM 2020's efficient super-resolution challenge.

Paper: Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", ECCVW 2020, Fig. 2. Published
for 0..255.
"""

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, distillation_block, esa

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the attention's low resolution lies on the picture as a whole


def build(scale=4, output_activation="clipped_relu", channels=50, distilled=25, attention=12, blocks=4):
    """RFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 433,448 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels, distilled, attention: of the features, of what a stage puts aside, inside ESA. blocks: how many.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for another output activation.
    """
    return distillation_network("rfdn", scale, output_activation, channels, distilled, attention, blocks)


def distillation_network(name, scale, output_activation, channels, distilled, attention, blocks, residual=True):
    """RFDN and its pruned version, which has no `residual` in its stages; the rest as for `build`."""

    def attend(x, prefix):
        return esa(x, attention, prefix, coarse_three)

    def block(x, prefix):
        return distillation_block(x, distilled, prefix, attend, residual)

    return assemble(name, scale, output_activation, channels, all_fused(block, blocks))
