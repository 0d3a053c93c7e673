"""Channel mixing: the channels of a linear tensor are replaced by combinations that carry less rounding noise to the output.

Equalization gives every channel the whole range of 8 bits. It cannot change that some channels matter much more than others:
the one that carries the luminance, for example. A matrix M over the channels can (linear_spaces.py). It spreads what matters
over many channels, so that their rounding errors average out, and directions that do not matter to the output get the rest.

With errors of variance step**2 / 12 in every channel of the mixed tensor, that of the output is tr(S B B^T) step**2 / 12, where
B is the inverse of M and S the sensitivity of the tensor before (sensitivity.py); the step is 1 / 255 of the mixed tensor's
range. M is the matrix with the least sum of these errors over all tensors of a space, found by gradient descent.

Learned transformations of activations are known from language models (Liu et al., "SpinQuant", ICLR 2025: rotations; Sun et
al., "FlatQuant", ICML 2025: any invertible matrix). Theirs minimize a training loss or the error of a layer, and run partly as
operators of their own. Here they minimize the error of the output, and cost nothing: convolutions absorb them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobile_sr.converters.quantization.channels import linear_spaces, sensitivity
from mobile_sr.converters.quantization.channels.cross_layer_equalization import MAX_SCALE
from mobile_sr.converters.quantization.channels.linear_spaces import LinearSpace
from mobile_sr.converters.quantization.channels.sensitivity import Inputs
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample

POSITIONS = 20_000  # approximate number of image positions at which the values of a tensor are measured
MOST_VALUES = 2**26  # of all tensors together
MEASURED = 4  # tensors of a space with a sensitivity of their own; the others have that of the nearest one
MOST_WORK = 3e12  # multiply-adds for the sensitivities of a space, about a minute, and likewise for the descent
ROUNDS, STEPS = 8, 300  # of the gradient descent; between the rounds it gets the positions with the largest values
RATE = 0.03  # of Adam, at the start
DIRECTIONS = 256  # random ones in which the first positions have their largest values
FEWEST = 6  # rows and columns of a sample at which values are measured
LEVELS = 255  # the noise for the sensitivity has this share of a channel's peak as its standard deviation
BETAS = 0.9, 0.999  # of Adam
NEGLIGIBLE = 0.05  # error that is too small to matter, as a share of that of rounding the output to 8 bits
WORTHWHILE = 0.9  # share of the error that a mixing may leave; smaller gains are not worth it
LARGEST_CONDITION = 1e4  # of M: beyond, float32 weights would change the float network


def mix(graph: FloatGraph, samples: Sequence[Sample], widen: bool = True) -> dict[str, float]:
    """Mix the channels of all linear spaces of a float graph in place. The network's output stays the same.

    Args:
        graph: the network.
        samples: its calibration inputs, such as [1, H, W, 3] float32 images; photographs come first.
        widen: also remove paddings of channels, see `linear_spaces.widen`.

    Returns:
        {layer that writes a space's first tensor: expected error at the output, as a share of that of equalized channels}.
    """
    if widen:
        linear_spaces.widen(graph)
    crops = sensitivity.crops(graph, samples)
    spaces = [(space, count) for space in linear_spaces.find(graph) if (count := _measurable(graph, space, crops))]
    values = _values(graph, [tensor for space, _ in spaces for tensor in space.tensors], samples)
    record = {}
    for space, count in spaces:
        peaks = _peaks([values[tensor] for tensor in space.tensors])
        noise = _sensitivities(graph, space, crops, peaks, count)
        error = _Error(
            [(values[tensor] / peaks).astype(np.float32) for tensor in space.tensors],
            [noise[tensor] * np.outer(peaks, peaks) for tensor in space.tensors],
            is_shifted=space.is_pointwise(graph),
        )
        plain = error.of(np.eye(space.channels))
        if plain < NEGLIGIBLE:
            continue
        matrix = _least(error, np.kron(np.eye(space.channels // space.block), np.ones((space.block, space.block))))
        share = error.of(matrix) / plain
        if share <= WORTHWHILE and np.linalg.cond(matrix) <= LARGEST_CONDITION:
            linear_spaces.apply(graph, space, matrix / peaks)
            record[graph.layer_name(space.tensors[0])] = share
    return record


def _values(graph: FloatGraph, tensors: Sequence[int], samples: Sequence[Sample]) -> dict[int, np.ndarray]:
    """{tensor: [positions, C]} of values on the samples; of small ones, such as flat colours, at least a few positions."""
    channels = sum(graph.shape(tensor)[-1] for tensor in tensors)
    step = graph.sampling_step(samples, min(POSITIONS, MOST_VALUES // max(channels, 1)))
    found: dict[int, list[np.ndarray]] = {}

    def keep(tensor: int, values: np.ndarray) -> None:
        own = max(1, min(step, min(values.shape[1:3]) // FEWEST))
        found.setdefault(tensor, []).append(values[:, ::own, ::own].reshape(-1, values.shape[-1]).astype(np.float32))

    graph.visit(tensors, samples, keep)
    return {tensor: np.concatenate(parts) for tensor, parts in found.items()}


def _peaks(values: Sequence[np.ndarray]) -> np.ndarray:
    """[C]: the largest absolute value of each channel in all tensors; at least a share of that of all channels.

    A channel that is nearly always zero must not become large where it is not, on other images.
    """
    peaks = np.max([np.abs(own).max(axis=0) for own in values], axis=0).astype(np.float64)
    return np.maximum(peaks, max(peaks.max(), 1e-30) / MAX_SCALE)


def _measurable(graph: FloatGraph, space: LinearSpace, crops: Sequence[Inputs]) -> int:
    """The number of tensors of a space for which the sensitivity can be measured; 0 if that or the descent is too much work."""
    descent = 2 * len(space.tensors) * (4 * DIRECTIONS) * space.channels**2 * ROUNDS * STEPS
    if descent > MOST_WORK:
        return 0
    return min(MEASURED, int(MOST_WORK / (sensitivity.work(graph, crops) * space.channels)))


def _sensitivities(
    graph: FloatGraph, space: LinearSpace, crops: Sequence[Inputs], amplitudes: np.ndarray, count: int
) -> dict[int, np.ndarray]:
    """{tensor: S} of a space, measured for `count` tensors; the others have that of the nearest one."""
    ends = [tensor for tensor in space.tensors if tensor not in space.in_sums]
    chosen = [ends[k] for k in sorted({round(k) for k in np.linspace(len(ends) - 1, 0, count)})]
    own = {tensor: sensitivity.sensitivity(graph, tensor, crops, amplitudes / LEVELS) for tensor in chosen}
    nearest = {end: own[min(chosen, key=lambda other: abs(ends.index(other) - k))] for k, end in enumerate(ends)}
    return {tensor: nearest[_end(space, tensor)] for tensor in space.tensors}


def _end(space: LinearSpace, tensor: int) -> int:
    while tensor in space.in_sums:
        tensor = space.in_sums[tensor]
    return tensor


class _Error:
    """The expected squared error at the output as a function of the matrix, in units of the error of rounding the output.

    A tensor by itself has a range for each channel, because equalization will scale each of them. Several tensors have common
    scales, so the widest channel determines the step of each tensor.
    """

    def __init__(self, values: Sequence[np.ndarray], noise: Sequence[np.ndarray], is_shifted: bool) -> None:
        """Values are [positions, C] for each tensor, `noise` its sensitivity; `is_shifted`: equalization centres the ranges."""
        self._values, self._noise, self._is_shifted = values, noise, is_shifted
        rng = np.random.default_rng(0)
        self._rows = []
        for own in values:
            directions = np.concatenate([np.eye(own.shape[1]), rng.standard_normal((DIRECTIONS, own.shape[1]))])
            self._rows.append(own[_extreme_rows(own @ directions.T.astype(np.float32))])

    def of(self, matrix: np.ndarray) -> float:
        """The error of a matrix [C, C]."""
        return self._error(matrix, self._values)[0]

    def step(self, matrix: np.ndarray) -> np.ndarray:
        """The gradient of the error's logarithm, [C, C], at the positions with large values."""
        error, gradient = self._error(matrix, self._rows)
        return gradient / error

    def add_rows(self, matrix: np.ndarray) -> None:
        """Use the positions with the largest values under a matrix, too."""
        for k, own in enumerate(self._values):
            rows = own[_extreme_rows(own @ matrix.T.astype(np.float32))]
            self._rows[k] = np.concatenate([self._rows[k], rows])

    def _error(self, matrix: np.ndarray, values: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
        inverse = np.linalg.inv(matrix)
        total, gradient, count = 0.0, np.zeros_like(matrix), len(matrix)
        for own, noise in zip(values, self._noise, strict=True):
            mixed = own @ matrix.T.astype(np.float32)
            low, high = mixed.argmin(axis=0), mixed.argmax(axis=0)
            each = np.arange(count)
            lowest, highest = mixed[low, each].astype(np.float64), mixed[high, each].astype(np.float64)
            through = noise @ inverse
            share = (inverse * through).sum(axis=0)  # of each channel's noise
            if len(values) > 1:
                bottom, top = lowest.argmin(), highest.argmax()
                width, slope = np.full(count, highest[top] - lowest[bottom]), np.zeros_like(matrix)
                factor = 2 * width[0] * share.sum()
                slope[top] += factor * own[high[top]]
                slope[bottom] -= factor * own[low[bottom]]
            elif self._is_shifted:
                width = highest - lowest
                slope = (2 * width * share)[:, None] * (own[high] - own[low])
            else:
                is_high = highest > -lowest
                width = 2 * np.where(is_high, highest, -lowest)
                slope = (4 * width * share * np.where(is_high, 1, -1))[:, None] * own[np.where(is_high, high, low)]
            total += float(width**2 @ share)
            gradient += slope - inverse.T @ (2 * through * width**2) @ inverse.T
        return total, gradient


def _extreme_rows(values: np.ndarray) -> np.ndarray:
    """The positions with the smallest or largest value of a column."""
    return np.unique(np.concatenate([values.argmin(axis=0), values.argmax(axis=0)]))


def _least(error: _Error, allowed: np.ndarray) -> np.ndarray:
    """The matrix of the least error that Adam finds, [C, C], with zeros where `allowed` is 0."""
    best = matrix = np.eye(len(allowed))
    least = error.of(best)
    mean, square = np.zeros_like(matrix), np.zeros_like(matrix)
    for step in range(1, ROUNDS * STEPS + 1):
        gradient = error.step(matrix) * allowed
        mean += (gradient - mean) * (1 - BETAS[0])
        square += (gradient**2 - square) * (1 - BETAS[1])
        rate = RATE * (1 - (step - 1) / (ROUNDS * STEPS))
        matrix = matrix - rate * (mean / (1 - BETAS[0] ** step)) / (np.sqrt(square / (1 - BETAS[1] ** step)) + 1e-8)
        if step % STEPS == 0:
            error.add_rows(matrix)
            if (own := error.of(matrix)) < least:
                best, least = matrix, own
    return best
