"""Checkpoints of EDSR, RCAN, AdaEDSR, AdaRCAN and FAdaEDSR: random weights in the published forms, against NumPy."""

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.converters.pytorch.maps import adadsr
from mobile_sr.importing import adapters, import_weights
from mobile_sr.inference import weights
from tests.converters.pytorch.maps.test_mobile import conv, pixel_shuffle, relu

MEAN = np.array([0.4488, 0.4371, 0.4040])
IMAGE = np.random.default_rng(0).random((3, 6, 7)) * 255  # [C, H, W]
CHANNELS, BLOCKS, GROUPS = 8, 2, 2


def convolution(state, name, inputs, outputs, side=3):
    rng = np.random.default_rng(len(state))
    state[f"{name}.weight"] = rng.normal(0, 1 / (inputs * side**2) ** 0.5, (outputs, inputs, side, side)).astype(np.float32)
    state[f"{name}.bias"] = rng.normal(0, 0.2, outputs).astype(np.float32)


def shift(state, name, sign, shape=(3, 1, 1, 1)):
    state[f"{name}.weight"] = np.ones(shape, np.float32) if shape[1] == 1 else np.eye(3, dtype=np.float32).reshape(shape)
    state[f"{name}.bias"] = (sign * 255 * MEAN).astype(np.float32)


def ends(state, scale, channels):
    """The layers outside of the body, in AdaDSR's format."""
    shift(state, "head.0", -1)
    convolution(state, "head.1", 3, channels)
    convolution(state, "body_lastconv", channels, channels)
    for k in range(2 if scale == 4 else 1):
        factor = 3 if scale == 3 else 2
        convolution(state, "up.0" if scale == 3 else f"up.{k}.0", channels, channels * factor**2)
    convolution(state, "tail.0", channels, 3)
    shift(state, "tail.1", 1)


def predictor(state, channels, hidden, maps, gain):
    convolution(state, "predictor.layer0", channels, hidden)
    for k in range(1, 5):
        state[f"predictor.layer{k}.0.weight"] = np.array([0.1 * k], np.float32)
        convolution(state, f"predictor.layer{k}.1", hidden, maps if k == 4 else hidden)
    state["predictor.layer4.1.weight"] *= gain
    state["predictor.layer4.1.bias"][:] = gain


def block(state, name, channels, attention=False):
    for k in (0, 2):
        convolution(state, f"{name}.layer{k}", channels, channels)
    if attention:
        convolution(state, f"{name}.cuca.conv_du.0", channels, 2, 1)
        convolution(state, f"{name}.cuca.conv_du.2", 2, channels, 1)


