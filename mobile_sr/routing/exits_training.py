"""Training of a network with exits (models/chainsr.py): all of them in every step, and the last one teaches the others.

The loss is that of the last exit plus `exit_weight` times that of each other one. These learn (HR + w * last) / (1 + w), the
mean of the HR image and the image of the last exit with w = `teacher_weight`. For the squared error, that is the error against
HR plus w times that against the last exit. With a sum of two losses in its place, a logarithm, as the loss 'psnr', would
reward exits mostly for being equal to the last one, which they can become without being good. No gradient passes into the last
exit from there. Teaching exits by the last one is from Zhang et al., "Be Your Own Teacher", ICCV 2019. Validations score every
exit; best.npz has the highest mean score of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.inference import model_files, weights

if TYPE_CHECKING:
    import keras


class ExitsTraining(extensions.Training):
    """Hooks of the training loop for networks with exits, see `extensions.Training`."""

    def __init__(self, recipe: Any) -> None:
        """Keeps the recipe."""
        super().__init__(recipe)
        self.exits = models.exits(recipe.network)
        self.columns = tuple(f"exit{layers}_psnr_{space}" for layers in self.exits for space in ("rgb", "y"))
        self._scores: dict[float | None, Sequence[float]] = {}

    def losses(self, loss: Any) -> dict[str, Any]:
        """Adds `exits_loss`."""
        return {"loss": [loss, exits_loss(loss, self.recipe.exit_weight, self.recipe.teacher_weight)]}

    def batch(self, lr: Any, hr: Any, step: int, share: slice) -> tuple[Any, Any]:
        """Repeats the HR images for the second output."""
        return lr, (hr, hr)

    def signature(self, lr: Any, hr: Any) -> tuple[Any, Any]:
        """As `batch`, for tf.TensorSpecs."""
        return lr, (hr, hr)

    def start_validation(self) -> Sequence[float | None]:
        """Returns the exits."""
        self._scores = {}
        return self.exits

    def sr(self, model: keras.Model, lr: np.ndarray, value: float | None) -> Any:
        """Returns the image of the exit after `value` layers."""
        first = 3 * [*self.exits].index(int(value or 0))
        return model(lr, training=False)[1][..., first : first + 3]

    def note_scores(self, value: float | None, rgb: float, y: float) -> None:
        """Keeps the PSNR of an exit."""
        self._scores[value] = (rgb, y)

    def figures(self) -> dict[str, float]:
        """Returns the PSNR of every exit in the last validation, for the columns of the history."""
        values = [round(float(score), 4) for layers in self.exits for score in self._scores[layers]]
        return dict(zip(self.columns, values, strict=True))

    def save_parts(self, model: keras.Model, folder: Path, meta: Mapping[str, Any]) -> None:
        """Writes NAME_exitK.npz for each exit, NAME being that of the run folder."""
        _write(model, self.recipe.network, folder, folder.resolve().name, meta)

    def status(self) -> str:
        """Returns the RGB PSNR of every exit as text."""
        return "  exits " + " ".join(f"{layers}: {rgb:.3f}" for layers, (rgb, _) in self._scores.items())


class ExitsExport(extensions.Export):
    """The export of networks with exits: a signature for each."""

    def exits(self, model: keras.Model | None) -> list[tuple[keras.Model, dict[str, Any]]]:
        """As `extensions.Export.exits`: the exits, the one with the fewest layers first."""
        assert model is not None  # as for every network of mobile_sr.models
        return models.split_exits(model, self.network)


def exits_loss(loss: Any, exit_weight: float, teacher_weight: float) -> Any:
    """Returns the Keras loss of all exits but the last.

    Args:
        loss: loss of one image, (y_true, y_pred) -> scalar.
        exit_weight: weight of each exit's loss.
        teacher_weight: weight of the last exit's image in the target, beside the HR image.

    Returns:
        f(HR [N, H, W, 3], images of all exits [N, H, W, 3 * E]).
    """

    def total(y_true: Any, y_pred: Any) -> Any:
        from keras import ops

        *images, last = (y_pred[..., k : k + 3] for k in range(0, y_pred.shape[-1], 3))
        teacher = ops.stop_gradient(ops.cast(last, "float32"))
        target = (y_true + teacher_weight * teacher) / (1 + teacher_weight)
        return sum(exit_weight * loss(target, x) for x in images)

    return total


def has_exits(model: str) -> bool:
    """Whether a trained model, an .npz file or a run folder, has exits."""
    config = weights.read_arrays(model_files.trained(model)[0])[1].get("config")
    return isinstance(config, dict) and bool(config.get("exits"))


def split(model: str, folder: Path) -> list[Path]:
    """Writes each exit of a trained network as a network of its own, NAME_exitK.npz, and returns the files, K ascending.

    Args:
        model: .npz file or run folder.
        folder: folder for the files.
    """
    file, stem = model_files.trained(model)
    network, config = weights.load_model(file)
    return _write(network, config, folder, stem, {})


def _write(model: keras.Model, config: Mapping[str, Any], folder: Path, stem: str, meta: Mapping[str, Any]) -> list[Path]:
    written = []
    for net, own in models.split_exits(model, config):
        written.append(folder / f"{stem}_exit{own['layers']}.npz")
        weights.save_model(written[-1], net, own, meta)
    return written
