"""Networks with fake quantization: which tensors are rounded and share a quantizer, and what equals the float network."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mobile_sr import models
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, PReLU, SubPixelConv2DTranspose
from mobile_sr.models.ntire2022.layers import AnySlopePReLU
from mobile_sr.models.train_time import quantized_layers
from mobile_sr.models.train_time.quantized_network import QuantizedNetwork

X = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
# One network of each structure and layer; the others of NTIRE 2022 differ from these in numbers.
NETWORKS = ("xlsr", "chainsr", "fsrcnn", "espcn", "edsr", "rcan", "fgnas", "srcnn", "abpn")
NETWORKS += ("imdn", "fmen", "efdn", "bsrn", "mobilesr")
SMALL = {
    **dict.fromkeys(("imdn", "fmen", "efdn", "bsrn"), {"blocks": 1}),
    "mobilesr": {"ratios": [2]},
    "chainsr": {"layers": 1, "channels": 8},
    "edsr": {"blocks": 1, "channels": 8},
    "rcan": {"groups": 1, "blocks": 1, "channels": 8, "reduction": 2},
}


def conv(x, filters=4, name=None, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", name=name, **kwargs)(x)


def network(body, clip=True):
    """The network of a function from the LR image to any features, with random biases."""
    lr = keras.Input((None, None, 3), name="lr")
    x = conv(body(lr), 12, "tail")
    model = keras.Model(lr, DepthToSpace(2, name="sr")(ClippedReLU(name="clip")(x) if clip else x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, (1 / max(1, np.prod(w.shape[:-1]))) ** 0.5, w.shape) for w in model.get_weights()])
    return model


def calibrated(model, **options):
    net = QuantizedNetwork(model, **options)
    net.set_ranges(*(ops.convert_to_numpy(limits) for limits in net.measure(X)))
    return net


def ranges(net):
    pairs = zip(ops.convert_to_numpy(net.low).tolist(), ops.convert_to_numpy(net.high).tolist(), strict=True)
    return dict(zip(net.names, pairs, strict=True))


def test_the_inputs_and_the_output_of_a_concatenation_have_one_quantizer():
    model = network(lambda lr: layers.Concatenate(name="both")([conv(lr, name="a"), conv(lr, name="b", activation="relu")]))
    net = calibrated(model)
    assert net.names == ["lr", "a", "tail"]
    parts = keras.Model(model.input, [model.get_layer(name).output for name in "ab"])(X)
    _, high = ranges(net)["a"]
    assert high == pytest.approx(max(float(ops.max(part)) for part in parts), rel=0.02)


def test_pooling_and_resizing_keep_their_inputs_quantizer():
    def body(lr):
        x = layers.MaxPooling2D(2)(conv(lr, name="a"))
        return DepthToSpace(2)(layers.UpSampling2D(1, interpolation="bilinear")(x))

    assert calibrated(network(body)).names == ["lr", "a", "tail"]


def test_the_range_of_a_tanh_is_that_of_the_whole_concatenation():
    """TensorFlow's converter does the same; tests/mobile_sr/qat/test_keras_fine_tune.py compares with a file."""

    def body(lr):
        return layers.Concatenate(name="both")([conv(lr, name="b"), conv(lr, activation="tanh", name="t")])

    net = calibrated(network(body))
    assert sorted(net.names) == ["b", "lr", "t (inside)", "tail"]
    assert ranges(net)["b"] == (-1.0, 127 / 128)
    assert ranges(net)["t (inside)"][1] <= quantized_layers.TANH_INPUT[1]


def test_a_tanh_and_a_sigmoid_are_requantized_in_a_concatenation():
    def body(lr):
        return layers.Concatenate(name="c")([conv(lr, activation=kind, name=kind) for kind in ("tanh", "sigmoid")])

    net = calibrated(network(body))
    assert ranges(net)["tanh"] == (-1.0, 127 / 128)
    assert ranges(net)["sigmoid"] == (0.0, 255 / 256)
    assert ranges(net)["c"][0] > -1


@pytest.mark.parametrize(
    "relu", [lambda x: layers.ReLU(name="r")(x), lambda x: layers.Activation("relu", name="r")(x), ops.relu]
)
def test_a_relu_is_part_of_the_operator_before_it(relu):
    def alone(lr):
        return conv(lr, name="a")

    for producer in (alone, lambda lr: conv(lr, name="a") + conv(lr, name="b")):
        net = calibrated(network(lambda lr, producer=producer: relu(producer(lr))))
        assert sum(low == 0 for low, _ in ranges(net).values()) == 3  # the image, the ReLU and the output
        assert len(net.names) == 3 + 2 * (producer is not alone)


def test_a_relu_beside_another_reader_is_an_operator_of_its_own():
    def body(lr):
        x = conv(lr, name="a")
        return layers.Add(name="sum")([x, layers.ReLU(name="r")(x)])

    assert calibrated(network(body)).names == ["lr", "a", "r", "sum", "tail"]


def test_a_trace_is_that_of_the_float_network():
    """Its last tensor is the float output, although the PReLU's slope and the weights are rounded otherwise."""
    model = network(lambda lr: PReLU(name="p")(conv(lr, name="a")), clip=False)
    net = calibrated(model)
    trace = net.trace(X)
    assert [net.names[index] for index, _ in trace] == ["lr", "a", "p (inside)", "p", "tail", "tail"]
    np.testing.assert_allclose(trace[-1][1], ops.convert_to_numpy(model(X)), rtol=0, atol=1e-6)
    assert np.abs(ops.convert_to_numpy(net(X)) - np.clip(trace[-1][1], 0, 1)).max() > 1e-3


