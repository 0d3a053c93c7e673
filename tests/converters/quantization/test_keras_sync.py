"""Equalized weights of a float graph return to the Keras model: to every kind of layer, or the model stays as it is."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, keras_sync, quantizer
from mobile_sr.converters.quantization.channels import cross_layer_equalization
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D, PReLU, SubPixelConv2DTranspose


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
    assert prepared(model) is False  # they differ after GPTQ


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


def prepared(model):
    """`keras_sync.prepare`'s result, after checking that it leaves the model's own file."""
    return keras_sync.prepare(model, to_tflite.float_tflite(model), images(), 1.0)


def test_prepared_weights_are_those_of_the_exporter():
    """The uint8 file of the prepared model has every integer and every scale of the file that export makes."""
    image = keras.Input((None, None, 3))
    x = PReLU(name="prelu")(conv(6, 3, "first")(image))
    x = GroupedConv2D(4, 3, groups=2, form="grouped", activation="relu", name="middle")(x)
    x = conv(12, 3, "last")(keras.layers.Add(name="sum")([x, conv(4, 1, "side")(image)]))
    model = random_weights(keras.Model(image, ClippedReLU(name="clip")(DepthToSpace(2, name="pixels")(x))))
    graph = FloatGraph(to_tflite.float_tflite(model))
    cross_layer_equalization.equalize(graph, images(), 1.0)
    gptq.round_weights(graph, images())
    expected, before = quantizer.convert(graph.packed(), "uint8", images()), model.get_weights()
    assert prepared(model) is True
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert constants(quantizer.convert(to_tflite.float_tflite(model), "uint8", images())) == constants(expected)


def constants(data):
    """The operators of a file with the integers of their constants and the scales of their tensors."""
    graph = FloatGraph(data)
    result = []
    for op in graph.ops:
        entries = [graph.graph.tensors[tensor].quantization for tensor in (*op.inputs, *op.outputs)]
        scales = [None if entry.scale is None else np.float32(entry.scale).tolist() for entry in entries]
        values = [graph.constant(tensor) for tensor in op.inputs]
        result.append((graph.name(op), scales, [None if value is None else value.tolist() for value in values]))
    return result


def test_kernels_without_a_variable_are_kept():
    """SRCNN's bicubic kernel is a constant of the file; the other layers are equalized and rounded."""
    model = random_weights(models.build({"network": "srcnn", "scale": 2, "channels": 4, "middle": 4}))
    before = keras.ops.convert_to_numpy(model(images()[0]))
    assert set(keras_sync.equalize(model, images(), 1.0)) == {"feature", "map"}
    after = keras.ops.convert_to_numpy(model(images()[0]))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    assert prepared(model) is False
    kernel = np.asarray(model.get_layer("map").kernel)
    steps = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    np.testing.assert_allclose(kernel / steps, np.round(kernel / steps), atol=1e-3)


def test_layers_without_a_bias_are_prepared_without_one():
    image = keras.Input((None, None, 3))
    model = random_weights(keras.Model(image, conv(3, 1, "last", use_bias=False)(conv(4, 3, "first")(image))))
    first, last = (np.asarray(model.get_layer(name).kernel) for name in ("first", "last"))
    assert prepared(model) is False
    assert np.any(np.asarray(model.get_layer("first").kernel) != first)
    ratio = np.asarray(model.get_layer("last").kernel) / last
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[..., :1], ratio.shape), rtol=1e-5)  # only equalized


def test_merged_layers_are_kept():
    """The converter multiplies the kernel by the factors of the normalization: it belongs to no variable."""
    image = keras.Input((None, None, 3))
    x = conv(4, 3, "plain", activation="relu")(image)
    x = keras.layers.BatchNormalization(name="normalization")(conv(4, 3, "first")(x))
    model = random_weights(keras.Model(image, conv(3, 3, "last")(keras.layers.ReLU(name="relu")(x))))
    arrays = model.get_weights()
    arrays = [np.abs(w) + 0.5 if w.ndim == 1 else w for w in arrays]
    model.set_weights(arrays)
    before = {name: model.get_layer(name).get_weights() for name in ("plain", "first", "last")}
    keras_sync.equalize(model, images(), 1.0)
    same = {name: np.array_equal(w[0], model.get_layer(name).kernel) for name, w in before.items()}
    assert same == {"plain": True, "first": True, "last": True}  # both neighbours of a kernel that must not change


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
