"""Rule-based suggestions: the layers of an integer network that lose most, and what to try for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BROKEN_DB = 10  # a layer is damaged if the SQNR of its result or weights is below; plain 8 bits give 25 to 45
BROKEN_SHARE = 0.01  # of the output's noise: below it, a bad result is not damage, because some layers hardly matter
WORST = 3  # maximum number of layers to name
LEAST_SHARE = 0.05  # minimum share of the output's noise for a layer to be named

_WEIGHTS_OFF_DB = 15  # int8 weights of the same network have 30 to 50, even with one scale for all channels
_BIAS_STEPS = (
    4.0  # quantization steps of the result; a bias correction (converters/quantization/gptq.py) mostly is 1 or 2 steps, ...
)
_BIAS_DB = 10.0  # ... and a larger one still adds no more error than this beyond that of the weights and the rounding
_MOSTLY = 0.5
_SMALL_USE = 0.5


def rank(layers: Sequence[dict[str, Any]]) -> list[str]:
    """Rank layers by their effect on the output and add suggestions for the worst ones.

    Damaged layers come first, by the SQNR of their own result or of their weights: clipping of the output at black and
    white, and inactive ReLUs, can hide how bad they are. All others follow by the noise that each alone adds to the output.

    Args:
        layers: rows of `quantization_debugger.locate`. Every row gets "rank" (1 is the worst) and "suggestion"; both are None
            for layers that are not named.
    Returns: names of the worst layers, at most WORST.
    """
    candidates = [row for row in layers if row["share"] is not None]
    damage = {id(row): value for row in candidates if (value := _damage(row)) is not None}
    broken = [row for row in candidates if id(row) in damage]
    others = [row for row in candidates if id(row) not in damage]
    order = sorted(broken, key=lambda row: damage[id(row)]) + sorted(others, key=lambda row: -row["share"])
    named = [row for row in order if row["share"] >= LEAST_SHARE or row in broken][:WORST] or order[:1]
    for row in layers:
        row["rank"] = row["suggestion"] = None
    for number, row in enumerate(named, 1):
        row["rank"], row["suggestion"] = number, suggest(row)
    return [row["name"] for row in named]


def _damage(row: Mapping[str, Any]) -> float | None:
    """The SQNR that makes a layer a damaged one; None when it is not damaged."""
    values = [row["weights_sqnr_db"]] + ([row["own_sqnr_db"]] if row["share"] >= BROKEN_SHARE else [])
    bad = [value for value in values if value is not None and value < BROKEN_DB]
    return min(bad) if bad else None


def suggest(row: Mapping[str, Any]) -> str:
    """Returns what to try for a layer, as one sentence about a row of `quantization_debugger.locate`."""
    if row["weights_sqnr_db"] is not None and row["weights_sqnr_db"] < _WEIGHTS_OFF_DB:
        return (
            f"its stored weights are not the reference's (SQNR {row['weights_sqnr_db']:.1f} dB; operand "
            f"{row['farthest_operand']} at {row['farthest_weight']} is {row['farthest_model']:.4g} instead of "
            f"{row['farthest_reference']:.4g}): convert both files from the same weights; if they are the same, one "
            "huge weight takes up the range of all: clip it or train it away"
        )
    if _bias_is_off(row):
        return (
            f"its stored bias is off by up to {row['bias_error_steps']:.1f} quantization steps of its result, more than a "
            "correction would be: convert both files from the same weights; TensorFlow's converter also does this to a bias "
            "of equal values"
        )
    by_weights, by_rounding = row["own_by_weights_db"], row["own_by_rounding_db"]
    if by_rounding is None or (by_weights is not None and by_weights < by_rounding):
        if row["weight_scales"] == "per tensor":
            return "its weights cost most and have one scale: use one scale per channel, or quantization-aware training"
        return "its weights cost most: better rounding of the weights (AdaRound), or quantization-aware training"
    return _suggest_for_range(row)


def _bias_is_off(row: Mapping[str, Any]) -> bool:
    """Whether the stored bias increases the error. A correction may be large, but not worse than the error that it corrects."""
    if (row["bias_error_steps"] or 0) <= _BIAS_STEPS or row["own_by_weights_db"] is None:
        return False
    explained = (row[key] for key in ("weights_sqnr_db", "own_by_rounding_db") if row[key] is not None)
    return row["own_by_weights_db"] < min(explained, default=0.0) - _BIAS_DB


def _suggest_for_range(row: Mapping[str, Any]) -> str:
    """Like `suggest`, for a layer with the largest loss by rounding its result."""
    if row["saturation_share_of_rounding"] > _MOSTLY:
        saturated = row["saturated_low"] + row["saturated_high"]
        return (
            f"{saturated:.2%} of its values saturate and make most of its error: widen its range by calibrating on more "
            "and more varied images"
        )
    if row["of_output"]:
        return "it is the rounding of the output image itself: use a float or 16-bit output if the application accepts one"
    if row["shares_range_with"] and row["range_used"] < _SMALL_USE:
        return (
            f"it uses {row['range_used']:.0%} of a range that it shares with {', '.join(row['shares_range_with'])}: "
            "equalization, which brings both to the same size, or separate convolutions instead of the shared tensor"
        )
    if row["channel_range_used"] < _SMALL_USE:
        shared = row["shares_range_with"]
        return (
            f"half of its channels use less than {row['channel_range_used']:.0%} of the range"
            f"{', which it shares with ' + ', '.join(shared) if shared else ''}: equalization across layers, which scales "
            "the channels to one size"
        )
    if row["range_of_most"] < _SMALL_USE:
        return (
            f"99.9 % of its values are in {row['range_of_most']:.0%} of the range, the rest are outliers: a robust range "
            "(calibration by percentile), a clipped activation before it, or 16-bit activations"
        )
    if row["dtype"] == "int16":
        return "it uses its range well, in 16 bits: only a float layer would be better"
    return "it uses its range well; its 8 bits are too few: 16-bit activations, or quantization-aware training"
