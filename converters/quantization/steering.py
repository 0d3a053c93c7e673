"""Moves the weights of a float network into the rounding cells of given integers: any tool that rounds to nearest finds these.

Other quantizers round each weight to the nearest multiple of max |w| / 127. The rounding errors of an output then add up: in
chainsr_m_x3 they cost 1.2 dB. GPTQ (gptq.py) chooses better integers, but a float file that has them as weights has their
rounding errors, too. Here each weight has the freedom of a cell, less than half a step to each side of its integer, and all
weights of an output use it together: they reproduce the result of the original ones. The float network computes nearly the same
as before; rounded to nearest, it has the given integers.

For each output channel this is a least-squares problem with bounds. With w the original weights, x their inputs, b and b' the
biases before and after,

    minimize over v: E[((v - w) x + b' - b)^2],  |v - s k| <= (0.5 - margin) s

for integers k and steps s. Coordinate descent solves it. We know of no earlier description.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobile_sr.converters.quantization import gptq
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample

MARGIN = 0.02  # another tool computes the step with other roundings
_SWEEPS = 60  # over all inputs
_CONVERGED = 1e-3  # largest change in a sweep, in steps
_RIDGE = 1e-6  # share of the mean second moment, for inputs that depend on each other


def steer(
    graph: FloatGraph,
    integers: FloatGraph,
    samples: Sequence[Sample],
    per_tensor: bool = False,
    adds_biases: bool = True,
    margin: float = MARGIN,
) -> None:
    """Move the weights of a float graph, in place, so that rounding them to nearest gives the kernels of `integers`.

    The biases become those of `integers`, which were chosen for its kernels. Depthwise kernels stay as they are.

    Args:
        graph: the network.
        integers: float graph with the same convolutions, rounded by gptq.py or layer_fit.py.
        samples: inputs on which the results are kept, such as [1, H, W, 3] float32 images.
        per_tensor: whether one scale is for a whole kernel instead of one for each of its output channels.
        adds_biases: whether a layer may get a bias if it has none, or only zeros.
        margin: distance of a weight from the end of its cell, in steps.
    """
    for layer, goal in zip(gptq.measured(graph, samples), gptq.layers(integers), strict=True):
        steps, result = goal.steps(per_tensor), layer.kernel.copy()
        bias = goal.bias if adds_biases or layer.bias.any() else layer.bias
        for index, mean, covariance in layer.blocks():
            columns = index[-1].ravel()
            weights, rounded = (each.kernel[index].reshape(-1, len(columns)) for each in (layer, goal))
            moments = covariance + np.outer(mean, mean)
            change = np.outer(mean, (bias - layer.bias)[columns])
            result[index] = _steered(weights, rounded, steps[columns], moments, change, margin).reshape(result[index].shape)
        layer.write(graph, result, bias)


def _steered(
    weights: np.ndarray,
    rounded: np.ndarray,
    steps: np.ndarray,
    moments: np.ndarray,
    bias_change: np.ndarray,
    margin: float,
) -> np.ndarray:
    """The steered weights, [inputs, outputs] like `weights`.

    Args:
        weights: the original ones, [inputs, outputs].
        rounded: the nearest multiples of `steps` that the result must have.
        steps: [outputs].
        moments: second moments of the inputs, [inputs, inputs].
        bias_change: mean of each input times the change of the bias, [inputs, outputs].
        margin: as for `steer`.
    """
    numbers = np.round(rounded / steps)
    is_extreme = np.abs(numbers) >= 127  # the other tool computes the step from these
    freedom = np.where(is_extreme, 0, 0.5 - margin)
    low, high = ((np.clip(numbers + sign * freedom, -127, 127)) * steps - weights for sign in (-1, 1))
    moments = moments + np.eye(len(moments)) * max(_RIDGE * np.diag(moments).mean(), np.finfo(np.float64).tiny)
    change = np.clip(0, low, high)
    slope = moments @ change + bias_change
    for _ in range(_SWEEPS):
        largest = 0.0
        for row in range(len(weights)):
            moved = np.clip(change[row] - slope[row] / moments[row, row], low[row], high[row]) - change[row]
            slope += np.outer(moments[:, row], moved)
            change[row] += moved
            largest = max(largest, float(np.abs(moved / steps).max()))
        if largest < _CONVERGED:
            break
    steered: np.ndarray = weights + change
    return steered
