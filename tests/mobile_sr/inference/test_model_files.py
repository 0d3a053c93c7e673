import pytest

from mobile_sr import models
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.imaging.images import read_image
from mobile_sr.importing import checkpoint
from mobile_sr.inference import upscaler, weights
from mobile_sr.inference.model_files import find, locate_tflite
from mobile_sr.training import recipes

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 132735\n"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("xlsr_x3", "xlsr_x3: Keras weights, but a .tflite is needed here; use xlsr_x3:uint8 or xlsr_x3:float32"),
        ("bicubic", "bicubic: has no file; a .tflite is needed here"),
        ("{}/run", "run: a folder, but a .tflite is needed here; `mobile-sr export --model .*/run` makes one"),
        ("{}/a.npz", "a.npz: Keras weights, .*`mobile-sr export --model .*/a.npz`"),
        ("{}/a.onnx", "a.onnx: an ONNX file, but a .tflite is needed here; `mobile-sr export --model .*/a.onnx` makes one"),
        ("{}/a.keras", "a.keras: a Keras file, but a .tflite is needed here; `mobile-sr export --model .*/a.keras` makes one"),
        ("{}/a.json", "a.json: JSON, but a .tflite is needed here$"),
    ],
)
def test_another_kind_of_model(tmp_path, model, said):
    (tmp_path / "run").mkdir()
    for suffix in ("npz", "onnx", "keras", "json"):
        (tmp_path / f"a.{suffix}").write_bytes(b"anything")
    with pytest.raises(UserError, match=said):
        locate_tflite(model.format(tmp_path))


@pytest.mark.parametrize("name", ["a.tflite", "a.npz", "a.onnx", "a.keras", "a.png", "a.pth", "a.JPG"])
def test_a_git_lfs_pointer(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    read = {"png": read_image, "jpg": read_image, "pth": checkpoint.read}.get(name.lower()[2:], find)
    with pytest.raises(UserError, match=rf"{name}: a git-LFS pointer, not the file itself; `git lfs pull`"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: upscaler.load("xslr_x3"), "did you mean xlsr_x3?"),
        (lambda: upscaler.load("XLSR_x2"), "did you mean xlsr_x2?"),
        (lambda: upscaler.load("bicubc", 2), "did you mean bicubic?"),
        (lambda: upscaler.load("xlsr_x3:unit8"), "did you mean uint8?"),
        (lambda: recipes.load("xlrs_zoo_x3"), "did you mean xlsr_zoo_x3?"),
        (lambda: recipes.override(recipes.load("xlsr_x3"), ["pach=8"]), "did you mean patch?"),
        (lambda: recipes.override(recipes.load("xlsr_x3"), ["loss=charbonier"]), "did you mean charbonnier?"),
        (lambda: models.receptive_field({"network": "xlrs"}), "did you mean xlsr?"),
    ],
)
def test_the_closest_name_is_offered(call, said):
    with pytest.raises((UserError, ValueError)) as caught:
        call()
    assert str(caught.value).endswith(said)


def test_nothing_close_is_not_offered(tmp_path):
    assert not did_you_mean("zzz", ["xlsr_x3", "bicubic"])
    with pytest.raises(UserError) as caught:
        weights.model_file(find(tmp_path / "xlsr_x3.npz"))
    assert "did you mean" not in str(caught.value)


def test_a_field_set_twice():
    with pytest.raises(UserError, match="--set patch=8: patch is set more than once"):
        recipes.override(recipes.load("xlsr_x3"), ["patch=8", "patch=9"])
