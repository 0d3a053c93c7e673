"""Equalized weights of a float graph return to the Keras model: to every kind of layer, or the model stays as it is."""

import keras
import numpy as np
import pytest

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import cross_layer_equalization, keras_sync
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.models.layers import DepthToSpace, GroupedConv2D, SubPixelConv2DTranspose


class AddedConstant(keras.layers.Layer):
    """x + one value for each channel, as ScaledByDepth adds it behind its product."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias


def images():
    rng = np.random.default_rng(0)
    return [rng.random((1, 12, 16, 3), np.float32) for _ in range(2)]


def random_weights(model, zero_biases=False):
    """Kernels whose output channels differ in size."""
    rng = np.random.default_rng(1)
    values = []
    for w in model.get_weights():
        kernel = rng.normal(0.1, (1 / np.prod(w.shape[:-1])) ** 0.5, w.shape) * 10 ** rng.uniform(-1, 0, w.shape[-1])
        values.append(kernel if w.ndim > 1 else np.zeros(w.shape) if zero_biases else rng.normal(0.2, 0.3, w.shape))
    model.set_weights(values)
    return model


def conv(filters, size, name, **options):
    return keras.layers.Conv2D(filters, size, padding="same", name=name, **options)


def check(model, changed):
    """Equalize: which layers changed, that the output stays, and that every weight is that of the graph."""
    image = images()[0]
    before = keras.ops.convert_to_numpy(model(image))
    data = to_tflite.float_tflite(model)
    graph = FloatGraph(data)
    record = cross_layer_equalization.equalize(graph, images(), 1.0)
    keras_sync.copy_weights(FloatGraph(data), graph, model)
    assert set(record) == set(changed)
    after = keras.ops.convert_to_numpy(model(image))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    again = FloatGraph(to_tflite.float_tflite(model))
    for op, other in zip(graph.ops, again.ops, strict=True):
        assert graph.name(op) == again.name(other)
        for tensor, number in zip(op.inputs, other.inputs, strict=True):
            values = graph.constant(tensor)
            if values is not None and graph.is_float(tensor):
                found = again.constant(number)
                np.testing.assert_allclose(found, values.reshape(found.shape), rtol=1e-5, atol=1e-7)
    return record


@pytest.mark.parametrize(
    "layer",
    [
        lambda: GroupedConv2D(8, 3, groups=2, form="grouped", activation="relu", name="middle"),
        lambda: keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="middle"),
        lambda: keras.layers.Dense(5, activation="relu", name="middle"),
        lambda: keras.layers.Conv2DTranspose(5, 3, 2, padding="same", activation="relu", name="middle"),
    ],
    ids=["grouped", "depthwise", "dense", "transposed"],
)
def test_layers(layer):
    image = keras.Input((12, 16, 3), batch_size=1)
    x = conv(4, 3, "first", activation="relu")(image)
    check(random_weights(keras.Model(image, conv(3, 3, "last")(layer()(x)))), ["first", "middle"])


def test_phases_of_a_transposed_convolution():
    image = keras.Input((None, None, 3))
    x = SubPixelConv2DTranspose(4, 5, 2, name="phased")(conv(6, 3, "first", activation="relu")(image))
    x = keras.layers.ReLU(name="relu")(DepthToSpace(2, name="pixels")(x))
    model = random_weights(keras.Model(image, conv(3, 3, "last")(x)))
    check(model, ["first", "relu"])  # the converter moves the ReLU into the convolution, which gets its name
    assert model.get_layer("phased").bias.shape == (4,)


def test_phases_share_the_mean_of_their_biases():
    """Other methods, such as GPTQ, give each phase a bias of its own."""
    image = keras.Input((None, None, 3))
    phased = SubPixelConv2DTranspose(2, 3, 2, name="phased")
    model = random_weights(keras.Model(image, DepthToSpace(2, name="pixels")(phased(image))))
    data = to_tflite.float_tflite(model)
    graph, before = FloatGraph(data), np.asarray(phased.bias)
    (op,) = (op for op in graph.ops if graph.name(op) == "CONV_2D")
    added = np.array([0, 10, 1, 20, 2, 30, 3, 60], np.float32)
    graph.set_constant(op.inputs[2], graph.constant(op.inputs[2]) + added)
    keras_sync.copy_weights(FloatGraph(data), graph, model)
    np.testing.assert_allclose(np.asarray(phased.bias), before + [1.5, 30], rtol=1e-6)


def test_added_constants():
    image = keras.Input((None, None, 3))
    x = conv(4, 3, "first")(image)
    x = keras.layers.Multiply(name="product")([x, conv(1, 3, "mask")(image)])
    x = keras.layers.ReLU(name="relu")(AddedConstant(name="added")(x))
    model = random_weights(keras.Model(image, conv(3, 3, "last")(x)))
    before = np.asarray(model.get_layer("added").bias)
    record = check(model, ["first"])
    ratio = np.asarray(model.get_layer("added").bias) / before
    assert ratio.max() == pytest.approx(record["first"]["largest_scale"], rel=1e-5)
    assert ratio.min() >= 1


def test_zero_biases_get_values_by_centring():
    image = keras.Input((None, None, 3))
    model = random_weights(keras.Model(image, conv(3, 1, "last")(conv(4, 3, "first")(image))), zero_biases=True)
    before = keras.ops.convert_to_numpy(model(images()[0]))
    record = keras_sync.equalize(model, images(), 1.0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images()[0])), before, atol=1e-5 * np.abs(before).max())
    assert record["first"]["largest_shift"] > 0
    assert np.abs(np.asarray(model.get_layer("first").bias)).min() > 0
    assert np.abs(np.asarray(model.get_layer("last").bias)).min() > 0


def unchanged(model, message):
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        keras_sync.equalize(model, images(), 1.0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_merged_layers_are_refused():
    """The converter multiplies the kernel by the factors of the normalization."""
    image = keras.Input((None, None, 3))
    x = conv(4, 3, "plain", activation="relu")(image)
    x = keras.layers.BatchNormalization(name="normalization")(conv(4, 3, "first")(x))
    model = random_weights(keras.Model(image, conv(3, 3, "last")(keras.layers.ReLU(name="relu")(x))))
    arrays = model.get_weights()
    arrays = [np.abs(w) + 0.5 if w.ndim == 1 else w for w in arrays]
    model.set_weights(arrays)
    unchanged(model, "the weights of .* belong to no layer of the model")


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_missing_bias_is_refused(which):
    """Centring would need it."""
    image = keras.Input((None, None, 3))
    x = conv(4, 3, "first", use_bias=which != "first")(image)
    model = random_weights(keras.Model(image, conv(3, 1, "last", use_bias=which != "last")(x)))
    unchanged(model, "the bias of .* belongs to no layer of the model")


def test_a_merged_bias_is_refused():
    """The converter adds the constant of another layer to the bias."""
    image = keras.Input((None, None, 3))
    x = AddedConstant(name="added")(conv(4, 3, "first")(image))
    model = random_weights(keras.Model(image, conv(3, 3, "last")(keras.layers.ReLU(name="relu")(x))))
    unchanged(model, "the bias of .* belongs to no layer of the model")
