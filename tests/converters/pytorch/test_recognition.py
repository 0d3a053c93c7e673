"""Which network a state dict belongs to: each one is recognized as itself, and its sizes are read from its shapes."""

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES
from tests.models.classic.test_classic import SMALL as CLASSIC
from tests.models.mobile.test_phones import SMALL as PHONES
from tests.models.test_efficient import MINI, TEAMS

SIZES = {
    **MINI,
    **TEAMS,
    **CLASSIC,
    **PHONES,
    "mobilesr": {"channels": 8, "ratios": (2, 3)},
}
SAME_NAMES = {"rfdn", "pruned_rfdn", "dilated_rfdn"}  # dilations and skips leave no trace
LAYOUT = {
    "Conv2D": (3, 2, 0, 1),
    "GroupedConv2D": (3, 2, 0, 1),
    "DepthwiseConv2D": (2, 3, 0, 1),
    "SubPixelConv2DTranspose": (3, 2, 0, 1),
}


def state_of(net, model, config):
    """The state dict of a network as it is published, in PyTorch's layout."""
    layers, state = {layer.name: layer for layer in model.layers}, {}
    for prefix, name in ARCHITECTURES[net].names(config).items():
        for suffix, (variable, _) in keras_weights._PARTS[type(layers[name]).__name__].items():
            target = getattr(layers[name], variable, None)
            if target is not None:
                array = np.array(target)
                if variable == "kernel":
                    array = array.transpose(LAYOUT[type(layers[name]).__name__])
                state[f"{prefix}.{suffix}"] = array.T if suffix in ("qkv.weight", "proj_out.weight") else array
    return {key: array[None] if key.endswith(".cw") else array for key, array in UNFOLD.get(net, dict)(state).items()}


def norm(state, name, channels):
    """Adds a batch normalization that changes nothing."""
    ones, zeros = np.ones(channels), np.zeros(channels)
    values = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones - 1e-5}
    state |= {f"{name}.{key}": value for key, value in values.items()}
    state[f"{name}.num_batches_tracked"] = np.int64(7)


def unfold_multiception(state):
    result = dict(state)
    for key in state:
        if key.endswith(".pointwise.weight"):
            prefix = key.removesuffix(".pointwise.weight")
            norm(result, f"{prefix}.bn1", state[key].shape[1])
            norm(result, f"{prefix}.bn2", state[key].shape[0])
    return result


def unfold_nasnet(state):
    result = dict(state)
    for key in state:
        start, _, last = key.removesuffix(".weight").rpartition(".")
        if key.startswith("recon_trunk") and key.endswith("weight"):
            inverted = start.endswith(".conv")
            norm(result, f"{start}.{int(last) + 1}" if inverted else f"{start}.bn{last[-1]}", state[key].shape[0])
            if inverted:
                del result[f"{start}.{last}.bias"]
    return result


def unfold_mean(state):
    identity = np.eye(3).reshape(3, 3, 1, 1)
    return {**state, "sub_mean.weight": identity, "add_mean.weight": identity, "add_mean.bias": np.full(3, 0.4)}


def one_reduction(state):
    result = {key.replace("reduction1.", "reduction."): value for key, value in state.items()}
    unused = {"c.0.weight": np.zeros((8, 8, 1, 1)), "B1.b0.body.3.conv_f.bias": np.zeros(2)}
    return {key: value for key, value in result.items() if "reduction2" not in key and "reduction3" not in key} | unused


def opposite_means(state):
    return {**unfold_mean(state), "add_mean.bias": -state["sub_mean.bias"]}


def with_layer_attention(state):
    return {**state, "la.gamma": np.zeros(1), "LR_conv.bias": np.zeros(8)}


