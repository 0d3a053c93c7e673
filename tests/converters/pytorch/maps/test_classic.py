"""Checkpoints of models/classic: random weights in the published form, against a forward pass in NumPy as published."""

import functools

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.models.bicubic import BicubicUpscale
from tests.converters.pytorch.maps.test_mobile import IMAGE, conv_transpose, pixel_shuffle, relu
from tests.converters.pytorch.maps.test_mobile import conv as one_group

MEAN = np.array((0.4488, 0.4371, 0.4040))[:, None, None]
C = 8  # channels


class State(dict):
    """A state dict that gets random weights when a layer is used for the first time."""

    def __init__(self):
        self.rng = np.random.default_rng(1)

    def conv(self, name, x, outputs, side=3, groups=1, bias=True):
        """A convolution of [C, H, W] with zero padding, in groups."""
        inputs = len(x) // groups
        if f"{name}.weight" not in self:
            self[f"{name}.weight"] = self.rng.normal(0, 1.5 / (inputs * side**2) ** 0.5, (outputs, inputs, side, side))
            if bias:
                self[f"{name}.bias"] = self.rng.normal(0, 0.2, outputs)
        kernels = np.split(self[f"{name}.weight"], groups)
        biases = np.split(self.get(f"{name}.bias", np.zeros(outputs)), groups)
        parts = zip(np.split(x, groups), kernels, biases, strict=True)
        return np.concatenate([one_group({"k.weight": kernel, "k.bias": b}, "k", part) for part, kernel, b in parts])

    def batch_norm(self, name, x):
        values = {"weight": self.rng.normal(1, 0.2, len(x)), "bias": self.rng.normal(0, 0.2, len(x))}
        values |= {"running_mean": self.rng.normal(0, 0.2, len(x)), "running_var": self.rng.uniform(0.5, 2, len(x))}
        self.update({f"{name}.{part}": value for part, value in values.items()})
        self[f"{name}.num_batches_tracked"] = np.array(7)
        weight, bias, mean, variance = (value[:, None, None] for value in values.values())
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def prelu(self, name, x):
        slope = self.setdefault(f"{name}.weight", self.rng.normal(0.2, 0.5, 1))
        return np.where(x > 0, x, slope * x)

    def mean(self, name, x, sign):
        self[f"{name}.weight"], self[f"{name}.bias"] = np.eye(3).reshape(3, 3, 1, 1), sign * MEAN.ravel()
        return x + sign * MEAN


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def carn(state, scale, groups):
    """The authors' code, with the upsamplers of all scales; two cascading blocks."""

    def residual(name, x):
        y = relu(state.conv(f"{name}.body.0", x, C, groups=groups))
        y = state.conv(f"{name}.body.2", y, C, groups=groups)
        return relu((y if groups == 1 else state.conv(f"{name}.body.4", relu(y), C, 1)) + x)

    def cascade(prefix, x, blocks):
        parts = [x]
        for k, block in enumerate(blocks, 1):
            parts.append(block(x))
            x = relu(state.conv(f"{prefix}c{k}.body.0", np.concatenate(parts), C, 1))
        return x

    def block(name, x):
        names = [f"{name}.b{k if groups == 1 else 1}" for k in (1, 2, 3)]  # CARN-M uses the first one three times
        return cascade(f"{name}.", x, [functools.partial(residual, name) for name in names])

    x = state.conv("entry", state.mean("sub_mean.shifter", IMAGE, -1), C)
    x = cascade("", x, [functools.partial(block, f"b{k}") for k in (1, 2)])
    outputs = {}
    for each in (2, 3, 4):
        y, factor = x, 2 if each == 4 else each
        for step in range(2 if each == 4 else 1):
            name = f"upsample.up{each}.body.{3 * step}"
            y = pixel_shuffle(relu(state.conv(name, y, C * factor**2, groups=groups)), factor)
        outputs[each] = state.mean("add_mean.shifter", state.conv("exit", y, 3), 1)
    return outputs[scale]


def wdsr(state, scale, low_rank):
    """The authors' code for images in 0..1; weight normalization is written as such."""
    x = 2 * (IMAGE - MEAN)
    skip = state.conv("skip.0", x, 3 * scale**2, 5)
    x = state.conv("head.0", x, C)
    for k in range(2):
        y = relu(state.conv(f"body.{k}.body.0", x, 12, 1 if low_rank else 3))
        y = state.conv(f"body.{k}.body.2", y, low_rank or C, 1 if low_rank else 3)
        x = x + (state.conv(f"body.{k}.body.3", y, C) if low_rank else y)
    sr = 0.5 * pixel_shuffle(state.conv("tail.0", x, 3 * scale**2) + skip, scale) + MEAN
    for key in [key for key in state if key.endswith(".weight")]:
        kernel = state.pop(key)
        length = np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True))
        state[f"{key}_g"], state[f"{key}_v"] = length, 3 * kernel
    return sr


