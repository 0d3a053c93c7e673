"""Convolutions, fitted to the float network's output."""

from unittest import mock

import numpy as np
import pytest

from mobile_sr.converters.quantization import gptq, layer_fit, quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph
from tests.converters.quantization.small_graphs import Builder, run

SHAPE = (1, 24, 24, 3)


def smooth(count=12):
    """Images of smooth random gradients in 0..1, which errors of the first convolution's weights brighten or darken."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 1, SHAPE[1], dtype=np.float32)
    mixed = [
        rng.random(3)[None, None] * ramp[:, None, None] + rng.random(3)[None, None] * ramp[None, :, None] for _ in range(count)
    ]
    noisy = [image / 2 + 0.02 * rng.random(SHAPE[1:]) for image in mixed]
    return [image[None].astype(np.float32) for image in noisy]


def network(**last):
    """(the graph of a head, a chain and a skip around it, its last convolution with the options `last`)."""
    builder = Builder(SHAPE)
    head = builder.conv(0, 3, 8, 3, activation="RELU")
    inner = builder.conv(head, 8, 8, 3, activation="RELU")
    tail = builder.conv(builder.op("ADD", [head, inner]), 8, 12, 3, layer="tail", **last)
    graph = builder.finished(builder.op("DEPTH_TO_SPACE", [tail], blockSize=2))
    rng = np.random.default_rng(0)
    for op in graph.ops:  # weights between the integers
        if graph.name(op) == "CONV_2D":
            weights = graph.constant(op.inputs[1])
            graph.set_constant(op.inputs[1], (weights * rng.uniform(0.6, 1, weights.shape) * 0.6).astype(np.float32))
    return graph


def output(data, image):
    """The output of a float or int8 file for an image."""
    graph = FloatGraph(data)
    if graph.is_float(graph.graph.inputs[0]):
        return run(data, image)[0]
    (result,) = run(data, *layer_fit.integers(graph, image))
    return layer_fit.real(graph, graph.graph.outputs[0], result)


def error(data, original, image):
    """The mean squared error of an int8 file of `data`."""
    return np.square(output(quantizer.convert(data, "int8", smooth()), image) - output(original, image)).mean()


def rounded(graph):
    """The bytes of a graph with rounded weights."""
    copy = FloatGraph(graph.packed())
    gptq.round_weights(copy, smooth())
    return copy.packed()


@pytest.mark.parametrize("activation", ["NONE", "RELU"])
def test_later_layers_make_up_for_the_errors_of_earlier_ones(activation):
    """The weights of the first convolution, which must not change here, are off by 3 %."""
    graph = network(activation=activation)
    original, changed = graph.packed(), FloatGraph(graph.packed())
    first = changed.ops[0].inputs[1]
    weights = changed.constant(first)
    changed.set_constant(first, (weights * np.random.default_rng(2).normal(1, 0.03, weights.shape)).astype(np.float32))
    data = rounded(changed)
    with mock.patch.object(layer_fit, "_is_ordinary", side_effect=lambda graph, op: op is not graph.ops[0]):
        fitted = layer_fit.fit(data, original, smooth())
    held_out = smooth(14)[-1]
    assert error(fitted, original, held_out) < 0.85 * error(data, original, held_out)


def kernels(data):
    """The kernels of the convolutions."""
    graph = FloatGraph(data)
    return [graph.constant(op.inputs[1]) for op in graph.ops if graph.name(op) == "CONV_2D"]


@pytest.mark.parametrize("per_tensor", [False, True])
def test_weights_are_values_of_the_quantizer(per_tensor):
    graph = network()
    data = rounded(graph)
    fitted = kernels(layer_fit.fit(data, graph.packed(), smooth(), per_tensor))
    for before, after in zip(kernels(data)[1:], fitted[1:], strict=True):
        assert not np.array_equal(before, after)
        integers = after / np.abs(after).max(axis=None if per_tensor else (1, 2, 3), keepdims=True) * 127
        np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)


def test_the_8_bit_graph_follows_the_fit():
    """Each layer sees the fitted layers before it: the replaced weights are those that the quantizer writes in the end."""
    graph = network()
    data, original = rounded(graph), graph.packed()
    with mock.patch.object(layer_fit, "_replace", side_effect=layer_fit._replace) as replace:
        fitted = layer_fit.fit(data, original, smooth())
    replaced = replace.call_args_list[0].args[0]  # the graph, which all calls change
    final = FloatGraph(quantizer.convert(fitted, "int8", smooth()))
    for ours, theirs in zip(kernels(replaced.packed()), kernels(final.packed()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_deep_network_has_only_its_last_layer_fitted(monkeypatch):
    monkeypatch.setattr(layer_fit, "MOST_LAYERS", 2)
    graph = network()
    data = rounded(graph)
    before, after = kernels(data), kernels(layer_fit.fit(data, graph.packed(), smooth()))
    assert [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_every_exit_has_a_last_convolution(monkeypatch):
    """Each is fitted on all samples, so that an exit gets the weights of its network alone."""
    monkeypatch.setattr(layer_fit, "MOST_LAYERS", 1)
    builder = Builder(SHAPE)
    first = builder.conv(0, 3, 4, 3)
    ends = [builder.op("RELU", [builder.conv(x, 4, 3, 3)]) for x in (first, builder.conv(first, 4, 4, 3))]
    data = (graph := builder.finished(*ends)).packed()
    before, after = kernels(rounded(graph)), kernels(layer_fit.fit(rounded(graph), data, smooth()))
    assert [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [False, False, True, True]


def test_a_flat_colour_counts_the_same_at_every_size():
    counted = []

    def add(moments, patches, weight=1):
        counted.append(len(patches) * weight)
        original(moments, patches, weight)

    original, graph = gptq.InputHessian.add, network()
    flats = [np.full((1, side, side, 3), 0.5, np.float32) for side in (24, 12, 6)]
    with mock.patch.object(gptq.InputHessian, "add", add):
        layer_fit.fit(graph.packed(), graph.packed(), [*smooth(3), *flats], photographs=3)
    assert counted[-6:] == [576] * 3 + [pytest.approx(layer_fit.PLAIN)] * 3  # of the last layer, which sees all samples


LAST = {
    "a stride": lambda builder, x: builder.conv(x, 3, 3, 3, stride=2),
    "groups": lambda builder, x: builder.conv(x, 3, 3, 3, groups=3),
    "no image": lambda builder, x: builder.conv(builder.op("MEAN", [x, np.array([1, 2])], keepDims=True), 3, 3, 1),
    "a transposed one": lambda builder, x: builder.transposed(x, 3, 3, size=SHAPE[1:3]),
}


@pytest.mark.parametrize("last", LAST)
def test_other_convolutions_stay_as_they_are(last):
    builder = Builder(SHAPE)
    graph = builder.finished(LAST[last](builder, 0))
    data = graph.packed()
    for before, after in zip(kernels(data), kernels(layer_fit.fit(data, data, smooth(2))), strict=True):
        np.testing.assert_array_equal(before, after)
