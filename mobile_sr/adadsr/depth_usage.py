"""What adaptive inference did on an image: desired and mean depth, active shares of the blocks, executed multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.adadsr import depth_counts

FIGURES = ("desired", "mean", "multiply_adds")


def usage(costs: Mapping[str, Any] | None, depth_map: np.ndarray, desired: float | None) -> dict[str, Any]:
    """Returns the figures of one image as a JSON-able dict.

    Args:
        costs: `depth_counts.costs` of the network, None if unknown.
        depth_map: [H, W, maps] float, in blocks.
        desired: desired depth in blocks; None for a network with a fixed one.

    Returns:
        {"desired", "mean"} in blocks, {"active": the share of pixels at which each block's mask is positive, "multiply_adds":
        those of the sparse path}. The last two are None without costs.
    """
    result: dict[str, Any] = {"desired": None if desired is None else float(desired), "mean": float(depth_map.mean())}
    if costs is None:
        return {**result, "active": None, "multiply_adds": None}
    blocks = len(costs["blocks"]) // depth_map.shape[2]
    active = depth_counts.active_fractions(depth_map, blocks)[:, 0].tolist()
    return {**result, "active": active, "multiply_adds": depth_counts.count(costs, depth_map)}


def mean(rows: Sequence[Mapping[str, Any]], of: str, deepest: float) -> dict[str, Any]:
    """Returns the means of several `usage` as {"of", "deepest", "desired", "mean", "active", "multiply_adds"}.

    Args:
        rows: `usage` of each image.
        of: 'model' or 'reference'.
        deepest: the network's number of blocks.
    """
    result: dict[str, Any] = {"of": of, "deepest": deepest}
    for key in FIGURES:
        values = [row[key] for row in rows if row[key] is not None]
        result[key] = float(np.mean(values)) if values else None
    shares = [row["active"] for row in rows if row["active"] is not None]
    return {**result, "active": np.mean(shares, axis=0).tolist() if shares else None}


def describe(figures: Mapping[str, Any], deepest: float) -> str:
    """Returns 'mean depth 1.23 of 8 blocks, desired 2.00; 12.3 G multiply-adds; active per block 100 80 0 %'."""
    text = f"mean depth {figures['mean']:.2f} of {deepest:g} blocks"
    if figures["desired"] is not None:
        text += f", desired {figures['desired']:.2f}"
    if figures["multiply_adds"] is not None:
        text += f"; {figures['multiply_adds'] / 1e9:.3g} G multiply-adds"
    return text + (f"; active per block {shares(figures['active'])}" if figures["active"] is not None else "")


def shares(active: Sequence[float]) -> str:
    """Returns shares in percent, such as '100 80 0 %'; of many blocks (RCAN has 200) the mean of each tenth."""
    parts = np.array_split(np.asarray(active), 10) if len(active) > 32 else [np.array([share]) for share in active]
    tenths = " in tenths of the network" if len(active) > 32 else ""
    return f"{' '.join(f'{100 * part.mean():.0f}' for part in parts)} %{tenths}"
