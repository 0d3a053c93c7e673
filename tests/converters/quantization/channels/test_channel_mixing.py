"""Channel mixing: the output stays the same, and noise in the mixed tensors reaches it less."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.quantization.channels import channel_mixing, sensitivity
from mobile_sr.converters.quantization.float_graph import FloatGraph
from tests.converters.quantization.small_graphs import IMAGE, Builder, images, run

SHAPE = (1, 24, 32, 3)


def luminance(channels=8, seed=0):
    """A head whose first channel is the brightness, which alone the tail needs; the others are small details."""
    builder = Builder((1, -1, -1, 3), seed=seed)
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (channels, 3, 3, 3))
    kernel -= kernel.mean(axis=(1, 2), keepdims=True)
    kernel[0] = 1 / 27
    options = {"strideH": 1, "strideW": 1, "layer": "head"}
    x = builder.op("CONV_2D", [0, kernel.astype(np.float32), np.zeros(channels, np.float32)], **options)
    weights = np.full((3, 1, 1, channels), 0.02, np.float32)
    weights[..., 0] = 1
    tail = builder.op("CONV_2D", [x, weights, np.zeros(3, np.float32)], strideH=1, strideW=1, layer="tail")
    return builder.finished(tail)


def test_the_output_stays_and_the_8_bit_error_falls():
    graph, samples = luminance(), images(8, SHAPE)
    plain = FloatGraph(graph.packed())
    record = channel_mixing.mix(graph, samples)
    assert list(record) == ["head"]
    assert record["head"] < 0.5
    errors = []
    for each in (plain, graph):
        data = each.packed()
        np.testing.assert_allclose(run(data, samples[0])[0], run(plain, samples[0])[0], atol=1e-5)
        rounded = run(quantizer.convert(data, "uint8", samples), np.round(samples[0] * 255).astype(np.uint8))[0]
        expected = run(plain, np.round(samples[0] * 255).astype(np.float32) / 255)[0]
        errors.append(np.square(rounded / np.float32(255) - expected).mean())
    assert errors[1] < errors[0]


def test_a_tensor_that_cannot_gain_stays():
    """Two channels that matter alike: the record is empty and the graph the same."""
    builder = Builder(SHAPE)
    kernel = np.zeros((2, 1, 1, 3), np.float32)
    kernel[0, ..., 0] = kernel[1, ..., 1] = 1
    x = builder.op("CONV_2D", [0, kernel, np.zeros(2, np.float32)], strideH=1, strideW=1, layer="head")
    weights = np.zeros((3, 3, 3, 2), np.float32)
    weights[0, 1, 1, 0] = weights[1, 1, 1, 1] = 1
    graph = builder.finished(builder.op("CONV_2D", [x, weights, np.zeros(3, np.float32)], strideH=1, strideW=1))
    before = graph.packed()
    assert channel_mixing.mix(FloatGraph(before), images(4, SHAPE)) == {}


def test_the_sensitivity_of_a_linear_tail_is_that_of_its_gram_matrix():
    builder = Builder()
    x = builder.conv(0, 3, 4, layer="head")
    graph = builder.finished(builder.conv(x, 4, 3, layer="tail"))
    operators, inputs = list(graph.ops), list(graph.graph.inputs)
    kernel = graph.constant(graph.ops[1].inputs[1]).reshape(3, 4).astype(np.float64)
    found = sensitivity.sensitivity(graph, x, [graph.by_tensor(images()[0])], np.full(4, 0.1))
    expected = kernel.T @ kernel / 3 / np.ptp(run(graph, images()[0])[0]) ** 2  # of three values, in units of the range
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert (list(graph.ops), list(graph.graph.inputs)) == (operators, inputs)
    assert run(graph, images()[0])[0].shape == IMAGE


@pytest.mark.parametrize("case", ["one tensor", "one shifted tensor", "two tensors"])
def test_the_gradient_is_that_of_the_error(case):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((40, 3)).astype(np.float32) for _ in range(2 if case == "two tensors" else 1)]
    halves = [rng.standard_normal((3, 3)) for _ in values]
    error = channel_mixing._Error(values, [half @ half.T for half in halves], case == "one shifted tensor")
    matrix = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    gradient, small = error.step(matrix), 1e-4
    for place in np.ndindex(3, 3):
        step = np.zeros((3, 3))
        step[place] = small
        difference = (np.log(error.of(matrix + step)) - np.log(error.of(matrix - step))) / (2 * small)
        np.testing.assert_allclose(gradient[place], difference, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("constant", "value"), [("MOST_WORK", 1.0), ("NEGLIGIBLE", 1e9)])
def test_networks_that_are_too_large_or_lose_nothing_are_not_mixed(monkeypatch, constant, value):
    monkeypatch.setattr(channel_mixing, constant, value)
    assert channel_mixing.mix(luminance(), images(4, SHAPE)) == {}


def test_a_channel_that_is_nearly_always_zero_is_scaled_by_a_limited_factor():
    values = [np.array([[1.0, 1e-4, 0.0], [-2.0, 0.0, 0.0]], np.float32)]
    np.testing.assert_allclose(channel_mixing._peaks(values), [2, 2 / 64, 2 / 64])
