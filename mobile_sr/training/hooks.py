"""Hooks: functions of a recipe that replace the loss, the score, the training images, or see every validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.training import user_code

_SIGNATURES = {
    "loss": "(y_true, y_pred) -> scalar or one value per image",
    "metric": "(sr, hr) -> number",
    "callback": "(record)",
    "data": "(step, batch, patch, rng) -> (lr, hr)",
}


@dataclasses.dataclass
class Hooks:
    """Functions that a recipe may set. A run folder records their names and the SHA-256 of their files.

    Attributes:
        loss: (y_true, y_pred) -> a scalar or one value per image, of [N, H, W, 3] tensors in 0..1. It takes the place of the
            recipe's pixel loss; lower is better.
        metric: (sr, hr) -> number, of [H, W, 3] uint8 images. Its mean over the validation images selects best.npz; higher is
            better.
        callback: called after every validation with a dict: the row of history.csv, `best` (the best score so far), `is_best`
            and `folder`.
        data: (step, batch, patch, rng) -> (lr, hr), of [batch, patch, patch, 3] and [batch, patch * s, patch * s, 3], uint8 or
            float in 0..1. It takes the place of the folder of images. `rng` depends on the seed and the step alone. Step -1
            asks for the validation images.
    """

    loss: Callable[[Any, Any], Any] | None = None
    metric: Callable[[np.ndarray, np.ndarray], float] | None = None
    callback: Callable[[dict[str, Any]], object] | None = None
    data: Callable[[int, int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]] | None = None

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return {name: function} of the hooks that are set."""
        return {field.name: value for field in dataclasses.fields(self) if (value := getattr(self, field.name)) is not None}

    def check(self, name: str) -> None:
        """Check that the hooks are functions.

        Args:
            name: of the recipe, for the message.

        Raises:
            UserError: for one that is not.
        """
        for hook, value in self.functions().items():
            if not callable(value):
                raise UserError(f"{name}: hooks.{hook} is a {type(value).__name__}; expected a function {_SIGNATURES[hook]}")

    def to_json(self) -> dict[str, Any]:
        """Return the record of the hooks that are set: {hook: {"function", "sha256"}}."""
        return {hook: user_code.identity(function) for hook, function in self.functions().items()}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Return why a run with the hooks `old` cannot continue with the hooks `new`, both from `Hooks.to_json`, or None."""
    for hook in _SIGNATURES:
        before, now = ((record.get(hook) or {}) for record in (old, new))
        if before.get("function") != now.get("function"):
            return f"its {hook} was {before.get('function', 'built in')} and is {now.get('function', 'built in')}"
        if before.get("sha256") != now.get("sha256"):
            return f"the file of its {hook}, {now['function']}, has changed since the run started"
    return None


def measure(metric: Callable[..., Any], sr: np.ndarray, hr: np.ndarray) -> float:
    """Return a metric's value of one pair of [H, W, 3] uint8 images. Raises UserError if it is not a finite number."""
    value = user_code.call(metric, sr, hr)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = value if isinstance(value, float) else f"a {type(value).__name__}"
        raise UserError(f"metric {user_code.name_of(metric)} returned {shown}; expected a finite number")
    return number
