"""Keys of the checkpoints of https://github.com/ECNUSR/ETDS (Chao et al., CVPR 2023): ETDS, ABPN, ECBSR, ESPCN and FSRCNN.

Their images are in 0..1. ETDS has three forms there: two streams, as it is trained; a plain chain that ends in a clip of two
ReLUs, as it is published and deployed; and the plain chain without a clip. The functions `..._state` convert the arrays to
the form of the Keras networks without a change of the function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.pytorch.architecture import Architecture, Shapes, read_size

State = dict[str, Any]  # {key: array}, kernels [O, I, H, W]
_STREAMS = "conv_residual_first.weight"  # a key of the form with two streams only
_FSRCNN_PADDING = 4  # of the transposed 9x9 convolution
_CLIP = "conv_clip.weight"  # a key of the form that ends in a clip only


def etds(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ETDS as a plain chain without a clip, the form that `etds_state` returns."""
    layers = {f"backbone_convs.{k}": f"conv{k + 1}" for k in range(config["blocks"])}
    return {"conv_first": "head", **layers, "conv_last": "tail"}


def abpn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ABPN. Its blocks count the first convolution; the last two have no wrapper and their ReLUs have indices."""
    blocks: int = config["blocks"]
    names = {"backbone.0": "conv1"}
    names |= {f"backbone.{k + 1}.0": f"conv{k + 1}" for k in range(1, blocks)}
    return names | {f"backbone.{blocks + 1}": f"conv{blocks + 1}", f"backbone.{blocks + 3}": "tail"}


def ecbsr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ECBSR with plain convolutions, as published."""
    names: dict[str, str] = {}
    for k in range(config["blocks"] + 1):
        names |= {f"backbone.{k}.0": f"conv{k + 1}", f"backbone.{k}.1": f"conv{k + 1}_prelu"}
    return names | {f"backbone.{config['blocks'] + 1}.0": "tail"}


def espcn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ESPCN."""
    return {"conv1": "feature", "conv2": "map", "conv3": "tail"}


def fsrcnn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of FSRCNN."""
    layers = ["shrink", *(f"map{k + 1}" for k in range(config["m"])), "expand"]
    names = {"first_part.0": "feature", "first_part.1": "feature_prelu", "last_part": "tail"}
    for k, layer in enumerate(layers):
        names |= {f"mid_part.{2 * k}": layer, f"mid_part.{2 * k + 1}": f"{layer}_prelu"}
    return names


def etds_state(state: Mapping[str, Any]) -> State:
    """Converts the arrays of any form of ETDS to the plain chain without a clip.

    Two streams: x' = relu(B(x) + A(r)) and r' = relu(R(r)) are one convolution of the concatenation of x and r, with
    zeros where r would depend on x. The output B(x) + R(r) is one convolution, too.

    A clip of y to 0..1 is relu(1 - relu(1 - y)). The last 3x3 convolution computes 1 - y, at x3 with one channel more, and the
    1x1 convolution after it is minus the identity with a bias of 1.

    Args:
        state: {key: array}. Other states than these two forms are returned as they are.

    Returns:
        {key: array} with the keys of `etds`.

    Raises:
        ValueError: keys are missing, shapes do not fit together, or the last 1x1 convolution is not a clip.
    """
    if _STREAMS in state:
        return _one_stream(state)
    return _without_clip(state) if _CLIP in state else dict(state)


