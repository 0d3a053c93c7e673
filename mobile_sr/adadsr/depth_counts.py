"""Savings of AdaDSR's depth maps: active fractions, Mult-Adds of the sparse path, and the paper's own count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models
from mobile_sr.adadsr import sparse_form
from mobile_sr.models import counts

if TYPE_CHECKING:
    import keras

SHAVE, LARGEST = 10, 160_000  # the authors' tiling: overlap and maximum area of a part, in LR pixels
_PAPER_UPSAMPLER, _PAPER_PRELU = 256, 128  # channels that the authors' code counts for RCAN, see `paper_count`


def active_fractions(depth_map: np.ndarray, blocks: int) -> np.ndarray:
    """Computes the share of pixels at which each block of a network is active.

    Args:
        depth_map: [H, W, maps] float, in blocks; one map, or one per group of RCAN.
        blocks: number of blocks of each map.

    Returns:
        [maps * blocks, 2] float64. For each block, the share of pixels with a positive mask, which conv2 computes, and the
        share of pixels with a positive mask among their 3x3 neighbours, which conv1 computes.

    Raises:
        ValueError: `depth_map` has another shape.
    """
    if depth_map.ndim != 3:
        raise ValueError(f"depth_map must be [H, W, maps], got shape {depth_map.shape}")
    return np.stack([_shares(values, blocks) for values in (depth_map, _dilated(depth_map))], axis=1)


def _shares(values: np.ndarray, blocks: int) -> np.ndarray:
    """Returns [maps * blocks]: the shares of pixels at which [H, W, maps] depths are above 0, 1, ... `blocks` - 1."""
    return np.array([np.mean(values[..., k] > block) for k in range(values.shape[2]) for block in range(blocks)])


def _dilated(depth_map: np.ndarray) -> np.ndarray:
    """Returns [H, W, maps]: the maximum depth among a pixel and its 3x3 neighbours."""
    height, width = depth_map.shape[:2]
    padded = np.pad(depth_map, ((1, 1), (1, 1), (0, 0)))
    return np.max([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)


def costs(model: keras.Model, integer: bool = False) -> dict[str, Any]:
    """Computes the costs of a network as a JSON-able dict. Sidecars keep it, so `count` needs no Keras model.

    Args:
        model: Keras AdaEDSR or AdaRCAN.
        integer: costs of an 8-bit file, which switches to dense blocks at another share.

    Returns:
        {"always": multiply-adds per LR pixel outside of the masked blocks,
        "once": those per image (behind global means),
        "blocks": [[conv1's, conv2's] of each masked block],
        "dense_above": share of active pixels, mean of both convolutions, above which blocks are computed densely
            (mobile_sr/adadsr/sparse_form.py),
        "span": number of successive blocks that share this decision}.
    """
    blocks = list(sparse_form.blocks(model).values())
    pairs = [[counts.per_pixel(conv) for conv in (block.conv1, block.conv2)] for block in blocks]
    one, two = (models.multiply_adds(model, pixels) for pixels in (1, 2))
    share = sparse_form.dense_above(blocks[0].conv2.kernel.shape[-1], integer)
    always, once = two - one - sum(map(sum, pairs)), 2 * one - two
    return {"always": always, "once": once, "blocks": pairs, "dense_above": share, "span": sparse_form.SPAN}


def count(costs: Mapping[str, Any], depth_map: np.ndarray, fallback: bool = True) -> float:
    """Counts the multiply-adds that the sparse path does for one image.

    The margins around active rows and the adapter are included. Index arithmetic and biases are not. `models.multiply_adds`
    gives the count for full masks.

    Args:
        costs: `costs` of the network.
        depth_map: [H, W, maps] float, the network's second output for the image.
        fallback: whether blocks with many active pixels are computed densely, as exported files do.
    """
    blocks = len(costs["blocks"]) // depth_map.shape[2]
    fractions = active_fractions(depth_map, blocks)
    dense = _dense(costs, depth_map, blocks) if fallback else np.zeros(len(fractions), bool)
    shares = np.where(dense[:, None], 1.0, fractions)[:, ::-1]  # conv1 works on the larger set
    per_pixel = costs["always"] + float(np.sum(shares * np.array(costs["blocks"])))
    return per_pixel * depth_map.shape[0] * depth_map.shape[1] + costs["once"]


def _dense(costs: Mapping[str, Any], depth_map: np.ndarray, blocks: int) -> np.ndarray:
    """Returns [maps * blocks] bool: the blocks that are computed densely, by the rule of sparse_form.Walk."""
    maps = [values[:: sparse_form.SAMPLED, :: sparse_form.SAMPLED] for values in (depth_map, _dilated(depth_map))]
    shares = np.mean([_shares(sample, blocks).reshape(-1, blocks) for sample in maps], axis=0)
    starts = range(0, blocks, costs["span"])
    means = [shares[:, start : start + costs["span"]].mean(axis=1) for start in starts]
    return np.repeat(np.stack(means, axis=1) > costs["dense_above"], costs["span"], axis=1)[:, :blocks].ravel()


def multiply_adds(model: keras.Model, depth_map: np.ndarray, fallback: bool = True) -> float:
    """Like `count`, for a Keras AdaEDSR or AdaRCAN."""
    return count(costs(model), depth_map, fallback)


def paper_count(config: Mapping[str, Any], lr_size: tuple[int, int], active: Sequence[float] | None = None) -> float:
    """Computes the paper's "FLOPs" of an EDSR or RCAN for one image, in units of 2**30.

    The rule is that of Liu et al., Tables 1 and 2, as in the authors' code. It counts multiply-adds and biases of all
    convolutions, and one operation for each value of a ReLU, for each residual addition and for each input pixel and feature
    of a pixel shuffle, summed over the image's parts (see `parts`). The convolutions of a masked block count where its mask is
    positive. This holds for the first convolution too, so its neighbour pixels are left out. The block's ReLU and addition
    count everywhere. Channel attention counts two operations for each value, and its 1x1 convolutions once. The adapter counts
    over the whole image, with one operation for each value of its PReLUs.

    Two slips of the authors' code are part of the printed figures: RCAN's upsampler counts as one of 256 channels, and the
    PReLUs of AdaRCAN's adapter as those of 128.

    Args:
        config: configuration of an EDSR or RCAN, with or without an adapter.
        lr_size: (H, W) in LR pixels.
        active: share of active pixels of each block, group after group; None means all of them.

    Raises:
        ValueError: the network is another one or has another number of blocks.
    """
    if config["network"] not in ("edsr", "rcan"):
        raise ValueError(f"the paper's rule applies to edsr and rcan only, got {config['network']!r}")
    config = models.complete(config)
    is_rcan, channels = config["network"] == "rcan", config["channels"]
    groups = config["groups"] if is_rcan else 1
    shares = [1.0] * (groups * config["blocks"]) if active is None else list(active)
    if len(shares) != groups * config["blocks"]:
        raise ValueError(f"got {len(shares)} active shares for {groups * config['blocks']} blocks")

    def convolution(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs

    body = convolution(channels, channels)
    count: float = convolution(3, channels) + (body + channels) * (groups + 1 if is_rcan else 1)
    count += sum(2 * body * share + (4 if is_rcan else 2) * channels for share in shares)
    wide, size = _PAPER_UPSAMPLER if is_rcan else channels, 1
    for factor in (2, 2) if config["scale"] == 4 else (config["scale"],):
        count += size * (convolution(wide, wide * factor**2) + wide)
        size *= factor**2
    count += size * convolution(channels, 3)
    hidden = max(1, channels // config["reduction"]) if is_rcan else 0
    once = len(shares) * (2 * channels * hidden + 3 * hidden + channels) if is_rcan else 0
    tiles = parts(lr_size)
    whole = _paper_adapter(config, groups) * lr_size[0] * lr_size[1] if models.has_depth(config) else 0
    return (count * sum(height * width for height, width in tiles) + once * len(tiles) + whole) / 2**30


def _paper_adapter(config: Mapping[str, Any], maps: int) -> int:
    """Operations of the adapter for each LR pixel, as `paper_count` counts them."""
    channels, is_rcan = config["channels"], config["network"] == "rcan"
    hidden = config["adapter_channels"] or (channels if is_rcan else channels // 2)
    sizes = [(channels, hidden), *[(hidden, hidden)] * 3, (hidden, maps)]
    return sum(9 * a * b + b for a, b in sizes) + 4 * (_PAPER_PRELU if is_rcan else hidden)


def parts(lr_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns (H, W) of the overlapping quarters, or quarters of quarters, that the authors' code runs for an image."""
    quarter = (lr_size[0] // 2 + SHAVE, lr_size[1] // 2 + SHAVE)
    if quarter[0] * quarter[1] < LARGEST:
        return [quarter] * 4
    return parts(quarter) * 4
