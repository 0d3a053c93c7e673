"""Batch normalization in the layers before it: the same network at inference, or one line."""

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr.models.layers import DepthToSpace
from mobile_sr.models.train_time import batch_norm

X = np.random.default_rng(0).random((1, 10, 12, 3)).astype(np.float32)


def network(*body):
    """A network of layers, with random weights and moving averages."""
    x = lr = keras.Input((None, None, 3), name="lr")
    for layer in body:
        x = layer(x)
    model = keras.Model(lr, x)
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.2, 1.5, w.shape) * (0.2 if w.ndim > 1 else 1) for w in model.get_weights()])
    return model


def norm(name="norm", **options):
    return layers.BatchNormalization(name=name, **options)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="layer"),
        layers.Conv2D(6, 3, padding="same", groups=3, name="layer"),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="layer"),
        layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="layer"),
        layers.SeparableConv2D(4, 3, padding="same", use_bias=False, name="layer"),
        layers.Dense(5, name="layer"),
    ],
    ids=["without_bias", "groups", "depthwise", "transposed", "separable", "dense"],
)
def test_the_folded_network_computes_the_same(layer):
    model = network(layer, norm(), layers.ReLU(), layers.Conv2D(12, 1, name="tail"), DepthToSpace(2))
    folded = batch_norm.fold(model)
    assert [layer.name for layer in folded.layers if layer.weights] == ["layer", "tail"]
    expected = keras.ops.convert_to_numpy(model(X, training=False))
    np.testing.assert_allclose(folded(X), expected, rtol=1e-4, atol=1e-5)
    assert folded.get_layer("layer").use_bias


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_options_of_the_normalization(options):
    model = network(layers.Conv2D(4, 3, name="layer"), norm(**options))
    expected = keras.ops.convert_to_numpy(model(X, training=False))
    np.testing.assert_allclose(batch_norm.fold(model)(X), expected, rtol=1e-4, atol=1e-5)


def test_a_network_without_normalization_is_itself():
    model = network(layers.Conv2D(4, 3))
    assert batch_norm.fold(model) is model


@pytest.mark.parametrize(
    "body",
    [
        (norm(), layers.Conv2D(4, 3)),
        (layers.Conv2D(4, 3, activation="relu"), norm()),
        (layers.Conv2D(4, 3), layers.ReLU(), norm()),
    ],
    ids=["first", "behind_an_activation", "behind_a_layer"],
)
def test_normalization_elsewhere_is_refused(body):
    with pytest.raises(ValueError, match="^layer norm: QAT folds BatchNormalization only into a convolution or Dense layer"):
        batch_norm.fold(network(*body))


def test_a_convolution_with_another_reader_is_refused():
    lr = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 3, padding="same")(lr)
    model = keras.Model(lr, layers.Add()([norm()(x), x]))
    with pytest.raises(ValueError, match="^layer norm: "):
        batch_norm.fold(model)