def _one_stream(state: Mapping[str, Any]) -> State:
    first, residual = (_conv(state, name) for name in ("conv_first", "conv_residual_first"))
    joined = {"conv_first": _stack(first, residual)}
    count = sum(key.startswith("residual_convs.") for key in state) // 2
    for k in range(count):
        inner, added, outer = (
            _conv(state, f"{name}.{k}") for name in ("backbone_convs", "add_residual_convs", "residual_convs")
        )
        none = (np.zeros((outer[0].shape[0], inner[0].shape[1], *inner[0].shape[2:])), np.zeros(outer[0].shape[0]))
        joined[f"backbone_convs.{k}"] = _stack(_sum(inner, added), _sum(none, outer))
    joined["conv_last"] = _sum(_conv(state, "conv_last"), _conv(state, "conv_residual_last"))
    known = {f"{name}.{part}" for name in joined for part in ("weight", "bias")}
    known |= {f"conv_residual_{name}.{part}" for name in ("first", "last") for part in ("weight", "bias")}
    residuals = [f"{name}.{k}" for name in ("residual_convs", "add_residual_convs") for k in range(count)]
    known |= {f"{name}.{part}" for name in residuals for part in ("weight", "bias")}
    return _keyed(joined) | {key: value for key, value in state.items() if key not in known}


def _without_clip(state: Mapping[str, Any]) -> State:
    last, clip = _conv(state, "conv_last"), _conv(state, "conv_clip")
    channels = clip[1].size
    minus_identity = -np.eye(channels)[:, :, None, None]
    if clip[0].shape != minus_identity.shape or np.any(clip[0] != minus_identity) or np.any(clip[1] != 1):
        raise ValueError("conv_clip is not a clip to 0..1: minus the identity with a bias of 1")
    outputs = channels // 3 * 3 if channels % 3 else channels  # without the channel that x3 has more
    plain = {key: value for key, value in state.items() if not key.startswith(("conv_last.", "conv_clip."))}
    return plain | _keyed({"conv_last": (-last[0][:outputs], 1 - last[1][:outputs])})


def ecbsr_state(state: Mapping[str, Any]) -> State:
    """Converts the slopes of ECBSR to at most 1, see `_without_steep_slopes`; other keys are kept."""
    count = sum(f"backbone.{k}.1.weight" in state for k in range(len(state)))
    names = [f"backbone.{k}.0" for k in range(count + 1)]
    return _without_steep_slopes(state, names, [f"backbone.{k}.1.weight" for k in range(count)])


def fsrcnn_state(state: Mapping[str, Any]) -> State:
    """Converts the slopes of FSRCNN to at most 1, see `_without_steep_slopes`; other keys are kept."""
    count = sum(f"mid_part.{k}.bias" in state for k in range(len(state)))
    names = ["first_part.0", *(f"mid_part.{2 * k}" for k in range(count)), "last_part"]
    slopes = ["first_part.1.weight", *(f"mid_part.{2 * k + 1}.weight" for k in range(count))]
    return _without_steep_slopes(state, names, slopes)


def _without_steep_slopes(state: Mapping[str, Any], convolutions: Sequence[str], slopes: Sequence[str]) -> State:
    """Changes the slopes of a chain's PReLUs to at most 1, which `models.layers.PReLU` requires.

    For a slope a > 1, prelu(x; a) is -a * prelu(-x; 1 / a). The convolution before it changes its sign, and the one after it
    is multiplied by -a. The function is the same.

    Args:
        state: {key: array}.
        convolutions: names of the chain's convolutions; 'last_part' is a transposed one.
        slopes: keys of the slopes between them, one for each channel.

    Raises:
        ValueError: a key is missing, or the slopes are not as many as the channels.
    """
    result = dict(state)
    for before, slope, after in zip(convolutions, slopes, convolutions[1:], strict=False):
        alpha = _array(result, slope)
        weight, bias = _conv(result, before)
        following, axis = _array(result, f"{after}.weight"), 0 if after == "last_part" else 1
        if not weight.shape[0] == bias.size == alpha.size == following.shape[axis]:
            raise ValueError(f"{slope} does not have one slope for each channel")
        if np.any(alpha > 1):
            sign, factor = np.where(alpha > 1, -1, 1), np.where(alpha > 1, -alpha, 1)
            result[f"{before}.weight"] = weight * sign[:, None, None, None]
            result[f"{before}.bias"] = bias * sign
            result[slope] = np.where(alpha > 1, 1 / np.maximum(alpha, 1), alpha)
            result[f"{after}.weight"] = following * np.moveaxis(factor[:, None, None, None], 0, axis)
    return result


