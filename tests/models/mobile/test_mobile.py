"""Networks for phones by others: parameters as published, shapes, and the anchor of ECBSR."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.models.mobile import etds

SIZES = {"ETDS-T": (16, 5), "ETDS-S": (32, 4), "ETDS-M": (32, 6), "ETDS-L": (48, 7)}
# By scale, as the authors' code prints them for its ETDSForInference.
PUBLISHED = {
    "ETDS-T": (13_944, 16_920, 21_360),
    "ETDS-S": (None, 46_792, None),
    "ETDS-M": (60_008, 65_288, 72_608),
    "ETDS-L": (152_184, 159_768, 169_968),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_of_etds(name, scale):
    """As published, less the 1x1 convolution of the clip and, at x3, the channel that pads its 27 to 28."""
    channels, blocks = SIZES[name]
    count = models.build({"network": "etds", "scale": scale, "channels": channels, "blocks": blocks}).count_params()
    outputs = 28 if scale == 3 else 3 * scale**2
    padding = (outputs - 3 * scale**2) * (9 * channels + 1)
    published = PUBLISHED[name][scale - 2]
    assert published in (None, count + padding + outputs * outputs + outputs)
    row = next(line for line in etds.__doc__.splitlines() if line.startswith(f"| {name} |"))
    assert [int(cell.replace(",", "")) for cell in row.split(" | ")[2:4]] == [channels, blocks]
    assert int(row.split("|")[3 + scale].replace(",", "")) == count


@pytest.mark.parametrize(
    ("channels", "scale", "parameters"),
    [(16, 2, 11_548), (16, 3, 13_723), (16, 4, 16_768), (32, 2, 41_516), (32, 3, 45_851), (32, 4, 51_920)],
)
def test_parameters_of_ecbsr(channels, scale, parameters):
    """As the authors of ETDS print them for M4C16 and M4C32."""
    assert models.build({"network": "ecbsr", "scale": scale, "channels": channels}).count_params() == parameters


@pytest.mark.parametrize(("network", "added"), [("etds", False), ("ecbsr", True)])
def test_shape_and_anchor(network, added):
    """With zeros for weights, ECBSR is nearest-neighbour upscaling."""
    model = models.build({"network": network, "scale": 3, "channels": 8, "blocks": 1})
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.random.default_rng(0).random((2, 4, 5, 3)).astype(np.float32)
    sr = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_array_equal(sr, x.repeat(3, axis=1).repeat(3, axis=2) * added)
    with pytest.raises(ValueError, match="output_activation"):
        models.build({"network": network}, output_activation="tanh")
