"""Factors per channel in the axes of an operator's weights."""

from __future__ import annotations

import numpy as np


def on_outputs(name: str, weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return factors [C_out] of the output channels in a shape that broadcasts against the weights.

    Args:
        name: operator, such as 'CONV_2D'.
        weights: [1, k, k, C_out] of a depthwise convolution; [C_out, k, k, C_in / groups] or [C_out, C_in] of others.
        factors: one per output channel.
    """
    return factors if name == "DEPTHWISE_CONV_2D" else factors.reshape(-1, *[1] * (weights.ndim - 1))


def on_inputs(name: str, weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return factors [C_in] of the input channels in a shape that broadcasts against the weights.

    Args:
        name, weights: as for `on_outputs`.
        factors: one per input channel.
    """
    if name == "DEPTHWISE_CONV_2D":  # output channel o reads o // multiplier
        return np.repeat(factors, weights.shape[-1] // len(factors))
    per_group = factors.reshape(-1, weights.shape[-1])
    per_output = np.repeat(per_group, len(weights) // len(per_group), axis=0)
    return per_output.reshape(len(weights), *[1] * (weights.ndim - 2), -1)
