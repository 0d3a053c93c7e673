"""What `export` opens: networks of ours or of others, with options, notes and calibration samples."""

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr.errors import UserError
from mobile_sr.quantization import source as sources
from tests.mobile_sr.quantization import foreign_nets


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("xlsr_x3", True),
        ("runs/x3", True),
        ("net.npz", True),
        ("net.keras", False),
        ("net.tflite@range=255", False),
        ("net.onnx@range=1,order=bgr", False),
        ("code.py:net", False),
        ("code.py:net@range=255", False),
        (object(), False),
    ],
)
def test_whose_network_it_is(model, own):
    assert sources.is_own(model) == own


def test_folders(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    assert not sources.is_own(tmp_path / "saved")
    assert sources.is_own(tmp_path)


def test_the_samples_of_a_luma_network():
    """Y in 16..235, and both ends of 0..1: the 8-bit input then has the scale 1/255."""
    source = sources.open_foreign(foreign_nets.functional((16, 20), channels=1), None)
    black, *_, low, high = source.samples([np.zeros((1, 16, 20, 3), np.float32)] * 2)
    assert black.shape == low.shape == (1, 16, 20, 1)
    assert (low.max(), high.min(), source.samples([])) == (0, 1, [])
    np.testing.assert_allclose(black, 16 / 255, atol=1e-6)


def test_receptive_fields_and_notes():
    def of(body, size=(None, None)):
        image = keras.Input((*size, 3))
        source = sources.open_foreign(keras.Model(image, body(image), name="net"), None)
        return source.facts["receptive_field"], [note for note in source.notes if "tiles" in note]

    def wide(x):
        return layers.Conv2D(3, 11, padding="same")(x)

    def whole(x):
        return layers.Conv2D(3, 3, padding="same")(x) * layers.GlobalAveragePooling2D(keepdims=True)(x)

    assert of(wide) == (5, [])
    assert of(wide, (10, 16)) == (
        None,
        ["an output pixel depends on 5 LR pixels to each side: in images larger than 16x10, tiles may be visible"],
    )
    assert of(whole) == (
        None,
        [
            "its receptive field is not known: images are upscaled in one piece; `upscale --tile` saves memory, "
            "and tiles may be visible"
        ],
    )


def test_value_ranges():
    image = keras.Input((8, 8, 3))
    mixed = keras.Model(image, layers.Rescaling(255.0)(layers.UpSampling2D(2)(image)), name="mixed")
    source = sources.open_foreign(mixed, None, {"range_in": 1, "range_out": 255})
    assert "value_range" not in source.facts
    assert source.notes[-1] == "values in 0..1, out 0..255: use the float files with @range_in=1,range_out=255"
    centred = keras.Model(image, layers.UpSampling2D(2)(image))
    assert sources.open_foreign(centred, None, {"range": -1}).facts["value_range"] == [-1, 1]


def test_options_are_checked():
    net = foreign_nets.functional((16, 16))
    with pytest.raises(UserError, match="range=7; use 1"):
        sources.open_foreign(net, None, {"range": 7})
