import re

import keras
import numpy as np
import pytest

from mobile_sr.models.layers import FORMS, ClippedReLU, DepthToSpace, GroupedConv2D, PReLU, SubPixelConv2DTranspose
from tests.conftest import ROOT


def plain_grouped(x, kernel, bias, groups):
    """Grouped 3x3 SAME convolution with ReLU, from its definition in NumPy."""
    rows = kernel.shape[2]
    columns = kernel.shape[3] // groups
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.zeros((*x.shape[:3], kernel.shape[3]))
    for g in range(groups):
        part = padded[..., g * rows : (g + 1) * rows]
        weights = kernel[..., g * columns : (g + 1) * columns]
        for i in range(3):
            for j in range(3):
                window = part[:, i : i + x.shape[1], j : j + x.shape[2]]
                y[..., g * columns : (g + 1) * columns] += window @ weights[i, j]
    return np.maximum(y + bias, 0)


@pytest.mark.parametrize("form", [*FORMS, None])
def test_every_form_of_the_grouped_convolution_is_the_definition(form):
    layer = GroupedConv2D(32, 3, groups=4, activation="relu", form=form)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 9, 32)).astype(np.float32)
    layer.build(x.shape)
    kernel = rng.normal(size=(3, 3, 8, 32)).astype(np.float32)
    bias = rng.normal(size=32).astype(np.float32)
    layer.set_weights([kernel, bias])
    actual = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(actual, plain_grouped(x, kernel, bias, 4), atol=2e-4)


def test_the_forms_train_alike():
    """split and dense, the two that TensorFlow can train on a CPU, give the same gradients."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 6, 6, 8)).astype(np.float32)
    gradients = []
    for form in ("split", "dense"):
        layer = GroupedConv2D(8, 3, groups=4, form=form)
        layer.build(x.shape)
        layer.set_weights([np.full((3, 3, 2, 8), 0.1, np.float32), np.zeros(8, np.float32)])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients.append(tape.gradient(loss, layer.kernel.value).numpy())
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_grouped_convolution_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="multiple"):
        GroupedConv2D(30, 3, groups=4)
    with pytest.raises(ValueError, match="form"):
        GroupedConv2D(32, 3, groups=4, form="fast")
    with pytest.raises(ValueError, match="groups"):
        GroupedConv2D(32, 3, groups=4).build((None, 8, 8, 30))


def test_depth_to_space_order_and_shape():
    x = np.arange(2 * 3 * 12, dtype=np.float32).reshape(1, 2, 3, 12)
    layer = DepthToSpace(2)
    y = keras.ops.convert_to_numpy(layer(x))
    assert y.shape == (1, 4, 6, 3)
    assert layer.compute_output_shape((None, None, 5, 12)) == (None, None, 10, 3)
    np.testing.assert_array_equal(y[0, 1, 0], x[0, 0, 0, 6:9])  # (i, j) = (1, 0) takes channels (1 * 2 + 0) * 3 ...


def test_clipped_relu():
    y = ClippedReLU()(np.array([-2.0, 0.0, 0.3, 1.0, 5.0], np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), [0, 0, 0.3, 1, 1])


@pytest.mark.parametrize(("size", "scale"), [(9, 2), (9, 3), (9, 4), (4, 2), (3, 3), (5, 3), (6, 4)])
def test_sub_pixel_transposed_convolution_is_the_transposed_convolution(size, scale):
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 5)).astype(np.float32)
    theirs = keras.layers.Conv2DTranspose(3, size, strides=scale, padding="same")
    theirs.build(x.shape)
    theirs.bias.assign([0.1, 0.2, 0.3])
    ours = SubPixelConv2DTranspose(3, size, scale)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    actual = keras.ops.convert_to_numpy(DepthToSpace(scale)(ours(x)))
    np.testing.assert_allclose(actual, keras.ops.convert_to_numpy(theirs(x)), atol=1e-5)
    assert ours.compute_output_shape(x.shape) == (2, 6, 7, 3 * scale**2)
    with pytest.raises(ValueError, match="smaller"):
        SubPixelConv2DTranspose(3, 2, 3)


@pytest.mark.parametrize(("size", "scale"), [(9, 2), (9, 3), (5, 3), (6, 4)])
def test_phases_map_back_to_their_kernel(size, scale):
    layer = SubPixelConv2DTranspose(3, size, scale)
    layer.build((None, None, None, 5))
    phases = keras.ops.convert_to_numpy(layer.phases(layer.kernel))
    indices = layer.places()
    assert sorted(indices[indices > 0]) == list(range(1, 1 + size * size * 3 * 5))  # every weight acts on one phase
    assert not phases[indices == 0].any()
    np.testing.assert_array_equal(layer.from_phases(phases + (indices == 0)), keras.ops.convert_to_numpy(layer.kernel))


def test_prelu_is_its_definition_and_keeps_slopes_at_most_one():
    layer = PReLU()
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    layer.build(x.shape)
    slopes = np.array([-0.5, 0.25, 1.0], np.float32)
    layer.set_weights([slopes])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), np.where(x > 0, x, slopes * x), atol=1e-6)
    np.testing.assert_allclose(layer.alpha.constraint(np.array([0.5, 1.5], np.float32)), [0.5, 1.0])


def test_registered_layers_have_different_names():
    """Of two with one name, the class that is imported last replaces the other in networks built from a configuration."""
    pattern = re.compile(r'register_keras_serializable\("mobile_sr"\)\s+class (\w+)')
    names = [name for path in sorted((ROOT / "models").rglob("*.py")) for name in pattern.findall(path.read_text())]
    assert len(names) > 10
    assert sorted(names) == sorted(set(names))
