"""Training branches: compared with the papers' blocks; collapsed networks compared with branched ones."""

import keras
import numpy as np
import pytest
from keras import ops

from mobile_sr import models
from mobile_sr.models.train_time import branches
from mobile_sr.models.train_time.branches import EDGES, BranchedConv2D, BranchedGroupedConv2D

DENSE = {"network": "xlsr", "scale": 3, "grouped_form": "dense"}
NETS = {
    "xlsr dense": DENSE,
    "xlsr grouped": {**DENSE, "grouped_form": "grouped"},
    "fsrcnn": {"network": "fsrcnn", "scale": 2, "d": 8, "s": 4, "m": 1},
    "edsr": {"network": "edsr", "scale": 2, "blocks": 2, "channels": 8, "depth": "input"},
    "rlfn": {"network": "rlfn", "scale": 2, "channels": 8, "middle": 6, "attention": 2, "blocks": 1},
}


def randomized(model, scale=0.3):
    """Sets random weights: normal with a standard deviation of `scale` / sqrt(fan in). Returns the model."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, scale * max(1, w[..., 0].size) ** -0.5, w.shape) for w in model.get_weights()])
    return model


def outputs(model, side=17):
    """Returns a model's outputs for one random image; a desired depth is 1.3."""
    x = np.random.default_rng(1).random((1, side, side + 2, 3)).astype(np.float32)
    actual = model([x, np.full((1, 1), 1.3, np.float32)] if len(model.inputs) > 1 else x)
    return [ops.convert_to_numpy(y) for y in (actual if isinstance(actual, (list, tuple)) else [actual])]


def conv(x, kernel, bias=0.0, padding="same"):
    return ops.conv(x, kernel, padding=padding, data_format="channels_last") + bias


@pytest.fixture(params=[(6, 8, 1), (8, 4, 2)], ids=["dense", "grouped"])
def layer_and_input(request):
    """Returns (function from a kind to a branched layer with random weights, its input), for one and for two groups."""
    inputs, filters, groups = request.param
    x = np.random.default_rng(2).normal(size=(1, 7, 9, inputs)).astype(np.float32)

    def make(kind):
        layer = BranchedConv2D(filters, 3, padding="same", groups=groups, branches=kind)
        layer(x)
        return randomized(layer, 1.0)

    return make, x


def test_golden_edges():
    """Sobel gives 8 for a slope of 1, the Laplacian 4 for x^2 + y^2; all give 0 for a constant."""
    y, x = np.mgrid[-1:2, -1:2]
    for values, expected in (
        (x, [-8, 0, 0]),
        (y, [0, -8, 0]),
        (x**2 + y**2, [0, 0, 4]),
        (x * y, [0, 0, 0]),
        (x * 0 + 1, [0, 0, 0]),
    ):
        assert (EDGES * values).sum(axis=(1, 2)).tolist() == expected


@pytest.mark.parametrize(("kind", "stds"), [("ecb", [64**-0.5, 0, 64**-0.5, 0]), ("rep", [64**-0.5, (9 * 64) ** -0.5, 0])])
def test_branches_are_twice_as_wide_and_keep_the_variance_at_the_start(kind, stds):
    keras.utils.set_random_seed(0)
    layer = BranchedConv2D(32, 3, branches=kind)
    layer.build((None, None, None, 64))
    assert layer.expand.shape == (1, 64, 2 * 32)
    actual = [ops.convert_to_numpy(variable).std() for variable in layer.variables[2:]]
    np.testing.assert_allclose(actual, stds, rtol=0.05)


def by_group(layer, x, function):
    """Concatenates function(group, its part of x)."""
    parts = ops.split(x, layer.groups, axis=-1)
    return ops.concatenate([function(group, part) for group, part in enumerate(parts)], axis=-1)


def padded(x, bias):
    """Pads with one pixel of the bias of the convolution that computed x: its output for zeros."""
    around = ops.pad(ops.zeros_like(x), ((0, 0), (1, 1), (1, 1), (0, 0))) + bias
    return ops.pad(x - bias, ((0, 0), (1, 1), (1, 1), (0, 0))) + around


def test_ecb_is_the_papers_block(layer_and_input):
    """ECBSR's code runs every branch on the features, with inner biases: they add up to one bias, also at the border."""
    make, x = layer_and_input
    layer, rng = make("ecb"), np.random.default_rng(3)
    expand, squeeze, edges, edge_scales = (ops.convert_to_numpy(v) for v in layer.variables[2:])
    outer = layer.filters // layer.groups
    expand_bias = rng.normal(size=(layer.groups, expand.shape[-1])).astype(np.float32)
    edge_bias = rng.normal(size=(3, layer.filters)).astype(np.float32)

    def block(group, part):
        columns = slice(group * outer, (group + 1) * outer)
        y = conv(part, layer._kernel[..., columns], layer.bias[columns])
        wide = conv(part, expand[group][None, None], expand_bias[group])
        y = y + conv(padded(wide, expand_bias[group]), squeeze[group].transpose(1, 2, 0, 3), padding="valid")
        for edge, pointwise, scales, bias in zip(EDGES, edges, edge_scales, edge_bias, strict=True):
            z = padded(conv(part, pointwise[None, None, :, columns], bias[columns]), bias[columns])
            depthwise = edge[..., None, None] * scales[0, columns, None]
            y = y + ops.depthwise_conv(z, depthwise, padding="valid", data_format="channels_last")
        return y

    expected = by_group(layer, x, block)
    inside = np.concatenate([b @ k.sum((1, 2)) for b, k in zip(expand_bias, squeeze, strict=True)])
    layer.bias.assign_add(inside)  # biases before the edge filters have no effect: these sum to 0
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert np.abs(ops.convert_to_numpy(expected)).max() > 0.5


