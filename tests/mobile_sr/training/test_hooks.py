"""Recipes with functions of their own, as docs/guide/own_recipe.md shows them."""

import json
import re
import shutil
import types

import numpy as np
import pytest

import mobile_sr
from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.training import hooks, initial_weights, losses, networks, recipes, run_folder, selection, train_loop
from tests.conftest import ROOT, assert_same_arrays, smoke_recipe

PAGE = ROOT / "docs" / "guide" / "own_recipe.md"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's net.py and recipe.py in the working folder."""
    net, recipe, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "net.py").write_text(net)
    (tmp_path / "recipe.py").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_trains_resumes_exports_and_evaluates(files, photo, run_here, monkeypatch):
    """Interrupted in step 6 of 8 and resumed, it has the weights of an uninterrupted run. The files are then gone."""
    command = ("train", "--recipe", "recipe.py:recipe", "--smoke", "--out")
    whole = run_here(*command, "whole")
    assert whole.returncode == 0, whole.stderr
    rows = run_folder.read_history("whole/history.csv")
    assert f"step 8: {float(rows[1]['selection_score']):.2f}" in whole.stdout
    assert {row["selected_by"] for row in rows} == {"metric worst_channel"}
    assert "best validation worst_channel " in whole.stdout

    original = train_loop.TrainingRun.finish_step

    def interrupted(run, logs):
        original(run, logs)
        if run.step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_loop.TrainingRun, "finish_step", interrupted)
        assert run_here(*command, "again").returncode == 130
    resumed = run_here("train", "--recipe", "recipe.py:recipe_x3", "--smoke", "--out", "again", "--resume", "--data", "x")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.startswith("x is not read: the recipe has a data function\n")
    assert_same_arrays("again/checkpoint.npz", "whole/checkpoint.npz")
    assert_same_arrays("again/best.npz", "whole/best.npz")

    record = json.loads((files / "whole" / "config.json").read_text())["recipe"]
    assert {hook: about["function"] for hook, about in record["hooks"].items()} == {
        "loss": "recipe.py:smooth_l1",
        "metric": "recipe.py:worst_channel",
        "callback": "recipe.py:show",
        "data": "recipe.py:gratings",
    }
    (files / "recipe.py").write_text((files / "recipe.py").read_text() + "\n")
    changed = run_here(*command, "again", "--resume")
    assert changed.stderr == (
        "mobile-sr train: again: cannot resume: the file of its loss, recipe.py:smooth_l1, has changed since the run started; "
        "start a new run\n"
    )
    (files / "recipe.py").unlink()
    (files / "net.py").unlink()
    (tflite,) = mobile_sr.export("whole", "deploy", ["float32"]).files
    scores = [mobile_sr.evaluate(model, [photo], space="rgb", ssim=False).psnr for model in ("whole", tflite.path)]
    assert scores[0] == pytest.approx(scores[1], abs=0.001)
    assert mobile_sr.load("whole").receptive_field == 3


def own_loss(y_true, y_pred):
    return (y_pred - y_true) ** 2


def dark(sr, hr):
    """Higher for darker output."""
    return -float(sr.mean())


def test_functions_in_python(image_folder, tmp_path, cache):
    """The loss equals the built-in one that it repeats; the metric selects; the callback sees the history."""
    seen = []
    recipe = smoke_recipe("espcn_x3", branches="none", steps=4, validate_every=2, loss="l2", brightness_factors=(1.0,))
    recipe.downscale_factors = ()
    plain = mobile_sr.train(recipe, image_folder, tmp_path / "plain", cache=cache)
    assert recipe.hooks == hooks.Hooks()
    recipe.hooks = hooks.Hooks(own_loss, dark, seen.append)
    result = mobile_sr.train(recipe, image_folder, tmp_path / "own", cache=cache)
    assert_same_arrays(tmp_path / "own" / "last.npz", tmp_path / "plain" / "last.npz")
    assert (plain.selected_by, result.selected_by) == ("rgb", "metric dark")
    assert [record["step"] for record in seen] == [2, 4]
    assert result.psnr == seen[-1]["best"]
    assert result.psnr == pytest.approx(max(record["selection_score"] for record in seen), abs=1e-4)
    assert seen[0]["is_best"]
    assert seen[0]["folder"] == str(tmp_path / "own")
    assert "hooks" not in json.loads((tmp_path / "plain" / "config.json").read_text())["recipe"]


def broken(*arguments):
    raise RuntimeError("no")


def broken_later(step, batch, patch, rng):
    hr = rng.random((batch, 3 * patch, 3 * patch, 3))
    return hr[:, ::3, ::3], hr[:, : patch if step > 1 else None]


def only_eager(y_true, y_pred):
    return y_true.numpy().mean()


