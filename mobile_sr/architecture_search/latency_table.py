"""Latency tables: the time of each FGNAS operator in an int8 .tflite, on this machine or a phone, for latency-driven search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.benchmarking import android_operators
from mobile_sr.benchmarking.benchmark import cpu_ms, environment
from mobile_sr.errors import UserError
from mobile_sr.files import read_json

if TYPE_CHECKING:
    from mobile_sr.benchmarking.adb import Adb

SIZE = (180, 320)  # LR (H, W) at which the operators are timed
RUNS = 9
_PAIRS = ("conv3x3", "conv1x1")
_SINGLE = ("relu", "prelu", "tanh", "add")
_ADDITIONS = 8  # in the file that times an addition: a single one takes less than the noise


def measure(
    channels: int,
    progress: Callable[[int, str], object] | None = None,
    size: tuple[int, int] = SIZE,
    runs: int = RUNS,
    device: Adb | None = None,
) -> dict[str, Any]:
    """Measure a table for fgnas_costs.Cost: time in ms of each operator with one thread, on XNNPACK.

    Here it is the CPU time, the median of interleaved runs. On an Android device it is the wall time, the median of the runs of
    one file after the other.

    Args:
        channels: maximum number of channels of a layer. The table has 0, 1 (which takes nearly as long as 8) and the quarters
            of `channels`.
        progress: called with (files made, description).
        size: LR (height, width) in pixels.
        runs: runs of each operator.
        device: an Android device that has the benchmark app (`android.install`); None measures on this machine.

    Returns:
        JSON-able {"grid": [0, ...], "conv3x3": [inputs][outputs], "conv1x1": the same, "relu", "prelu", "tanh" and "add":
        [channels], "size", "environment"}, with times in ms.

    Raises:
        UserError: an operator was not measured on the device.
    """
    grid = sorted({1, *(max(1, channels * quarter // 4) for quarter in (1, 2, 3, 4))})
    cells = [(kind, a, b) for kind in _PAIRS for a in grid for b in grid] + [(kind, a, a) for kind in _SINGLE for a in grid]
    files: list[bytes] = []
    for cell in cells:
        files.append(operator_file(*cell, size))
        if progress:
            progress(len(files), f"of {len(cells)} operators")
    if device is None:
        measured, where = [float(ms) for ms in cpu_ms(files, runs, progress)], environment(size, 1, runs, 1)
    else:
        measured, where = android_operators.measure(device, files, runs, progress=progress)
    times = dict(zip(cells, measured, strict=True))
    for count in grid:  # the file with the additions has a convolution, too
        additions_ms = times["add", count, count] - times["conv1x1", count, count]
        times["add", count, count] = max(0.0, additions_ms) / _ADDITIONS
    times = {cell: round(ms, 4) for cell, ms in times.items()}
    table: dict[str, Any] = {"grid": [0, *grid]}
    for kind in _PAIRS:
        table[kind] = [[0.0] * (len(grid) + 1)] + [[0.0, *(times[kind, a, b] for b in grid)] for a in grid]
    table |= {kind: [0.0, *(times[kind, a, a] for a in grid)] for kind in _SINGLE}
    return table | {"size": f"{size[1]}x{size[0]}", "environment": where}


def read(path: str | Path) -> dict[str, Any]:
    """Read a latency table from a JSON file.

    Raises:
        UserError: when the file is not a latency table.
    """
    table = read_json(path)
    try:
        count = len(table["grid"])
        shapes: dict[str, tuple[int, ...]] = {
            kind: (count, count) if kind in _PAIRS else (count,) for kind in (*_PAIRS, *_SINGLE)
        }
        matches = all(np.asarray(table[kind], np.float32).shape == shape for kind, shape in shapes.items())
        if not matches or table["grid"][0] != 0 or sorted(set(table["grid"])) != table["grid"]:
            raise ValueError("its tables do not match its grid of channels, which must increase from 0")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a latency table ({error})") from None
    return table


def operator_file(kind: str, inputs: int, outputs: int, size: tuple[int, int]) -> bytes:
    """Return the bytes of an int8 .tflite that contains a single operator.

    Args:
        kind: 'conv3x3', 'conv1x1', 'relu', 'prelu', 'tanh' or 'add' (of which there are several, behind a 1x1 convolution).
        inputs: channels of the input, [1, height, width, inputs].
        outputs: channels of the output of a convolution.
        size: (height, width) in pixels.
    """
    import keras
    from keras import ops

    from mobile_sr.converters import to_tflite
    from mobile_sr.models.nas.fgnas import MixOfActivations, lone_relu

    x = keras.Input((*size, inputs), batch_size=1)
    if kind in _PAIRS:
        y = keras.layers.Conv2D(outputs, int(kind[-1]), padding="same")(x)
    elif kind == "add":
        y = keras.layers.Conv2D(outputs, 1)(x)  # after an elementwise operator, XNNPACK's addition costs nothing
        for _ in range(_ADDITIONS):
            y = y + x
    else:
        prelu, activation = MixOfActivations({"prelu": inputs}), keras.layers.Activation
        y = {"relu": activation(lone_relu), "prelu": prelu, "tanh": activation(ops.tanh)}[kind](x)
    model = keras.Model(x, y)
    sample = np.random.default_rng(0).uniform(-1, 1, (1, *size, inputs)).astype(np.float32)
    return to_tflite.convert(model, "int8", calibration=[sample])