def test_only_the_activations_are_rounded_on_request():
    """The largest values of the tensors are then those of the float network."""
    model = network(lambda lr: conv(lr, name="a", activation="relu"))
    expected = float(ops.max(keras.Model(model.input, model.get_layer("a").output)(X)))
    highest = {}
    for rounded in (True, False):
        net = calibrated(model, rounded_weights=rounded)
        highest[rounded] = ranges(net)["a"][1]
        assert np.abs(ops.convert_to_numpy(net(X)) - np.clip(model(X), 0, 1)).max() > 1e-3
    assert highest[False] == pytest.approx(expected, rel=1e-6)
    assert highest[True] != pytest.approx(expected, rel=1e-4)


def test_learned_ranges_keep_their_limits():
    net = calibrated(network(lambda lr: conv(conv(lr, name="a"), activation="tanh", name="t")))
    net.low.assign(net.low * 0 + 1)
    net.high.assign(net.high * 0 + 9)
    net.keep_limits()
    assert ranges(net) == {
        **{"lr": (0, 1), "a": (0, 9), "t": (-1, 127 / 128), "tail": (0, 1)},
        "t (inside)": (0, pytest.approx(quantized_layers.TANH_INPUT[1])),
    }


def test_silu_is_a_sigmoid_and_a_product():
    net = calibrated(network(lambda lr: conv(lr, activation="silu", name="s")))
    assert sorted(net.names) == ["lr", "s", "s (inside)", "s (inside)", "tail"]
    assert (0.0, 255 / 256) in [tuple(pair) for pair in zip(net.low.numpy().tolist(), net.high.numpy().tolist(), strict=True)]


@pytest.mark.parametrize("clip", [True, False])
def test_the_output_saturates_at_white_and_black(clip):
    net = calibrated(network(lambda lr: conv(lr) * 9.0, clip))
    y = ops.convert_to_numpy(net(X))
    assert (y.min(), y.max()) == pytest.approx((0, 1), abs=1e-6)
    np.testing.assert_allclose(y * 255, np.round(y * 255), atol=1e-3)


def test_an_image_of_0_to_255():
    model = network(lambda lr: conv(lr / 255.0))
    net = QuantizedNetwork(model, input_range=(0, 255), output_range=(0, 255))
    assert ranges(net)["lr"] == (0, 255)
    assert ranges(net)["tail"] == (0, 255)


def test_the_phases_of_a_transposed_convolution_have_a_scale_each():
    layer = SubPixelConv2DTranspose(3, 5, 2)
    layer.build((None, None, None, 4))
    ((_, quantize),) = quantized_layers.behaviour(layer).weights
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 4)).astype(np.float32)
    kernel[::2, ::2] *= 50
    phases = ops.convert_to_numpy(layer.phases(kernel))
    steps = np.abs(phases).max(axis=(0, 1, 2)) / 127
    expected = layer.from_phases(np.round(phases / steps) * steps)
    np.testing.assert_allclose(ops.convert_to_numpy(quantize(ops.convert_to_tensor(kernel))), expected, atol=1e-4)


@pytest.mark.parametrize("prelu", [PReLU, AnySlopePReLU])
def test_the_product_in_a_prelu_is_rounded(prelu):
    model = network(lambda lr: prelu(name="p")(conv(lr, name="a")), clip=False)
    if prelu is AnySlopePReLU:
        model.get_layer("p").set_weights([np.array([-0.5, 0.25, 1.0, 2.0])])
    net = calibrated(model)
    assert net.names == ["lr", "a", "p", "p (inside)", "tail"]
    expected = np.clip(ops.convert_to_numpy(model(X)), *ranges(net)["tail"])
    assert np.abs(ops.convert_to_numpy(net(X)) - expected).mean() < 0.02 * np.ptp(expected)


def test_per_tensor_weights():
    layer = layers.Conv2D(4, 3)
    layer.build((None, None, None, 3))
    ((variable, quantize),) = quantized_layers.behaviour(layer, per_tensor=True).weights
    step = np.abs(layer.get_weights()[0]).max() / 127
    np.testing.assert_allclose(quantize(variable.value), np.round(layer.get_weights()[0] / step) * step, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_ours(name):
    """Rounded outputs are near the float network's, its weights stay as they are, and every variable gets a gradient."""
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = models.build({"network": name, "scale": 2, **SMALL.get(name, {})})
    before = model.get_weights()
    net = calibrated(model)
    with tf.GradientTape() as tape:
        y = net(X)
        loss = tf.reduce_mean(tf.square(y - 0.3))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    expected = ops.convert_to_numpy(model(X))
    assert 0 < np.abs(ops.convert_to_numpy(y) - expected).mean() < max(0.02, 0.2 * expected.std())
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda lr: layers.GaussianNoise(0.1, name="middle")(conv(lr)), "layer middle: QAT does not support GaussianNoise"),
        (lambda lr: conv(lr, activation="mish", name="middle"), "layer middle: QAT does not support activation mish"),
        (
            lambda lr: layers.ReLU(3.0, name="middle")(lr),
            "layer middle: QAT does not support activation relu with max_value=3.0",
        ),
        (lambda lr: ops.cumsum(conv(lr), axis=1), "QAT does not support Cumsum"),
    ],
)
def test_unsupported_layers_are_named(body, message):
    with pytest.raises(ValueError, match=message):
        QuantizedNetwork(network(body))
