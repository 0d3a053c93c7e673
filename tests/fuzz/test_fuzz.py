"""Damaged images, model files and run folders: every outcome is a result or a UserError.

A child process (child.py) runs the mutations. A crash of native code or a hang is reported with its seed, and the other
mutations still run.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mobile_sr import zoo
from mobile_sr.training import train_loop
from tests.conftest import ROOT, make_image, smoke_recipe
from tests.fuzz.child import RUN_RECIPE


def problems(kind, files, count, folder, limit_s=20):
    """Run `count` mutations; returns a line for each that ended in neither a result nor a UserError."""
    found, first = [], 0
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    while first < count and len(found) < 20:
        command = [sys.executable, "-m", "tests.fuzz.child", kind, str(first), str(count), str(limit_s), *map(str, files)]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=3600)
        lines = [line.split(maxsplit=1) for line in ended.stdout.splitlines()]
        assert lines, ended.stderr
        found += [f"{kind} seed {seed}: {rest[0]}" for seed, *rest in lines if rest]
        first = int(lines[-1][0]) + 1
        if ended.returncode:
            found.append(f"{kind} seed {first - 1}: ended with {ended.returncode} {ended.stderr[-500:]}")
    return found


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """One small file of every format that the reader supports."""
    folder = tmp_path_factory.mktemp("sorts")
    photo = make_image(24, 30)
    image, gray = Image.fromarray(photo), Image.fromarray(photo[:, :, 0])
    clear = image.copy()
    clear.putalpha(gray)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [image.rotate(90)]}
    image.save(folder / "rgb.png")
    image.save(folder / "rgb.jpg")
    image.save(folder / "rgb.bmp")
    image.save(folder / "lossy.webp")
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "turned.jpg", exif=exif)
    image.save(folder / "turned.png", exif=exif)
    image.save(folder / "moving.png", **frames)
    image.save(folder / "moving.webp", **frames)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.quantize(16).save(folder / "palette.png")
    image.quantize(16).save(folder / "palette.bmp")
    image.convert("1").save(folder / "bits.bmp")
    gray.save(folder / "gray.png")
    gray.save(folder / "gray.jpg")
    clear.save(folder / "clear.png")
    clear.save(folder / "clear.webp")
    Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    return sorted(folder.iterdir())


def counts(quick, thorough):
    """A quick number of mutations, and many more where there is time."""
    return pytest.mark.parametrize("count", [quick, pytest.param(thorough, marks=pytest.mark.slow)])


def test_the_harness_detects_failures(tmp_path):
    traps = ("fine", "raise", "crash", "hang", "bomb")
    for trap in traps:
        (tmp_path / trap).write_text(trap)
    found = problems("trap", [tmp_path / trap for trap in traps], 6, tmp_path, limit_s=1)
    assert [line.split(": ")[0] for line in found] == [f"trap seed {seed}" for seed in (1, 2, 3, 4)]
    for line, part in zip(found, ("KeyError('oops')", "ended with -11", "ended with -14", "MemoryError()"), strict=True):
        assert part in line


@counts(600, 10_000)
def test_images(image_files, tmp_path, count):
    assert problems("images", image_files, count, tmp_path) == []


@counts(120, 3000)
def test_arrays(model_file, tmp_path, count):
    assert problems("npz", [model_file], count, tmp_path) == []


@counts(60, 3500)
@pytest.mark.parametrize("kind", ["tflite bytes", "tflite fields", "tflite tensors"])
def test_tflite(exported, tmp_path, kind, count):
    assert problems(kind, sorted(exported.glob("*.tflite")), count, tmp_path) == []


@counts(60, 1000)
def test_sidecars(tmp_path, count):
    file = zoo.resolve("xlsr_x3:uint8").with_suffix(".json")
    assert problems("sidecars", [file], count, tmp_path) == []


@counts(30, 500)
def test_onnx(model_file, tmp_path, count):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    from mobile_sr.quantization.export import export

    (file,) = export(model_file, tmp_path / "onnx", ["onnx"], log=lambda line: None)
    file.with_suffix(".json").unlink()
    assert problems("onnx bytes", [file], count, tmp_path) == []


@counts(22, 700)
def test_networks(model_file, tmp_path, count):
    from mobile_sr.inference import weights

    weights.load_model(model_file)[0].save(tmp_path / "valid.keras")
    assert problems("networks", [model_file, tmp_path / "valid.keras"], count, tmp_path) == []


@counts(5, 150)
def test_run_folders(image_folder, tmp_path, count):
    (tmp_path / "images").symlink_to(image_folder)
    train_loop.train(smoke_recipe(**RUN_RECIPE), image_folder, tmp_path / "run", cache=tmp_path / "cache")
    files = [tmp_path / "run" / "config.json", tmp_path / "run" / "checkpoint.npz"]
    assert problems("run folders", files, count, tmp_path) == []
