"""What each operator of FGNAS takes in an int8 .tflite on this machine, by its channels: for latency-driven searches."""

import numpy as np

from mobile_sr.benchmarking.benchmark import cpu_ms, environment
from mobile_sr.errors import UserError
from mobile_sr.files import read_json

SIZE = (180, 320)  # LR (H, W) at which the operators are timed
RUNS = 9
_PAIRS = ("conv3x3", "conv1x1")
_SINGLE = ("relu", "prelu", "tanh", "add")
_ADDITIONS = 8  # in the file that times one: alone it is shorter than what the times differ by


def measure(channels, progress=None, size=SIZE, runs=RUNS):
    """A table for fgnas_costs.Cost: CPU ms, medians of interleaved runs, one thread.

    Args:
        channels: the most that a layer has; the grid is 0, 1 (which takes nearly as long as 8) and its quarters.
        progress: called with (files made, what).
    Returns: {"grid": [0, ...], "conv3x3": [inputs][outputs], "conv1x1", "relu", "prelu", "tanh", "add": [channels], "size",
        "environment"}, JSON-able.
    """
    grid = sorted({1, *(max(1, channels * quarter // 4) for quarter in (1, 2, 3, 4))})
    cells = [(kind, a, b) for kind in _PAIRS for a in grid for b in grid] + [(kind, a, a) for kind in _SINGLE for a in grid]
    files = []
    for cell in cells:
        files.append(_file(*cell, size))
        if progress:
            progress(len(files), f"of {len(cells)} operators")
    found = dict(zip(cells, (float(t) for t in cpu_ms(files, runs, progress)), strict=True))
    for channels in grid:  # the file with the additions has the convolution, too
        more = found["add", channels, channels] - found["conv1x1", channels, channels]
        found["add", channels, channels] = max(0.0, more) / _ADDITIONS
    found = {cell: round(ms, 4) for cell, ms in found.items()}
    table = {"grid": [0, *grid]}
    for kind in _PAIRS:
        table[kind] = [[0.0] * (len(grid) + 1)] + [[0.0, *(found[kind, a, b] for b in grid)] for a in grid]
    table |= {kind: [0.0, *(found[kind, a, a] for a in grid)] for kind in _SINGLE}
    return table | {"size": f"{size[1]}x{size[0]}", "environment": environment(size, 1, runs, 1)}


def read(path):
    """A table that was written as JSON. Raises: UserError when it is none."""
    table = read_json(path)
    try:
        count = len(table["grid"])
        shapes = {kind: (count, count) if kind in _PAIRS else (count,) for kind in (*_PAIRS, *_SINGLE)}
        fits = all(np.asarray(table[kind], np.float32).shape == shape for kind, shape in shapes.items())
        if not fits or table["grid"][0] != 0 or sorted(set(table["grid"])) != table["grid"]:
            raise ValueError("its tables do not fit its grid of channels, which rises from 0")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no latency table ({error})") from None
    return table


def _file(kind, inputs, outputs, size):
    """The bytes of an int8 .tflite with that operator alone."""
    import keras
    from keras import ops

    from mobile_sr.converters import to_tflite
    from mobile_sr.models.nas.fgnas import MixOfActivations, lone_relu

    x = keras.Input((*size, inputs), batch_size=1)
    if kind in _PAIRS:
        y = keras.layers.Conv2D(outputs, int(kind[-1]), padding="same")(x)
    elif kind == "add":
        y = keras.layers.Conv2D(outputs, 1)(x)  # behind an elementwise operator XNNPACK adds in no time
        for _ in range(_ADDITIONS):
            y = y + x
    else:
        prelu, activation = MixOfActivations({"prelu": inputs}), keras.layers.Activation
        y = {"relu": activation(lone_relu), "prelu": prelu, "tanh": activation(ops.tanh)}[kind](x)
    model = keras.Model(x, y)
    sample = np.random.default_rng(0).uniform(-1, 1, (1, *size, inputs)).astype(np.float32)
    return to_tflite.convert(lambda: model, model.get_weights(), "int8", clipped=False, calibration=[sample])
