"""Maps of SPAN: its branches are merged exactly."""

import keras
import numpy as np

from mobile_sr.converters.pytorch.maps import compact


def test_the_branches_of_span_are_one_convolution():
    """A 1x1 plus 1x1, 3x3 and 1x1 with biases, run in PyTorch's order: the chain pads its input with zeros first."""
    rng = np.random.default_rng(0)
    sizes = {"sk": (4, 3, 1), "conv.0": (6, 3, 1), "conv.1": (8, 6, 3), "conv.2": (4, 8, 1)}
    state = {}
    for name, (outputs, inputs, side) in sizes.items():
        state[f"conv_2.{name}.weight"] = rng.normal(size=(outputs, inputs, side, side))
        state[f"conv_2.{name}.bias"] = rng.normal(size=outputs)
    x = rng.normal(size=(1, 5, 6, 3))

    def run(image, prefix, padding="valid"):
        kernel = state[f"{prefix}.weight"].transpose(2, 3, 1, 0)
        y = keras.ops.conv(image, kernel.astype(np.float32), padding=padding, data_format="channels_last")
        return keras.ops.convert_to_numpy(y) + state[f"{prefix}.bias"].astype(np.float32)

    y = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float32)
    for index in range(3):
        y = run(y, f"conv_2.conv.{index}")
    expected = y + run(x.astype(np.float32), "conv_2.sk")
    stale = {"conv_2.eval_conv.weight": np.zeros((4, 3, 3, 3)), "conv_2.eval_conv.bias": np.zeros(4)}
    first = {"conv_1.eval_conv.weight": np.ones((1, 1, 3, 3)), "conv_1.eval_conv.bias": np.zeros(1)}
    merged = compact.ARCHITECTURES["span"].prepare({**state, **stale, **first})
    assert sorted(merged) == ["conv_1.bias", "conv_1.weight", "conv_2.bias", "conv_2.weight", "mean.bias"]
    assert np.all(merged["conv_1.weight"] == 255)
    state |= {f"merged.{end}": merged[f"conv_2.{end}"] for end in ("weight", "bias")}
    np.testing.assert_allclose(run(x.astype(np.float32), "merged", "same"), expected, atol=2e-5)