@pytest.mark.parametrize(
    ("hook", "function", "said"),
    [
        ("loss", only_eager, r"^test_hooks\.py:\d+: \w+: "),
        ("metric", broken, r"^test_hooks\.py:\d+: RuntimeError: no$"),
        ("callback", broken, r"^test_hooks\.py:\d+: RuntimeError: no$"),
        ("data", broken_later, r"broken_later: step 2: hr has the shape \(4, 16, 48, 3\); expected \(4, 48, 48, 3\)$"),
    ],
)
def test_errors_in_functions(image_folder, tmp_path, cache, hook, function, said):
    recipe = smoke_recipe("espcn_x3", branches="none", steps=4, validate_every=2, downscale_factors=())
    setattr(recipe.hooks, hook, function)
    with pytest.raises(UserError, match=said):
        train_loop.train(recipe, image_folder, tmp_path / "run", cache=cache)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (broken, r"^test_hooks\.py:\d+: RuntimeError: no$"),
        (lambda a, b: float("nan"), "returned nan for random images; expected a finite number"),
        (lambda a, b: None, "returned a NoneType; expected a tensor"),
    ],
)
def test_refused_losses(loss, said):
    with pytest.raises(UserError, match=said):
        losses.of_function(loss)


@pytest.mark.parametrize(
    ("value", "said"), [(float("inf"), "returned inf"), (np.ones(3), "returned a ndarray"), ("x", "a str")]
)
def test_refused_values_of_a_metric(value, said):
    with pytest.raises(UserError, match=f"{said}; expected a finite number"):
        hooks.measure(lambda sr, hr: value, None, None)


def test_a_metric_selects_alone():
    recipe = smoke_recipe("espcn_x3", select="y")
    recipe.hooks.metric = dark
    with pytest.raises(UserError, match="--set select=y: espcn_x3 has a metric of its own, which selects; leave one out"):
        selection.check(recipe, "tensorflow")
    assert selection.describe(selection.criterion(recipe)) == "dark"


def test_the_loss_of_one_value_per_image_is_its_mean():
    loss = losses.of_function(lambda y_true, y_pred: (y_pred - y_true)[:, 0, 0, 0])
    true, pred = np.zeros((2, 4, 4, 3), np.float32), np.stack([np.full((4, 4, 3), v, np.float32) for v in (1, 2)])
    assert float(loss(true, pred)) == 1.5


def test_what_changed():
    one, other, built_in = ({"loss": {"function": "a.py:f", "sha256": s}} if s else {} for s in ("1", "2", ""))
    assert hooks.changes(one, one) is None
    assert hooks.changes(one, other) == "the file of its loss, a.py:f, has changed since the run started"
    assert hooks.changes(one, built_in) == "its loss was a.py:f and is built in"


def test_a_network_from_outside_resumes_with_the_same_file(files, image_folder, cache, run_here):
    command = ("train", "--recipe", "espcn_x3", "--net", "net.py:build", "--smoke", "--steps", 2, "--set", "branches=none")
    command = (*command, "--set", "network.channels=4", "--data", image_folder, "--cache", cache, "--out", "run")
    assert run_here(*command, "--set", "validate_every=1").returncode == 0
    assert weights.load_model("run/best.npz")[1]["source"]["arguments"] == {"scale": 3, "channels": 4}
    shutil.copy("net.py", "other.py")
    (files / "net.py").write_text((files / "net.py").read_text() + "# changed\n")
    done = run_here(*command, "--set", "validate_every=1", "--resume")
    assert "the file of its network, net.py:build, has changed since the run started; start a new run" in done.stderr
    shutil.copy("other.py", "net.py")
    assert run_here(*command, "--set", "validate_every=1", "--resume").returncode == 0
    for option, said in (
        ("channels=8", "channels of its network was 4 and is 8"),
        ("side=5", "this network has network.channels"),
    ):
        changed = [f"network.{option}" if word == "network.channels=4" else word for word in command]
        done = run_here(*changed, "--set", "validate_every=1", "--resume")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    start = networks.resolve({"network": "net.py:build", "scale": 2, "channels": 4})
    (files / "net.py").write_text((files / "net.py").read_text() + "# changed\n")
    model = models.build(start)
    images = np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 16, 16, 3), np.float32)
    source = types.SimpleNamespace(batch=lambda step, share: images)
    loaded = initial_weights.load(model, start, "run", source)  # of another scale and another version of the file
    assert loaded == {f"conv2d{k}/{part}" for k in ("", "_1", "_2") for part in ("kernel", "bias")}  # the last is fitted
    with pytest.raises(UserError, match="run: its network is custom, but the recipe trains espcn"):
        initial_weights.load(model, {"network": "espcn", "scale": 3}, "run", source)
    assert recipes.load("espcn_x3", net="espcn").network == {"network": "espcn", "scale": 3}
