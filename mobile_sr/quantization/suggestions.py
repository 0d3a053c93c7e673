"""Which layers of an integer network to mend first, and what to try, by rule."""

BROKEN_DB = 10  # SQNR of a layer's own result or of its weights below which it is damaged: plain 8 bits give 25 to 45
BROKEN_SHARE = 0.01  # of the picture's noise, for a bad result to count as damage: some layers hardly matter
WORST = 3  # layers named at most
LEAST_SHARE = 0.05  # of the picture's noise, for a layer to be named

_WEIGHTS_OFF_DB = 15  # int8 weights of the same net have 30 to 50, also with one scale for all channels
_BIAS_STEPS = 4.0  # of the result's grid; a correction of what the weights' rounding moves is mostly of 1 or 2 steps, ...
_BIAS_DB = 10.0  # ... and where it is more, it still leaves no more than this beyond what the weights and the rounding do
_MOSTLY = 0.5
_SMALL_USE = 0.5


def rank(layers):
    """Order layers by what they cost the picture and give the worst a suggestion.

    Damaged layers come first, by the SQNR of their own result or of their weights: the picture's clip at black and white
    and activations that are off hide how bad they are. All others follow by the noise that each alone puts into the picture.

    Args:
        layers: rows of error_location.locate; those named get "rank" (1 is the worst) and "suggestion", others None.
    Returns: names of the worst, WORST at most.
    """
    candidates = [row for row in layers if row["share"] is not None]
    broken = [row for row in candidates if _damage(row) is not None]
    others = [row for row in candidates if _damage(row) is None]
    order = sorted(broken, key=_damage) + sorted(others, key=lambda row: -row["share"])
    named = [row for row in order if row["share"] >= LEAST_SHARE or row in broken][:WORST] or order[:1]
    for row in layers:
        row["rank"] = row["suggestion"] = None
    for place, row in enumerate(named, 1):
        row["rank"], row["suggestion"] = place, suggest(row)
    return [row["name"] for row in named]


def _damage(row):
    """The SQNR by which a layer is damaged, None when it is not."""
    found = [row["weights_sqnr_db"]] + ([row["own_sqnr_db"]] if row["share"] >= BROKEN_SHARE else [])
    bad = [value for value in found if value is not None and value < BROKEN_DB]
    return min(bad) if bad else None


def suggest(row):
    """What to try for a layer, in a sentence."""
    if row["weights_sqnr_db"] is not None and row["weights_sqnr_db"] < _WEIGHTS_OFF_DB:
        return (
            f"its stored weights are not the reference's (SQNR {row['weights_sqnr_db']:.1f} dB; operand "
            f"{row['farthest_operand']} at {row['farthest_weight']} is {row['farthest_model']:.4g} instead of "
            f"{row['farthest_reference']:.4g}): convert both files from the same weights; where they are the same, one "
            "huge weight takes the range of all: clip it or train it away"
        )
    if _bias_is_off(row):
        return (
            f"its stored bias is off by up to {row['bias_error_steps']:.1f} steps of its result's grid, more than a "
            "correction would be: convert both files from the same weights; TensorFlow's converter also does this to a bias "
            "whose values are all equal"
        )
    by_weights, by_rounding = row["own_by_weights_db"], row["own_by_rounding_db"]
    if by_rounding is None or (by_weights is not None and by_weights < by_rounding):
        if row["weight_scales"] == "per tensor":
            return "its weights cost most and have one scale: use one scale per channel, or quantization-aware training"
        return "its weights cost most: better rounding of the weights (AdaRound), or quantization-aware training"
    return _suggest_for_range(row)


def _bias_is_off(row):
    """Whether the stored bias does harm: a correction may be large, but not worse than what it corrects."""
    if (row["bias_error_steps"] or 0) <= _BIAS_STEPS or row["own_by_weights_db"] is None:
        return False
    explained = (row[key] for key in ("weights_sqnr_db", "own_by_rounding_db") if row[key] is not None)
    return row["own_by_weights_db"] < min(explained, default=0.0) - _BIAS_DB


def _suggest_for_range(row):
    """As `suggest`, where the rounding of the result costs most."""
    if row["saturation_share_of_rounding"] > _MOSTLY:
        saturated = row["saturated_low"] + row["saturated_high"]
        return (
            f"{saturated:.2%} of its values saturate and make most of its error: calibrate on more and more varied images, "
            "so that its range gets wider"
        )
    if row["of_output"]:
        return "it is the rounding of the picture itself: an output in float or 16 bits, if the application can take it"
    if row["shares_range_with"] and row["range_used"] < _SMALL_USE:
        return (
            f"it uses {row['range_used']:.0%} of a range that it shares with {', '.join(row['shares_range_with'])}: "
            "equalization, which brings both to one size, or a convolution for each instead of the shared tensor"
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
            f"99.9 % of its values lie in {row['range_of_most']:.0%} of the range, the rest are outliers: a robust range "
            "(calibration by percentile), a clipped activation before it, or 16-bit activations"
        )
    if row["dtype"] == "int16":
        return "it uses its range well, in 16 bits: nothing but a float layer would be better"
    return "it uses its range well; its 8 bits are too few: 16-bit activations, or quantization-aware training"
