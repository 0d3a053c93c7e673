"""Exact simplifications of a state dict: weight normalization and batch normalization become plain convolutions.

All functions expect and return {key: array} with PyTorch's layouts, and compute in float64.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

EPSILON = 1e-5  # PyTorch's default of BatchNorm2d
# Keys of the two parts of a normalized weight, as torch.nn.utils.weight_norm and its successor in parametrizations write them.
_PARTS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def weight_norm(state: dict[str, Any]) -> dict[str, Any]:
    """Replaces direction and length of normalized weights by their product (Salimans and Kingma, NIPS 2016, Eq. 2)."""
    result = dict(state)
    for length, direction in _PARTS:
        for key in [key for key in state if key.endswith(f".{length}")]:
            prefix = key.removesuffix(length)
            if f"{prefix}{direction}" in state:
                g, v = (_floats(result.pop(f"{prefix}{part}")) for part in (length, direction))
                axes = tuple(axis for axis in range(v.ndim) if g.shape[axis] == 1) if g.ndim == v.ndim else None
                norm = np.sqrt(np.sum(v**2, axis=axes, keepdims=axes is not None))
                result[f"{prefix}weight"] = g * v / norm
    return result


def batch_norm_after(state: dict[str, Any], convolution: str, norm: str) -> dict[str, Any]:
    """Folds batch normalization into the convolution in front of it.

    Args:
        state: the state dict.
        convolution: prefix of the convolution's keys; it need not have a bias.
        norm: prefix of the batch normalization's keys.

    Raises:
        KeyError: a key is missing.
    """
    result = dict(state)
    gain, shift = _gain_and_shift(result, norm)
    weight = _floats(result[f"{convolution}.weight"])
    bias = _floats(result.get(f"{convolution}.bias", np.zeros(weight.shape[0])))
    result[f"{convolution}.weight"] = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    result[f"{convolution}.bias"] = bias * gain + shift
    return result


def batch_norm_before(state: dict[str, Any], norm: str, convolution: str) -> dict[str, Any]:
    """Folds batch normalization into the 1x1 convolution behind it; exact because nothing is padded. Arguments as above."""
    result = dict(state)
    gain, shift = _gain_and_shift(result, norm)
    weight = _floats(result[f"{convolution}.weight"])
    bias = _floats(result.get(f"{convolution}.bias", np.zeros(weight.shape[0])))
    result[f"{convolution}.weight"] = weight * gain.reshape(1, -1, 1, 1)
    result[f"{convolution}.bias"] = bias + weight[:, :, 0, 0] @ shift
    return result


def matches(state: dict[str, Any], pattern: str) -> list[re.Match[str]]:
    """Returns the matches of the keys with a regular expression, in the order of the state dict."""
    return [match for match in (re.fullmatch(pattern, str(key)) for key in state) if match]


def _gain_and_shift(state: dict[str, Any], norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Removes a batch normalization and returns (gain, shift), with which it computes x * gain + shift."""
    weight, bias, mean, variance = (
        _floats(state.pop(f"{norm}.{name}")) for name in ("weight", "bias", "running_mean", "running_var")
    )
    state.pop(f"{norm}.num_batches_tracked", None)
    gain = weight / np.sqrt(variance + EPSILON)
    return gain, bias - mean * gain


def _floats(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)
