"""Cross-layer equalization: the output does not change and channel ranges become more equal; GPTQ on whole networks."""

import functools

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, keras_sync
from mobile_sr.converters.quantization.channels import cross_layer_equalization
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.models.layers import GroupedConv2D, PReLU
from tests.converters.quantization.small_graphs import Builder, run


def images(count=3, side=24, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((1, side, side, 3)).astype(np.float32) for _ in range(count)]


def random_weights(model, seed=1):
    """Set weights with channel magnitudes that differ by up to two orders of magnitude."""
    rng = np.random.default_rng(seed)
    values = []
    for w in model.get_weights():
        size = 10 ** rng.uniform(-1, 1, w.shape[-1])
        kernel = rng.normal(0, 1 / np.prod(w.shape[:-1]) ** 0.5, w.shape) * size
        values.append(kernel if w.ndim == 4 else rng.normal(0, 0.1, w.shape))
    model.set_weights(values)
    return model


def equalize(model, samples, strength=1.0, center=True, data=None):
    """The equalized weights of a Keras model, which does not change, and the record. `data` is its .tflite, if there is one."""
    data, before = data or to_tflite.float_tflite(model), model.get_weights()
    graph = FloatGraph(data)
    record = cross_layer_equalization.equalize(graph, samples, strength, center)
    keras_sync.copy_weights(FloatGraph(data), graph, model)
    weights = model.get_weights()
    model.set_weights(before)
    return weights, record


@functools.cache
def exported(network):
    """A x3 network with linear output in its export form with random weights, its configuration and its .tflite."""
    config = {"network": network, "scale": 3, "output_activation": "linear"}
    model = random_weights(models.build_for_export(config))
    return model, config, to_tflite.float_tflite(model)


def outputs(model, name, image):
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer(name).output)(image))


@pytest.mark.parametrize("network", ["xlsr", "fsrcnn", "espcn"])
def test_the_output_does_not_change_and_the_ranges_become_similar(network):
    model, config, data = exported(network)
    other = models.build_for_export(config)
    weights, record = equalize(model, images(), strength=1.0, data=data)
    other.set_weights(weights)
    image = images(seed=7)[0]
    expected = keras.ops.convert_to_numpy(model(image))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(other(image)), expected, atol=2e-5 * np.abs(expected).max())
    if network == "espcn":  # tanh does not allow a scale
        assert record == {}
        return
    layer = {"xlsr": "tail_mix", "fsrcnn": "map2_prelu"}[network]
    spread = []
    for net in (model, other):
        peaks = np.max([np.abs(outputs(net, layer, i)).max(axis=(0, 1, 2)) for i in images()], axis=0)
        spread.append(np.median(peaks) / peaks.max())
    assert spread[1] > 1.5 * spread[0]


SMALL = {  # one block converts in half the time of two
    "imdn": {"channels": 8, "blocks": 1},
    "rfdn": {"channels": 8, "distilled": 4, "attention": 4, "blocks": 1},
    "rlfn": {"channels": 8, "middle": 8, "attention": 4, "blocks": 1},
    "efdn": {"channels": 8, "distilled": 4, "attention": 4, "blocks": 1},
    "bsrn": {"channels": 8, "distilled": 4, "attention": 4, "blocks": 1},
    "rcan": {"groups": 1, "blocks": 2, "channels": 8, "reduction": 2},
}


CHANGED = {  # a layer before the attention, pooling or resizing that its scales had to pass
    "imdn": "block1_conv1",
    "rfdn": "block1_esa_stride",
    "rlfn": "block1_fuse",
    "efdn": "block1_esa_conv3",
    "bsrn": "block1_esa_conv3_depthwise",
    "rcan": "group1_block1_conv1",
}


SOME = [pytest.param(name, marks=() if name == "rlfn" else pytest.mark.slow) for name in SMALL]


@pytest.mark.parametrize("network", SOME)
def test_scales_pass_attention_pooling_and_resizing(network):
    sizes = {key: value for key, value in SMALL[network].items() if key in models.complete({"network": network, "scale": 2})}
    config = {"network": network, "scale": 2, "output_activation": "linear", **sizes}
    model, other = random_weights(models.build_for_export(config)), models.build_for_export(config)
    model.set_weights([w * 0.3 if w.ndim == 4 else w for w in model.get_weights()])
    weights, record = equalize(model, images())
    other.set_weights(weights)
    image = images(seed=7)[0]
    expected = keras.ops.convert_to_numpy(model(image))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(other(image)), expected, atol=3e-5 * np.abs(expected).max())
    assert CHANGED[network] in record


