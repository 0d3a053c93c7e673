"""Arguments of networks by --set, and build() functions of the user."""

import json

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.training import networks, recipes

NET = """
import keras
from mobile_sr.models.layers import DepthToSpace

SMALLEST_SIDE = 7

def receptive_field(config):
    return config.get("depth", 1) + (config.get("side") or 3) // 2

def build(scale=3, channels=4, side=None, widths=(4, 4), wide=False, gain=1.0, depth=1, act="relu", table={}, limit=1.0):
    x = lr = keras.Input((None, None, 3))
    for _ in range(depth):
        x = keras.layers.Conv2D(channels, 3, padding="same", activation=act)(x)
    x = keras.layers.Conv2D(3 * scale**2, side or 3, padding="same")(x)
    return keras.Model(lr, DepthToSpace(scale)(x))

def wrong_scale(scale):
    return build(scale + 1)

def raises(scale):
    raise RuntimeError("two\\nlines")

def open_ended(scale, **arguments):
    return build(scale)

def layer(scale):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x
    lr = keras.Input((None, None, 3))
    return keras.Model(lr, Own()(lr))
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("channels=24", 24),
        ("side=5", 5),
        ("side=none", None),
        ("widths=2,8", [2, 8]),
        ("widths=", []),
        ("wide=true", True),
        ("gain=2", 2.0),
        ("act=tanh", "tanh"),
    ],
)
def test_values_have_the_type_of_the_default(net, setting, value):
    network = {"network": f"{net}:build", "scale": 3}
    networks.set_argument(network, f"network.{setting}")
    (found,) = (v for k, v in network.items() if k not in ("network", "scale"))
    assert (found, type(found)) == (value, type(value))


def test_arguments_of_our_own_networks():
    recipe = recipes.load("imdn_x2", smoke=True)
    recipes.override(recipe, ["network.channels=20", "patch=8"])
    assert (recipe.network["channels"], recipe.patch) == (20, 8)
    mobilesr = {"network": "mobilesr", "scale": 2}
    networks.set_argument(mobilesr, "network.ratios=2,4")
    assert mobilesr["ratios"] == [2, 4]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("network.chanels=4", "expected network.KEY=VALUE; this network has .*; did you mean channels?"),
        ("network.channels", "expected network.KEY=VALUE; this network has network.channels, "),
        ("network.channels=many", "--set network.channels=many: expected a whole number, as the default 4"),
        ("network.channels=4.5", "expected a whole number"),
        ("network.channels=-4", "channels is -4; expected an integer from 0 to 4096"),
        ("network.widths=2,x", "expected a whole number, as the default 4"),
        ("network.wide=2", "expected true or false, as the default False"),
        ("network.gain=x", "expected a number, as the default 1.0"),
        ("network.gain=inf", "the value inf is out of range"),
        ("network.table=1", "can be set in a recipe only"),
        ("network.scale=2", "use the scale at the end of --recipe"),
        ("network.network=edsr", "use --net"),
    ],
)
def test_refused_settings(net, setting, said):
    recipe = recipes.load("espcn_x3", net=f"{net}:build")
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        recipes.override(recipe, [setting])
    with pytest.raises(UserError, match="network.channels is set more than once"):
        recipes.override(recipe, ["network.channels=4", "network.channels=5"])


def test_a_build_function_becomes_a_graph(net):
    network = networks.resolve({"network": f"{net}:build", "scale": 2, "channels": 6, "depth": 2})
    assert json.loads(json.dumps(network)) == network
    assert (models.receptive_field(network), models.smallest_side(network)) == (3, 7)
    assert network["source"]["arguments"] == {"scale": 2, "channels": 6, "depth": 2}
    assert network["source"]["function"] == "net.py:build"
    assert networks.resolve(network) is network
    assert networks.build(network, "r")(np.zeros((1, 7, 9, 3))).shape == (1, 14, 18, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wrong_scale",
            r"^net\.py:wrong_scale: maps \(1, 16, 19, 3\) to \(1, 48, 57, 3\); expected \(1, 32, 38, 3\) for scale 2$",
        ),
        ("raises", r"^net\.py:21: RuntimeError: two lines$"),
        (
            "layer",
            r"^net\.py:layer: 'own' of the network has the class Own, whose code a model file cannot contain; use",
        ),
        ("buidl", r"net.py has no function buidl; did you mean build\?$"),
    ],
)
def test_refused_networks(net, name, said):
    with pytest.raises(UserError, match=said):
        networks.resolve({"network": f"{net}:{name}", "scale": 2})


def test_unknown_arguments_are_an_error_of_the_call(net):
    with pytest.raises(UserError, match=r"^net.py:build: TypeError: build\(\) got an unexpected keyword argument 'blocks'$"):
        networks.resolve({"network": f"{net}:build", "scale": 2, "blocks": 3})
    network = {"network": f"{net}:open_ended", "scale": 2}
    networks.set_argument(network, "network.blocks=3")
    assert networks.resolve(network)["source"]["arguments"] == {"scale": 2, "blocks": 3}
    with pytest.raises(UserError, match="recipe r: its network edsr cannot be built: .*'colour'"):
        networks.build({"network": "edsr", "scale": 2, "colour": 3}, "r")


def test_what_changed(net):
    old, new = ({"network": "custom", "source": {"function": "a.py:f", "sha256": "1", "arguments": {"c": c}}} for c in (4, 8))
    assert networks.differences(old, old) is None
    assert networks.differences(old, new) == "c of its network was 4 and is 8"
    assert networks.differences(old, {"network": "espcn"}) == "its network was a.py:f and is espcn"
    assert networks.differences({"network": "espcn"}, {"network": "edsr"}) is None
