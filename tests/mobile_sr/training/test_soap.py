"""SOAP compared with the algorithm in NumPy and with Adam, and in a resumed training."""

import keras
import numpy as np
import pytest

from mobile_sr.training import recipes, train_loop
from mobile_sr.training.soap import EVERY, LARGEST, Soap
from tests.conftest import assert_same_arrays, smoke_recipe


def numpy_soap(kernel, gradients, rate, beta_1=0.9, beta_2=0.99, shampoo_beta=0.95, epsilon=1e-8):
    """Algorithm 3 of the paper for one matrix, in float64."""
    rows, columns = kernel.shape
    first, second = np.zeros(kernel.shape), np.zeros(kernel.shape)
    left, right, to_left, to_right = np.zeros((rows, rows)), np.zeros((columns, columns)), np.eye(rows), np.eye(columns)
    for step, gradient in enumerate(gradients, 1):
        first = beta_1 * first + (1 - beta_1) * gradient
        second = beta_2 * second + (1 - beta_2) * (to_left.T @ gradient @ to_right) ** 2
        update = (to_left.T @ first @ to_right / (1 - beta_1**step)) / (np.sqrt(second / (1 - beta_2**step)) + epsilon)
        kernel = kernel - rate * to_left @ update @ to_right.T
        left = shampoo_beta * left + (1 - shampoo_beta) * gradient @ gradient.T
        right = shampoo_beta * right + (1 - shampoo_beta) * gradient.T @ gradient
        if step % EVERY == 0:
            to_left, to_right = np.linalg.qr(left @ to_left)[0], np.linalg.qr(right @ to_right)[0]
    return kernel


def stepped(optimizer, start, gradients):
    """The values of a variable after an optimizer has applied the given gradients."""
    variable = keras.Variable(start)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_soap_equals_the_paper():
    start, gradients = random(3, 3, 2, 5), random(3 * EVERY + 5, 3, 3, 2, 5, seed=1)
    wanted = numpy_soap(start.reshape(18, 5), gradients.reshape(-1, 18, 5), 0.01).reshape(start.shape)
    np.testing.assert_allclose(stepped(Soap(0.01), start, gradients), wanted, atol=2e-4)


@pytest.mark.parametrize(("shape", "steps"), [((7,), 3 * EVERY), ((3, 4), EVERY), ((LARGEST + 1, LARGEST + 1), EVERY + 1)])
def test_without_rotation_soap_is_adam(shape, steps):
    """Biases always use Adam; so do kernels until the first rotation, and kernels that are too large on both sides."""
    start, gradients = random(*shape), random(steps, *shape, seed=1)
    adam = stepped(keras.optimizers.Adam(0.01, beta_2=0.99, epsilon=1e-12), start, gradients)
    np.testing.assert_allclose(stepped(Soap(0.01, epsilon=1e-12), start, gradients), adam, atol=1e-5)


def test_golden_settings():
    """The other tests read EVERY and LARGEST and would not notice a change."""
    assert (EVERY, LARGEST) == (10, 1024)
    soap = Soap()
    assert (soap.beta_1, soap.beta_2, soap.shampoo_beta, soap.epsilon) == (0.9, 0.99, 0.95, 1e-8)


def test_only_xlsr_of_the_zoo_recipes_uses_soap():
    assert (recipes.load("xlsr_zoo_x3").optimizer, recipes.load("abpn_x3").optimizer) == ("soap", "adam")


@pytest.mark.slow  # test_train_loop.py resumes, too
def test_a_resumed_training_equals_an_uninterrupted_one(image_folder, tmp_path, cache, train_interrupted):
    recipe = smoke_recipe("chainsr_s_x3", steps=24, validate_every=12, branches="none", ema_decay=0.9)
    assert (recipe.optimizer, recipe.loss) == ("soap", "psnr")
    recipe.network |= {"layers": 1, "channels": 4}  # SOAP takes seconds to compile for many or large kernels
    train_loop.train(recipe, image_folder, tmp_path / "whole", cache=cache)
    train_interrupted(recipe, tmp_path / "run", 17)
    assert_same_arrays(tmp_path / "run" / "checkpoint.npz", tmp_path / "whole" / "checkpoint.npz")
