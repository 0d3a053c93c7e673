"""Checks of what a run folder holds before a training continues from it: config.json and the checkpoints."""

import math

from mobile_sr.errors import UserError
from mobile_sr.files import read_json
from mobile_sr.inference import weights
from mobile_sr.inference.sidecar import number, whole

FORMAT = 1


def read_config(file):
    """config.json of a run folder. Raises: UserError when it is damaged or of another format."""
    config = read_json(file)
    if not whole(config.get("format"), FORMAT, FORMAT):
        raise UserError(f"{file}: a run folder of format {config.get('format')}, this version reads {FORMAT}")
    for part in ("recipe", "data"):
        if not isinstance(config.get(part), dict):
            raise UserError(f"{file}: damaged, '{part}' is missing or not an object; start a new run with another --out")
    if not isinstance(config["recipe"].get("network"), dict):
        raise UserError(f"{file}: damaged, its recipe has no network; start a new run with another --out")
    return config


def read_checkpoint(file, recipe, variables, columns):
    """(arrays, meta) of a checkpoint that fits a training.

    Args:
        variables: {kind: list of Keras variables}, whose values are the arrays 'kind/0', 'kind/1', ...
        columns: of the history.
    Raises: UserError when it is damaged or of another training.
    """
    arrays, meta = weights.read_arrays(file)
    wanted = {f"{kind}/{i}": tuple(v.shape) for kind, vs in variables.items() for i, v in enumerate(vs)}
    found = {name: array.shape for name, array in arrays.items() if array.dtype.kind in "biuf"}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"{file}: its arrays are not those of this training (first difference: {odd})")
    problem = _problem(meta, recipe, columns)
    if problem:
        raise UserError(f"{file}: damaged checkpoint: {problem}")
    return arrays, meta


def _problem(meta, recipe, columns):
    """What is wrong with a checkpoint's numbers, None when nothing is."""
    step, history = meta.get("step"), meta.get("history")
    if not whole(step, 0, recipe.steps):
        return f"its step is {step!r}, and the training has {recipe.steps}"
    if step % recipe.validate_every and step != recipe.steps:
        return f"its step {step} is not a multiple of {recipe.validate_every}, after which checkpoints are written"
    best = meta.get("best")
    if type(best) not in (int, float) or math.isnan(best):
        return f"its best score is {best!r}"
    if not number(meta.get("seconds"), 0, 1e12):
        return f"its time is {meta.get('seconds')!r}"
    needed, known = {"step", "loss"}, set(columns)  # rows of older versions have fewer columns
    if not isinstance(history, list) or not all(isinstance(row, dict) and needed <= set(row) <= known for row in history):
        return "its history is not a list of rows with the columns of this training"
    steps = [row["step"] for row in history]
    if not all(whole(at, 1, step) for at in steps) or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        return "the steps of its history do not ascend"
    if not all(isinstance(value, str) or type(value) in (int, float, type(None)) for row in history for value in row.values()):
        return "its history holds something else than numbers and texts"
    return None
