"""`mobile-sr qat` with its own engine: the files of a run, how it resumes, foreign networks, and refused input."""

import csv
import dataclasses
import json
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr import load
from mobile_sr.converters.tflite import audit, flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.layers import DepthToSpace
from mobile_sr.qat import keras_fine_tune, keras_trainer, trainer
from mobile_sr.qat.settings import Settings
from mobile_sr.quantization import export
from tests.conftest import make_image


@pytest.fixture
def small_crops(monkeypatch):
    monkeypatch.setattr(keras_trainer, "calibration_set", lambda *args: ([make_image(16, 16)[None] / np.float32(255)], {}))


@pytest.fixture
def exports(monkeypatch):
    """Replaces the exporter; the list of (file, arguments) that it was called with. It returns a packaged file."""
    calls = []

    def export(model, out, precisions, **arguments):
        from mobile_sr import zoo

        calls.append((model, precisions, arguments))
        out.mkdir()
        source = zoo.FOLDER / "xlsr_x2_uint8.tflite"
        name = Path(model).stem
        for suffix in (".tflite", ".json"):
            (out / f"{name}_uint8{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
        return [out / f"{name}_uint8.tflite"]

    monkeypatch.setattr(keras_trainer.export, "export", export)
    monkeypatch.setattr(keras_trainer.verification, "colour_check", lambda *args: ({}, {"passed": True}))
    return calls


def foreign(path, last=None):
    """A .keras file with a x2 network that mobile-sr does not know, which about repeats pixels."""
    keras.utils.set_random_seed(2)
    lr = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(lr)
    x = layers.Conv2D(12, 3, padding="same", name="tail")(x)
    repeated = layers.Concatenate(name="repeated")([lr] * 4)
    x = DepthToSpace(2, name="sr")(layers.Add(name="sum")([repeated, layers.Rescaling(0.01)(x)]))
    keras.Model(lr, last(x) if last else x).save(path)
    return path


SETTINGS = {"steps": 2, "batch": 2, "patch": 16, "validate_every": 1, "rate": 1e-3}


def train(model, folder, out, **options):
    quiet = {"log": lambda line: None, **options}
    return keras_trainer.train(model, folder, out, Settings(**SETTINGS), **quiet)


@pytest.mark.slow
def test_a_run_of_ours(model_file, image_folder, tmp_path, cache):
    """The exporter's own file, its sidecar with the training, and weights that differ from those of the start."""
    file, best = train(model_file, image_folder, tmp_path / "out", cache=cache, max_colour_error=255)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("best.npz", "config.json", "history.csv", "tiny_uint8.json", "tiny_uint8.tflite")
    ]
    assert all(c["passed"] for c in audit.check(flatbuffer.load(file), "uint8", clipped=True, convolutions=11))
    sidecar = json.loads(file.with_suffix(".json").read_text())
    assert max(score for score in sidecar["qat"]["file_psnr_rgb"].values() if score is not None) == best
    assert sidecar["qat"]["engine"] == "keras"
    strength = {True: None, False: 1}[sidecar["qat"]["trained"]]
    assert (sidecar["equalization"] or {}).get("strength") == strength
    assert sidecar["rounding"] == "second moments of the inputs"
    assert ("agreement_with_fake_quantized" in sidecar) == ("ranges" in sidecar["qat"]) == sidecar["qat"]["trained"]
    rows = list(csv.DictReader((tmp_path / "out" / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [0, 1, 2]
    assert load(file)(make_image(20, 24)).shape == (60, 72, 3)
    with pytest.raises(UserError, match="the run is complete"):
        train(model_file, image_folder, tmp_path / "out", cache=cache, resume=True, max_colour_error=255)


def test_a_foreign_network(image_folder, tmp_path, cache, small_crops, exports):
    file, _ = train(foreign(tmp_path / "theirs.keras"), image_folder, tmp_path / "out", cache=cache, calibration=image_folder)
    (start, precisions, arguments), *trained = exports
    assert (Path(start), arguments["methods"]) == (tmp_path / "theirs.keras", export.METHODS)
    assert (precisions, arguments["calibration"]) == (["uint8"], image_folder)
    assert [others["methods"] for _, _, others in trained] == [("round",), ("round", "fit")]
    assert {exported.name for exported, _, _ in trained} == {"theirs.keras"}
    assert file == tmp_path / "out" / "theirs_uint8.tflite"
    tuned = keras.saving.load_model(tmp_path / "out" / "best.keras")
    assert [layer.name for layer in tuned.layers][1] == "first"
    assert load(tmp_path / "out" / "best.keras").scale == 2
    assert json.loads((tmp_path / "out" / "config.json").read_text())["network"] is None


@pytest.mark.slow  # test_keras_fine_tune.py restores its state
def test_an_interrupted_run_resumes(image_folder, tmp_path, cache, small_crops, exports, monkeypatch):
    model = foreign(tmp_path / "theirs.keras")
    train(model, image_folder, tmp_path / "whole", cache=cache)
    original = keras_fine_tune.FineTuning._validate

    def interrupted(tuning, *args):
        if tuning.step == 2:
            raise KeyboardInterrupt
        return original(tuning, *args)

    with monkeypatch.context() as patched:
        patched.setattr(keras_fine_tune.FineTuning, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(model, image_folder, tmp_path / "run", cache=cache)
    assert weights.read_arrays(tmp_path / "run" / "checkpoint.npz")[1]["step"] == 1
    assert not list((tmp_path / "run").glob("*.tflite"))
    with pytest.raises(UserError, match="already contains a run; use --resume"):
        train(model, image_folder, tmp_path / "run", cache=cache)
    with pytest.raises(UserError, match="cannot resume: steps differs"):
        keras_trainer.train(
            model, image_folder, tmp_path / "run", Settings(**{**SETTINGS, "steps": 3}), cache=cache, resume=True
        )
    train(model, image_folder, tmp_path / "run", cache=cache, resume=True)
    for name in ("history.csv",):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "whole" / name).read_text()
    whole, run = (keras.saving.load_model(tmp_path / name / "best.keras").get_weights() for name in ("whole", "run"))
    for a, b in zip(whole, run, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rounded_weights_are_only_converted(image_folder, tmp_path, cache, small_crops, exports, monkeypatch):
    """The training rounds them to nearest: export's methods would move them."""
    monkeypatch.setitem(SETTINGS, "rounded_weights", True)
    monkeypatch.setattr(keras_fine_tune.FineTuning, "_validate", _improving)
    train(foreign(tmp_path / "theirs.keras"), image_folder, tmp_path / "out", cache=cache)
    assert [arguments["methods"] for _, _, arguments in exports] == [export.METHODS, ()]


def _improving(tuning, *args):
    tuning.best, tuning._best = (float(tuning.step), tuning.step), tuning._values()
    return float(tuning.step)


def test_the_rates_of_an_engine(monkeypatch, image_folder, tmp_path, model_file, run_here):
    found = []
    for module in (keras_trainer, trainer):
        monkeypatch.setattr(module, "train", lambda *args, **options: found.append(args[3]) or ("file", 30.0))
    given = ("--model", model_file, "--data", image_folder)
    for index, options in enumerate(((), ("--round-weights",), ("--engine", "tfmot"), ("--rate", 0.5), ("--per-tensor",))):
        assert run_here("qat", *given, "--out", tmp_path / str(index), *options).returncode == 0
    assert [(each.rate, each.range_rate) for each in found] == [
        (1e-4, 2e-3),
        (2e-5, 1e-2),
        (2e-5, 1e-2),
        (0.5, 2e-3),
        (2e-5, 1e-2),
    ]
    assert [each.rounded_weights for each in found] == [False, True, False, False, True]


def choose(ptq, qat, step=1, at_ptq=True):
    """The choice among candidates of these scores, its scores and its log; None is one that fails its audit."""

    def candidate(methods, score):
        if score is None:
            raise export.AuditError(f"{methods or 'trained'} failed")
        return keras_trainer.Candidate(methods, score, b"", {})

    made = types.SimpleNamespace(ptq=lambda: candidate(("round",), ptq), trained=lambda net: candidate((), qat))
    lines = []
    tuning = types.SimpleNamespace(best=(0.0, step), net=None)
    chosen, scores = keras_trainer.choose(made, tuning, at_ptq, lines.append)
    return chosen.methods, scores, lines


def test_the_better_file_is_kept():
    assert choose(30.0, 31.0)[:2] == ((), {"ptq": 30.0, "qat": 31.0})
    methods, scores, lines = choose(31.0, 30.0)
    assert (methods, scores) == (("round",), {"ptq": 31.0, "qat": 30.0})
    assert lines == [
        "PTQ: 31.000 dB (RGB) on held-out images",
        "QAT: 30.000 dB (RGB) on held-out images",
        "no trained state is better than post-training quantization: the file is that of mobile-sr export",
    ]
    assert choose(31.0, 31.0)[0] == ("round",)


def test_a_start_that_no_step_improved_is_not_exported_twice():
    assert choose(30.0, 99.0, step=0)[:2] == (("round",), {"ptq": 30.0, "qat": None})
    assert choose(30.0, 31.0, step=0, at_ptq=False)[0] == ()  # the training started elsewhere


def test_a_failed_audit_leaves_the_other_file():
    assert choose(None, 30.0)[:2] == ((), {"ptq": None, "qat": 30.0})
    assert choose(30.0, None)[:2] == (("round",), {"ptq": 30.0, "qat": None})
    with pytest.raises(export.AuditError, match="trained failed"):
        choose(None, None)


def test_a_trained_file_must_keep_the_flat_colours_from_before_the_training(monkeypatch, tmp_path):
    start = types.SimpleNamespace(
        name="net", suffix=".npz", config={}, save=lambda file, meta: None, source=lambda file=None: file
    )
    settings = Settings(**{**SETTINGS, "ranges": "measured"})
    made = keras_trainer.Candidate((), 30.0, b"trained", {})
    exports = keras_trainer.Exports(start, "net", None, settings, "photos", 5, (), tmp_path, print)
    monkeypatch.setattr(keras_trainer.Exports, "_export", lambda *args, **options: made)

    def colour_check(source, data, limit):
        assert (source, data) == (None, b"trained")  # the file of the start, not the trained one
        errors = {"flat": 6, "colour": "255, 0, 0", "becomes": "249, 0, 0", "ramps": 2}
        return errors, {"passed": errors["flat"] <= limit}

    monkeypatch.setattr(keras_trainer.verification, "colour_check", colour_check)
    with pytest.raises(export.AuditError, match="flat colours within 6 levels .* of the network before the training"):
        exports.trained(None)
    exports.max_colour_error = 6
    assert exports.trained(None) == dataclasses.replace(made, trained=True)


def test_without_an_improvement_the_file_is_that_of_export(image_folder, tmp_path, cache, monkeypatch):
    """Every byte of the file, and the weights of the start."""
    made = keras_trainer.Exports.trained
    monkeypatch.setattr(keras_trainer.Exports, "trained", lambda *args: dataclasses.replace(made(*args), score=0.0))
    model = foreign(tmp_path / "theirs.keras")
    options = {"calibration": image_folder, "max_colour_error": 255, "log": lambda line: None}
    (expected,) = export.export(model, tmp_path / "export", ["uint8"], **options)
    settings = Settings(**{**SETTINGS, "steps": 1})
    file, _ = keras_trainer.train(model, image_folder, tmp_path / "out", settings, cache=cache, **options)
    assert file.read_bytes() == expected.read_bytes()
    before, after = (keras.saving.load_model(path).get_weights() for path in (model, tmp_path / "out" / "best.keras"))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert json.loads(file.with_suffix(".json").read_text())["qat"]["trained"] is False


def test_batch_normalization_is_folded(image_folder, tmp_path, cache, small_crops, exports):
    lr = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False, name="tail")(lr))
    x = DepthToSpace(2)(layers.Add()([layers.Concatenate()([lr] * 4), x]))
    keras.Model(lr, x).save(tmp_path / "theirs.keras")
    train(tmp_path / "theirs.keras", image_folder, tmp_path / "out", cache=cache)
    tuned = keras.saving.load_model(tmp_path / "out" / "best.keras")
    assert [layer.name for layer in tuned.layers if layer.weights] == ["tail"]
    assert tuned.get_layer("tail").use_bias


def test_batch_normalization_elsewhere_is_one_line(image_folder, tmp_path, run_here):
    model = foreign(tmp_path / "theirs.keras", layers.BatchNormalization(name="last"))
    done = run_here("qat", "--model", model, "--data", image_folder, "--out", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mobile-sr qat: {model}: layer last: QAT folds BatchNormalization only into a convolution")


def test_a_failed_audit_leaves_no_tflite(image_folder, tmp_path, cache, small_crops, run_here, monkeypatch):
    def export(*args, **arguments):
        raise keras_trainer.export.AuditError("uint8: the converted file failed its audit: flat colours")

    monkeypatch.setattr(keras_trainer.export, "export", export)
    model = foreign(tmp_path / "theirs.keras")
    sizes = ("--steps", 1, "--batch", 1, "--patch", 16, "--cache", cache)
    done = run_here("qat", "--model", model, "--data", image_folder, "--out", tmp_path / "out", *sizes)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "mobile-sr qat: uint8: the converted file failed its audit: flat colours"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.npz",
        "config.json",
        "history.csv",
    ]


def test_an_unsupported_layer_is_one_line(image_folder, tmp_path, cache, run_here, small_crops):
    model = foreign(tmp_path / "theirs.keras", layers.GaussianNoise(0.1, name="noisy"))
    done = run_here("qat", "--model", model, "--data", image_folder, "--out", tmp_path / "out", "--cache", cache)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"mobile-sr qat: {model}: layer noisy: QAT does not support GaussianNoise"
    assert not (tmp_path / "out").exists()


def test_refused_options(image_folder, tmp_path, model_file, run_here, depth_file):
    given = ("--model", model_file, "--data", image_folder, "--out", tmp_path / "out")
    for options, message in (
        (("--resume",), "no run to resume (config.json is missing)"),
        (("--resume", "--engine", "tfmot"), "--resume: not supported by --engine tfmot"),
        (("--round-weights", "--engine", "tfmot"), "--round-weights: --engine tfmot always rounds them"),
        (("--max-colour-error", -1), "--max-colour-error -1: must be at least 0"),
    ):
        done = run_here("qat", *given, *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = run_here("qat", *given[2:], "--model", depth_file)
    assert "qat does not support networks with depth masks" in done.stderr
    assert not (tmp_path / "out").exists()
