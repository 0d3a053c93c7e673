"""Checks of config.json and of the checkpoints of a run folder, before a training continues from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.errors import UserError
from mobile_sr.files import read_json
from mobile_sr.inference import weights
from mobile_sr.inference.sidecar import is_int_in, number

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.training.recipes import Recipe

FORMAT = 1  # of config.json


def read_config(file: str | Path) -> dict[str, Any]:
    """Read the config.json of a run folder.

    Raises:
        UserError: when it is damaged or has another format.
    """
    config = read_json(file)
    if not is_int_in(config.get("format"), FORMAT, FORMAT):
        raise UserError(f"{file}: run folder of format {config.get('format')}; this version reads format {FORMAT}")
    for part in ("recipe", "data"):
        if not isinstance(config.get(part), dict):
            raise UserError(f"{file}: damaged: '{part}' is missing or not an object; start a new run with another --out")
    if not isinstance(config["recipe"].get("network"), dict):
        raise UserError(f"{file}: damaged: its recipe has no network; start a new run with another --out")
    return config


def read_checkpoint(
    file: str | Path, recipe: Recipe, variables: Mapping[str, Sequence[keras.Variable]], columns: Iterable[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint and check that it belongs to a training.

    Args:
        file: the checkpoint.
        recipe: the training's recipe.
        variables: {kind: Keras variables}; their values are the arrays 'kind/0', 'kind/1', ...
        columns: names of the history's columns.

    Returns:
        (arrays by name, meta).

    Raises:
        UserError: when it is damaged or belongs to another training.
    """
    arrays, meta = weights.read_arrays(file)
    expected = {f"{kind}/{i}": tuple(v.shape) for kind, vs in variables.items() for i, v in enumerate(vs)}
    actual = {name: array.shape for name, array in arrays.items() if array.dtype.kind in "biuf"}
    if expected != actual:
        first = min(set(expected.items()) ^ set(actual.items()))[0]
        raise UserError(f"{file}: its arrays do not match this training (first difference: {first})")
    problem = _problem(meta, recipe, columns)
    if problem:
        raise UserError(f"{file}: damaged checkpoint: {problem}")
    return arrays, meta


def _problem(meta: Mapping[str, Any], recipe: Recipe, columns: Iterable[str]) -> str | None:
    """Return what is wrong with a checkpoint's numbers, or None."""
    step: Any = meta.get("step")
    history = meta.get("history")
    if not is_int_in(step, 0, recipe.steps):
        return f"its step is {step!r}, but the training has {recipe.steps} steps"
    if step % recipe.validate_every and step != recipe.steps:
        return f"its step {step} is not a multiple of validate_every={recipe.validate_every}"
    best: Any = meta.get("best")
    if type(best) not in (int, float) or math.isnan(best):
        return f"its best score is {best!r}"
    if not number(meta.get("seconds"), 0, 1e12):
        return f"its time is {meta.get('seconds')!r}"
    needed, known = {"step", "loss"}, set(columns)  # rows of older versions have fewer columns
    if not isinstance(history, list) or not all(isinstance(row, dict) and needed <= set(row) <= known for row in history):
        return "its history is not a list of rows with the columns of this training"
    steps = [row["step"] for row in history]
    if not all(is_int_in(value, 1, step) for value in steps) or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        return "the steps of its history do not increase"
    if not all(isinstance(value, str) or type(value) in (int, float, type(None)) for row in history for value in row.values()):
        return "its history contains values other than numbers and texts"
    return None
