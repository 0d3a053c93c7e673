import keras
import numpy as np
import pytest

from mobile_sr import models

CONFIG = {"network": "xlsr", "scale": 3}


@pytest.mark.parametrize(("scale", "parameters"), [(2, 17_612), (3, 21_947), (4, 28_016)])
def test_parameters_and_shapes(scale, parameters):
    model = models.build({"network": "xlsr", "scale": scale})
    assert model.count_params() == parameters
    y = model(np.zeros((2, 5, 7, 3), np.float32))
    assert tuple(y.shape) == (2, 5 * scale, 7 * scale, 3)


def test_multiply_adds_for_a_720p_output():
    # Kernel weights of Sec. 3 at x3: 864 + 1,024 + 3 * (2,304 + 1,024) + 432 + 1,536 + 7,776 per LR pixel.
    assert models.multiply_adds(models.build(CONFIG), 102_400) == 21_616 * 102_400


def test_output_activation():
    clipped, linear = (models.build(CONFIG, output_activation=a) for a in ("clipped_relu", "linear"))
    weights = clipped.get_weights()
    weights[-1] = np.linspace(-2, 2, 27).astype(np.float32)
    clipped.set_weights(weights)
    linear.set_weights(weights)
    x = np.full((1, 8, 8, 3), 0.5, np.float32)
    a, b = (keras.ops.convert_to_numpy(m(x)) for m in (clipped, linear))
    assert b.min() < 0
    assert b.max() > 1
    np.testing.assert_allclose(a, np.clip(b, 0, 1), atol=1e-6)
    with pytest.raises(ValueError, match="output_activation"):
        models.build(CONFIG, output_activation="tanh")


def test_initial_variance_is_a_tenth_of_he():
    keras.utils.set_random_seed(0)
    kernels = [layer.kernel for layer in models.build(CONFIG).layers if hasattr(layer, "kernel")]
    for kernel in kernels:
        values = keras.ops.convert_to_numpy(kernel)
        assert values.var() * np.prod(values.shape[:3]) == pytest.approx(0.2, rel=0.25)


def test_unknown_network():
    with pytest.raises(ValueError, match="xlsr"):
        models.build({"network": "nosuch", "scale": 2})