def upsampled(state, names, x, scale, act=lambda name, x: x):
    for step, factor in enumerate((2, 2) if scale == 4 else (scale,)):
        x = act(names(step), pixel_shuffle(state.conv(names(step), x, C * factor**2), factor))
    return x


def rdn(state, scale):
    """As EDSR-PyTorch writes it: two blocks of two convolutions."""
    shallow = state.conv("SFENet1", IMAGE, C)
    x, outputs = state.conv("SFENet2", shallow, C), []
    for k in range(2):
        dense = x
        for i in range(2):
            dense = np.concatenate([dense, relu(state.conv(f"RDBs.{k}.convs.{i}.conv.0", dense, C))])
        x = x + state.conv(f"RDBs.{k}.LFF", dense, C, 1)
        outputs.append(x)
    x = shallow + state.conv("GFF.1", state.conv("GFF.0", np.concatenate(outputs), C, 1), C)
    x = upsampled(state, lambda step: f"UPNet.{2 * step}", x, scale)
    return state.conv("UPNet.4" if scale == 4 else "UPNet.2", x, 3)


def yjn870(state, scale):
    """The same network with the names of yjn870/RDN-pytorch."""
    sr = rdn(state, scale)
    names = {"SFENet": "sfe", "RDBs": "rdbs", ".convs.": ".layers.", "conv.0": "conv", "LFF": "lff", "GFF": "gff"}
    names |= {"UPNet.4" if scale == 4 else "UPNet.2": "output", "UPNet": "upscale"}
    for key in list(state):
        value, new = state.pop(key), key
        for old, replacement in names.items():
            new = new.replace(old, replacement)
        state[new] = value
    return sr


def srresnet(state, scale):
    head = state.prelu("conv1.1", state.conv("conv1.0", IMAGE, C, 9))
    x = head
    for k in range(2):
        y = state.batch_norm(f"trunk.{k}.rcb.1", state.conv(f"trunk.{k}.rcb.0", x, C, bias=False))
        y = state.conv(f"trunk.{k}.rcb.3", state.prelu(f"trunk.{k}.rcb.2", y), C, bias=False)
        x = x + state.batch_norm(f"trunk.{k}.rcb.4", y)
    x = head + state.batch_norm("conv2.1", state.conv("conv2.0", x, C, bias=False))
    x = upsampled(
        state, lambda k: f"upsampling.{k}.upsample_block.0", x, scale, lambda name, y: state.prelu(f"{name[:-1]}2", y)
    )
    return state.conv("conv3", x, 3, 9)


def msrresnet(state, scale):
    """BasicSR's, with a bilinear upscaling at half-pixel positions."""
    x = leaky(state.conv("conv_first", IMAGE, C))
    for k in range(2):
        x = x + state.conv(f"body.{k}.conv2", relu(state.conv(f"body.{k}.conv1", x, C)), C)
    x = upsampled(state, lambda step: f"upconv{step + 1}", x, scale, lambda name, y: leaky(y))
    sr = state.conv("conv_last", leaky(state.conv("conv_hr", x, C)), 3)
    base = IMAGE
    for axis, side in ((1, IMAGE.shape[1]), (2, IMAGE.shape[2])):
        position = np.clip((np.arange(side * scale) + 0.5) / scale - 0.5, 0, side - 1)
        below = np.minimum(position.astype(int), side - 2)
        weight = (position - below).reshape((-1, 1) if axis == 1 else (-1,))
        base = np.take(base, below, axis) * (1 - weight) + np.take(base, below + 1, axis) * weight
    return sr + base


def vdsr(state, scale):
    """pytorch-vdsr on the Y channel of the bicubically upscaled image; the other two channels are bicubic."""
    bicubic = BicubicUpscale(scale)(IMAGE.transpose(1, 2, 0)[None].astype(np.float32))
    bicubic = keras.ops.convert_to_numpy(bicubic)[0].transpose(2, 0, 1)
    y = (np.tensordot([65.481, 128.553, 24.966], bicubic, axes=1)[None] + 16) / 255
    x = relu(state.conv("input", y, C, bias=False))
    for k in range(2):
        x = relu(state.conv(f"residual_layer.{k}.conv", x, C, bias=False))
    return bicubic + 255 / 219 * state.conv("output", x, 1, bias=False)


def lornatang(state, scale):
    """The same network with the names of Lornatang/VDSR-PyTorch."""
    sr = vdsr(state, scale)
    names = {"input": "conv1.0", "residual_layer": "trunk", "output": "conv2"}
    for key in list(state):
        start, _, rest = key.partition(".")
        state[f"{names[start]}.{rest}"] = state.pop(key)
    return sr


