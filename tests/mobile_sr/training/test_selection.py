"""Selection of the weights that `train` writes to best.npz; last.npz has the last ones."""

import csv

import numpy as np
import pytest

from mobile_sr.commands.train import summary
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, write_json
from mobile_sr.inference import weights
from mobile_sr.training import selection, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe


def smoke(**changes):
    """ESPCN's recipe shrunk to a few steps, with four validations. It has three layers, which compile quickly."""
    return smoke_recipe(
        "espcn_x3",
        **{"steps": 4, "validate_every": 1, "ema_decay": 0.0, "branches": "none", **changes},
    )


def history(out):
    return list(csv.DictReader((out / "history.csv").open()))


@pytest.mark.parametrize(
    ("weight", "select", "wanted"), [(0.0, "", "rgb"), (4.0, "", "rgb+y"), (4.0, "rgb", "rgb"), (0.0, "y", "y")]
)
def test_criterion_follows_the_loss_by_default(weight, select, wanted):
    assert selection.criterion(smoke(luminance_weight=weight, select=select)) == wanted


def test_score():
    recipe = smoke(luminance_weight=4.0)
    assert selection.score("rgb", recipe, 30.0, 35.0) == 30
    assert selection.score("y", recipe, 30.0, 35.0) == 35
    assert selection.score("rgb+y", recipe, 30.0, 35.0) == 34


@pytest.mark.parametrize(("select", "step", "wanted"), [("rgb", 1, 30.0), ("y", 2, 30.0), ("", 3, 28.75)])
def test_best_and_last_weights_are_kept(image_folder, tmp_path, cache, monkeypatch, select, step, wanted):
    """With given scores, the three criteria select three different validations."""
    given, score = iter([(30.0, 20.0), (20.0, 30.0), (28.0, 29.5), (10.0, 10.0)]), selection.score  # RGB, Y
    monkeypatch.setattr(selection, "score", lambda by, recipe, rgb, y: score(by, recipe, *next(given)))
    best = train_loop.train(smoke(select=select, luminance_weight=1.0), image_folder, tmp_path, cache=cache)
    about = weights.read_arrays(tmp_path / "best.npz")[1]
    assert (about["step"], about["selection_score"], best) == (step, wanted, wanted)
    assert {about["selected_by"], *(row["selected_by"] for row in history(tmp_path))} == {select or "rgb+y"}
    assert f"({selection.describe(select or 'rgb+y')}): " in summary(best, tmp_path / "best.npz")
    last, config = weights.load_model(tmp_path / "last.npz")
    assert config["network"] == "espcn"
    assert weights.read_arrays(tmp_path / "last.npz")[1]["step"] == 4
    trained = weights.read_arrays(tmp_path / "checkpoint.npz")[0]
    for k, value in enumerate(last.get_weights()):
        np.testing.assert_array_equal(value, trained[f"model/{k}"])


def test_history_has_both_scores(image_folder, tmp_path, cache):
    train_loop.train(smoke(steps=2, luminance_weight=3.0), image_folder, tmp_path, cache=cache)
    for row in history(tmp_path):
        rgb, y, chosen = (float(row[key]) for key in ("validation_psnr_rgb", "validation_psnr_y", "selection_score"))
        assert chosen == pytest.approx((rgb + 3 * y) / 4, abs=2e-4)


@pytest.mark.slow
def test_resumed_equals_uninterrupted(image_folder, tmp_path, cache, train_interrupted):
    recipe = smoke(luminance_weight=4.0)
    train_loop.train(recipe, image_folder, tmp_path / "whole", cache=cache)
    train_interrupted(recipe, tmp_path / "run", 3)
    for name in ("best.npz", "last.npz", "checkpoint.npz"):
        assert_same_arrays(tmp_path / "run" / name, tmp_path / "whole" / name)


