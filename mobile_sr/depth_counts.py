"""What AdaDSR's depth maps save: active fractions, the Mult-Adds that the sparse path does, and the paper's own count."""

import numpy as np

from mobile_sr import models
from mobile_sr.converters import sparse

SHAVE, LARGEST = 10, 160_000  # how the authors' code cuts an image: overlap and pixels of a part, in LR pixels


def active_fractions(depth_map, blocks):
    """Where the blocks of a network work.

    Args:
        depth_map: [H, W, maps] float, in blocks; one map, or one per group of RCAN. blocks: of each map.
    Returns: [maps * blocks, 2] float64, for each block the share of pixels with a positive mask, which conv2 computes, and
        of those with one among their 3x3 neighbours, which conv1 computes.
    Raises: ValueError for another shape.
    """
    if depth_map.ndim != 3:
        raise ValueError(f"depth_map must be [H, W, maps], got shape {depth_map.shape}")
    height, width = depth_map.shape[:2]
    padded = np.pad(depth_map, ((1, 1), (1, 1), (0, 0)))
    windows = [padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    reached = np.max(windows, axis=0)
    fractions = [
        [np.mean(values[..., which] > block) for values in (depth_map, reached)]
        for which in range(depth_map.shape[2])
        for block in range(blocks)
    ]
    return np.array(fractions)


def multiply_adds(model, depth_map, fallback=True):
    """Multiply-adds of all convolutions that the sparse path really does for one image, the adapter's included.

    Args:
        model: Keras AdaEDSR or AdaRCAN. depth_map: [H, W, maps] float, its second output for the image.
        fallback: blocks with many active pixels are computed densely, as exported files do it (sparse.dense_above).
    Returns: float. Index arithmetic and bias are not counted; `models.multiply_adds` has the count for full masks.
    """
    pixels = depth_map.shape[0] * depth_map.shape[1]
    found = list(sparse.blocks(model).values())
    fractions = active_fractions(depth_map, len(found) // depth_map.shape[2])
    total = float(models.multiply_adds(model, pixels))
    for block, (active, reached) in zip(found, fractions, strict=True):
        channels = block.conv2.kernel.shape[-1]
        if not fallback or (active + reached) / 2 <= sparse.dense_above(channels):
            total -= pixels * (
                (1 - reached) * np.prod(block.conv1.kernel.shape) + (1 - active) * np.prod(block.conv2.kernel.shape)
            )
    return total


def paper_count(config, lr_size, active=None):
    """The paper's "FLOPs" of an EDSR for one image, in units of 2**30 (Liu et al., Tables 1 and 2; as in the authors' code).

    Multiply-adds and biases of all convolutions, one operation for each value of a ReLU, a residual addition and a pixel
    shuffle's input pixel and feature, over the image's parts (see `parts`). A masked block counts its convolutions where its
    mask is positive, also the first one, whose neighbours it leaves out, and its ReLU and addition everywhere. The adapter
    is not counted.

    Args:
        config: of an EDSR. lr_size: (H, W) in LR pixels.
        active: share of active pixels of each block, None for all of them.
    Raises: ValueError for another network or another number of blocks.
    """
    if config["network"] != "edsr":
        raise ValueError(f"the paper's rule is for edsr, got {config['network']!r}")
    blocks, channels, scale = config.get("blocks", 32), config.get("channels", 256), config["scale"]
    active = [1.0] * blocks if active is None else list(active)
    if len(active) != blocks:
        raise ValueError(f"{len(active)} active shares for {blocks} blocks")

    def convolution(inputs, outputs):
        return 9 * inputs * outputs + outputs

    body = convolution(channels, channels)
    count = convolution(3, channels) + body + channels
    count += sum(2 * body * share + 2 * channels for share in active)
    size = 1
    for factor in (2, 2) if scale == 4 else (scale,):
        count += size * (convolution(channels, channels * factor**2) + channels)
        size *= factor**2
    count += size * convolution(channels, 3)
    return count * sum(height * width for height, width in parts(lr_size)) / 2**30


def parts(lr_size):
    """(H, W) of the overlapping quarters, or quarters of quarters, in which the authors' code runs an image."""
    quarter = tuple(side // 2 + SHAVE for side in lr_size)
    if quarter[0] * quarter[1] < LARGEST:
        return [quarter] * 4
    return parts(quarter) * 4
