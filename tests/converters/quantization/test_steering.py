"""Steered weights: rounding to nearest gives the chosen integers, and the float result stays."""

import keras
import numpy as np
import pytest

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, steering
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite.constants import BIASED

LAYERS = {
    "convolution": lambda: keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="layer"),
    "groups": lambda: keras.layers.Conv2D(6, 3, padding="same", groups=2, name="layer"),
    "transposed": lambda: keras.layers.Conv2DTranspose(6, 4, strides=2, padding="same", name="layer"),
}


def network(kind, use_bias=True):
    """Of LAYERS or "depthwise": (the float .tflite of two layers, inputs that are far from 0 and depend on each other)."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    start = keras.Input((16, 16, 8))
    first = LAYERS[kind]() if kind in LAYERS else keras.layers.DepthwiseConv2D(3, padding="same", name="layer")
    model = keras.Model(start, keras.layers.Conv2D(1, 1, use_bias=use_bias)(first(start)))
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    mix = rng.normal(size=(8, 8)) * 0.5 + 1
    images = [(rng.uniform(size=(1, 16, 16, 8)) @ mix).astype(np.float32) for _ in range(4)]
    return to_tflite.float_tflite(model), images


def weights(graph):
    """(integers, kernel in steps, bias) of each layer."""
    for op in graph.ops:
        if graph.name(op) in BIASED:
            kernel = graph.constant(op.inputs[BIASED[graph.name(op)][1]]).astype(np.float64)
            steps = np.abs(kernel).max(axis=tuple(range(1, kernel.ndim)), keepdims=True) / 127
            yield np.round(kernel / steps), kernel / steps, graph.constant(graph.bias(op))


def result(graph, images):
    """The output for all images."""
    found = []
    graph.visit(graph.graph.outputs, images, lambda _, values: found.append(values.copy()))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", LAYERS)
def test_nearest_integers_are_the_given_ones_and_the_result_stays(kind):
    data, images = network(kind)
    plain, rounded, steered = (FloatGraph(data) for _ in range(3))
    gptq.round_weights(rounded, images)
    steering.steer(steered, rounded, images)
    changed = 0
    for goal, found, before in zip(weights(rounded), weights(steered), weights(plain), strict=True):
        changed += np.count_nonzero(goal[0] != before[0])
        assert (found[0] == goal[0]).all()
        assert np.abs(found[1] - found[0]).max() <= 0.5 - steering.MARGIN + 1e-4
        assert (found[2] == goal[2]).all()
    assert changed > 20  # rounding to nearest alone gives others
    expected = result(plain, images)
    errors = [np.square(result(graph, images) - expected).mean() for graph in (rounded, steered)]
    assert errors[1] < 0.2 * errors[0]


def test_depthwise_kernels_stay():
    data, images = network("depthwise")
    plain, rounded, steered = (FloatGraph(data) for _ in range(3))
    gptq.round_weights(rounded, images)
    steering.steer(steered, rounded, images)
    found = [[kernel for _, kernel, _ in weights(graph)] for graph in (plain, steered)]
    assert np.array_equal(found[0][0], found[1][0])
    assert not np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("adds_biases", [True, False])
def test_a_bias_is_added_only_where_it_may_be(adds_biases):
    data, images = network("convolution", use_bias=False)
    plain, rounded, steered = (FloatGraph(data) for _ in range(3))
    gptq.round_weights(rounded, images)
    steering.steer(steered, rounded, images, adds_biases=adds_biases)
    biases = [bias for *_, bias in weights(steered)]
    assert biases[0].any()
    assert biases[1].any() == adds_biases
    assert all((goal[0] == found[0]).all() for goal, found in zip(weights(rounded), weights(steered), strict=True))
    expected = result(plain, images)
    errors = [np.square(result(graph, images) - expected).mean() for graph in (rounded, steered)]
    assert errors[1] < 0.2 * errors[0]


def test_a_layer_of_zeros_stays():
    data, images = network("convolution")
    graph = FloatGraph(data)
    first = next(op for op in graph.ops if graph.name(op) == "CONV_2D")
    graph.set_constant(first.inputs[1], np.zeros(graph.shape(first.inputs[1]), np.float32))
    rounded = FloatGraph(graph.packed())
    gptq.round_weights(rounded, images)
    steering.steer(graph, rounded, images)
    assert not graph.constant(first.inputs[1]).any()
    assert np.isfinite(result(graph, images)).all()


def test_other_layers_are_refused():
    data, images = network("convolution")
    other, _ = network("transposed")
    single = FloatGraph(other)
    single.graph.operators = single.graph.operators[:1]
    with pytest.raises(ValueError, match="argument 2"):
        steering.steer(FloatGraph(data), single, images)