def branches(state):
    """SPAN's convolutions as a 1x1 plus a chain of 1x1, 3x3 and 1x1, without the constants of its code."""
    result = {key: value for key, value in state.items() if not key.startswith("mean.") and ".half." not in key}
    for key, value in state.items():
        prefix, _, end = key.rpartition(".")
        if end == "weight" and not key.startswith(("conv_cat", "upsampler")):
            inside, (outputs, inputs) = result.pop(key), value.shape[:2]
            bias = result.pop(f"{prefix}.bias")
            result |= {f"{prefix}.sk.weight": np.zeros((outputs, inputs, 1, 1)), f"{prefix}.sk.bias": bias}
            result |= {f"{prefix}.conv.0.weight": np.eye(inputs).reshape(inputs, inputs, 1, 1)}
            result |= {f"{prefix}.conv.0.bias": np.zeros(inputs), f"{prefix}.conv.1.bias": np.zeros(outputs)}
            result |= {f"{prefix}.conv.1.weight": inside, f"{prefix}.conv.2.bias": np.zeros(outputs)}
            result |= {f"{prefix}.conv.2.weight": np.eye(outputs).reshape(outputs, outputs, 1, 1)}
            result |= {f"{prefix}.eval_conv.weight": np.zeros(inside.shape), f"{prefix}.eval_conv.bias": np.zeros(outputs)}
    return result


def unfold_shifter(state):
    """CARN's second mean shift."""
    identity = np.eye(3).reshape(3, 3, 1, 1)
    shifts = {f"{name}.shifter.weight": identity for name in ("sub_mean", "add_mean")}
    return {**state, **shifts, "add_mean.shifter.bias": np.full(3, 0.4)}


def with_anchor(state):
    """SESR in its collapsed form."""
    state = {".conv_expand.".join(key.rsplit(".", 1)): value for key, value in state.items()}
    anchor = np.repeat(np.eye(3), 4, axis=0)[:, :, None, None]
    return {**state, "anchor.net.weight": anchor, "anchor.net.bias": np.zeros(12)}


def merge_channels(state):
    """SMSR's convolutions with the masks of their channels."""
    result = {key: value for key, value in state.items() if "_to_" not in key}
    for layer in range(4):
        parts = {key.split(".")[-2]: value for key, value in state.items() if f"body.body.{layer}." in key}
        rows = [
            np.concatenate([parts[f"{a}_to_{b}"] for a in ("dense", "sparse") if f"{a}_to_{b}" in parts], axis=1)
            for b in ("dense", "sparse")
            if any(part.endswith(b) for part in parts)
        ]
        result[f"body.0.body.body.{layer}.weight"] = np.concatenate(rows)
    dense = np.arange(8)[:, None] < np.array(SIZES["smsr"]["dense"])
    result["body.0.body.ch_mask"] = np.stack([dense, ~dense], axis=-1)[None] * 1.0
    result["body.0.spa_mask.5.weight"] = np.zeros((2, 2, 3, 3))
    result["body.0.spa_mask.5.bias"] = np.zeros(2)
    result |= {f"{name}.weight": np.eye(3).reshape(3, 3, 1, 1) for name in ("sub_mean", "add_mean")}
    return {**result, "add_mean.bias": -result["sub_mean.bias"]}


def merge_non_local(state):
    """SAN's non-local layer once, its factor without a prefix, and its mean shifts."""
    result = {key.replace("non_local1.", "non_local.non_local."): value for key, value in state.items()}
    result = {key: value for key, value in result.items() if not key.startswith("non_local2.")}
    result |= {"gamma": result.pop("gamma.weight"), "add_mean.bias": -result["sub_mean.bias"]}
    return result | {f"{name}.weight": np.eye(3).reshape(3, 3, 1, 1) for name in ("sub_mean", "add_mean")}


def one_convolution_per_group(state):
    """IMDeception's grouped convolutions, whose four names all got the whole kernel."""
    result = dict(state)
    for key, value in state.items():
        if ".conv2d_block." in key:
            result[key] = np.split(value, 4)[int(key.split(".")[-2])]
    return result


def with_factors(state):
    """MDAN's factors behind its attentions, and its second mean shift."""
    result = opposite_means(state)
    for key in [key for key in state if ".conv_end." in key]:
        result[key] = state[key] / 0.3
        result[f"scale{key[3]}.scale"] = np.array([0.3])
    return result


