"""The public Python API: what it accepts, what it returns, and that errors name arguments."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mobile_sr
from mobile_sr import results
from mobile_sr.errors import UserError
from mobile_sr.imaging.resize import downscale
from tests.conftest import ROOT, make_image


@pytest.fixture(autouse=True)
def in_python(monkeypatch):
    monkeypatch.setattr(UserError, "names_options", False)


def test_importing_it_loads_nothing_heavy():
    code = "import sys, mobile_sr; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    )
    assert not loaded & {"numpy", "PIL", "keras", "tensorflow", "ai_edge_litert"}


def test_names():
    assert set(mobile_sr.__all__) == {
        *("UserError", "benchmark", "compare", "evaluate", "export", "inspect", "load", "search", "train"),
    }
    for name in mobile_sr.__all__:
        assert callable(getattr(mobile_sr, name))


def test_pil_images_stay_pil_images():
    upscaler = mobile_sr.load("xlsr_x3:uint8")
    image = make_image(20, 24)
    sr = upscaler(image)
    from_pil = upscaler(Image.fromarray(image))
    assert isinstance(from_pil, Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pil), sr)
    assert mobile_sr.load(upscaler) is upscaler


def test_keras_models():
    import keras

    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.UpSampling2D(2, interpolation="bilinear")(image), name="twice")
    upscaler = mobile_sr.load(model)
    assert (upscaler.scale, upscaler(make_image(8, 9)).shape) == (2, (16, 18, 3))
    assert mobile_sr.evaluate(model, [make_image(48, 48)]).psnr > 20
    with pytest.raises(ValueError, match="its scale is 2, not 3"):
        mobile_sr.load(model, scale=3)


@pytest.mark.parametrize("kind", ["arrays", "pil", "pairs", "mapping", "folder"])
def test_evaluate_accepts_images_of_many_kinds(kind, image_folder):
    arrays = [make_image(60, 48, seed) for seed in (1, 2)]
    data = {
        "arrays": arrays,
        "pil": [Image.fromarray(array) for array in arrays],
        "pairs": [("a", arrays[0]), ("b", arrays[1])],
        "mapping": {"a": arrays[0], "b": arrays[1]},
        "folder": image_folder,
    }[kind]
    result = mobile_sr.evaluate("xlsr_x3:uint8", data, ssim=False)
    assert result.model == "xlsr_x3:uint8"
    if kind != "folder":
        assert [image.name for image in result.images] == (
            ["a", "b"] if kind in ("pairs", "mapping") else ["image 0", "image 1"]
        )
        wanted = mobile_sr.evaluate("xlsr_x3:uint8", arrays, ssim=False)
        assert result.psnr == wanted.psnr == pytest.approx(np.mean([image.psnr for image in result.images]))
    assert result.to_dict()["mean"]["psnr"] == result.psnr
    assert "mean of" in result._repr_html_()


def test_compare_and_its_report(tmp_path):
    result = mobile_sr.compare("xlsr_x3:float32", "xlsr_x3:uint8", [make_image(60, 48)])
    assert result.drop_db == pytest.approx(result.reference_psnr - result.model_psnr)
    assert 0 <= result.model_colour_error <= 3
    assert result.save(tmp_path / "report").name == "report.html"
    assert json.loads((tmp_path / "report" / "report.json").read_text())["drop_db"] == result.drop_db
    with pytest.raises(ValueError, match="xlsr_x2:uint8: its scale is 2, not 3"):
        mobile_sr.compare("xlsr_x3:uint8", "xlsr_x2:uint8", [make_image(60, 48)])


def test_lists_of_models(tmp_path):
    images = [make_image(60, 48)]
    models = ["xlsr_x3:uint8", "xlsr_x2:uint8"]
    several = mobile_sr.evaluate(models, images, ssim=False)
    assert [result.psnr for result in several] == [mobile_sr.evaluate(model, images, ssim=False).psnr for model in models]
    found = mobile_sr.compare("xlsr_x3:float32", ["xlsr_x3:uint8"], images, metrics={"first": lambda sr, hr: sr[0, 0, 0]})
    pair = mobile_sr.compare("xlsr_x3:float32", "xlsr_x3:uint8", images)
    assert [entry.drop_db for entry in found.models] == [0, pair.drop_db]
    assert found.models[1].gain_db == pytest.approx(pair.model_psnr - found.bicubic_psnr)
    assert found.models[1].colour_error == pair.model_colour_error
    lr = downscale(images[0], 3)
    assert found.models[1].metrics == {"first": mobile_sr.load("xlsr_x3:uint8")(lr)[3, 3, 0]}
    assert "bicubic" in found._repr_html_()
    assert found.save(tmp_path / "report") == tmp_path / "report" / "report.html"
    for call in (lambda: mobile_sr.compare(None, "xlsr_x3:uint8", images), lambda: mobile_sr.evaluate([], images)):
        with pytest.raises(UserError, match="list"):
            call()


def test_train_export_inspect_benchmark(image_folder, tmp_path, cache):
    training = mobile_sr.train(
        "espcn_x3",  # of three layers, which compile quickly
        image_folder,
        tmp_path / "run",
        smoke=True,
        branches="none",
        steps=2,
        validate_every=1,
        cache=cache,
        brightness_factors=(1.0, 0.5),
    )
    assert (training.folder, training.selected_by) == (tmp_path / "run", "rgb")
    assert json.loads((training.folder / "config.json").read_text())["recipe"]["brightness_factors"] == [1.0, 0.5]
    files = mobile_sr.export(training.folder, tmp_path / "deploy", ["float32", "uint8"], max_colour_error=255)
    assert [path.name for path in files] == ["run_float32.tflite", "run_uint8.tflite"]
    assert files["uint8"] == files.files[1].path
    assert files.files[1].sidecar["audit"]["checks"]
    report = mobile_sr.inspect(files["uint8"])
    assert (report.passed, report.partitions, sum(report.ops.values()) > 5) == (True, 1, True)
    timing = mobile_sr.benchmark(files["uint8"], size=(16, 16), runs=1, warmup=0)
    assert timing.timings[0].latency_ms > 0
    layers = mobile_sr.inspect(files["uint8"], files["float32"], [make_image(48, 48)], crops=1).layers
    assert layers["layers"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mobile_sr.load("nosuch"), "nosuch"),
        (lambda: mobile_sr.load("bicubic"), "bicubic: needs a scale"),
        (lambda: mobile_sr.train("xlsr_x3", ".", "out", patch=-1), "^patch=-1: patch must be"),
        (lambda: mobile_sr.train("xlsr_x3", ".", "out", pach=1), "did you mean patch"),
        (lambda: mobile_sr.train("xlsr_x3", ".", "out", steps=0), "^steps 0: must be at least 1"),
        (lambda: mobile_sr.train("fgnas_x2", ".", "out"), "^recipe fgnas_x2: give the result of a search, by init"),
        (lambda: mobile_sr.train("fgnas_mobile_x2", ".", "out"), "is a search"),
        (lambda: mobile_sr.export("xlsr_x3", "out", ["uint9"]), "unknown precision 'uint9'"),
        (lambda: mobile_sr.export("xlsr_x3", "out", size=(0, 4)), "^height 0 width 4"),
        (lambda: mobile_sr.search("fgnas_mobile_x2", ".", "out", budget="x"), "^budget x"),
    ],
)
def test_errors_name_arguments(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "--" not in str(caught.value)


def test_every_result_is_a_documented_dataclass():
    kinds = [value for value in vars(results).values() if isinstance(value, type) and value.__module__ == results.__name__]
    assert len(kinds) > 8
    for kind in kinds:
        assert dataclasses.is_dataclass(kind)
        own = kind.__dict__.get("__annotations__", {})
        assert [name for name in own if f"        {name}: " not in kind.__doc__] == []


def test_the_reference_page_is_the_generated_one():
    from tools import api_reference

    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert page == api_reference.page()
    for name in set(mobile_sr.__all__) - {"UserError"}:
        assert f"### `mobile_sr.{name}(" in page
