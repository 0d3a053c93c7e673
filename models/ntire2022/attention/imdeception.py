"""IMDeception of team Aselsan Research in the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Aselsan Research's section; Ayazoglu, "IMDeception: Grouped Information Distilling
Super-Resolution Network", CVPRW 2022: information distillation of grouped convolutions inside the blocks, and once more among
the blocks, which set a quarter of their channels aside for the output. Two attentions compare the patches of 4x4 pixels within
windows of 32x32. Published for 0..1.
"""

import keras

from mobile_sr.models.layers import GroupedConv2D
from mobile_sr.models.ntire2022.blocks import ChannelRange, assemble, conv, conv1x1, leaky
from mobile_sr.models.ntire2022.windows import PatchAttention

RECEPTIVE_FIELD = None  # the windows are aligned with the whole image
GROUPS = 4
BLOCKS = 6
ATTENDED = (2, 4)  # blocks in front of an attention


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    core: int = 16,
    window: int = 32,
    patch: int = 4,
    grouped_form: str | None = None,
) -> keras.Model:
    """IMDeception as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 316,552 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        core: channels that blocks and stages set aside, a multiple of 4. The features have 4 times as many.
        window: side of a window of the attention in LR pixels, a multiple of `patch`.
        patch: side of a patch in LR pixels.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation, or a `core` or `window` that is not such a multiple.
    """
    if core % GROUPS:
        raise ValueError(f"core must be a multiple of {GROUPS}, got {core}")

    def unit(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        """A Gblock: a grouped convolution and one that mixes its groups."""
        y = GroupedConv2D(
            filters, 3, GROUPS, "relu", kernel_initializer="glorot_uniform", form=grouped_form, name=f"{name}_grouped"
        )(x)
        return leaky(conv1x1(y, filters, f"{name}_mix"), f"{name}_act")

    def block(x: keras.KerasTensor, name: str, filters: int, kept: int, passed: int) -> keras.KerasTensor:
        """A GIDB: three stages that set `kept` channels aside and pass the others on, and a last one."""
        y, parts = x, []
        for stage in (1, 2, 3):
            y = unit(y, kept + passed, f"{name}_stage{stage}")
            parts.append(ChannelRange(0, kept, name=f"{name}_stage{stage}_kept")(y))
            y = ChannelRange(kept, kept + passed, name=f"{name}_stage{stage}_passed")(y)
        parts += [unit(y, kept, f"{name}_stage4"), x]
        return conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(parts), filters, f"{name}_fuse")

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        width = x.shape[-1] // 4
        y = PatchAttention(window, patch, name=f"{name}_attention")(conv1x1(x, 3 * width, f"{name}_qkv"))
        return keras.layers.Add(name=name)([conv1x1(y, x.shape[-1], f"{name}_project"), x])

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        channels, outputs = x.shape[-1], []
        for index in range(1, BLOCKS):
            y = block(x, f"block{index}", channels, core, 3 * core)
            outputs.append(ChannelRange(0, core, name=f"block{index}_output")(y))
            x = ChannelRange(core, channels, name=f"block{index}_rest")(y)
            x = attend(x, f"attended{index}") if index in ATTENDED else x
        outputs.append(block(x, f"block{BLOCKS}", core, core, 2 * core))
        y = leaky(conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse"), "blocks_fused")
        return leaky(conv(y, channels, "body"), "body_act")

    return assemble("imdeception", scale, output_activation, 4 * core, body)