def edsr_state(scale, adapter=0.0):
    """AdaDSR's format; `adapter` is about the mean of the adapter's output, in blocks for FAdaEDSR."""
    state = {}
    ends(state, scale, CHANNELS)
    for k in range(BLOCKS):
        block(state, f"block{k}", CHANNELS)
    if adapter:
        predictor(state, CHANNELS, CHANNELS // 2, 1, adapter)
    return state


def rcan_state(scale, adapter=0.0):
    state = {}
    ends(state, scale, CHANNELS)
    for group in range(GROUPS):
        for k in range(BLOCKS):
            block(state, f"group{group}.block{k}", CHANNELS, attention=True)
        convolution(state, f"group{group}.block{BLOCKS}", CHANNELS, CHANNELS)
    if adapter:
        predictor(state, CHANNELS, CHANNELS, GROUPS, adapter)
    return state


def published(state, scale):
    """The same network with the names of EDSR's and RCAN's authors."""
    names = {"head.0": "sub_mean", "head.1": "head.0", "tail.0": "tail.1", "tail.1": "add_mean", "up.0": "tail.0.0"}
    names |= {f"up.{k}.0": f"tail.0.{2 * k}" for k in range(2)}
    groups = any(key.startswith("group") for key in state)
    names["body_lastconv"] = f"body.{GROUPS if groups else BLOCKS}"
    for k in range(BLOCKS):
        names |= {f"block{k}.layer{i}": f"body.{k}.body.{i}" for i in (0, 2)}
        for group in range(GROUPS):
            inside = f"body.{group}.body.{k}.body"
            names |= {f"group{group}.block{k}.layer{i}": f"{inside}.{i}" for i in (0, 2)}
            names |= {f"group{group}.block{k}.cuca.conv_du.{i}": f"{inside}.3.conv_du.{i}" for i in (0, 2)}
    names |= {f"group{group}.block{BLOCKS}": f"body.{group}.body.{BLOCKS}" for group in range(GROUPS)}
    result = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    for name in ("sub_mean", "add_mean"):
        shift(result, name, 1 if name == "add_mean" else -1, (3, 3, 1, 1))
    return result


def depths(state, features, desired, first):
    """The adapter's depth maps; the desired depth multiplies its input or its output."""
    x = conv(state, "predictor.layer0", features * desired if first else features)
    for k in range(1, 5):
        x = conv(state, f"predictor.layer{k}.1", np.where(x > 0, x, x * state[f"predictor.layer{k}.0.weight"][0]))
    return relu(x if first else x * desired)


def output(state, scale, desired=None, first=False):
    """The SR output in 0..255, before any clip: [3, H * s, W * s]."""
    x = conv(state, "head.1", IMAGE - 255 * MEAN[:, None, None])
    maps = None if "predictor.layer0.weight" not in state else depths(state, x, desired, first)

    def residual(name, y, k, group=0):
        y = conv(state, f"{name}.layer2", relu(conv(state, f"{name}.layer0", y)))
        y = y if maps is None else y * np.clip(maps[group] - k, 0, 1)
        if f"{name}.cuca.conv_du.0.weight" in state:
            mean = y.mean(axis=(1, 2), keepdims=True)
            y = y / (1 + np.exp(-conv(state, f"{name}.cuca.conv_du.2", relu(conv(state, f"{name}.cuca.conv_du.0", mean)))))
        return y

    body = x
    if "block0.layer0.weight" in state:
        for k in range(BLOCKS):
            body = body + residual(f"block{k}", body, k)
    else:
        for group in range(GROUPS):
            inside = body
            for k in range(BLOCKS):
                inside = inside + residual(f"group{group}.block{k}", inside, k, group)
            body = body + conv(state, f"group{group}.block{BLOCKS}", inside)
    y = conv(state, "body_lastconv", body) + x
    for k in range(2 if scale == 4 else 1):
        y = pixel_shuffle(conv(state, "up.0" if scale == 3 else f"up.{k}.0", y), 3 if scale == 3 else 2)
    return conv(state, "tail.0", y) + 255 * MEAN[:, None, None]


CASES = {  # (network, state, desired depth, whether it scales the first convolution)
    "EDSR x2": ("edsr", edsr_state(2), None, False),
    "EDSR x4": ("edsr", edsr_state(4), None, False),
    "RCAN x3": ("rcan", rcan_state(3), None, False),
    "AdaEDSR x3": ("edsr", edsr_state(3, 0.5), 1.5, False),
    "FAdaEDSR x2": ("edsr", edsr_state(2, 1.6), 1, False),
    "AdaRCAN x2": ("rcan", rcan_state(2, 0.5), 1.5, True),
}


def converted(net, state, fixed=False):
    """(model, configuration) of the recognized network, with its weights."""
    found = recognition.candidates(state)
    assert {candidate.network for candidate in found} == {net}
    config = {**found[-1 if fixed else 0].config, "output_activation": "linear"}
    model = models.build(config)
    assert keras_weights.convert(model, models.complete(config), state, adadsr.told_range(state)) == []
    return model, config


def run(model, desired):
    lr = (IMAGE / 255).transpose(1, 2, 0)[None].astype(np.float32)
    outputs = model([lr, np.full((1, 1), desired, np.float32)] if len(model.inputs) > 1 else lr)
    return np.array(outputs[0] if isinstance(outputs, (list, tuple)) else outputs)[0].transpose(2, 0, 1)


@pytest.mark.parametrize("case", CASES)
def test_the_published_function(case):
    net, state, desired, first = CASES[case]
    expected = output(state, int(case[-1]), desired, first) / 255
    model, config = converted(net, state, fixed=case.startswith("F"))
    assert config["scale"] == int(case[-1])
    assert (config["channels"], config["blocks"]) == (CHANNELS, BLOCKS)
    assert models.max_depth(config) == (BLOCKS if "Ada" in case and case[0] != "F" else None)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(run(model, desired), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", ["EDSR x2", "EDSR x4", "RCAN x3"])
def test_the_format_of_the_backbones_authors(case):
    net, state, *_ = CASES[case]
    arrays = [converted(net, version)[0].get_weights() for version in (state, published(state, int(case[-1])))]
    assert all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def test_the_big_edsr_has_scaled_residuals():
    """32 x 256 as its authors train it; here with one block."""
    state = {"sub_mean.weight": np.eye(3).reshape(3, 3, 1, 1), "sub_mean.bias": -255 * MEAN, "head.0.weight": np.zeros(1)}
    state |= {"add_mean.weight": state["sub_mean.weight"], "add_mean.bias": 255 * MEAN, "tail.1.bias": np.zeros(3)}
    state |= {f"body.0.body.{k}.weight": np.ones((256, 256, 3, 3), np.float32) for k in (0, 2)}
    state["body.1.weight"] = np.ones((256, 256, 3, 3), np.float32)
    result = adadsr.edsr_state(state)
    assert result["block0.layer0.weight"].max() == 1
    assert result["block0.layer2.weight"].max() == 0.1
    np.testing.assert_array_equal(result["tail.bias"], 255 * MEAN)


def test_the_adapter_tells_fadaedsr_from_adaedsr():
    """By the adapter's mean: the share of the desired depth, or blocks."""
    adaptive, fixed = {"depth_scales": "last", "depth": "input"}, {"depth_scales": "last", "depth": "fixed"}
    network = {"network": "edsr", "blocks": 8}
    assert adapters.is_plausible({**network, **adaptive}, 6.0)
    assert not adapters.is_plausible({**network, **fixed}, 0.75)
    assert adapters.is_plausible({**network, **fixed}, 6.0)
    assert not adapters.is_plausible({**network, **adaptive}, 48.0)
    assert adapters.is_plausible({"network": "rcan", "depth": "input"}, 500.0)  # only one form is published
    assert adapters.is_plausible(network, None)


def test_range_and_other_states():
    assert adadsr.told_range(edsr_state(2)) == 255
    assert adadsr.told_range({"sub_mean.bias": -MEAN}) == 1
    assert adadsr.told_range({"head.0.bias": np.zeros(8)}) is None
    state = edsr_state(2)
    state["head.0.weight"] = state["head.0.weight"] * 0.5
    assert recognition.candidates(state) == []


@pytest.mark.parametrize(("depth", "mean", "said"), [("fixed", 1.4, "FAdaEDSR"), ("input", 0.4, "AdaEDSR")])
def test_the_import_names_the_choice(tmp_path, capsys, depth, mean, said):
    state = edsr_state(2, mean)
    state["predictor.layer4.1.weight"] *= 0  # the adapter computes its last bias
    state["predictor.layer4.1.bias"][:] = mean * 1.2
    np.savez(tmp_path / "net.npz", **state)
    file = import_weights.import_weights(tmp_path / "net.npz", tmp_path / "out", log=str)
    assert weights.read_arrays(file)[1]["config"]["depth"] == depth
    assert f"read as {said}, with depth={depth} (else --set" in capsys.readouterr().err
