"""Selection of the best weights: the validation score that decides which weights `train` writes to best.npz."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import extensions, models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.training import user_code

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.training.recipes import Recipe


_METRIC = "metric "  # start of the criterion of a recipe with a metric of its own


def criterion(recipe: Recipe) -> str:
    """Return the selection score of a recipe: 'rgb', 'y', 'uint8', 'rgb+y', or 'metric NAME' for one of its own.

    'rgb+y' weights both as the loss does. It is the default of a recipe with a luminance weight.
    """
    if recipe.hooks.metric:
        return _METRIC + user_code.name_of(recipe.hooks.metric).rpartition(":")[2]
    return recipe.select or ("rgb+y" if recipe.luminance_weight else "rgb")


def describe(selected_by: str) -> str:
    """Return the criterion in words, for a line that shows a score."""
    if selected_by.startswith(_METRIC):
        return selected_by.removeprefix(_METRIC)
    return {"rgb": "RGB", "y": "Y", "rgb+y": "RGB and Y, weighted as in the loss", "uint8": "RGB, as uint8 .tflite"}[
        selected_by
    ]


def unit(selected_by: str) -> str:
    """Return the unit of a score, with a space before it: ' dB', or '' for a recipe's own metric."""
    return "" if selected_by.startswith(_METRIC) else " dB"


def check(recipe: Recipe, backend: str) -> None:
    """Check that the recipe's selection works with `backend`, the name of the Keras backend.

    Raises:
        UserError: when weights cannot be selected by their uint8 file, or by two scores.
    """
    if recipe.hooks.metric and recipe.select:
        raise UserError(f"--set select={recipe.select}: {recipe.name} has a metric of its own, which selects; leave one out")
    if criterion(recipe) != "uint8":
        return
    if backend != "tensorflow":
        raise UserError(f"--set select=uint8: needs --backend tensorflow for the conversion; the backend is {backend}")
    if extensions.find(recipe.network) or recipe.network["network"] == models.BLOCK_SUPERNET:
        raise UserError(f"--set select=uint8: {recipe.name} cannot be scored as a uint8 file during training; use rgb or y")


def score(selected_by: str, recipe: Recipe, rgb: float, y: float) -> float:
    """Return the selection score in dB of the weights just validated.

    Args:
        selected_by: a `criterion` other than 'uint8'.
        recipe: the recipe, for its luminance weight.
        rgb: mean PSNR of the float network in RGB, in dB.
        y: the same in Y.
    """
    if selected_by == "rgb+y":
        return (rgb + recipe.luminance_weight * y) / (1 + recipe.luminance_weight)
    return {"rgb": rgb, "y": y}[selected_by]


def uint8_runner(
    model: keras.Model, network: Mapping[str, Any], calibration: str | Path | None
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Convert a model to uint8 .tflite, as `mobile-sr export` does, and return a function that runs it.

    Args:
        model: the Keras model.
        network: its configuration.
        calibration: folder of calibration images; None for scikit-image's images.

    Returns:
        A function from [H, W, 3] uint8 to [H * s, W * s, 3] uint8, or None if the file fails the audit of the export.
    """
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import export

    # The validation's score tells what warnings about a network at the start of its training would.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        file = Path(folder) / "validated.npz"
        weights.save_model(file, model, network)
        try:
            (tflite,) = export.export(file, folder, ["uint8"], calibration=calibration, log=lambda line: None)
        except export.AuditError:
            return None
        return upscaler.load(tflite)
