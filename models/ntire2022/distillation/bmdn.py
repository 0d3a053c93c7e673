"""BMDN of team NWPU_SweetDreamLab in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, NWPU_SweetDreamLab's section: RFDN's block with half of the channels inside, ReLU, and a further
3x3 convolution from the distilled to the refined features. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, conv, conv1x1, esa

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 40,
    distilled: int = 20,
    attention: int = 10,
    blocks: int = 4,
) -> keras.Model:
    """BMDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 193,088 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels between the blocks.
        distilled: channels inside the blocks, distilled and refined ones.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.ReLU(name=name)(x)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = []
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            kept.append(relu(conv1x1(x, distilled, f"{prefix}_distill"), f"{prefix}_distilled"))
            parts = [conv(x, distilled, f"{prefix}_refine"), conv(kept[-1], distilled, f"{prefix}_bridge")]
            x = relu(keras.layers.Add(name=f"{prefix}_sum")(parts if stage == 1 else [*parts, x]), f"{prefix}_refined")
        kept.append(relu(conv(x, distilled, f"{name}_stage4"), f"{name}_stage4_refined"))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return esa(x, attention, f"{name}_esa", coarse_three)

    return assemble("bmdn", scale, output_activation, channels, all_fused([block] * blocks, act=relu))
