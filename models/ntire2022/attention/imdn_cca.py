"""IMDN as its authors published it, with contrast-aware channel attention (CCA).

Paper: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019, Figs. 2 to 4.
Six blocks, all of whose outputs are joined. The challenge's baseline, imdn.py, has neither the attention nor the joint.
Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import ChannelRange, all_fused, assemble, conv, conv1x1, leaky
from mobile_sr.models.ntire2022.layers import GlobalPool

RECEPTIVE_FIELD = None  # the attention pools over the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    attention: int = 4,
    blocks: int = 6,
) -> keras.Model:
    """The original IMDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 694,404 / 703,059 / 715,176 parameters.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 4; each stage of a block sets a quarter of them aside.
        attention: channels inside the attention.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")
    aside = channels // 4

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y, kept = x, []
        for stage in (1, 2, 3):
            y = leaky(conv(y, channels, f"{name}_conv{stage}"), f"{name}_act{stage}")
            kept.append(ChannelRange(0, aside, name=f"{name}_aside{stage}")(y))
            y = ChannelRange(aside, channels, name=f"{name}_rest{stage}")(y)
        kept.append(conv(y, aside, f"{name}_conv4"))
        y = _contrast_attention(keras.layers.Concatenate(name=f"{name}_concat")(kept), attention, f"{name}_cca")
        return keras.layers.Add(name=name)([conv1x1(y, channels, f"{name}_fuse"), x])

    return assemble("imdn_cca", scale, output_activation, channels, all_fused([block] * blocks))


def _contrast_attention(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Multiplies each channel by a number computed from mean plus deviation of all channels (Sec. 3.3)."""
    pools = [GlobalPool(kind, name=f"{name}_{kind}")(x) for kind in ("deviation", "mean")]
    y = conv(keras.layers.Add(name=f"{name}_contrast")(pools), width, f"{name}_squeeze", 1, "relu")
    y = conv1x1(y, x.shape[-1], f"{name}_excite")
    return keras.layers.Multiply(name=name)([x, keras.layers.Activation("sigmoid", name=f"{name}_mask")(y)])
