import os

import numpy as np
import pytest

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference.upscaler import Upscaler, to_uint8
from tests.conftest import make_image


@pytest.mark.parametrize("tile", [13, 24, 40])
def test_tiled_equals_whole(exported, model_file, tile):
    image = make_image(61, 83, seed=5)
    for name, tolerance in (("tiny_uint8.tflite", 0), ("tiny_int8.tflite", 0), ("tiny_float32.tflite", 1e-5)):
        upscaler = load(exported / name)
        whole = upscaler.real(image, tile=0)
        assert whole.shape == (183, 249, 3)
        np.testing.assert_allclose(upscaler.real(image, tile=tile), whole, rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(load(model_file).real(image, tile), load(model_file).real(image, 0), rtol=0, atol=1e-5)
    bicubic = load("bicubic", 3)
    np.testing.assert_array_equal(bicubic(image, tile), imresize(image, 3))


def test_a_smaller_overlap_is_detected(exported):
    """The test above can fail: one pixel less than the receptive field gives another output."""
    image = make_image(61, 83, seed=5)
    upscaler = load(exported / "tiny_uint8.tflite")
    whole = upscaler(image, tile=0)
    upscaler.receptive_field -= 1
    assert (upscaler(image, tile=24) != whole).any()


def test_every_form_of_a_model_gives_the_same_output(exported, model_file, photo):
    keras_image = load(model_file)(photo)
    float32, float16 = (load(exported / f"tiny_{p}.tflite")(photo) for p in ("float32", "float16"))
    uint8, int8 = (load(exported / f"tiny_{p}.tflite")(photo) for p in ("uint8", "int8"))
    assert np.abs(float32.astype(int) - keras_image).max() <= 1
    assert np.abs(float16.astype(int) - keras_image).max() <= 2
    np.testing.assert_array_equal(uint8, int8)
    assert np.abs(uint8.astype(int) - keras_image).mean() < 4


def test_fixed_size_files_upscale_images_of_any_size(model_file, tmp_path, exported):
    from mobile_sr.quantization.export import export

    fixed = load(export(model_file, tmp_path, ["float32"], size=(40, 48), log=lambda line: None)[0])
    assert fixed.fixed == (40, 48)
    large = make_image(77, 101, seed=2)
    np.testing.assert_allclose(fixed.real(large), load(exported / "tiny_float32.tflite").real(large), rtol=0, atol=1e-5)
    small = make_image(9, 50, seed=2)
    assert fixed(small).shape == (27, 150, 3)


@pytest.mark.slow
def test_a_linear_output_is_converted_by_its_scale(model_file, tmp_path, photo):
    """Its scale is not 1/255. The output is converted by the scale and zero point of the file."""
    from mobile_sr.inference import weights
    from mobile_sr.quantization.export import export

    model, config = weights.load_model(model_file)
    config = {**config, "output_activation": "linear"}
    weights.save_model(tmp_path / "linear.npz", model, config)
    path = export(tmp_path / "linear.npz", tmp_path / "out", ["uint8"], log=lambda line: None)[0]
    upscaler = load(path)
    float_image = load(tmp_path / "linear.npz")(photo)
    assert np.abs(upscaler(photo).astype(int) - float_image).mean() < 6


def test_images_of_one_pixel(exported):
    assert load(exported / "tiny_uint8.tflite")(np.zeros((1, 1, 3), np.uint8)).shape == (3, 3, 3)


def test_rounding_is_half_up_and_clipped():
    np.testing.assert_array_equal(to_uint8(np.array([-0.2, 0.5 / 255, 0.499 / 255, 0.5, 1.7], np.float32)), [0, 1, 0, 128, 255])


def test_progress_counts_tiles():
    seen = []
    Upscaler("x", 1, lambda image: image, 2)(np.zeros((30, 30, 3), np.uint8), 10, lambda *a: seen.append(a))
    assert seen[0] == (1, 9)
    assert seen[-1] == (9, 9)


def test_wrong_images_and_names(tmp_path, photo, exported, model_file):
    upscaler = load("bicubic", 2)
    for bad in (photo[:, :, 0], photo.astype(float), photo[:0]):
        with pytest.raises(ValueError, match="uint8 image"):
            upscaler(bad)
    for name, pattern in (("nosuch", "zoo"), (tmp_path, "best.npz"), (__file__, "not a model"), ("bicubic", "scale")):
        with pytest.raises(UserError, match=pattern):
            load(name)
    with pytest.raises(UserError, match="its scale is 3, not 2"):
        load(exported / "tiny_uint8.tflite", scale=2)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((exported / "tiny_uint8.tflite").read_bytes()[:20000])
    with pytest.raises(UserError, match=r"damaged\.tflite"):
        load(damaged)


def test_keras_archives_load(model_file, tmp_path, photo):
    from mobile_sr.inference import weights

    weights.load_model(model_file)[0].save(tmp_path / "net.keras")
    np.testing.assert_array_equal(load(tmp_path / "net.keras")(photo), load(model_file)(photo))
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.keras"):
        load(tmp_path / "bad.keras")
    assert os.path.getsize(tmp_path / "net.keras") > 10_000