def interrupt_at_2(run, logs, finish=train_loop.TrainingRun.finish_step):
    finish(run, logs)
    if run.step == 2:
        raise KeyboardInterrupt


def test_run_of_an_older_version_continues_with_rgb(image_folder, tmp_path, cache, monkeypatch):
    """Its checkpoint has the best RGB score, which must not be compared with a score that includes Y."""
    recipe = smoke(luminance_weight=4.0)
    with monkeypatch.context() as patched:
        patched.setattr(train_loop.TrainingRun, "finish_step", interrupt_at_2)
        with pytest.raises(KeyboardInterrupt):
            train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    arrays, meta = weights.read_arrays(tmp_path / "checkpoint.npz")
    del meta["selected_by"]
    for row in meta["history"]:
        for name in ("validation_psnr_y", "selection_score", "selected_by"):
            del row[name]
    weights.write_arrays(tmp_path / "checkpoint.npz", arrays, meta)
    config = read_json(tmp_path / "config.json")
    del config["recipe"]["select"]
    write_json(tmp_path / "config.json", config)
    train_loop.train(recipe, image_folder, tmp_path, resume=True, cache=cache)
    assert [row["selected_by"] for row in history(tmp_path)] == ["", "rgb", "rgb", "rgb"]


def test_uint8_scores_the_file(image_folder, tmp_path, cache, monkeypatch):
    """Weights whose conversion fails are never the best."""
    made = iter([None, lambda lr: np.zeros((len(lr) * 3, lr.shape[1] * 3, 3), np.uint8)])
    monkeypatch.setattr(selection, "uint8_runner", lambda model, network, calibration: next(made))
    train_loop.train(smoke(select="uint8", steps=2), image_folder, tmp_path, cache=cache)
    assert weights.read_arrays(tmp_path / "best.npz")[1]["step"] == 2


def test_uint8_with_flat_colours_prefers_the_file_that_preserves_them(image_folder, tmp_path, cache, monkeypatch):
    """The second file has the higher PSNR but turns black into dark gray, by 9 levels where 3 are allowed."""
    gray = np.random.default_rng(0).integers(100, 156, (300, 300, 3)).astype(np.uint8)

    def nearest(lr, floor):
        return np.maximum(lr.repeat(3, axis=0).repeat(3, axis=1), floor).astype(np.uint8)

    files = iter(
        [
            lambda lr: gray[: 3 * len(lr), : 3 * lr.shape[1]] if np.ptp(lr, axis=(0, 1)).any() else nearest(lr, 3),
            lambda lr: nearest(lr, 9),
        ]
    )
    monkeypatch.setattr(selection, "uint8_runner", lambda model, network, calibration: next(files))
    train_loop.train(smoke(select="uint8", steps=2, flat_share=0.1), image_folder, tmp_path, cache=cache)
    first, second = (float(row["selection_score"]) for row in history(tmp_path))
    assert first < second
    assert weights.read_arrays(tmp_path / "best.npz")[1]["step"] == 1


@pytest.mark.slow
def test_uint8_scores_the_file_of_export(image_folder, model_file, tmp_path):
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import export

    model, network = weights.load_model(model_file)
    lr = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    run = selection.uint8_runner(model, network, image_folder)
    (tflite,) = export.export(model_file, tmp_path, ["uint8"], calibration=image_folder, log=lambda line: None)
    np.testing.assert_array_equal(run(lr), upscaler.load(tflite)(lr))


def test_uint8_is_refused_without_a_convertible_network():
    selection.check(smoke(select="uint8"), "tensorflow")
    selection.check(smoke(), "torch")
    with pytest.raises(UserError, match="select=uint8: needs --backend tensorflow"):
        selection.check(smoke(select="uint8"), "torch")
    with pytest.raises(UserError, match="select=uint8: adaedsr_b8_x2 cannot be scored"):
        selection.check(smoke_recipe("adaedsr_b8_x2", select="uint8"), "tensorflow")
