"""Every threshold from both sides. test_quantization_debugger.py has the suggestions of whole networks."""

import pytest

from mobile_sr.quantization import suggestions

ROW = {
    "name": "a",
    "share": 0.5,
    "own_sqnr_db": 30.0,
    "weights_sqnr_db": 40.0,
    "farthest_operand": 1,
    "farthest_weight": [0],
    "farthest_model": 9.0,
    "farthest_reference": 0.1,
    "bias_error_steps": 0.0,
    "own_by_weights_db": 45.0,
    "own_by_rounding_db": 32.0,
    "weight_scales": "per channel",
    "saturation_share_of_rounding": 0.0,
    "saturated_low": 0.0,
    "saturated_high": 0.02,
    "of_output": False,
    "shares_range_with": ["b"],
    "range_used": 1.0,
    "range_of_most": 1.0,
    "channel_range_used": 1.0,
    "dtype": "int8",
}


@pytest.mark.parametrize(
    ("change", "key", "inside", "outside", "words"),
    [
        ({}, "weights_sqnr_db", 14.99, 15.0, "its stored weights are not the reference's"),
        ({}, "range_used", 0.499, 0.5, "of a range that it shares with b"),
        ({}, "channel_range_used", 0.499, 0.5, "half of its channels"),
        ({}, "range_of_most", 0.499, 0.5, "outliers"),
        ({}, "saturation_share_of_rounding", 0.501, 0.5, "2.00% of its values saturate"),
        ({}, "own_by_weights_db", 31.99, 32.0, "its weights cost most"),
        ({"own_by_weights_db": 20.0}, "bias_error_steps", 4.01, 4.0, "its stored bias is off"),
        # 10 dB worse than the rounding and the weights explain
        ({"bias_error_steps": 9.0}, "own_by_weights_db", 21.99, 22.0, "its stored bias is off"),
        ({"bias_error_steps": 9.0, "weights_sqnr_db": 30.0}, "own_by_weights_db", 19.99, 20.0, "its stored bias is off"),
    ],
)
def test_thresholds_of_the_words(change, key, inside, outside, words):
    assert words in suggestions.suggest({**ROW, **change, key: inside})
    assert words not in suggestions.suggest({**ROW, **change, key: outside})


def ranked(*changes):
    """The names that `rank` gives for rows a, b, ... with these changes."""
    return suggestions.rank([{**ROW, "name": name, **change} for name, change in zip("abcdef", changes, strict=False)])


def test_a_layer_is_named_if_it_has_a_twentieth_of_the_noise():
    assert ranked({"share": 0.9}, {"share": 0.05}, {"share": 0.0499}) == ["a", "b"]
    assert ranked({"share": 0.01}, {"share": 0.02}) == ["b"]  # the worst always
    assert ranked(*({"share": share} for share in (0.1, 0.2, 0.3, 0.4))) == ["d", "c", "b"]


def test_below_10_db_a_layer_is_damaged():
    for key in ("own_sqnr_db", "weights_sqnr_db"):
        assert ranked({"share": 0.9}, {"share": 0.02, key: 9.99}) == ["b", "a"]
        assert ranked({"share": 0.9}, {"share": 0.02, key: 10.0}) == ["a"]
    assert ranked({"share": 0.9}, {"share": 0.01, "own_sqnr_db": 0.0}) == ["b", "a"]
    assert ranked({"share": 0.9}, {"share": 0.0099, "own_sqnr_db": 0.0}) == ["a"]  # hardly matters
    assert ranked({"share": 0.9}, {"share": 0.0, "weights_sqnr_db": 0.0}) == ["b", "a"]
