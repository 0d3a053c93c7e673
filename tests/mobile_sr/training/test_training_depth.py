"""Training of networks with AdaDSR's adapter."""

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.adadsr import depth_training
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.training import recipes, train_loop


def test_hinge_equals_the_paper():
    """max(0, mean depth - d) for each image and map, then the mean."""
    depth = np.zeros((2, 2, 2, 2), np.float32)
    depth[0, ..., 0] = [[1, 2], [3, 4]]  # mean 2.5
    depth[0, ..., 1] = 1
    depth[1] = 3
    value = float(depth_training.depth_hinge(np.array([[2], [4]], np.float32), depth))
    assert value == pytest.approx((0.5 + 0 + 0 + 0) / 4)


def test_hinge_of_a_batch_compares_means_over_its_images():
    depth = np.zeros((2, 2, 2, 2), np.float32)
    depth[0, ..., 0], depth[1, ..., 0] = 4, 1  # mean 2.5, desired 2
    depth[..., 1] = 1
    value = float(depth_training.batch_hinge(np.full((2, 1), 2, np.float32), depth))
    assert value == pytest.approx((0.5 + 0) / 2)


def test_hinge_of_an_image_without_detail_is_its_own():
    depth = np.full((4, 2, 2, 2), 2, np.float32)  # desired: 0 and 8, so the mean is far below
    depth[0] = [1, 0]
    value = float(depth_training.batch_hinge(np.array([[0], [8], [0], [8]], np.float32), depth))
    assert value == pytest.approx((0.5 + 2) / 2)
    assert float(depth_training.batch_hinge(np.full((4, 1), 8, np.float32), depth)) == 0


def test_desired_depths_are_seeded_and_cover_all_blocks():
    recipe = recipes.load("adaedsr_paper_x2")
    recipe.batch = 500
    depths = depth_training.desired_depths(recipe, 8, 3)
    assert depths.shape == (500, 1)
    assert 0 <= depths.min() < 0.2
    assert 7.8 < depths.max() <= 8
    np.testing.assert_array_equal(depths, depth_training.desired_depths(recipe, 8, 3))
    assert not np.array_equal(depths, depth_training.desired_depths(recipe, 8, 4))
    fixed = recipes.load("fadaedsr_b8_x2")
    assert np.all(depth_training.desired_depths(fixed, None, 0) == 4)


@pytest.mark.parametrize(
    "name", ["adaedsr_b8_x2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fadaedsr_b8_x3", "adarcan_paper_x4"))]
)
def test_depth_networks_train(name, image_folder, tmp_path, cache, capsys):
    recipe = recipes.load(name, smoke=True, steps=2)
    recipe.validate_every = 2
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    _, network = weights.load_model(tmp_path / "best.npz")
    assert models.has_depth(network)
    assert "depth" in capsys.readouterr().err


@pytest.mark.slow
def test_depth_networks_train_with_rounded_activations_and_weights(image_folder, tmp_path, cache):
    recipe = recipes.load("adaedsr_b8_x2", smoke=True, steps=2)
    recipe.validate_every, recipe.activation_bits, recipe.weight_bits = 2, 8, 8
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    arrays, _ = weights.read_arrays(tmp_path / "best.npz")
    assert arrays.keys() == {v.path for v in models.build(recipe.network).variables}
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.slow
def test_a_depth_network_teaches_and_learns(depth_file, image_folder, tmp_path, cache):
    """AdaEDSR as the teacher of AdaEDSR: the targets are HR, the teacher's output at full depth, and the desired depths."""
    recipe = recipes.load("adaedsr_b8_x2", smoke=True, steps=2)
    recipe.validate_every, recipe.teacher = 2, str(depth_file)
    train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    assert models.has_depth(weights.load_model(tmp_path / "best.npz")[1])


@pytest.mark.slow
def test_large_hinge_weight_reduces_the_depth(image_folder, tmp_path, cache):
    recipe = recipes.load("fadaedsr_b8_x2", smoke=True, steps=60)
    recipe.validate_every, recipe.peak_learning_rate, recipe.fixed_depth, recipe.depth_weight = 60, 2e-2, 0.5, 10.0
    run = []
    original = train_loop.TrainingRun._score

    def score(self):
        run.append(self)
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_loop.TrainingRun, "_score", score)
        train_loop.train(recipe, image_folder, tmp_path, cache=cache)
    assert run[-1].extension.depths[None] < 1.0  # from 2


@pytest.mark.slow
def test_adapter_starts_from_its_backbone(image_folder, tmp_path, cache, capsys):
    backbone = recipes.load("edsr_b8_x2", smoke=True, steps=1)
    train_loop.train(backbone, image_folder, tmp_path / "edsr", cache=cache)
    recipe = recipes.load("adaedsr_b8_x2", smoke=True, steps=1)
    recipe.start_learning_rate = recipe.peak_learning_rate = recipe.end_learning_rate = 0.0
    train_loop.train(recipe, image_folder, tmp_path / "ada", init=tmp_path / "edsr", cache=cache)
    assert "arrays; the others are initialized from scratch" in capsys.readouterr().err
    given, taken = (weights.read_arrays(tmp_path / run / "best.npz")[0] for run in ("edsr", "ada"))
    assert all(np.array_equal(given[name], taken[name]) for name in given)
    assert any("adapter" in name for name in taken)
    other = recipes.load("adaedsr_b8_x2", smoke=True, steps=1)
    other.network["blocks"] = 3
    with pytest.raises(UserError, match="the recipe trains"):
        train_loop.train(other, image_folder, tmp_path / "no", init=tmp_path / "edsr", cache=cache)


def test_another_scale_gets_a_fitted_upsampler(depth_file, image_folder, tmp_path, cache, capsys):
    network = weights.load_model(depth_file)[1]
    recipe = recipes.load("adaedsr_b8_x3", smoke=True, steps=1)
    recipe.network = {**network, "scale": 3}
    recipe.start_learning_rate = recipe.peak_learning_rate = recipe.end_learning_rate = 0.0
    train_loop.train(recipe, image_folder, tmp_path / "run", init=depth_file, cache=cache)
    assert "arrays; fitted 4 to training images\nstep 0  validation" in capsys.readouterr().err
    given, taken = (weights.read_arrays(file)[0] for file in (depth_file, tmp_path / "run" / "best.npz"))
    changed = {name.split("/")[0] for name in given if not np.array_equal(given[name], taken[name])}
    assert changed == {"up1", "tail"}
