"""True outputs of a network, `import-weights --verify FILE...`: inputs and outputs that its authors' code has computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.inference import weights

# Of the data range, or of the largest output where that is larger: rounding grows with the values. Measured on 20 published
# networks: at most 1.6e-5.
MAX_ERROR = 1e-4


@dataclasses.dataclass(frozen=True)
class Truth:
    """An input and the output for it, both [N, H, W, 3] in units of the data range, the output not clipped."""

    lr: np.ndarray
    sr: np.ndarray


def read(paths: Sequence[str | Path]) -> list[Truth]:
    """Reads true outputs from .npz files.

    The arrays are pairs `input` and `output`, or `input_a` and `output_a`; `x` means `input`. `data_range` is their maximum,
    by default 1. Inputs of type uint8 are in 0..255. Inputs and outputs may be in different files.

    Args:
        paths: .npz files.

    Raises:
        UserError: a file is unusable, or there is no pair of [N, H, W, 3] images.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in paths:
        arrays |= weights.read_plain(path)
    where = f"--verify {' '.join(map(str, paths))}"
    data_range = float(arrays.get("data_range", np.ones(())))
    result = []
    for name, sr in arrays.items():
        if name.startswith("output"):
            suffix = name.removeprefix("output")
            lr = arrays.get(f"input{suffix}", arrays.get(f"x{suffix}"))
            if lr is None:
                raise UserError(f"{where}: {name} has no input{suffix}")
            if not all(a.ndim == 4 and a.shape[-1] == 3 for a in (lr, sr)) or sr.shape[1] % lr.shape[1]:
                raise UserError(f"{where}: {name} is {sr.shape} for an input of {lr.shape}; expected [N, H, W, 3]")
            result.append(Truth(lr.astype(np.float64) / (255 if lr.dtype == np.uint8 else data_range), sr / data_range))
    if not result:
        raise UserError(f"{where}: no array named output")
    return result


def max_error(run: Callable[[np.ndarray], np.ndarray], pairs: Sequence[Truth]) -> float:
    """Returns the largest difference from the true outputs, divided by the largest output but at least by the data range.

    It is infinite for an output of another size.

    Args:
        run: function of [N, H, W, 3] float32 in 0..1 that returns the unclipped SR output.
        pairs: inputs and outputs.
    """
    worst = 0.0
    for pair in pairs:
        sr = run(pair.lr.astype(np.float32))
        if sr.shape != pair.sr.shape:
            return float("inf")
        error = float(np.abs(sr - pair.sr).max() / max(1.0, np.abs(pair.sr).max()))
        worst = max(worst, error) if np.isfinite(error) else float("inf")
    return worst
