"""Hooks of the training for networks with depth maps. Whole trainings are in training/test_training_depth.py."""

import numpy as np
import pytest

from mobile_sr import extensions
from mobile_sr.adadsr import depth_training
from mobile_sr.training import recipes


def hooks(name, batch=4):
    recipe = recipes.load(name)
    recipe.batch = batch
    return extensions.training(recipe)


def test_desired_depths_are_inputs_and_targets():
    paper, lr = hooks("adaedsr_paper_x2"), np.zeros((2, 4, 4, 3), np.float32)
    expected = depth_training.desired_depths(paper.recipe, 32, 3)
    (given, depth), (hr, target) = paper.batch(lr, "hr", 3, slice(1, 3))
    assert (given is lr, hr) == (True, "hr")
    np.testing.assert_array_equal(depth, expected[1:3])
    np.testing.assert_array_equal(target, depth)
    inputs, (hr, target) = hooks("fadaedsr_b8_x2").batch(np.random.default_rng(0).random((4, 4, 4, 3)), "hr", 3, slice(None))
    assert (inputs.shape, hr) == ((4, 4, 4, 3), "hr")
    np.testing.assert_array_equal(target, np.full((4, 1), 4, np.float32))


def test_patches_of_one_colour_aim_at_depth_0():
    lr = np.zeros((3, 4, 4, 3), np.float32)
    lr[0], lr[1, 2, 3, 1] = (0.1, 0.2, 0.3), 1 / 255
    (_, depth), (_, target) = hooks("adaedsr_b8_x2", batch=3).batch(lr, "hr", 3, slice(None))
    assert depth.min() == depth.max() > 0
    np.testing.assert_array_equal(target[:, 0], [0, depth[1, 0], 0])
    assert target.dtype == np.float32


def test_the_depth_loss_is_the_second_one():
    """2e-3 * max(0, 4 - 3) over the batch, plus the price of 4 blocks. Each image for itself would have a hinge of 1.5."""
    depths = np.array([[1], [7]], np.float32)
    desired, depth_map = np.full((2, 1), 3, np.float32), depths[:, :, None, None] * np.ones((1, 2, 2, 1), np.float32)
    first, loss = hooks("adaedsr_b8_x2").losses("mae")["loss"]
    assert first == "mae"
    assert float(loss(desired, depth_map)) == pytest.approx(2e-3 * 1 + 7e-5 * 4)
    _, loss = hooks("adaedsr_paper_x2").losses("mae")["loss"]
    assert float(loss(desired, depth_map)) == pytest.approx(0.01 / 255 * (0 + 4) / 2)


def test_images_that_share_a_hinge_share_a_desired_depth():
    assert np.ptp(depth_training.desired_depths(hooks("adaedsr_b8_x2").recipe, 8, 3)) == 0
    assert np.ptp(depth_training.desired_depths(hooks("adaedsr_paper_x2").recipe, 8, 3)) > 0


def test_a_validation_covers_the_depths_and_remembers_their_means():
    adjustable, seen = hooks("adaedsr_b8_x2"), []

    def model(inputs, training):
        seen.append(float(inputs[1][0, 0]))
        return "sr", np.full((1, 2, 2, 1), inputs[1][0, 0] / 2 + len(seen) % 2)

    for _ in range(2):  # the second validation forgets the first
        seen.clear()
        for depth in adjustable.start_validation():
            assert [adjustable.sr(model, np.zeros((1, 2, 2, 3)), depth) for _ in range(2)] == ["sr", "sr"]
    assert seen == [2, 2, 4, 4, 6, 6, 8, 8]
    assert adjustable.depths == pytest.approx({2: 1.5, 4: 2.5, 6: 3.5, 8: 4.5})
    assert adjustable.status() == "  depth 1.50 for 2  depth 2.50 for 4  depth 3.50 for 6  depth 4.50 for 8"


def test_a_fixed_depth_is_validated_once():
    fixed = hooks("fadaedsr_b8_x2")
    assert fixed.start_validation() == (None,)
    assert fixed.sr(lambda lr, training: ("sr", np.full((1, 2, 2, 1), 3.0)), "lr", None) == "sr"
    assert fixed.status() == "  depth 3.00"


def test_a_teacher_runs_at_full_depth():
    lr, given = np.zeros((2, 4, 4, 3), np.float32), []

    class Model:
        def predict_on_batch(self, inputs):
            given.append(inputs)
            return ["sr", "map"]

    network = {"network": "edsr", "blocks": 5, "depth": "input"}
    assert extensions.teacher(Model(), network)(lr) == "sr"
    assert given[0][0] is lr
    assert given[0][1].tolist() == [[5], [5]]
    assert extensions.teacher(Model(), {**network, "depth": "fixed"})(lr) == "sr"
    assert given[1] is lr