def smsr(state, scale):
    """The authors' formula for training with masks of 0 and 1; two modules. The sides of an image must be even."""
    image = IMAGE[:, :6, :8]
    x = state.mean("sub_mean", image, -1)
    head = x = state.conv("head.2", relu(state.conv("head.0", x, C)), C)
    outputs, chosen = [], np.array([[[1, 0, 0, 1], [1, 0, 1, 1]][k % 2] for k in range(C)])  # [channels, layers]
    for m in range(2):
        source = f"body.{m}"
        y = relu(state.conv(f"{source}.spa_mask.0", x, C // 4))
        y = y.reshape(C // 4, 3, 2, 4, 2).mean(axis=(2, 4))
        y = relu(state.conv(f"{source}.spa_mask.3", y, C // 4))
        name = f"{source}.spa_mask.5"
        state[f"{name}.weight"] = state.rng.normal(size=(C // 4, 2, 3, 3))
        state[f"{name}.bias"] = state.rng.normal(0, 0.1, 2)
        both = conv_transpose(state, name, y, 2, 1)
        shift = np.median(both[1] - both[0])
        state[f"{name}.bias"], both = state[f"{name}.bias"] + [shift, 0], both + np.array([shift, 0])[:, None, None]
        mask = (both[1] > both[0]).astype(float)
        assert mask.mean() == 0.5
        state[f"{source}.body.ch_mask"] = np.stack([chosen, 1 - chosen], axis=-1)[None] * 0.3
        fea, parts = x, []
        for layer in range(4):
            d = chosen[:, layer, None, None]
            name = f"{source}.body.body.{layer}"
            if layer == 0:
                fea = state.conv(name, fea, C, bias=False) * (d + (1 - d) * mask)
            else:
                before = chosen[:, layer - 1, None, None]
                dense, sparse = (state.conv(name, fea * part, C, bias=False) for part in (before, 1 - before))
                fea = dense * (d + (1 - d) * mask) + sparse * mask
            fea = relu(fea)
            parts.append(fea)
        y = state.conv(f"{source}.body.collect", np.concatenate(parts), C, 1)
        gate = relu(state.conv(f"{source}.ca.conv_du.0", y.mean(axis=(1, 2), keepdims=True), C // 2, 1))
        x = y / (1 + np.exp(-state.conv(f"{source}.ca.conv_du.2", gate, C, 1))) + x
        outputs.append(x)
    x = state.conv("collect.2", relu(state.conv("collect.0", np.concatenate(outputs), C, 1)), C) + head
    return pixel_shuffle(state.conv("tail.0", x, 3 * scale**2), scale), image


def test_the_function_of_smsr_is_kept():
    """All channels of the first and last convolutions are dense, those of the second are sparse, and half of the third's."""
    state = State()
    tail, image = smsr(state, 2)
    state.mean("add_mean", image, 1)
    (candidate,) = recognition.candidates(state)
    assert candidate.config == {"network": "smsr", "scale": 2, "channels": C, "dense": (8, 0, 4, 8) * 2, "reduction": 2}
    config = models.complete({**candidate.config, "output_activation": "linear"})
    model = models.build(config)
    assert keras_weights.convert(model, config, state, 1) == []
    x = image.transpose(1, 2, 0)[None].astype(np.float32)
    expected = tail.transpose(1, 2, 0) + keras.ops.convert_to_numpy(BicubicUpscale(2, -0.75)(x))[0]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x))[0], expected, atol=2e-5 * np.ptp(expected))


def softmax(x):
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


def covariance_root(x, iterations=5):
    """The authors' iteration, [C, H, W] -> [C, C]."""
    pixels = x.reshape(len(x), -1)
    covariance = np.cov(pixels, bias=True)
    y, z = covariance / np.trace(covariance), np.eye(len(x))
    for _ in range(iterations):
        y, z = 0.5 * y @ (3 * np.eye(len(x)) - z @ y), 0.5 * (3 * np.eye(len(x)) - z @ y) @ z
    return y * np.trace(covariance) ** 0.5


def san(state, scale):
    """The authors' code, for images in 0..255: one non-local layer twice, and parameters that it does not use."""

    def non_local(x):
        result = np.zeros_like(x)
        for rows in (slice(None, 3), slice(3, None)):
            for columns in (slice(None, 4), slice(4, None)):
                part = x[:, rows, columns]
                theta, phi, g = (state.conv(f"non_local.non_local.{name}", part, 1, 1) for name in ("theta", "phi", "g"))
                weights = softmax(theta.reshape(1, -1).T @ phi.reshape(1, -1))
                y = (weights @ g.reshape(1, -1).T).T.reshape(1, *part.shape[1:])
                result[:, rows, columns] = state.conv("non_local.non_local.W", y, C, 1) + part
        return result

    state["sub_mean.weight"] = state["add_mean.weight"] = np.eye(3).reshape(3, 3, 1, 1)
    state["sub_mean.bias"], state["add_mean.bias"] = -255 * MEAN.ravel(), 255 * MEAN.ravel()
    state["gamma"], state["RG.0.gamma"], state["conv_last.bias"] = np.array([0.3]), np.zeros(1), np.zeros(C)
    state["head.0.weight"] = state.rng.normal(0, 0.001, (C, 3, 3, 3))  # small, for a softmax of several pixels
    state["head.0.bias"] = state.rng.normal(0, 0.1, C)
    head = state.conv("head.0", 255 * (IMAGE - MEAN), C)
    source = x = non_local(head)
    for k in range(2):
        y = x
        for i in range(2):
            name = f"RG.{k}.rcab.{i}.conv_first"
            y = y + state.conv(f"{name}.2", relu(state.conv(f"{name}.0", y, C)), C)
        gate = state.conv(f"RG.{k}.soca.conv_du.0", covariance_root(y).mean(axis=0)[:, None, None], C // 2, 1)
        y = y / (1 + np.exp(-state.conv(f"RG.{k}.soca.conv_du.2", relu(gate), C, 1)))
        x = state.conv(f"RG.{k}.conv_last", y, C) + x + 0.3 * source
    x = upsampled(state, lambda step: f"tail.0.{2 * step}", non_local(x) + head, scale)
    return state.conv("tail.1", x, 3) / 255 + MEAN


def test_the_function_of_san_is_kept():
    state = State()
    expected = san(state, 4).transpose(1, 2, 0)
    (candidate,) = recognition.candidates(state)
    sizes = {"channels": C, "groups": 2, "blocks": 2, "reduction": 2}
    assert candidate.config == {"network": "san", "scale": 4, **sizes}
    config = models.complete({**candidate.config, "output_activation": "linear"})
    model = models.build(config)
    assert sorted(keras_weights.convert(model, config, state)) == ["RG.0.gamma", "conv_last.bias"]
    actual = keras.ops.convert_to_numpy(model(IMAGE.transpose(1, 2, 0)[None].astype(np.float32)))[0]
    assert np.ptp(expected - MEAN.ravel()) > 1e-2
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.ptp(expected))


SIZE, TWO = {"channels": C}, {"channels": C, "blocks": 2}
CASES = [
    ("carn", lambda state, scale: carn(state, scale, 1), 2, {**SIZE, "cascades": 2, "groups": 1}),
    ("carn", lambda state, scale: carn(state, scale, 4), 3, {**SIZE, "cascades": 2, "groups": 4}),
    ("carn", lambda state, scale: carn(state, scale, 1), 4, {**SIZE, "cascades": 2, "groups": 1}),
    ("wdsr", lambda state, scale: wdsr(state, scale, None), 2, {**TWO, "expanded": 12, "low_rank": None}),
    ("wdsr", lambda state, scale: wdsr(state, scale, 5), 3, {**TWO, "expanded": 12, "low_rank": 5}),
    ("rdn", rdn, 3, {**TWO, "growth": C, "layers": 2}),
    ("rdn", yjn870, 4, {**TWO, "growth": C, "layers": 2}),
    ("srresnet", srresnet, 2, TWO),
    ("srresnet", srresnet, 4, TWO),
    ("msrresnet", msrresnet, 3, TWO),
    ("msrresnet", msrresnet, 4, TWO),
    ("vdsr", vdsr, 2, {**TWO, "luma": True}),
    ("vdsr", lornatang, 3, {**TWO, "luma": True}),
]


@pytest.mark.parametrize(("network", "publish", "scale", "sizes"), CASES, ids=[f"{net}_x{scale}" for net, _, scale, _ in CASES])
def test_the_function_of_a_checkpoint_is_kept(network, publish, scale, sizes):
    """Under the prefix of several processes, too; only CARN and VDSR leave the scale open."""
    state = State()
    expected = publish(state, scale).transpose(1, 2, 0)
    state, dropped = recognition.cleaned({f"module.{key}": value for key, value in state.items()})
    found = [candidate.config for candidate in recognition.candidates(state)]
    assert dropped == []
    assert {"network": network, "scale": scale, **sizes} in found
    assert sorted(config["scale"] for config in found) == ([2, 3, 4] if network in ("carn", "vdsr") else [scale])
    config = models.complete({"network": network, "scale": scale, **sizes, "output_activation": "linear"})
    model = models.build(config)
    unused = keras_weights.convert(model, config, state, 1)
    assert {key.split(".")[0] for key in unused} == ({"upsample"} if network == "carn" else set())
    actual = keras.ops.convert_to_numpy(model(IMAGE.transpose(1, 2, 0)[None].astype(np.float32)))[0]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.ptp(expected))
