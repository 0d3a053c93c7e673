"""Spare channels: copies keep the output, and 8 bits lose less with them."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import activation_ranges, quantizer
from mobile_sr.converters.quantization.channels import spare_channels
from mobile_sr.converters.quantization.float_graph import FloatGraph
from tests.converters.quantization.small_graphs import Builder, images, run

SHAPE = (1, 24, 32, 3)
DEAD = 3  # channel of the head and of the layer behind it


def skip(dead=True, kernel=1, rare=None, sum_activation=None, seed=0):
    """A head whose four channels are the colours and, without `dead`, their mean; a layer; a sum of both; a tail.

    `rare`: weights and bias of the last channel instead.
    """
    builder = Builder((1, -1, -1, 3), seed=seed)
    rng = np.random.default_rng(seed)
    weights = np.zeros((4, 1, 1, 3), np.float32)
    weights[[0, 1, 2], 0, 0, [0, 1, 2]] = 1
    weights[DEAD] = -1 if dead else 1 / 3
    bias = np.full(4, 0 if dead else 0.1, np.float32)
    if rare:
        weights[DEAD, 0, 0], bias[DEAD] = rare
    options = {"strideH": 1, "strideW": 1, "activation": "RELU"}
    head = builder.op("CONV_2D", [0, weights, bias], layer="head", **options)
    inner = rng.normal(0, 0.1, (4, 1, 1, 4))
    inner[DEAD] = -0.1 if dead else 0.1
    features = builder.op("CONV_2D", [head, inner.astype(np.float32), np.zeros(4, np.float32)], layer="inner", **options)
    x = builder.op("ADD", [head, features], layer="sum", activation=sum_activation)
    tail = rng.normal(0, 0.3, (3, kernel, kernel, 4)) / kernel**2
    return builder.finished(
        builder.op("CONV_2D", [x, tail.astype(np.float32), np.zeros(3, np.float32)], strideH=1, strideW=1, layer="tail")
    )


def ranged(graph, samples):
    """The graph with the ranges of its activations on samples."""
    activation_ranges.attach(graph, activation_ranges.extremes(graph, samples))
    return FloatGraph(graph.packed())


def bright(count=8):
    """Random images without black, so that no ReLU of the head cuts a colour."""
    return [0.2 + 0.8 * image for image in images(count, SHAPE)]


def test_a_dead_channel_becomes_a_copy_and_8_bits_lose_less():
    samples = bright()
    graph = ranged(skip(), samples)
    record = spare_channels.choose(graph, samples, len(samples))
    assert [entry["channel"] for entry in record] == [DEAD]
    assert record[0]["copies"] in (0, 1, 2)
    shifts = {name.split("/")[1]: shift for name, shift in record[0]["shifts"].items()}
    low, high = activation_ranges.stored(graph)[graph.ops[0].outputs[0]]
    assert shifts == {"head": pytest.approx((high - low) / 255 / 2), "inner": 0.0}  # ReLU cuts the layer's channels
    copied = spare_channels.applied(graph.packed(), record)
    np.testing.assert_allclose(run(copied, samples[0])[0], run(graph, samples[0])[0], atol=1e-6)
    errors = []
    for data in (graph.packed(), copied):
        levels = run(quantizer.convert(data, "uint8", samples), np.round(samples[0] * 255).astype(np.uint8))[0]
        exact = run(graph, np.round(samples[0] * 255).astype(np.float32) / 255)[0]
        low, high = exact.min(), exact.max()
        scale = (max(high, 0) - min(low, 0)) / 255
        errors.append(np.square((levels - np.round(-min(low, 0) / scale)) * scale - exact).mean())
    assert errors[1] < errors[0]


def test_a_kernel_beyond_one_pixel_undoes_the_shift_but_for_the_border():
    samples = bright()
    graph = ranged(skip(kernel=3), samples)
    shift = 0.01
    record = [{"channel": DEAD, "copies": 0, "shifts": {graph.tensor_name(graph.ops[0].outputs[0]): shift}}]
    before, after = (run(data, samples[0])[0] for data in (graph, spare_channels.applied(graph.packed(), record)))
    np.testing.assert_allclose(after[:, 1:-1, 1:-1], before[:, 1:-1, 1:-1], atol=1e-6)
    assert 1e-5 < np.abs(after - before).max() < shift


def rarely_active():
    """A network and images, on which a channel is active only where red is bright and the others are dark."""
    return skip(rare=([20, -20, -20], 1.2)), [0.4 + 0.6 * image for image in bright()]


def test_without_graphics_a_rarely_active_channel_would_be_spare(monkeypatch):
    monkeypatch.setattr(spare_channels, "HARD", 0)
    graph, samples = rarely_active()
    assert spare_channels.choose(ranged(graph, samples), samples, len(samples))


@pytest.mark.parametrize(
    "case",
    [
        *("all channels matter", "a colour needs the channel", "graphics need the channel", "a sum cuts", "too much work"),
        *("nothing to gain", "nothing linear"),
    ],
)
def test_channels_stay_where_copies_would_not_help(monkeypatch, case):
    samples = bright()
    graph = skip(dead=case != "all channels matter")
    photographs = len(samples)
    if case == "graphics need the channel":
        graph, samples = rarely_active()
    elif case == "a sum cuts":
        graph = skip(sum_activation="RELU")
    elif case == "a colour needs the channel":  # on negative inputs, the channel is active
        samples = [*samples, -np.ones(SHAPE, np.float32)]
    elif case == "too much work":
        monkeypatch.setattr(spare_channels, "MOST_WORK", 1.0)
    elif case == "nothing to gain":
        monkeypatch.setattr(spare_channels, "NEGLIGIBLE", 1e9)
    elif case == "nothing linear":
        monkeypatch.setattr(spare_channels, "LINEAR", 1.1)
    assert not spare_channels.choose(ranged(graph, samples), samples, photographs)


def test_a_network_without_such_layers_stays():
    builder = Builder(SHAPE)
    graph = builder.finished(builder.op("RELU", [builder.depthwise(0, 3)]))
    assert not spare_channels.choose(graph, bright(), 8)


def test_each_copy_goes_where_it_helps_the_most():
    noise = np.array([8.0, 3.0, 0.0, 0.0, 0.0, 0.0]) * spare_channels.ROUNDING
    free = dict.fromkeys((2, 3, 4), 0.0)
    assert spare_channels._assign(free, noise) == {0: [2, 4], 1: [3]}  # 6, 2.25 and 8 (1/4 - 1/9)
    dear = {2: 0.0, 3: 5 * spare_channels.ROUNDING}  # the second one costs more than the 2.25 that it gains
    assert spare_channels._assign(dear, noise) == {0: [2]}
    assert spare_channels._assign({0: 0.0}, noise) == {1: [0]}  # a spare channel is not copied


@pytest.mark.parametrize("change", [{"channel": 4}, {"copies": 9}, {"shifts": {"net/other/0": 0.1}}])
def test_a_record_of_another_network_is_refused(change):
    samples = bright()
    graph = ranged(skip(), samples)
    record = spare_channels.choose(graph, samples, len(samples))
    with pytest.raises(ValueError, match="channels that can be copied"):
        spare_channels.applied(graph.packed(), [record[0] | change])
