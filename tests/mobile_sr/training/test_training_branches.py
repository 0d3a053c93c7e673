"""Training with train-time branches: run folders, resuming, --init, and precision on other backends."""

import json

import numpy as np
import pytest
from keras import ops

from mobile_sr import cli, models
from mobile_sr.commands import train
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.train_time import branches
from mobile_sr.training import recipes, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe
from tests.mobile_sr.test_cli import one_line

IMAGE = np.random.default_rng(0).random((1, 12, 12, 3)).astype(np.float32)


def smoke(kind="ecb", **changes):
    """FSRCNN's recipe shrunk to a few steps, with branches and one of the four layers in the middle: few compile quickly."""
    few = {"steps": 4, "validate_every": 2, "warmup_fraction": 0.5, "ema_decay": 0.0, "branches": kind}
    recipe = smoke_recipe("fsrcnn_x2", **{**few, **changes})
    recipe.network |= {"d": 8, "s": 4, "m": 1}
    return recipe


def last_weights(run, recipe):
    """The branched model of a run's last checkpoint, with averaged weights if the recipe averages."""
    arrays, _ = weights.read_arrays(run / "checkpoint.npz")
    model, optimizer = branches.branched(models.build(recipe.network), recipe.branches), train_loop._optimizer(recipe)
    optimizer.build(model.trainable_variables)
    for part, variables in (("model", model.variables), ("optimizer", optimizer.variables)):
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{part}/{i}"])
    optimizer.finalize_variable_values(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def finished(tmp_path_factory, image_folder, cache):
    """A run of 4 steps with branches, not interrupted."""
    out = tmp_path_factory.mktemp("branched") / "whole"
    train_loop.train(smoke(), image_folder, out, cache=cache)
    return out


@pytest.mark.parametrize(("kind", "average"), [("ecb", 0.0), ("rep", 0.5)])
def test_run_saves_the_plain_network(kind, average, image_folder, tmp_path, cache):
    """After one validation, best.npz is the checkpoint's network with collapsed branches, averaged if the recipe averages."""
    recipe = smoke(kind, steps=3, validate_every=3, ema_decay=average)
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    best, network = weights.load_model(tmp_path / "best.npz")
    assert network == recipe.network
    assert [v.path for v in best.variables] == [v.path for v in models.build(network).variables]
    trained = last_weights(tmp_path, recipe)
    moved = [np.abs(layer.merged() - layer._kernel).max() for layer in trained.layers if isinstance(layer, branches.Branched)]
    assert min(moved) > 1e-5  # the branches have an effect
    np.testing.assert_allclose(best(IMAGE), trained(IMAGE), atol=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["parameters"] == best.count_params()
    assert config["recipe"]["branches"] == kind


@pytest.mark.slow
def test_resumed_equals_uninterrupted(finished, tmp_path, train_interrupted):
    train_interrupted(smoke(), tmp_path / "run", 3)
    for file in ("checkpoint.npz", "best.npz"):
        assert_same_arrays(tmp_path / "run" / file, finished / file)


def test_resuming_with_other_branches_is_refused(finished, image_folder, cache):
    for kind in ("rep", "none"):
        with pytest.raises(UserError, match=rf"recipe\.branches was ecb and is {kind}"):
            train_loop.train(smoke(kind), image_folder, finished, resume=True, cache=cache)


def test_run_of_a_version_without_branches_resumes(image_folder, tmp_path, cache):
    recipe = smoke("none", steps=1, validate_every=1)
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["recipe"]["branches"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    train_loop.train(recipe, image_folder, tmp_path, resume=True, cache=cache)
    with pytest.raises(UserError, match=r"recipe\.branches was none and is rep"):
        train_loop.train(smoke("rep", steps=1, validate_every=1), image_folder, tmp_path, resume=True, cache=cache)


def test_init_is_reproduced_exactly(finished, image_folder, tmp_path, cache):
    recipe = smoke("rep", steps=1, validate_every=1, start_learning_rate=0.0, peak_learning_rate=0.0, end_learning_rate=0.0)
    train_loop.train(recipe, image_folder, tmp_path, init=finished, cache=cache)
    assert_same_arrays(tmp_path / "best.npz", finished / "best.npz")


@pytest.mark.slow
def test_adapter_and_bfloat16(image_folder, tmp_path, cache):
    """The adapter is initialized in the plain network. With branches, too, its last layer stays float32."""
    recipe = recipes.load("adaedsr_b8_x2", smoke=True, steps=1)
    recipe.validate_every, recipe.branches = 1, "rep"
    train_loop.train(recipe, image_folder, tmp_path, cache=cache, dtype="mixed_bfloat16")
    model, network = weights.load_model(tmp_path / "best.npz")
    assert models.has_depth(network)
    depth = ops.convert_to_numpy(model([IMAGE, np.full((1, 1), 1.0, np.float32)])[1])
    assert 0.2 < depth.mean() < 5
    arrays, _ = weights.read_arrays(tmp_path / "checkpoint.npz")
    assert all(value.dtype == np.float32 for name, value in arrays.items() if name.startswith("model/"))


def test_network_without_3x3_convolutions_is_refused(image_folder, tmp_path, cache):
    recipe = recipes.load("srcnn_x2", smoke=True, steps=1)
    recipe.branches = "rep"
    with pytest.raises(UserError, match="branches rep for srcnn: no 3x3 convolution"):
        train_loop.train(recipe, image_folder, tmp_path / "run", cache=cache)
    assert not (tmp_path / "run").exists()


def test_command_sets_the_branches(monkeypatch, run_here, image_folder, tmp_path):
    asked = []
    monkeypatch.setattr(train_loop, "train", lambda recipe, *_, **__: asked.append(recipe.branches) or 0.0)
    monkeypatch.setattr(train, "summary", lambda best, file: "")
    arguments = ["train", "--recipe", "xlsr_x3", "--data", str(image_folder), "--out", str(tmp_path / "run")]
    for more in ([], ["--branches", "ecb"]):
        args = cli._parse(["mobile-sr", *arguments, *more])
        args.run(args)
    assert asked == ["none", "ecb"]
    one_line(run_here(*arguments, "--branches", "acb"), "--branches", "'acb'", "ecb")