UNFOLD = {
    "san": merge_non_local,
    "smsr": merge_channels,
    "carn": unfold_shifter,
    "sesr": with_anchor,
    "imdeception": one_convolution_per_group,
    "mdan": with_factors,
    "span": branches,
    "rlcsr": with_layer_attention,
    "aaln": opposite_means,
    "m_rfdn": unfold_multiception,
    "nasnet_bn": unfold_nasnet,
    "resdn": unfold_mean,
    "rfesr": one_reduction,
}


# Several forms have the same shapes, or there is one size: see test_mobile.py, test_adadsr.py and others in maps/.
SEVERAL = ("espcn", "fsrcnn", "edsr", "rcan", "vdsr", "xlsr")


LARGE = ("imdeception", "mdan")  # many layers at any size
FOUR = ("mobilesr", "m_rfdn", "lwfanet", "nlffc", "pan")  # x4: other scales are not told by shapes, or not published


@pytest.mark.parametrize(
    "net",
    [pytest.param(net, marks=pytest.mark.slow) if net in LARGE else net for net in ARCHITECTURES if net not in SEVERAL],
)
def test_every_network_is_recognized_as_itself(net):
    """With its sizes; every layer with weights has its keys, and the arrays fit the network."""
    config = {"network": net, "scale": 4 if net in FOUR else 2, **SIZES[net]}
    model, complete = models.build(config), models.complete(config)
    layers = list(ARCHITECTURES[net].names(complete).values())
    assert sorted(set(layers)) == sorted(layer.name for layer in model.layers if layer.weights)
    state = state_of(net, model, complete)
    found = recognition.candidates(state)
    assert {candidate.network for candidate in found} == (SAME_NAMES if net in SAME_NAMES else {net})
    (own,) = [candidate for candidate in found if candidate.network == net]
    assert {**models.complete(own.config), "output_activation": "clipped_relu"} == complete
    assert not own.is_published
    unused = keras_weights.convert(model, complete, state, 1)
    assert unused == {"rfesr": ["c.0.weight", "B1.b0.body.3.conv_f.bias"], "rlcsr": ["LR_conv.bias"]}.get(net, [])


@pytest.mark.parametrize(
    "config",
    [
        {"network": "espcn", "scale": 3},
        {"network": "fsrcnn", "scale": 3},
    ],
    ids=lambda config: config["network"],
)
def test_networks_of_several_forms_are_taken_for_no_other(config):
    state = state_of(config["network"], models.build(config), models.complete(config))
    assert {candidate.network for candidate in recognition.candidates(state)} == {config["network"]}


def test_prefixes_and_other_networks_in_a_file():
    model = models.build({"network": "imdn", "channels": 8, "blocks": 1, "scale": 3})
    state = state_of("imdn", model, models.complete({"network": "imdn", "blocks": 1}))
    wrapped = {f"generator.{key}": value for key, value in state.items()} | {"loss.weight": np.zeros(3)}
    clean, dropped = recognition.cleaned(wrapped)
    assert clean.keys() == state.keys()
    assert dropped == ["loss.weight"]
    (candidate,) = recognition.candidates(clean)
    assert candidate.config == {"network": "imdn", "scale": 3, "channels": 8, "blocks": 1}


def test_the_nearest_network():
    model = models.build({"network": "imdn", "channels": 8, "blocks": 1})
    state = state_of("imdn", model, models.complete({"network": "imdn", "blocks": 1}))
    del state["model.1.sub.1.weight"], state["model.1.sub.1.bias"]
    state["extra.weight"] = np.zeros(3)
    assert recognition.candidates(state) == []
    assert recognition.nearest(state) == (
        "the nearest is imdn, but its keys do not match: 1 missing (model.1.sub.1), 1 unknown (extra.weight)"
    )
    assert recognition.nearest({"a.weight": np.zeros(3)}) == ""