def _array(state: Mapping[str, Any], key: str) -> np.ndarray:
    if key not in state:
        raise ValueError(f"its keys do not match this network: {key} is missing")
    if not isinstance(state[key], np.ndarray) or state[key].dtype.kind != "f":
        raise ValueError(f"{key} is not an array of floating-point weights")
    value: np.ndarray = state[key].astype(np.float64)
    return value


def _conv(state: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(kernel [O, I, H, W], bias [O]) of a convolution."""
    return _array(state, f"{name}.weight"), _array(state, f"{name}.bias")


def _keyed(convolutions: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> State:
    return {f"{name}.{part}": both[k] for name, both in convolutions.items() for k, part in enumerate(("weight", "bias"))}


def _stack(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The convolution whose output is the outputs of both, in this order."""
    _check_fit(one[0].shape[1:] == other[0].shape[1:])
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _sum(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The convolution of both inputs, in this order, whose output is the sum of the outputs."""
    _check_fit(one[0].shape[::2] == other[0].shape[::2] and one[1].shape == other[1].shape)
    return np.concatenate([one[0], other[0]], axis=1), one[1] + other[1]


def _check_fit(fits: bool) -> None:
    if not fits:
        raise ValueError("the arrays of its two streams have shapes that do not fit together")


def _abpn_blocks(shapes: Shapes) -> int:
    """Its blocks: those with a wrapper, and the first convolution."""
    count: int = read_size("backbone.*.0.weight", shapes)
    return count + 1


def _abpn_scale(shapes: Shapes) -> int:
    """Its scale, from the last of its two convolutions without a wrapper."""
    return math.isqrt(shapes[f"backbone.{_abpn_blocks(shapes) + 3}.weight"][0] // 3)


def _ecbsr_blocks(shapes: Shapes) -> int:
    """Its blocks: those with a PReLU, without the first convolution."""
    count: int = read_size("backbone.*.1.weight", shapes)
    return count - 1


def _ecbsr_scale(shapes: Shapes) -> int:
    """Its scale, from the convolution behind its blocks."""
    return math.isqrt(shapes[f"backbone.{_ecbsr_blocks(shapes) + 1}.0.weight"][0] // 3)


def _sigmoid(shapes: Shapes) -> bool:
    """Whether ESPCN ends in a sigmoid: as published here. Raises LookupError for another network of three convolutions."""
    if shapes["conv1.weight"] != (64, 3, 5, 5):
        raise LookupError("not ESPCN in RGB")
    return True


def _fsrcnn_layers(shapes: Shapes) -> int:
    """FSRCNN's number of mapping layers: its 3x3 convolutions."""
    return sum(shape[2:] == (3, 3) for key, shape in shapes.items() if key.startswith("mid_part."))


ARCHITECTURES = {
    "etds": Architecture(
        etds,
        {"channels": "conv_first.weight[0]", "blocks": "backbone_convs.*.weight"},
        scale="conv_last.weight[0]",
        prepare=etds_state,
    ),
    "abpn": Architecture(abpn, {"channels": "backbone.0.weight[0]", "blocks": _abpn_blocks}, scale=_abpn_scale),
    "ecbsr": Architecture(
        ecbsr,
        {"channels": "backbone.0.0.weight[0]", "blocks": _ecbsr_blocks},
        scale=_ecbsr_scale,
        prepare=ecbsr_state,
    ),
    "espcn": Architecture(espcn, {"sigmoid": _sigmoid}, scale="conv3.weight[0]", variants=({"sigmoid": False},)),
    "fsrcnn": Architecture(
        fsrcnn,
        {
            "d": "first_part.0.weight[0]",
            "s": "mid_part.0.weight[0]",
            "m": _fsrcnn_layers,
            "padding": lambda shapes: _FSRCNN_PADDING,
        },
        scale=lambda shapes: 3,  # no shape tells it: the sample image does
        variants=({"scale": 2}, {"scale": 4}),
        prepare=fsrcnn_state,
    ),
}
