"""Estimated instructions of a .tflite file in 8 bits on an Arm Cortex-A76, operator by operator.

The estimate is the sum of operators that were counted one by one (arm64_costs.json, written by
benchmarks/arm64_operators.py). Instructions are not time: a core issues several in a cycle and waits for memory.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

FILE = Path(__file__).with_name("arm64_costs.json")
_INDIRECT = 7.5  # instructions per pixel of the kernels that gather their inputs; a dense 1x1 convolution has no need to


@dataclasses.dataclass(frozen=True)
class OperatorCost:
    """Estimated cost of an operator.

    Attributes:
        index: position among the graph's operators.
        name: builtin name.
        output: name of its output tensor.
        instructions: for one invocation; None if the table has no figure for this operator or its types.
    """

    index: int
    name: str
    output: str
    instructions: float | None


def estimate(graph: flatbuffer.Graph, shapes: Mapping[int, Sequence[int]]) -> list[OperatorCost]:
    """Estimate every operator of a graph.

    Args:
        graph: a graph with 8-bit tensors; float operators have no figure.
        shapes: {tensor index: its shape at the input size in question}.
    """
    rows = []
    for index, op in enumerate(graph.ops):
        cost = _operator(graph, op, shapes)
        rows.append(OperatorCost(index, op.name, graph.tensors[op.outputs[0]].name, cost))
    return rows


@functools.cache
def table() -> dict[str, Any]:
    """The content of arm64_costs.json: rows of [parameters ..., instructions per pixel of the input] by operator."""
    return json.loads(FILE.read_text())


def convolution(kernel: tuple[int, int], inputs: int, outputs: int, groups: int = 1) -> float:
    """Instructions of a convolution for each output pixel.

    1x1 and 3x3 were counted for all numbers of channels up to 64 in steps of 4. Other kernels, more channels and most
    groups follow from them.

    Args:
        kernel: (height, width).
        inputs, outputs: channels.
        groups: groups of channels.
    """
    if kernel[0] == kernel[1]:
        for row in table()["CONV_2D"]:
            if row[:-1] == [kernel[0], groups, inputs, outputs]:
                return row[-1]
    if groups > 1:
        return groups * (convolution(kernel, inputs // groups, outputs // groups) + (_INDIRECT if kernel == (1, 1) else 0))
    one, nine = (_dense(side, inputs, outputs) for side in (1, 3))
    if kernel == (1, 1):
        return one
    return nine + (nine - one - _INDIRECT) / 8 * (math.prod(kernel) - 9)


@functools.cache
def _grid(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(inputs, outputs, costs [inputs, outputs]) of the counted dense convolutions."""
    rows = {(i, o): cost for kernel, groups, i, o, cost in table()["CONV_2D"] if (kernel, groups) == (side, 1)}
    outputs = [o for o in sorted({o for _, o in rows}) if o % 4 == 0 or o < 4]
    inputs = sorted({i for i, _ in rows})
    return np.array(inputs), np.array(outputs), np.array([[rows[i, o] for o in outputs] for i in inputs])


def _dense(side: int, inputs: int, outputs: int) -> float:
    """Cost at the next larger counted numbers of channels; past the last, on the line through 32 and 64."""
    counted_in, counted_out, costs = _grid(side)

    def at(values: np.ndarray, counted: np.ndarray, channels: int) -> Any:
        if channels <= counted[-1]:
            return values[np.searchsorted(counted, channels)]
        half, last = values[np.searchsorted(counted, 32)], values[-1]
        return last + (last - half) * (channels - 64) / 32

    return float(at(at(costs, counted_in, inputs), counted_out, outputs))


