"""Instruction counts of int8 operators on an Arm Cortex-A76, one by one: the cost model of `inspect` and `search`.

arm64_costs.json has the counts, with the device and how they were made (benchmarks/arm64_operators.py), without the overhead
of a call of the interpreter. They are the same on every machine. Instructions are not time: a core issues several in a cycle
and waits for memory. For every packaged 8-bit file, the sum of its operators is within 1.5 % of the count of the whole file
(tests/mobile_sr/evaluation/test_instructions.py).
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("arm64_costs.json")
_INDIRECT = 9.0  # instructions per pixel of the kernels that gather their inputs; a dense 1x1 convolution has no need to
_IMAGES = {2: 12, 3: 27, 4: 48}  # scale: channels in front of depth_to_space


@functools.cache
def table() -> dict[str, Any]:
    """The content of arm64_costs.json: rows of [parameters ..., instructions per pixel of the input] by operator."""
    return json.loads(FILE.read_text())


@functools.cache
def _counted(name: str) -> dict[tuple[int, ...], float]:
    """{parameters: instructions per pixel} of an operator."""
    return {tuple(parameters): cost for *parameters, cost in table()[name]}


def convolution(kernel: tuple[int, int], inputs: int, outputs: int, groups: int = 1) -> float:
    """Instructions of a convolution for each output pixel.

    1x1 and 3x3 were counted for numbers of channels up to 64 in steps of 4. Other kernels, more channels and most
    groups follow from them.

    Args:
        kernel: (height, width).
        inputs, outputs: channels.
        groups: groups of channels.
    """
    if kernel[0] == kernel[1] and (counted := _counted("CONV_2D").get((kernel[0], groups, inputs, outputs))):
        return counted
    if groups > 1:
        return groups * (convolution(kernel, inputs // groups, outputs // groups) + (_INDIRECT if kernel == (1, 1) else 0))
    one, nine = (_dense(side, inputs, outputs) for side in (1, 3))
    if kernel == (1, 1):
        return one
    return nine + (nine - one - _INDIRECT) / 8 * (math.prod(kernel) - 9)


@functools.cache
def _grid(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(inputs, outputs, costs [inputs, outputs]) of the counted dense convolutions."""
    rows = {(i, o): cost for (kernel, groups, i, o), cost in _counted("CONV_2D").items() if (kernel, groups) == (side, 1)}
    outputs = [o for o in sorted({o for _, o in rows}) if o % 4 == 0 or o < 4]
    inputs = sorted({i for i, _ in rows})
    return np.array(inputs), np.array(outputs), np.array([[rows[i, o] for o in outputs] for i in inputs])


def _dense(side: int, inputs: int, outputs: int) -> float:
    """Cost at the next larger counted numbers of channels; beyond 64, extrapolated from 32 and 64."""
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
    counted, least = _counted("TRANSPOSE_CONV"), next((o for o in (1, 3, 16) if outputs <= o), 32)

    def phase(side: int) -> float:
        low, high = (counted[side, channels, least, 2] / 4 for channels in (16, 64))
        return low + (high - low) / 48 * (inputs - 16)

    one, nine = phase(2), phase(6)
    return stride**2 * (one + (nine - one) / 8 * (kernel**2 / stride**2 - 1)) * max(1, outputs / 32)


def depthwise(taps: int, channels: int) -> float:
    """Instructions of a depthwise convolution per pixel, linear in the taps between the counted 3x3, 5x5 and 7x7."""
    sides = sorted({row[0] for row in table()["DEPTHWISE_CONV_2D"]})
    return float(np.interp(taps, [side**2 for side in sides], [by_channels("DEPTHWISE_CONV_2D", channels, s) for s in sides]))


def by_channels(name: str, channels: int, *key: int) -> float:
    """Instructions per pixel, linear between the counted numbers of channels and proportional outside of them.

    Args:
        name: key of `table`.
        channels: channels of the tensor.
        *key: parameters of the rows in front of the channels, such as the block of depth_to_space.
    """
    rows = [row for row in table()[name] if row[: len(key)] == list(key)]
    counted, costs = np.array([row[-2:] for row in rows], float).T
    if not counted[0] <= channels <= counted[-1]:
        end = 0 if channels < counted[0] else -1
        return float(costs[end] * channels / counted[end])
    return float(np.interp(channels, counted, costs))


@functools.cache
def search_table() -> dict[str, Any]:
    """Instructions per LR pixel in the form of a latency table (fgnas_costs.Cost), for 0 to 64 channels.

    'relu' is 0, since it is part of a convolution. 'depth_to_space' includes the conversions of the image from and to uint8.
    """
    grid = range(65)
    table: dict[str, Any] = {"grid": list(grid), "relu": [0.0] * len(grid)}
    for kind, side in (("conv1x1", 1), ("conv3x3", 3)):
        table[kind] = [[convolution((side, side), i, o) if i and o else 0.0 for o in grid] for i in grid]
    table["add"] = [by_channels("ADD", channels) if channels else 0.0 for channels in grid]
    ends = [
        by_channels("DEPTH_TO_SPACE", 3, scale)
        + by_channels("QUANTIZE uint8 to int8", 3)
        + scale**2 * by_channels("QUANTIZE int8 to uint8", 3)
        for scale in _IMAGES
    ]
    table["depth_to_space"] = np.interp(grid, [0, *_IMAGES.values()], [0.0, *ends]).tolist()
    return table