def test_scales_are_limited_to_64():
    """Four channels are 1, 32, 63 and 1e5 times smaller than the largest; each has a range from 0 to its peak."""
    sizes = np.array([1, 1 / 32, 1 / 63, 1e-5])
    lr = keras.Input((None, None, 3), name="lr")
    x = keras.layers.Conv2D(4, 1, activation="relu", name="first")(lr)
    model = keras.Model(lr, keras.layers.Conv2D(3, 3, padding="same", name="last")(x))
    kernel, last = np.ones((1, 1, 3, 4)) * sizes, np.ones((3, 3, 4, 3))
    model.set_weights([kernel, np.zeros(4), last, np.zeros(3)])
    weights, record = equalize(model, images(1))
    np.testing.assert_allclose(weights[0][0, 0, 0] / sizes, [1, 32, 63, 64], rtol=1e-5)
    np.testing.assert_allclose(1 / weights[2][0, 0, :, 0], [1, 32, 63, 64], rtol=1e-5)
    assert record["first"] == {"largest_scale": 64, "largest_shift": 0}


def test_only_channels_that_1x1_convolutions_read_are_shifted():
    model, _, data = exported("xlsr")
    _, record = equalize(model, images(), data=data)
    assert {name for name, change in record.items() if change["largest_shift"]} == {"gblock3_mix", "shortcut"}
    _, record = equalize(model, images(), center=False, data=data)
    assert not any(change["largest_shift"] for change in record.values())


def test_strength_0_changes_nothing_and_more_changes_more():
    model, _, data = exported("xlsr")
    weights, record = equalize(model, images(), strength=0.0, center=False, data=data)
    assert record == {}
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    largest = [equalize(model, images(), strength=s, data=data)[1]["tail_mix"]["largest_scale"] for s in (0.25, 0.5, 1.0)]
    assert 1 < largest[0] < largest[1] < largest[2]


def test_added_channels_get_the_same_scales_and_others_none():
    lr = keras.Input((None, None, 3), name="lr")
    a = keras.layers.Conv2D(4, 3, padding="same", name="a")(lr)
    b = keras.layers.Conv2D(4, 1, padding="same", name="b")(lr)
    x = PReLU(name="prelu")(keras.layers.Add(name="sum")([a, b]))
    x = GroupedConv2D(4, 3, groups=2, form="grouped", name="grouped")(x)
    x = keras.layers.Activation("tanh", name="tanh")(x)
    model = random_weights(keras.Model(lr, keras.layers.Conv2D(3, 1, name="last")(x)))
    weights, record = equalize(model, images(), strength=1.0)
    assert set(record) == {"a", "b"}
    ratios = [new / old for new, old in zip(weights, model.get_weights(), strict=True)]
    np.testing.assert_allclose(ratios[0][0, 0, 0], ratios[2][0, 0, 0], rtol=1e-5)
    expected = keras.ops.convert_to_numpy(model(images()[0]))
    model.set_weights(weights)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images()[0])), expected, atol=1e-5)


def rounding_error(kernel, per_tensor):
    """Largest distance of a kernel from integer multiples of its scales, in units of the scales."""
    steps = np.abs(kernel).max(axis=None if per_tensor else (0, 1, 2)) / 127
    return np.abs(kernel / steps - np.round(kernel / steps)).max()


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("network", ["xlsr", "fsrcnn", "espcn"])
def test_rounded_weights_are_representable_and_lose_less(network, per_tensor):
    model, config, data = exported(network)
    other = models.build_for_export(config)
    calibration, image = images(4, 32), images(seed=9, side=32)[0]
    graph = FloatGraph(data)
    gptq.round_weights(graph, calibration, per_tensor)
    before = model.get_weights()
    keras_sync.copy_weights(FloatGraph(data), graph, model)
    weights = model.get_weights()
    model.set_weights(before)
    expected = keras.ops.convert_to_numpy(model(image))

    def error(arrays):
        other.set_weights(arrays)
        return float(np.mean((keras.ops.convert_to_numpy(other(image)) - expected) ** 2))

    nearest = []
    for old, new in zip(model.get_weights(), weights, strict=True):
        assert old.shape == new.shape
        if old.ndim < 4:
            nearest.append(old)
            continue
        # fsrcnn's last kernel has one scale for each output channel of its phases
        if not (network == "fsrcnn" and old.shape[0] == 9 and not per_tensor):
            assert rounding_error(new, per_tensor) < 1e-3
            np.testing.assert_allclose(np.abs(new).max(), np.abs(old).max(), rtol=1e-6)
        steps = np.abs(old).max(axis=None if per_tensor else (0, 1, 2)) / 127
        nearest.append(np.round(old / steps) * steps)
    assert error(weights) < 0.7 * error(nearest)


