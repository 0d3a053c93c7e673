"""Networks stored as Keras's description of their layers."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models import custom
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D

LR = np.random.default_rng(0).random((1, 9, 11, 3), np.float32)


def conv(x, channels=12, side=3, **options):
    return keras.layers.Conv2D(channels, side, padding="same", **options)(x)


def made(body=conv, scale=2, clip=True):
    """A functional model around `body`, which maps [N, H, W, 3] to [N, H, W, 3 * scale**2]."""
    lr = keras.Input((None, None, 3))
    x = body(lr)
    return keras.Model(lr, DepthToSpace(scale)(ClippedReLU()(x) if clip else x))


def everything(lr):
    """Operators of keras.ops, an index, a nested model and a Sequential."""
    x = ops.relu(conv(lr, 8))[..., 2:]
    inner = keras.Input((None, None, 6))
    nested = keras.Model(inner, conv(inner, 6) * 0.5)
    x = nested(x) + keras.Sequential([keras.layers.Conv2D(6, 3, padding="same"), keras.layers.ReLU()])(x)
    return conv(x) + ops.tile(lr, (1, 1, 1, 4))


def test_the_rebuilt_network_computes_the_same():
    model = made(everything)
    config = json.loads(json.dumps(custom.describe(model, 2)))
    rebuilt = models.build(config)
    rebuilt.set_weights(model.get_weights())
    np.testing.assert_array_equal(rebuilt(LR), model(LR))
    assert models.receptive_field(config) is None
    assert (models.smallest_side(config), models.has_groups(config)) == (1, False)


def test_every_build_gives_the_same_graph():
    """Keras numbers layers on, from model to model. Names of the author stay."""
    first = custom.describe(made(everything), 2)
    assert custom.describe(made(everything), 2) == first
    assert sorted(v.path for v in models.build(first).variables)[0] == "conv2d/bias"
    graph = custom.describe(made(lambda x: conv(conv(x, 4, name="conv2d_1"), name="tail")), 2)["graph"]
    assert [layer["config"]["name"] for layer in graph["layers"][1:3]] == ["conv2d", "tail"]


def test_the_clip_can_be_left_out():
    config = custom.describe(made(lambda x: conv(x, bias_initializer="ones")), 2)
    assert config["output_activation"] == "clipped_relu"
    clipped, linear = models.build(config), models.build(config, output_activation="linear")
    linear.set_weights(clipped.get_weights())
    assert float(ops.max(linear(LR))) > 1
    np.testing.assert_array_equal(clipped(LR), np.clip(linear(LR), 0, 1))
    assert custom.describe(made(clip=False), 2)["output_activation"] == "linear"


def test_grouped_convolutions_are_exported_as_such():
    config = custom.describe(made(lambda x: GroupedConv2D(12, 3, 4)(conv(x, 8))), 2)
    assert models.has_groups(config)
    (layer,) = (layer for layer in models.build_for_export(config).layers if isinstance(layer, GroupedConv2D))
    assert layer.form == "grouped"
    assert models.has_groups(custom.describe(made(lambda x: conv(conv(x, 8), groups=4)), 2))


def test_layers_follow_the_global_policy():
    config = custom.describe(made(), 2)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert models.build(config).layers[1].compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def at_most_two(w):
    return ops.minimum(w, 2)


class Swish(keras.layers.Layer):
    def call(self, x):
        return x


class Subclass(keras.Model):
    def call(self, x):
        return x


def two_ends():
    lr = keras.Input((None, None, 3))
    return keras.Model(lr, [lr, lr])


def fixed_size():
    lr = keras.Input((32, 32, 3))
    return keras.Model(lr, DepthToSpace(2)(conv(lr)))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: made(scale=3, body=lambda x: conv(x, 27)),
            r"maps \(1, 16, 19, 3\) to \(1, 48, 57, 3\); expected \(1, 32, 38, 3\)",
        ),
        (lambda: made(lambda x: Swish(name="act")(conv(x))), "'act' of the network has the class Swish, whose code"),
        (
            lambda: made(lambda x: keras.layers.Lambda(lambda y: y, name="l")(conv(x))),
            "'l' of the network has the class Lambda",
        ),
        (
            lambda: made(lambda x: conv(x, kernel_constraint=at_most_two)),
            "a part of the network has the class function, which contains code",
        ),
        (Subclass, r"expected a functional keras.Model .*, not Subclass"),
        (lambda: None, "not NoneType"),
        (two_ends, "one output, not 1 and 2"),
        (fixed_size, r"expected keras.Input\(\(None, None, 3\)\)"),
    ],
)
def test_refused_models(model, said):
    with pytest.raises(ValueError, match=said):
        custom.describe(model(), 2)


@pytest.mark.parametrize("field", [3, None])
def test_a_receptive_field_that_is_too_small_is_refused(field):
    def body(x):
        return conv(conv(conv(x, 4), 4, kernel_initializer="zeros"))

    assert models.receptive_field(custom.describe(made(body), 2, field)) == field
    with pytest.raises(ValueError, match="declares a receptive field of 2 LR pixels, but an output pixel 3 pixels away"):
        custom.describe(made(body), 2, 2)
    with pytest.raises(ValueError, match="declares a receptive field of 3"):
        custom.describe(made(lambda x: body(x) + ops.mean(x, axis=(1, 2, 3), keepdims=True)), 2, 3)


@pytest.mark.parametrize(
    "part",
    [
        {"module": "builtins", "class_name": "function", "config": "print", "registered_name": "function"},
        {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None},
        {"module": "os", "class_name": "system", "config": {"name": "x"}, "registered_name": None},
        {"module": "keras.src.layers", "class_name": "TFSMLayer", "config": {"name": "x"}, "registered_name": None},
        {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "x"}, "registered_name": "other>Swish"},
        {"module": None, "class_name": "Nothing", "config": {"name": "x"}, "registered_name": "mobile_sr>Nothing"},
        {"class_name": "__lambda__", "config": {"code": "eA=="}},
    ],
    ids=lambda part: part["class_name"],
)
def test_a_model_file_cannot_contain_code(part, tmp_path):
    """Wherever it is in the graph: here in place of an initializer, which Keras would deserialize."""
    model = made()
    config = custom.describe(model, 2)
    config["graph"]["layers"][1]["config"]["kernel_initializer"] = part
    weights.save_model(tmp_path / "a.npz", model, config)
    with pytest.raises(
        UserError, match=rf"a\.npz: its configuration cannot be built \(.* of the network has the class {part['class_name']}"
    ):
        weights.load_model(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"graph": None}, "needs a graph"),
        ({"receptive_field": -1}, "receptive_field is -1"),
        ({"smallest_side": 1.5}, "smallest_side is 1.5|expected an integer"),
        ({"output_activation": "tanh"}, "output_activation must be"),
    ],
)
def test_damaged_configurations(change, said, tmp_path):
    model = made()
    weights.save_model(tmp_path / "a.npz", model, {**custom.describe(model, 2), **change})
    with pytest.raises(UserError, match=said):
        weights.load_model(tmp_path / "a.npz")


def test_a_graph_has_limits(tmp_path):
    model = made()
    config = custom.describe(model, 2)
    config["graph"]["layers"][1]["config"]["filters"] = 2**40
    weights.save_model(tmp_path / "a.npz", model, config)
    with pytest.raises(UserError, match="more than 268,435,456 weights"):
        weights.load_model(tmp_path / "a.npz")
