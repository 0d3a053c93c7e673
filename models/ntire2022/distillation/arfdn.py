"""ARFDN of team HiImageTeam, third of the complexity track of the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Sec. 4.6: RFDN with pairs of 3x1 and 1x3 convolutions, in both orders, instead of 3x3. Published
for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, conv, conv1x1, esa, leaky

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    distilled: int = 25,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """ARFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 241,548 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels between the blocks.
        distilled: channels inside the blocks.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def crossed(x: keras.KerasTensor, name: str) -> list[keras.KerasTensor]:
        """Two branches: 3x1 then 1x3, and 1x3 then 3x1."""
        outputs = []
        for side, sizes in (("l", ((3, 1), (1, 3))), ("m", ((1, 3), (3, 1)))):
            y = leaky(conv(x, distilled, f"{name}_{side}1", sizes[0]), f"{name}_{side}_act")
            outputs.append(conv(y, distilled, f"{name}_{side}2", sizes[1]))
        return outputs

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept: list[keras.KerasTensor] = []
        previous: list[keras.KerasTensor] = []
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            kept.append(leaky(conv1x1(x, distilled, f"{prefix}_distill"), f"{prefix}_distilled"))
            total = keras.layers.Add(name=f"{prefix}_sum")([*crossed(x, prefix), *previous, *kept[::-1]])
            x = leaky(total, f"{prefix}_refined")
            previous = [x]
        kept.append(leaky(conv(x, distilled, f"{name}_stage4"), f"{name}_stage4_refined"))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return esa(x, attention, f"{name}_esa", coarse_three)

    def wide_leaky(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return leaky(x, name, 0.1)

    return assemble("arfdn", scale, output_activation, channels, all_fused([block] * blocks, act=wide_leaky))
