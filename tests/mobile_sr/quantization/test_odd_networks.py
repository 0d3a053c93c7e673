"""Realistic networks from elsewhere that were exported wrongly, or refused without a clear reason."""

import keras
import numpy as np
import pytest
from keras import layers

import mobile_sr
from mobile_sr.converters.formats import to_float_tflite
from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.quantization import export as exporter
from mobile_sr.quantization import source as sources
from tests.mobile_sr.quantization import foreign_nets


@pytest.fixture(scope="module")
def photos():
    return [(name, image[60:220, 80:280]) for name, image in sample_images.images(["astronaut", "coffee"])]


def unclipped_255():
    """As MLPerf's EDSR: 0..255 at both ends, and an output that overshoots."""
    return foreign_nets.functional(white=255, clip=False)


def scaled_inside():
    """Values in 0..255, and the output clipped to 0..1."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, foreign_nets.functional()(layers.Rescaling(1 / 255)(image)), name="scaled")


def normalized():
    """A LayerNormalization in parallel to the image, whose parts have no 8-bit form in TensorFlow."""
    image = keras.Input((None, None, 3))
    x = layers.LayerNormalization()(layers.Conv2D(8, 3, padding="same")(image))
    x = layers.Conv2D(3, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(0, 1e-4, seed=0))(x)
    return keras.Model(image, foreign_nets.functional()(layers.Add()([image, x])), name="normalized")


@pytest.mark.parametrize(
    ("build", "ends"),
    [
        (scaled_inside, (255, 1)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((unclipped_255, (255, 255)), (normalized, (1, 1)))),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bytes_are_pixels_and_the_drop_is_small(build, ends, photos, tmp_path):
    keras.utils.set_random_seed(0)
    network = build()
    float32, *integers = mobile_sr.export(network, tmp_path, ["float32", "uint8", "int8"]).files
    for file in integers:
        for end, high in zip(("inputs", "outputs"), ends, strict=True):
            (tensor,) = file.sidecar[end]
            assert tensor["scale"] == pytest.approx(high / 255)
            assert tensor["zero_point"] == (0 if file.precision == "uint8" else -128)
        assert all(check["passed"] for check in file.sidecar["audit"]["checks"])
        checks = [check["check"].partition(", zero")[0] for check in file.sidecar["audit"]["checks"]]
        for end, high in zip(("input", "output"), ends, strict=True):
            assert f"{end} scale {'1/255' if high == 1 else '1'}" in checks
        suffix = "" if ends[0] == ends[1] else f"@range_in={ends[0]},range_out={ends[1]}"
        drop = mobile_sr.compare(f"{float32.path}{suffix}", file.path, photos).drop_db
        assert -0.05 < drop < 0.10, build.__name__


@pytest.mark.slow
def test_the_debugger_finds_the_overshoot(photos, tmp_path):
    """The float file overshoots, the uint8 file saturates; PSNR clips both."""
    files = {file.precision: file.path for file in mobile_sr.export(unclipped_255(), tmp_path).files}
    found = mobile_sr.inspect(files["uint8"], files["float32"], photos).layers
    split = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert split["model"] == pytest.approx(split["simulated"], abs=0.01)


def test_an_overflow_of_the_conversion_alone():
    """TensorFlow writes softplus with exp, which overflows for values of some hundreds; the network is one of 0..1."""
    image = keras.Input((None, None, 3))
    kernel = keras.initializers.Constant(np.ones((1, 1, 3, 4)))
    x = layers.Activation("softplus")(layers.Conv2D(4, 1, kernel_initializer=kernel)(image))
    converted = to_float_tflite(keras.Model(image, layers.Conv2D(3, 1)(x), name="softplus"))
    assert converted.notes[-1] == "the conversion overflows for values in 0..255, unlike the original"


def test_reasons():
    image = keras.Input((None, None, 3))
    network = keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear")(image), name="resize")
    with pytest.raises(UserError, match="resize: cannot be traced .UpSampling2D: Using a symbolic .* not allowed.; .*height"):
        sources.open_foreign(network, None)


def test_a_network_without_convolutions(tmp_path):
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, layers.UpSampling2D(2)(image), name="resize")
    with pytest.raises(exporter.AuditError, match=r"every convolution in int8, .* \(found no convolution\)"):
        mobile_sr.export(network, tmp_path, ["uint8"])
