"""GPTQ: rounds weights with regard to the layer's inputs instead of to the nearest integer.

The integers of a kernel are chosen one input weight at a time. The weights that are still to be rounded compensate for the
effect of each rounding on the layer's output (Frantar et al., "GPTQ", ICLR 2023, Sec. 3, which follows LeCun's "Optimal Brain
Damage"). The method uses the second moments of the layer's inputs, measured on images. The bias compensates for the remaining
mean error (Nagel et al., ICCV 2019, Sec. 4.2). No training is needed; mobile networks take a second or two.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite.constants import BIASED

POSITIONS = 40_000  # approximate number of image positions on which the second moments of a layer are measured
DAMPING = 0.005  # added to the diagonal of the moments, as a share of its mean
_ROUNDED = ("CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")  # depthwise kernels have only 9 weights per channel


def round_weights(graph: FloatGraph, samples: Sequence[Sample], per_tensor: bool = False, fixed: Collection[int] = ()) -> None:
    """Round the weights of a float graph in place, to values that TensorFlow's quantizer can represent.

    These are multiples of max |w| / 127. Depthwise kernels are left to the quantizer's rounding.

    Args:
        graph: the network.
        samples: inputs on which the second moments are measured, such as [1, H, W, 3] float32 images.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.
        fixed: constant tensors of kernels that must not change.
    """
    for layer in measured(graph, samples, fixed):
        layer.round(graph, per_tensor)


def layers(graph: FloatGraph, fixed: Collection[int] = ()) -> list[Layer]:
    """Return the layers whose kernels `round_weights` rounds, but for those of the tensors `fixed`."""
    rounded = [op for op in graph.ops if _is_rounded(graph, op)]
    return [Layer(graph, op) for op in rounded if op.inputs[BIASED[graph.name(op)][1]] not in fixed]


def measured(graph: FloatGraph, samples: Sequence[Sample], fixed: Collection[int] = ()) -> list[Layer]:
    """Return `layers` with the moments of their inputs on the samples."""
    found = layers(graph, fixed)
    by_tensor: dict[int, list[Layer]] = {}
    for layer in found:
        by_tensor.setdefault(layer.source, []).append(layer)
    step = graph.sampling_step(samples, POSITIONS)

    def add(tensor: int, values: np.ndarray) -> None:
        for layer in by_tensor[tensor]:
            layer.add(values, step)

    graph.visit(by_tensor, samples, add)
    return found


def _is_rounded(graph: FloatGraph, op: Any) -> bool:
    name = graph.name(op)
    if name not in _ROUNDED or not graph.has_constant_weights(op):
        return False
    return graph.constant(op.inputs[BIASED[name][0]]) is None


@dataclasses.dataclass
class _Part:
    """Weights that read the same inputs: an ordinary convolution, or one phase of a transposed one.

    Attributes:
        taps: rows and columns of the kernel, in the order of the image's rows and columns.
        hessian: second moments of their inputs.
    """

    taps: tuple[list[int], list[int]]
    hessian: InputHessian


class Layer:
    """A convolution or matrix product whose weights are rounded.

    Attributes:
        op: the operator.
        source: its input tensor.
        kernel: its weights, [k, k, C_in / groups, C_out] float64.
        bias: its bias, [C_out] float64.
        parts: the weights that read the same inputs, with the moments of these.
    """

    def __init__(self, graph: FloatGraph, op: Any) -> None:
        """Reads the weights; no inputs are measured yet."""
        self.op, self.name = op, graph.name(op)
        source, weights, _ = BIASED[self.name]
        self.source, self._weights = op.inputs[source], op.inputs[weights]
        kernel, bias = graph.constant(self._weights), graph.constant(graph.bias(op))
        assert kernel is not None  # by _is_rounded
        assert bias is not None  # likewise
        self._shape = kernel.shape
        square = kernel.reshape(len(kernel), *(kernel.shape[1:-1] or (1, 1)), kernel.shape[-1])
        self.kernel, self.bias = np.moveaxis(square.astype(np.float64), 0, -1), bias.astype(np.float64)
        self._dilation = dilation(op) if self.name == "CONV_2D" else (1, 1)
        self.parts = [_Part(taps, InputHessian()) for taps in self._taps()]

    def _taps(self) -> Iterator[tuple[list[int], list[int]]]:
        rows, columns = (list(range(side)) for side in self.kernel.shape[:2])
        if self.name != "TRANSPOSE_CONV":
            yield rows, columns
            return
        # An output row reads every stride-th row of the kernel, the first one at the lowest row of the image.
        strides = self.op.builtinOptions.strideH, self.op.builtinOptions.strideW
        for phase in itertools.product(range(min(strides[0], len(rows))), range(min(strides[1], len(columns)))):
            yield rows[phase[0] :: strides[0]][::-1], columns[phase[1] :: strides[1]][::-1]

    def add(self, values: np.ndarray, step: int) -> None:
        """Add the layer's inputs of one sample to the second moments. The statistics are the same at every position."""
        inputs = self.kernel.shape[2]
        if values.ndim != 4 or values.shape[-1] % inputs:
            values = values.reshape(-1, 1, 1, inputs)  # a matrix product
        groups = values.shape[-1] // inputs
        by_size: dict[tuple[int, int], np.ndarray] = {}
        for part in self.parts:
            size = len(part.taps[0]), len(part.taps[1])
            if size not in by_size:
                by_size[size] = patches(values, size, groups, step, self._dilation)
            part.hessian.add(by_size[size])

    def steps(self, per_tensor: bool = False) -> np.ndarray:
        """Return the steps of the kernel's 8-bit integers, [C_out]."""
        steps = np.abs(self.kernel).max(axis=None if per_tensor else (0, 1, 2)).reshape(-1) / 127
        return np.broadcast_to(np.maximum(steps, 1e-12), self.kernel.shape[-1])

    def blocks(self) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Yield (index, mean, covariance) of all weights that read the same inputs.

        `index` selects the weights of a kernel; its last part has their output channels. `mean` [inputs] and `covariance`
        [inputs, inputs] are those of the inputs, in the order of the selected weights.
        """
        inputs, outputs = self.kernel.shape[2:]
        for part in self.parts:
            for group, columns in enumerate(np.split(np.arange(outputs), len(part.hessian.sums))):
                yield np.ix_(*map(np.asarray, part.taps), np.arange(inputs), columns), *part.hessian.of(group)

    def round(self, graph: FloatGraph, per_tensor: bool) -> None:
        """Write the rounded kernel, and the bias that compensates for the mean error."""
        steps, result, errors = self.steps(per_tensor), self.kernel.copy(), np.zeros_like(self.bias)
        for index, mean, covariance in self.blocks():
            columns = index[-1].ravel()
            weights = self.kernel[index].reshape(-1, len(columns))
            rounded = round_columns(weights, covariance, steps[columns])
            result[index] = rounded.reshape(self.kernel[index].shape)
            errors[columns] += mean @ (weights - rounded)
        self.write(graph, result, self.bias + errors / len(self.parts))  # all phases share one bias

    def write(self, graph: FloatGraph, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Give the operator another kernel and bias, of the shapes of the attributes."""
        graph.set_constant(self._weights, np.moveaxis(kernel, -1, 0).reshape(self._shape).astype(np.float32))
        graph.set_constant(graph.bias(self.op), bias.astype(np.float32))


