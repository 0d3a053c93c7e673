"""What AdaDSR's depth maps save: active fractions, the Mult-Adds that the sparse path does, and the paper's own count."""

import numpy as np

from mobile_sr import models
from mobile_sr.converters import adadsr_sparse

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
    return np.stack([_shares(values, blocks) for values in (depth_map, _reached(depth_map))], axis=1)


def _shares(values, blocks):
    """[maps * blocks]: where [H, W, maps] depths are above 0, 1, ... `blocks` - 1."""
    return np.array([np.mean(values[..., which] > block) for which in range(values.shape[2]) for block in range(blocks)])


def _reached(depth_map):
    """[H, W, maps]: the largest depth among a pixel and its neighbours."""
    height, width = depth_map.shape[:2]
    padded = np.pad(depth_map, ((1, 1), (1, 1), (0, 0)))
    return np.max([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)


def costs(model, integer=False):
    """What a network costs, as JSON: a file's sidecar keeps it, so that `count` needs no Keras model.

    Args:
        model: Keras AdaEDSR or AdaRCAN. integer: of an 8-bit file, whose blocks run densely from another share on.
    Returns: {"always": multiply-adds per LR pixel outside of the masked blocks, "once": those per image (behind global means),
        "blocks": [[conv1's, conv2's] of each masked block], "dense_above": share of worked pixels, mean of both
            convolutions, above which blocks are computed densely (converters/adadsr_sparse.py)}.
    """
    found = list(adadsr_sparse.blocks(model).values())
    pairs = [[int(np.prod(conv.kernel.shape)) for conv in (block.conv1, block.conv2)] for block in found]
    one, two = (models.multiply_adds(model, pixels) for pixels in (1, 2))
    share = adadsr_sparse.dense_above(found[0].conv2.kernel.shape[-1], integer)
    always, once = two - one - sum(map(sum, pairs)), 2 * one - two
    return {"always": always, "once": once, "blocks": pairs, "dense_above": share, "span": adadsr_sparse.SPAN}


def count(costs, depth_map, fallback=True):
    """Multiply-adds that the sparse path really does for one image, rows around active ones and the adapter included.

    Args:
        costs: of the network. depth_map: [H, W, maps] float, its second output for the image.
        fallback: blocks with many active pixels are computed densely, as exported files do it.
    Returns: float. Index arithmetic and bias are not counted; `models.multiply_adds` has the count for full masks.
    """
    blocks = len(costs["blocks"]) // depth_map.shape[2]
    fractions = active_fractions(depth_map, blocks)
    dense = _dense(costs, depth_map, blocks) if fallback else np.zeros(len(fractions), bool)
    shares = np.where(dense[:, None], 1.0, fractions)[:, ::-1]  # conv1 works on the larger set
    per_pixel = costs["always"] + float(np.sum(shares * np.array(costs["blocks"])))
    return per_pixel * depth_map.shape[0] * depth_map.shape[1] + costs["once"]


def _dense(costs, depth_map, blocks):
    """[maps * blocks] bool: the blocks that are computed densely, by the rule of sparse.Walk._dense_parts."""
    maps = [values[:: adadsr_sparse.SAMPLED, :: adadsr_sparse.SAMPLED] for values in (depth_map, _reached(depth_map))]
    shares = np.mean([_shares(sample, blocks).reshape(-1, blocks) for sample in maps], axis=0)
    cuts = range(0, blocks, costs["span"])
    means = [shares[:, at : at + costs["span"]].mean(axis=1) for at in cuts]
    return np.repeat(np.stack(means, axis=1) > costs["dense_above"], costs["span"], axis=1)[:, :blocks].ravel()


def multiply_adds(model, depth_map, fallback=True):
    """`count` for a Keras AdaEDSR or AdaRCAN."""
    return count(costs(model), depth_map, fallback)


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
    config = models.complete(config)
    blocks, channels, scale = config["blocks"], config["channels"], config["scale"]
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