def test_rep_is_fmens_block_beside_a_3x3(layer_and_input):
    make, x = layer_and_input
    layer = make("rep")
    outer = layer.filters // layer.groups

    def block(group, part):
        columns = slice(group * outer, (group + 1) * outer)
        wide = conv(part, layer.expand[group][None, None])
        inside = conv(wide, ops.transpose(layer.inner[group], (1, 2, 0, 3))) + wide
        return conv(part, layer._kernel[..., columns], layer.bias[columns]) + conv(inside, layer.reduce[group][None, None])

    np.testing.assert_allclose(layer(x), by_group(layer, x, block), atol=1e-5)


@pytest.mark.parametrize(("net", "kind"), [*((net, kind) for net in NETS for kind in ("ecb", "rep")), ("fsrcnn", "clb")])
def test_a_branched_net_starts_as_the_plain_one_and_collapses_into_it(net, kind):
    plain = randomized(models.build(NETS[net]), 1.0)
    start = outputs(plain)
    model = branches.branched(plain, kind)
    for actual, expected in zip(outputs(model), start, strict=True):
        np.testing.assert_array_equal(actual, expected)
    randomized(model, 1.0)
    trained = outputs(model)
    assert max(np.abs(a - b).max() for a, b in zip(trained, start, strict=True)) > 1e-2
    before = plain.count_params()
    assert model.count_params() > before
    branches.collapse(model, plain)
    for actual, expected in zip(outputs(plain), trained, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert plain.count_params() == before
    rebuilt = models.build_for_export(NETS[net])
    rebuilt.set_weights(plain.get_weights())
    for actual, expected in zip(outputs(rebuilt), trained, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_every_3x3_convolution_gets_branches_and_nothing_else():
    plain = models.build(DENSE)
    model = branches.branched(plain, "ecb")
    actual = {layer.name: type(layer) for layer in model.layers if isinstance(layer, branches.Branched)}
    grouped = {f"gblock{k}_grouped": BranchedGroupedConv2D for k in (1, 2, 3)}
    assert actual == {**dict.fromkeys(("head", "shortcut", "tail"), BranchedConv2D), **grouped}
    assert [layer.name for layer in model.layers] == [layer.name for layer in plain.layers]
    assert model.get_layer("head").activation is keras.activations.relu
    again = keras.Model.from_config(model.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_clb_is_the_linear_block_of_sesr_with_its_skip_in_the_kernel(layer_and_input):
    """A wide convolution and a 1x1 one, run on the features; larger convolutions have branches, too."""
    make, x = layer_and_input
    layer = make("clb")
    outer = layer.filters // layer.groups
    assert layer.wide.shape == (layer.groups, 3, 3, x.shape[-1] // layer.groups, 256)

    def block(group, part):
        columns = slice(group * outer, (group + 1) * outer)
        wide = conv(part, layer.wide[group])
        return conv(part, layer._kernel[..., columns], layer.bias[columns]) + conv(wide, layer.reduce[group][None, None])

    np.testing.assert_allclose(layer(x), by_group(layer, x, block), atol=2e-5)
    model = branches.branched(models.build({"network": "sesr", "blocks": 1, "channels": 8}), "clb")
    actual = [layer.name for layer in model.layers if isinstance(layer, branches.Branched)]
    assert actual == ["head", "conv1", "tail"]


def test_strides_and_no_padding():
    x = np.random.default_rng(0).normal(size=(1, 9, 10, 3)).astype(np.float32)
    layer = BranchedConv2D(4, 3, strides=2, padding="valid", use_bias=False, branches="rep")
    plain = keras.layers.Conv2D(4, 3, strides=2, padding="valid", use_bias=False)
    assert layer(x).shape == plain(x).shape == (1, 4, 4, 4)
    randomized(layer, 1.0)
    plain.set_weights([layer.merged()])
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("kind", branches.KINDS)
def test_gradients_reach_every_branch(kind):
    import tensorflow as tf

    model = randomized(branches.branched(models.build(DENSE), kind))
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert len(gradients) == len(model.variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_bfloat16_sums_the_branches_in_float32():
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype(np.float32)
    half = BranchedConv2D(4, 3, padding="same", branches="ecb", dtype="mixed_bfloat16")
    whole = BranchedConv2D(4, 3, padding="same", branches="ecb")
    assert half(x).dtype == "bfloat16"
    whole(x)
    half.set_weights(randomized(whole, 1.0).get_weights())
    # bfloat16 cannot represent 3 + 2**-9: a sum of rounded branches would lose the small branch.
    half._kernel.assign(3 * np.ones_like(half._kernel))
    whole._kernel.assign(half._kernel)
    np.testing.assert_array_equal(half.merged(), whole.merged())
    assert half.kernel.dtype == "bfloat16"
    calls = []
    half.convolution_op = lambda inputs, kernel: calls.append((half.merged(), kernel)) or inputs
    half(x)
    merged, kernel = calls[0]
    np.testing.assert_array_equal(merged, whole.merged())
    np.testing.assert_array_equal(kernel, ops.cast(whole.merged(), "bfloat16"))


def test_networks_without_branches_are_refused():
    with pytest.raises(ValueError, match="no 3x3 convolution"):
        branches.branched(models.build({"network": "srcnn", "scale": 2, "channels": 8}), "ecb")
    with pytest.raises(ValueError, match=r"\('ecb', 'rep', 'clb'\), got 'acb'"):
        branches.branched(models.build(DENSE), "acb")