def test_an_axis_whose_length_depends_on_the_image_is_one_channel():
    """Such as the pixels that attention reads: 4 in the first image, 9 in the second."""

    class Graph:
        def visit(self, tensors, samples, visitor):
            for sample in samples:
                visitor(tensors[0], sample)

    samples = [np.arange(8.0).reshape(1, 2, 4), np.arange(-3.0, 6.0).reshape(1, 1, 9), np.full((1, 1, 9), 2.0)]
    low, high = cross_layer_equalization.channel_ranges(Graph(), [7], samples)[7]
    assert (low.tolist(), high.tolist()) == ([-3], [7])


def check_use(graph, tensor, small, strength):
    """Equalize: the output stays, and the first `small` channels of a tensor fill its range, but not with strength 0."""
    samples = images()
    before = run(graph, samples[0])[0]
    cross_layer_equalization.equalize(graph, samples, strength)
    np.testing.assert_allclose(run(graph, samples[0])[0], before, atol=1e-5 * np.abs(before).max())
    low, high = cross_layer_equalization.channel_ranges(graph, [tensor], samples)[tensor]
    used = max(low[:small].min() / low.min(), high[:small].max() / high.max())  # at the end that is reached first
    assert used == pytest.approx(1, rel=1e-4) if strength else used < 0.2


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_small_tensor_fills_the_range_of_a_concatenation(strength):
    """Its own range, before the rectifier, grows with it."""
    builder = Builder()
    small, large = builder.conv(0, 3, 4, 3), builder.conv(0, 3, 2, 3)
    parts = [builder.op("LEAKY_RELU", [x], alpha=0.05) for x in (small, large)]
    joined = builder.op("CONCATENATION", parts, axis=3)
    graph = builder.finished(builder.conv(joined, 6, 3))
    for op in graph.ops:  # values of both signs in both parts
        if op.outputs[0] in (small, large):
            _, kernel, bias = op.inputs
            graph.set_constant(kernel, graph.constant(kernel) / (50 if op.outputs[0] == small else 1))
            graph.set_constant(bias, graph.constant(bias) * 0)
    check_use(graph, joined, 4, strength)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_small_part_of_a_tensor_fills_its_range(strength):
    """Behind the split, a rectifier reads the small part; the range behind it grows with the part."""
    builder = Builder()
    whole = builder.conv(0, 3, 6, 3)
    small, large = builder.op("SPLIT", [builder.ints(3), whole], outputs=2, numSplits=2)
    rectified = builder.op("LEAKY_RELU", [small], alpha=0.05)
    graph = builder.finished(builder.op("ADD", [builder.conv(rectified, 3, 3), builder.conv(large, 3, 3)]))
    _, kernel, bias = graph.ops[0].inputs
    sizes = np.array([0.02, 0.02, 0.02, 1, 1, 1], np.float32)
    graph.set_constant(kernel, graph.constant(kernel) * sizes.reshape(-1, 1, 1, 1))
    graph.set_constant(bias, graph.constant(bias) * 0)
    check_use(graph, whole, 3, strength)


@pytest.mark.parametrize(
    ("fixed", "own", "other", "factor"),
    [
        ((-3, 3), (-40, 40), None, 6 / 80),  # the values of a gated layer shrink to the width of the gate
        ((0, 6), (-40, 40), None, 6 / 80),
        ((-10, 10), (-1, 1), None, 10),
        ((0, 10), (-1, 1), None, 1),  # growth must not widen the common range
        ((-3, 3), (-40, 40), (-2, 2), 1),  # other free channels would have to shrink, too
        ((-0.001, 0.001), (-40, 40), None, 1 / 64),
    ],
)
def test_a_class_of_channels_beside_ones_that_cannot_be_scaled(fixed, own, other, factor):
    """Two tensors of one range: channels that keep their scale (group 0) and a class (1), perhaps a further class (2)."""
    lows, highs = (
        np.array([[fixed[end], own[end], empty if other is None else other[end]], [empty, own[end], empty]], float)
        for end, empty in ((0, np.inf), (1, -np.inf))
    )
    found = cross_layer_equalization._class_scales(lows, highs, 1.0)
    assert found[1] == pytest.approx(factor)