def transposed(kernel: int, inputs: int, outputs: int, stride: int) -> float:
    """Instructions of a transposed convolution for each input pixel.

    Each of the stride**2 phases is a convolution with its share of the taps. The counts of a phase are linear in the taps
    and in the inputs, and rise with every 16 outputs.
    """
    rows = [row for row in table()["TRANSPOSE_CONV"] if row[3] == 2 and row[2] == min((1, 3, 16, 32), key=lambda o: (o < min(outputs, 32), o))]
    counted = {(row[0], row[1]): row[-1] / 4 for row in rows}
    low, high = 16, 64

    def phase(side: int) -> float:
        at, slope = counted[side, low], (counted[side, high] - counted[side, low]) / (high - low)
        return at + slope * (inputs - low)

    one, nine = phase(2), phase(6)
    return stride**2 * (one + (nine - one) / 8 * (kernel**2 / stride**2 - 1)) * max(1, outputs / 32)


def _operator(graph: flatbuffer.Graph, op: flatbuffer.Op, shapes: Mapping[int, Sequence[int]]) -> float | None:
    """Instructions of one invocation; None without a figure."""
    present = [i for i in (*op.inputs, *op.outputs) if i >= 0]
    images = [i for i in op.inputs if i >= 0 and not graph.tensors[i].constant]
    if not images or any(graph.tensors[i].dtype not in ("int8", "uint8", "int32") for i in present):
        return None
    source, target = ([int(side) for side in shapes[i]] for i in (images[0], op.outputs[0]))
    if len(source) != 4 or len(target) != 4:
        return None
    before, after, inputs, outputs = math.prod(source[:3]), math.prod(target[:3]), source[3], target[3]
    if op.name in ("CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D"):
        _, height, width, depth = (int(side) for side in shapes[op.inputs[1]])
        if op.name == "CONV_2D":
            return after * convolution((height, width), inputs, outputs, inputs // depth)
        if op.name == "DEPTHWISE_CONV_2D":
            return after * _depthwise(height * width, outputs)
        return before * transposed(height, inputs, outputs, target[1] // source[1])
    if op.name == "FULLY_CONNECTED":
        return after * convolution((1, 1), inputs, outputs)
    if op.name == "QUANTIZE":
        types = [graph.tensors[i].dtype for i in (images[0], op.outputs[0])]
        return before * _by_channels(f"QUANTIZE {types[0]} to {types[1]}", inputs)
    if op.name == "CONCATENATION":  # was counted for two tensors
        return after * sum(_by_channels(op.name, int(shapes[i][-1])) / 2 for i in images)
    if op.name == "SPLIT":  # into four
        return after * len(op.outputs) / 4 * _by_channels(op.name, outputs)
    if op.name in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
        block = max(target[1] // source[1], source[1] // target[1])
        return before * _by_channels(op.name, min(inputs, outputs), block)
    if op.name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        return after / 4 * _by_channels(op.name, inputs, 2)  # for each output pixel, the factors cost the same to 1 %
    if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):  # the usual window of a stride stands for all
        stride = round(source[1] / target[1])
        window = next((row[:2] for row in table()[op.name] if row[1] == stride), None)
        return before * _by_channels(op.name, inputs, *window) if window else None
    name = f"{op.name} constant" if any(graph.tensors[i].constant for i in op.inputs[1:]) else op.name
    name = name if name in table() else op.name
    return max(before, after) * _by_channels(name, inputs) if name in table() else None


def _depthwise(taps: int, channels: int) -> float:
    sides = sorted({row[0] for row in table()["DEPTHWISE_CONV_2D"]})
    return float(np.interp(taps, [side**2 for side in sides], [_by_channels("DEPTHWISE_CONV_2D", channels, s) for s in sides]))


def _by_channels(name: str, channels: int, *key: int) -> float:
    """Instructions per pixel, linear between the counted numbers of channels and in proportion outside of them."""
    rows = [row for row in table()[name] if row[: len(key)] == list(key)]
    counted, costs = np.array([row[-2:] for row in rows], float).T
    if not counted[0] <= channels <= counted[-1]:
        end = 0 if channels < counted[0] else -1
        return float(costs[end] * channels / counted[end])
    return float(np.interp(channels, counted, costs))
