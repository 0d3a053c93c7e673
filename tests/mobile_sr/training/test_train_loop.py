import csv
import json

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.commands import train
from mobile_sr.commands.train import summary
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.training import recipes, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe


def smoke(**changes):
    """The recipe of ESPCN shrunk to a few steps on degraded synthetic images: three layers compile in a second."""
    few = {"steps": 12, "validate_every": 4, "warmup_fraction": 0.5, "branches": "none", "degrade": "noise=0..3,jpeg=70..95"}
    return smoke_recipe("espcn_x3", **{**few, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, image_folder, cache):
    """A run of 12 steps without interruption."""
    out = tmp_path_factory.mktemp("run") / "whole"
    train_loop.train(smoke(), image_folder, out, cache=cache)
    return out


def test_files_of_a_run(finished):
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"]["steps"] == 12
    assert config["parameters"] == 31_131
    assert len(config["data"]["held_out"]) == len(config["data"]["held_out_degradation"]) == 2
    assert config["recipe"]["degrade"] == "noise=0..3,jpeg=70..95"
    rows = list(csv.DictReader((finished / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [4, 8, 12]
    assert all(float(row["steps_per_s"]) > 0 and 0 <= float(row["input_share"]) < 1 for row in rows)
    assert list((finished / "tensorboard").glob("*tfevents*"))
    model, network = weights.load_model(finished / "best.npz")
    assert network["network"] == "espcn"
    best = max(float(row["validation_psnr_rgb"]) for row in rows)
    assert weights.read_arrays(finished / "best.npz")[1]["validation_psnr_rgb"] == pytest.approx(best)


@pytest.mark.parametrize("steps_done", [2, 5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (8, 11))])
def test_resumed_equals_uninterrupted(finished, tmp_path, train_interrupted, steps_done):
    """A run that was killed after any step and resumed from its last checkpoint has the same bytes as an undisturbed run."""
    train_interrupted(smoke(), tmp_path / "run", steps_done)
    whole, resumed = (run / "checkpoint.npz" for run in (finished, tmp_path / "run"))
    assert weights.read_arrays(whole)[1]["best"] == weights.read_arrays(resumed)[1]["best"]
    assert_same_arrays(resumed, whole)


def test_damaged_checkpoint_falls_back_to_the_previous_one(finished, image_folder, tmp_path, cache, capsys):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    last = tmp_path / "run" / "checkpoint.npz"
    last.write_bytes(last.read_bytes()[:5000])
    train_loop.train(smoke(), image_folder, tmp_path / "run", resume=True, cache=cache)
    assert "fell back to checkpoint.previous.npz" in capsys.readouterr().err
    assert_same_arrays(last, finished / "checkpoint.npz")


def test_run_folder_is_not_overwritten(finished, image_folder, tmp_path, cache):
    with pytest.raises(UserError, match="already contains a run"):
        train_loop.train(smoke(), image_folder, finished, cache=cache)
    with pytest.raises(UserError, match=r"recipe\.steps was 12 and is 16"):
        train_loop.train(smoke(steps=16), image_folder, finished, resume=True, cache=cache)
    with pytest.raises(UserError, match=r"recipe\.degrade was noise=0\.\.3,jpeg=70\.\.95 and is noise=2;"):
        train_loop.train(smoke(degrade="noise=2"), image_folder, finished, resume=True, cache=cache)
    with pytest.raises(UserError, match="no run to resume"):
        train_loop.train(smoke(), image_folder, tmp_path / "none", resume=True, cache=cache)


def test_resume_names_the_differences(tmp_path):
    """The innermost values are shown, shortened. Lists for tuples and fields missing in older versions do not count."""
    recipe = smoke(
        network={"network": "xlsr", "scale": 3, "ratios": [2, 1], "cost": {"grid": [0, 8], "conv3x3": [[0.1] * 20] * 20}}
    )
    old = {"recipe": recipe.to_json(), "data": {"images": 5}}
    del old["recipe"]["mixing"]
    network = {**recipe.network, "ratios": (2, 1)}
    new = {"recipe": {**recipe.to_json(), "network": network}, "data": {"images": 5}, "teacher_sha256": None}
    train_loop._check_same_run(tmp_path, old, new)
    network["cost"] = {"grid": [0, 8], "conv3x3": [[0.2] * 20] * 20}
    with pytest.raises(UserError, match=r"cannot resume: recipe\.network\.cost\.conv3x3 was \[\[0\.1, ") as found:
        train_loop._check_same_run(tmp_path, old, new)
    assert len(str(found.value)) < len(str(tmp_path)) + 200
    new["recipe"] |= {"seed": 3, "patch": 9, "steps": 5}
    with pytest.raises(UserError, match=r"recipe\.patch was 16 and is 9, recipe\.seed was 0 and is 3, and 1 more; start"):
        train_loop._check_same_run(tmp_path, old, new)


def test_non_finite_loss_ends_the_training(image_folder, tmp_path, cache):
    wild = {"start_learning_rate": 1e38, "peak_learning_rate": 1e38, "end_learning_rate": 1e38, "branches": "none"}
    recipe = smoke_recipe("espcn_linear_x3", steps=6, validate_every=3, **wild)
    with pytest.raises(
        UserError,
        match=r"step 3: the loss is no longer finite; .* lower learning rate, e\.g\. --set peak_learning_rate=5e\+37$",
    ):
        train_loop.train(recipe, image_folder, tmp_path / "run", cache=cache)
    assert not (tmp_path / "run" / "best.npz").exists()
    assert weights.read_arrays(tmp_path / "run" / "checkpoint.npz")[1]["step"] == 0
    run = train_loop.TrainingRun(tmp_path, recipe, models.build(recipe.network), (None, None))
    run.step, run._tty = 19, True
    with pytest.raises(UserError, match="step 20: the loss is no longer finite"):
        run.finish_step({"loss": float("inf")})
    recipe.ema_decay = 0.0
    run.model.set_weights([np.full(w.shape, np.nan) for w in run.model.get_weights()])
    with pytest.raises(UserError, match="step 20: the weights are no longer finite"):
        run._score()


@pytest.mark.parametrize(("name", "black_at", "ends"), [("espcn", 8, True), ("espcn", 4, False), ("espcn_linear", 8, False)])
def test_black_output_ends_the_training(image_folder, tmp_path, cache, monkeypatch, name, black_at, ends):
    """A clipped output has no gradient below 0. A linear one can recover, and a network may start with a single colour."""
    original = train_loop.TrainingRun.finish_step

    def blackened(run, logs):
        original(run, logs)
        if run.step == black_at:
            run.model.set_weights([np.zeros_like(w) for w in run.model.get_weights()])

    monkeypatch.setattr(train_loop.TrainingRun, "finish_step", blackened)
    recipe = smoke_recipe(f"{name}_x3", steps=8, validate_every=4, branches="none", ema_decay=0.0)
    out = tmp_path / "run"
    if ends:
        with pytest.raises(
            UserError, match=r"step 8: every output image is a single colour; restart with a lower learning rate"
        ):
            train_loop.train(recipe, image_folder, out, cache=cache)
        assert weights.read_arrays(out / "checkpoint.npz")[1]["step"] == 4
    else:
        train_loop.train(recipe, image_folder, out, cache=cache)


def test_init_keeps_the_given_weights_until_better_ones(finished, image_folder, tmp_path, cache, capsys):
    given = finished / "best.npz"
    recipe = smoke(steps=1, validate_every=1, start_learning_rate=0.5, peak_learning_rate=0.5, end_learning_rate=0.5)
    best = train_loop.train(recipe, image_folder, tmp_path / "run", init=given, cache=cache)
    assert f"step 0  validation {best:.3f} dB, the weights of {given}\n" in capsys.readouterr().err
    kept = tmp_path / "run" / "best.npz"
    meta = weights.read_arrays(kept)[1]
    assert (meta["step"], meta["validation_psnr_rgb"]) == (0, round(best, 4))
    assert summary(best, kept).endswith("the initial weights: training did not improve them")
    assert_same_arrays(kept, given)
    row = next(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert row["step"] == "1"
    assert float(row["validation_psnr_rgb"]) < best
    assert weights.read_arrays(tmp_path / "run" / "checkpoint.npz")[1]["best"] == best
    linear = smoke(network={**recipe.network, "output_activation": "linear"})
    with pytest.raises(UserError, match="the recipe trains"):
        train_loop.train(linear, image_folder, tmp_path / "other", init=given, cache=cache)


def test_recipe_without_its_expected_init_warns(image_folder, tmp_path, run_here, monkeypatch):
    assert recipes.expected_init("adaedsr_b8_x2") == "edsr_b8_x2"
    assert recipes.expected_init("xlsr_finetune_linear_x3") == "xlsr_zoo_linear_x3"
    assert recipes.expected_init("xlsr_zoo_x3") is None
    trained = []
    monkeypatch.setattr(train_loop, "train", lambda recipe, *_, **__: trained.append(recipe.steps) or 30.0)
    monkeypatch.setattr(train, "summary", lambda best, file: f"{best}")
    arguments = ("train", "--recipe", "xlsr_finetune_x3", "--smoke", "--steps", "1", "--data", image_folder)
    done = run_here(*arguments, "--out", tmp_path / "run")
    assert (done.returncode, done.stdout, trained) == (0, "30.0\n", [1])
    assert (
        "warning: xlsr_finetune_x3 expects --init with a trained xlsr_zoo_x3; training starts from random weights"
        in done.stderr
    )


def test_init_from_a_smaller_chainsr_starts_with_its_outputs(image_folder, tmp_path, cache, capsys):
    small = {"network": "chainsr", "scale": 2, "channels": 4, "layers": 2}
    weights.save_model(tmp_path / "small.npz", models.build(small), small)
    recipe = recipes.load("chainsr_m_x2", smoke=True, steps=1)
    recipe.network |= {"channels": 6, "layers": 3}
    recipe.start_learning_rate = recipe.peak_learning_rate = recipe.end_learning_rate = 0.0
    train_loop.train(recipe, image_folder, tmp_path / "run", init=tmp_path / "small.npz", cache=cache)
    said = capsys.readouterr().err
    assert "grown from 2 layers to 3, and from 4 channels to 6\nstep 0  validation" in said
    lr = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    before, after = (weights.load_model(tmp_path / name)[0](lr) for name in ("small.npz", "run/best.npz"))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_init_from_another_scale_loads_all_but_the_tail_and_fits_it(model_file, image_folder, tmp_path, cache, capsys):
    recipe = recipes.load("xlsr_x2", smoke=True, steps=1)
    recipe.start_learning_rate = recipe.peak_learning_rate = recipe.end_learning_rate = 0.0
    train_loop.train(recipe, image_folder, tmp_path / "run", init=model_file, cache=cache)
    said = capsys.readouterr().err
    assert "loaded 20 of 22 arrays; fitted 2 to training images\nstep 0  validation" in said
    given, taken = (weights.read_arrays(f)[0] for f in (model_file, tmp_path / "run" / "best.npz"))
    assert all(np.array_equal(given[name], taken[name]) == (not name.startswith("tail/")) for name in given)


@pytest.mark.parametrize(("ema_decay", "only"), [(0.0, "map"), (0.5, "map"), (0.0, "ma,tail")])
def test_train_only_some_layers(finished, image_folder, tmp_path, cache, ema_decay, only):
    start = finished / "best.npz"
    recipe = smoke(steps=4, ema_decay=ema_decay, train_only=only)
    train_loop.train(recipe, image_folder, tmp_path / "run", init=start, cache=cache)
    before, after = (weights.read_arrays(file)[0] for file in (start, tmp_path / "run" / "last.npz"))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    layers = ["map", "tail"] if "tail" in only else ["map"]
    assert changed == {f"{layer}/{kind}" for layer in layers for kind in ("kernel", "bias")}


def test_train_only_unknown_layers(image_folder, tmp_path, cache):
    for only, unknown in (("head", "head"), ("map, head", "head"), ("map,", "")):
        with pytest.raises(UserError, match=rf"train_only={only}: .* begins with '{unknown}'; there are: feature, map, tail"):
            train_loop.train(smoke(train_only=only), image_folder, tmp_path / "run", cache=cache)


def test_training_learns(image_folder, tmp_path, cache):
    recipe = smoke(steps=40, validate_every=40, warmup_fraction=0.1, ema_decay=0.0)
    start = smoke(steps=1, validate_every=1, ema_decay=0.0)
    before = train_loop.train(start, image_folder, tmp_path / "before", cache=cache)
    after = train_loop.train(recipe, image_folder, tmp_path / "after", cache=cache)
    assert after > before + 1


def test_learning_rate_is_one_triangle():
    recipe = recipes.load("xlsr_x3")
    assert recipes.triangular_rate(0, recipe) == pytest.approx(5e-5)
    assert recipes.triangular_rate(5000, recipe) == pytest.approx(25e-4)
    assert recipes.triangular_rate(500_000, recipe) == pytest.approx(1e-4)
    schedule = train_loop._optimizer(recipe)._learning_rate
    for step in (0, 1, 2500, 4999, 5000, 250_000, 500_000):
        found = float(keras.ops.convert_to_numpy(schedule(step)))
        assert found == pytest.approx(recipes.triangular_rate(step, recipe), rel=1e-5)


def test_recipes_by_name():
    paper = recipes.load("xlsr_x4")
    assert (paper.steps, paper.batch, paper.patch, paper.network["scale"]) == (500_000, 16, 32, 4)
    assert recipes.load("xlsr_x2", smoke=True).steps < 100
    assert recipes.load("xlsr_x2", steps=7).steps == 7
    paper.downscale_factors = (0.8, 0.6)
    assert recipes.Recipe.from_json(json.loads(json.dumps(paper.to_json()))) == paper
    for bad in ("nosuch_x3", "xlsr", "xlsr_x9"):
        with pytest.raises(UserError, match="xlsr_x3"):
            recipes.load(bad)
    with pytest.raises(UserError, match="--steps 0"):
        recipes.load("xlsr_x3", steps=0)


@pytest.mark.parametrize("name", [pytest.param("fsrcnn_x3", marks=pytest.mark.slow), "espcn_linear_x2"])
def test_the_other_networks_train(name, image_folder, tmp_path, cache):
    recipe = recipes.load(name, smoke=True, steps=2)
    recipe.validate_every = 2
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    _, network = weights.load_model(tmp_path / "best.npz")
    output = "linear" if "linear" in name else "clipped_relu"
    wanted = {"network": name.split("_")[0], "scale": int(name[-1]), "output_activation": output}
    assert network == wanted | ({"activation": "relu"} if "espcn" in name else {})


def test_bfloat16_computes_in_half_and_stores_float32(finished, image_folder, tmp_path, cache):
    train_loop.train(smoke(), image_folder, tmp_path, cache=cache, dtype="mixed_bfloat16")
    halves, floats = (weights.read_arrays(run / "checkpoint.npz")[0]["model/0"] for run in (tmp_path, finished))
    assert halves.dtype == np.float32
    assert 0 < np.abs(halves - floats).max() < 0.05
    assert keras.config.dtype_policy().name == "float32"


def test_failed_build_restores_the_float32_policy(image_folder, tmp_path, cache):
    recipe = smoke()
    recipe.network["output_activation"] = "none"
    with pytest.raises(ValueError, match="output_activation"):
        train_loop.train(recipe, image_folder, tmp_path, cache=cache, dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


def test_names_of_earlier_versions():
    """An old config.json loads and resumes, and --set accepts the old names."""
    recipe = smoke(brightness_factors=(1.0, 0.5), ema_decay=0.5)
    old = recipe.to_json()
    for before, now in recipes.RENAMED.items():
        old[before] = old.pop(now)
    assert recipes.Recipe.from_json(json.loads(json.dumps(old))) == recipe
    assert recipes.with_defaults(old) == recipe.to_json()
    recipes.override(recipe, ["rate_peak=0.25", "intensities=1"])
    assert (recipe.peak_learning_rate, recipe.brightness_factors) == (0.25, (1.0,))
    with pytest.raises(UserError, match="peak_learning_rate is set more than once"):
        recipes.override(recipe, ["rate_peak=0.25", "peak_learning_rate=0.5"])
