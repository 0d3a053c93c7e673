"""float16 and dynamic files: the operators and outputs of TensorFlow's own converter."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization import small_graphs


@pytest.fixture(scope="module")
def model():
    """Convolutions with more and fewer than 1,024 weights, depthwise, transposed and dense."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 8), batch_size=1)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="large")(x)  # 1,152 weights
    x = keras.layers.Conv2D(7, 3, padding="same", name="small")(x)  # 1,008
    x = keras.layers.Conv2D(128, 1, name="wide")(x)  # 896
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)  # 1,152
    x = keras.layers.Conv2DTranspose(8, 3, 2, padding="same", name="transposed")(x)  # 9,216
    x = keras.layers.Dense(130, name="dense")(x)  # 1,040
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, (1.5 / np.prod(w.shape[:-1])) ** 0.5, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def data(model):
    return to_tflite.float_tflite(model)


def by_tensorflow(model, *types):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = list(types)
    return converter.convert()


def stored(data):
    """{operator: type of its weights}, and the sorted names of all operators."""
    graph = flatbuffer.parse(data)
    unpacked = {op.outputs[0]: op.inputs[0] for op in graph.ops if op.name == "DEQUANTIZE"}
    weights = [(op.name, graph.tensors[unpacked.get(op.inputs[1], op.inputs[1])]) for op in graph.ops if len(op.inputs) > 2]
    return [(name, tensor.dtype, len(tensor.scales)) for name, tensor in weights], sorted(op.name for op in graph.ops)


def image():
    return np.random.default_rng(1).random((1, 12, 12, 8), np.float32)


def test_float16(model, data):
    ours, theirs = quantizer.convert(data, "float16"), by_tensorflow(model, tf.float16)
    assert stored(ours) == stored(theirs)
    assert abs(len(ours) - len(theirs)) < 0.05 * len(theirs)
    assert len(ours) < 0.6 * len(data)
    (expected,), (found,) = (small_graphs.run(file, image()) for file in (theirs, ours))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    plain = small_graphs.run(data, image())[0]
    assert 1e-5 < np.abs(found - plain).max() / np.abs(plain).max() < 2e-3


def test_dynamic(model, data):
    ours, theirs = quantizer.convert(data, "dynamic"), by_tensorflow(model)
    kinds, names = stored(ours)
    assert kinds == [
        ("CONV_2D", "int8", 16),
        ("CONV_2D", "float32", 0),
        ("CONV_2D", "float32", 0),
        ("DEPTHWISE_CONV_2D", "int8", 128),
        ("TRANSPOSE_CONV", "float32", 0),
        ("FULLY_CONNECTED", "int8", 1),
    ]
    assert names == stored(theirs)[1]
    (expected,), (found,) = (small_graphs.run(file, image()) for file in (theirs, ours))
    plain = small_graphs.run(data, image())[0]
    scale = np.abs(plain).max()
    assert 1e-3 < np.abs(found - plain).max() / scale < 0.05
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.01 * scale
    assert np.sqrt(np.mean((found - plain) ** 2)) < 1.2 * np.sqrt(np.mean((expected - plain) ** 2)) + 1e-6


def test_dynamic_weights_are_rounded_to_the_nearest_integer(data):
    before, after = FloatGraph(data), FloatGraph(quantizer.convert(data, "dynamic"))
    for old, new in zip(before.ops, after.ops, strict=True):
        if after.name(new) not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weights, stored_weights = before.constant(old.inputs[1]), after.constant(new.inputs[1])
        if stored_weights.dtype == np.float32:
            np.testing.assert_array_equal(stored_weights, weights)
            continue
        entry = after.graph.tensors[new.inputs[1]].quantization
        axis = 3 if after.name(new) == "DEPTHWISE_CONV_2D" else 0
        assert entry.quantizedDimension == axis
        scales = entry.scale.reshape([-1 if k == axis else 1 for k in range(weights.ndim)])
        assert np.abs(stored_weights).max() == 127
        np.testing.assert_array_equal(stored_weights, np.round(weights / scales))
        np.testing.assert_array_equal(after.constant(new.inputs[2]), before.constant(old.inputs[2]))


def test_dynamic_with_one_scale_for_a_kernel(data):
    kinds, _ = stored(quantizer.convert(data, "dynamic", per_tensor=True))
    assert [scales for _, dtype, scales in kinds if dtype == "int8"] == [1, 1, 1]