def dilation(op: Any) -> tuple[int, int]:
    """Return the dilation of a convolution, for rows and columns."""
    return op.builtinOptions.dilationHFactor, op.builtinOptions.dilationWFactor


def patches(x: np.ndarray, size: tuple[int, int], groups: int, step: int, dilation: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Return the inputs of each output position of a SAME convolution, [positions, groups, kernel height * width * C / groups].

    Only every `step`-th row and column is included. The positions of a strided convolution are a subset of these; on average
    they have the same inputs.
    """
    extent = [(side - 1) * rate + 1 for side, rate in zip(size, dilation, strict=True)]
    x = np.pad(x, ((0, 0), *((side // 2, (side - 1) // 2) for side in extent), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(1, 2))[:, ::step, ::step]
    windows = windows[..., :: dilation[0], :: dilation[1]]
    parts = windows.reshape(*windows.shape[:3], groups, -1, *size)  # [1, h, w, groups, C / groups, k, k]
    return np.moveaxis(parts, 4, 6).reshape(-1, groups, parts.shape[4] * size[0] * size[1]).astype(np.float32)


class InputHessian:
    """Running sums of a layer's input patches and their products; the patches of a large network would not fit into memory.

    The mean of the first images is subtracted from all patches. This keeps the covariance of inputs that are far from 0 and
    hardly vary.
    """

    def __init__(self) -> None:
        self.count = 0.0  # weighted positions so far
        self.shift: np.ndarray | None = None  # [groups, inputs], subtracted from all patches
        self.sums: Any = 0.0  # [groups, inputs] from the first `add` on
        self.products: Any = 0.0  # [groups, inputs, inputs] from the first `add` on

    def add(self, patches: np.ndarray, weight: float = 1) -> None:
        """Add patches, [positions, groups, inputs] float32, each `weight` times.

        Products are float32, sums of the patches float64.
        """
        groups = patches.swapaxes(0, 1)
        if self.shift is None:
            self.shift = groups.mean(axis=1, dtype=np.float64).astype(np.float32)
        groups = groups - self.shift[:, None]
        self.count += weight * len(patches)
        self.sums = self.sums + weight * groups.sum(axis=1, dtype=np.float64)
        self.products = self.products + np.float32(weight) * (groups.swapaxes(1, 2) @ groups)

    def of(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean [inputs] and the covariance [inputs, inputs] of a group."""
        assert self.shift is not None, "no patches were added"
        mean = self.sums[group] / self.count
        return self.shift[group] + mean, self.products[group] / self.count - np.outer(mean, mean)


def round_columns(weights: np.ndarray, moments: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Round weights [inputs, outputs] to multiples of `steps` [outputs], for inputs with second moments [inputs, inputs].

    The largest weight of every column stays at +-127 steps (with a shared scale: where it is that large). The converter then
    derives the same scale.
    """
    spread = np.diag(moments).mean()
    if spread == 0:  # all inputs of the layer are constant
        return np.round(weights / steps) * steps
    order = np.argsort(-np.diag(moments), kind="stable")
    moments = moments[np.ix_(order, order)] + np.eye(len(order)) * DAMPING * spread
    remaining = weights[order].copy()
    extremes = np.round(remaining / steps)
    extremes[np.abs(extremes) < 127] = 0
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    rounded = np.empty_like(remaining)
    for row in range(len(order)):
        integers = np.where(extremes[row] != 0, extremes[row], np.clip(np.round(remaining[row] / steps), -127, 127))
        rounded[row] = integers * steps
        remaining[row:] -= np.outer(factor[row, row:], (remaining[row] - rounded[row]) / factor[row, row])
    result = np.empty_like(rounded)
    result[order] = rounded
    return result
