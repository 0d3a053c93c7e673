"""Learned ranges reach the file: every tensor that a fake-quantized network rounds gets its range."""

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr import models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import activation_ranges, quantizer, range_clipping
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.inference import litert
from mobile_sr.models.layers import DepthToSpace, PReLU
from mobile_sr.models.train_time.quantized_network import QuantizedNetwork
from mobile_sr.qat import keras_ranges
from tests.conftest import make_image

SAMPLES = [make_image(24, 28, seed)[None] / np.float32(255) for seed in range(2)]


def dense():
    """Dense layers and transposed convolutions of Keras, max-pooling and a SiLU."""
    lr = keras.Input((None, None, 3), name="lr")
    x = layers.Conv2D(6, 3, padding="same", activation="silu", name="first")(lr)
    low = layers.Conv2DTranspose(6, 4, strides=2, padding="same", name="up")(layers.MaxPooling2D(2)(x))
    x = layers.Dense(12, name="dense")(layers.Concatenate()([x, layers.ReLU()(low)]))
    return keras.Model(lr, DepthToSpace(2, name="sr")(x))


NETWORKS = {
    "dense": dense,
    "fsrcnn": lambda: models.build({"network": "fsrcnn", "scale": 2, "d": 8, "s": 4, "m": 1}),
    "imdn": lambda: models.build({"network": "imdn", "scale": 2, "blocks": 1}),
}


def randomize(model):
    """Random weights whose activations neither vanish nor grow; returns the generator."""
    rng = np.random.default_rng(3)
    sizes = [(w.shape, (1.5 / np.prod(w.shape[:-1])) ** 0.5 if w.ndim > 1 else 0.05) for w in model.get_weights()]
    model.set_weights([rng.normal(0, size, shape) for shape, size in sizes])
    return rng


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_has_the_learned_ranges(name):
    model = NETWORKS[name]()
    rng = randomize(model)
    net = QuantizedNetwork(model)
    low, high = (np.min if k == 0 else np.max for k in (0, 1))
    measured = [net.measure(sample) for sample in SAMPLES]
    net.set_ranges(low([m[0] for m in measured], axis=0), high([m[1] for m in measured], axis=0))
    shares = rng.uniform(0.5, 0.9, len(net.names)).astype(np.float32)  # each range has a step of its own
    net.low.assign(net.low * shares)
    net.high.assign(net.high * shares)
    net.keep_limits()
    data = to_tflite.float_tflite(model)
    ranges = keras_ranges.of_tensors(net, data, SAMPLES[0][:, :16, :16])
    limits = zip(net.low.numpy().tolist(), net.high.numpy().tolist(), strict=True)
    learned = {pair for pair, fixed in zip(limits, net.fixed, strict=True) if not fixed}
    assert set(ranges.values()) == learned
    graph = FloatGraph(data)
    activation_ranges.store(graph, ranges)
    file = litert.parse_graph(quantizer.convert(graph.packed(), "uint8", SAMPLES))
    read = [file.tensors[int(index)] for op in file.ops for index in op.inputs]
    steps = np.array([tensor.scales[0] for tensor in read if tensor.dtype == "int8" and len(tensor.scales) == 1])
    expected = [(b - a) / 255 for a, b in set(ranges.values())]
    absent = [step for step in expected if np.abs(steps / step - 1).min() > 1e-4]
    assert absent == []


def test_ranges_of_other_weights_match_nothing():
    net = QuantizedNetwork(dense())
    assert keras_ranges.of_tensors(net, to_tflite.float_tflite(dense()), SAMPLES[0]) == {}


def test_an_activation_without_effect_has_a_range_of_its_own():
    """A PReLU whose input is never negative: its result equals its input."""
    lr = keras.Input((None, None, 3), name="lr")
    x = layers.Conv2D(4, 3, padding="same", name="first")(lr)
    tail = layers.Conv2D(12, 3, padding="same", name="tail")(PReLU(name="prelu")(x))
    model = keras.Model(lr, DepthToSpace(2, name="sr")(tail))
    model.set_weights([np.abs(np.random.default_rng(0).normal(0, 0.2, w.shape)) for w in model.get_weights()])
    net = QuantizedNetwork(model)
    net.high.assign(np.arange(1, len(net.names) + 1, dtype=np.float32))
    ranges = keras_ranges.of_tensors(net, to_tflite.float_tflite(model), SAMPLES[0])
    found = {name.split("/")[1]: high for name, (_, high) in ranges.items() if "Relu" not in name}
    assert found == {"first_1": 1.0 + net.names.index("first"), "prelu_1": 1.0 + net.names.index("prelu")}


def test_clipping_gives_the_ranges_of_the_file():
    """A range that several tensors share, here those of a concatenation, covers the clipped range of each."""
    model = NETWORKS["dense"]()
    randomize(model)
    net = QuantizedNetwork(model)
    low, high = zip(*(net.measure(sample) for sample in SAMPLES), strict=True)
    net.set_ranges(np.min(low, axis=0), np.max(high, axis=0))
    data, before = to_tflite.float_tflite(model), net.high.numpy() - net.low.numpy()
    keras_ranges.clip(net, data, SAMPLES[0], SAMPLES, [])
    width = net.high.numpy() - net.low.numpy()
    assert (width <= before).all()
    assert (width < 0.98 * before).any()
    graph = FloatGraph(data)
    expected = {graph.tensor_name(tensor): limits for tensor, limits in range_clipping.least_error(graph, SAMPLES).items()}
    for name, limits in keras_ranges.of_tensors(net, data, SAMPLES[0]).items():  # with weights rounded to 8 bits
        assert limits[0] <= expected[name][0] * 0.98 + 1e-5
        assert limits[1] >= expected[name][1] * 0.98 - 1e-5
