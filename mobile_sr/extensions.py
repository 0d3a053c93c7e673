"""Extensions: hooks of training and export for networks that are not just one input image and one SR output.

Training and Export are the hooks of plain networks. A module of EXTENSIONS has subclasses of both for the networks that it
handles:

    handles(network)    whether it handles the network of a configuration
    NETWORKS            what these networks are, for messages
    ADDED               arguments in which such a network may differ from its backbone
    Training, Export    the subclasses
    UPSCALER            optional: module whose of_keras(name, model, network) returns the Upscaler of such a network
    resolve(network)    optional: completes a recipe's configuration from the files that it names
    teacher(model, network)  optional: as `teacher`; without it, its networks neither teach nor learn from a teacher

`inference/upscaler.py` has the extensions of the Upscaler.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mobile_sr.errors import UserError

if TYPE_CHECKING:
    import keras
    import numpy as np

EXTENSIONS = ("mobile_sr.adadsr.extension", "mobile_sr.routing.extension", "mobile_sr.routing.exits_extension")


def _modules() -> Iterator[ModuleType]:
    return map(importlib.import_module, EXTENSIONS)


def find(network: Mapping[str, Any]) -> ModuleType | None:
    """Returns the extension of a network's configuration; None for a plain network."""
    return next((module for module in _modules() if module.handles(network)), None)


def resolve(network: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a recipe's network, completed by its extension. Raises UserError for unusable files."""
    result: dict[str, Any] = getattr(find(network), "resolve", dict)(network)
    return result


def added() -> set[str]:
    """Returns all arguments that extensions add to a backbone."""
    return {name for module in _modules() for name in module.ADDED}


def teacher(model: keras.Model, network: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from LR patches [N, h, w, 3] float32 in 0..1 to a teacher's SR output, for distillation."""
    extension = find(network)
    result: Callable[[np.ndarray], np.ndarray] = extension.teacher(model, network) if extension else model.predict_on_batch
    return result


def training(recipe: Any) -> Training:
    """Returns the hooks for the training of a `recipes.Recipe`."""
    return getattr(find(recipe.network), "Training", Training)(recipe)


def export(network: Mapping[str, Any]) -> Export:
    """Returns the hooks for the export of a network's configuration."""
    return getattr(find(network), "Export", Export)(network)


class ConversionFailed(RuntimeError):
    """An extension cannot convert its network; the message says why."""


class Training:
    """Hooks of the training loop, for plain networks.

    Attributes:
        columns: names of the history's columns that `figures` returns.
    """

    columns: Sequence[str] = ()

    def __init__(self, recipe: Any) -> None:
        """Keeps the recipe, a `recipes.Recipe`."""
        self.recipe = recipe

    def initialize(self, model: keras.Model, loaded: Collection[str], images: Callable[[], np.ndarray]) -> None:
        """Changes the initial weights of a model before its training.

        Args:
            model: the network.
            loaded: paths of the arrays that were loaded from a file.
            images: function that returns [N, h, w, 3] uint8 LR images.
        """

    def losses(self, loss: Any) -> dict[str, Any]:
        """Returns the arguments of `keras.Model.compile` about the loss, from the loss of the SR output."""
        return {"loss": loss}

    def batch(self, lr: Any, hr: Any, step: int, share: slice) -> tuple[Any, Any]:
        """Returns the (inputs, targets) of a step.

        Args:
            lr, hr: images of this rank.
            step: number of the step, from 0.
            share: images of the recipe's batch that belong to this rank.
        """
        return lr, hr

    def signature(self, lr: Any, hr: Any) -> tuple[Any, Any]:
        """Returns the same as `batch` for tf.TensorSpecs."""
        return lr, hr

    def start_validation(self) -> Sequence[float | None]:
        """Forgets the figures of the last validation and returns the values of the second input to score; (None,) without."""
        return (None,)

    def sr(self, model: keras.Model, lr: np.ndarray, value: float | None) -> Any:
        """Returns a model's SR output for [1, h, w, 3] float32 in 0..1 during a validation, as a tensor."""
        return model(lr, training=False)

    def all_sr(self, model: keras.Model, lr: np.ndarray, value: float | None) -> Iterator[Any]:
        """Yields the `sr` of all validation images, [N, h, w, 3] uint8."""
        for image in lr:
            yield self.sr(model, image[None].astype("float32") / 255, value)

    def note_scores(self, value: float | None, rgb: float, y: float) -> None:
        """Receives the mean PSNR in dB of a validation at a value of the second input, in RGB and in Y."""

    def figures(self) -> dict[str, float]:
        """Returns figures of the last validation for the history, {column: value}."""
        return {}

    def save_parts(self, model: keras.Model, folder: Path, meta: Mapping[str, Any]) -> None:
        """Writes model files of the networks that the best weights consist of, in addition to best.npz.

        Args:
            model: the network.
            folder: the run folder.
            meta: metadata of the weights.
        """

    def status(self) -> str:
        """Returns figures of the last validation for its progress line."""
        return ""


class Export:
    """Hooks of the export, for plain networks.

    Attributes:
        network: the configuration.
        max_value: largest value of the network's second input; None for networks without one.
    """

    max_value: float | None = None

    def __init__(self, network: Mapping[str, Any]) -> None:
        """Keeps the configuration."""
        self.network = network

    def check_upscaler(self, model: str) -> None:
        """Raises UserError if the Keras model, loaded from `model`, is not one that upscales images."""

    def exits(self, model: keras.Model | None) -> list[tuple[keras.Model, dict[str, Any]]]:
        """Returns the networks, (model, configuration), that become the signatures of one file, the default one last.

        Args:
            model: the Keras model in its export form.

        Returns:
            The networks; [] if the model becomes a file with one of its own.
        """
        return []

    def path(self, requested: str | None, precision: str, model: str | Path) -> str:
        """Returns the path, 'sparse' or 'dense', for a precision.

        Args:
            requested: 'sparse', 'dense' or None for the best one.
            precision: the precision.
            model: file of the network, for messages.

        Raises:
            UserError: the network or the precision does not support the path.
        """
        if requested == "sparse":
            raise UserError(f"--path sparse: {model} has no depth masks; only AdaEDSR and AdaRCAN have a sparse path")
        return "dense"

    def samples(self, images: Sequence[np.ndarray]) -> Sequence[Any]:
        """Returns calibration samples for images [1, H, W, 3] float32: the images, or (image, value of the second input)."""
        return images

    def values(self) -> Sequence[float | None]:
        """Returns the values of the second input at which files are compared with the Keras model; (None,) without."""
        return (None,)

    def at(self, run: Callable[..., Any], value: float | None) -> Callable[[np.ndarray], Any]:
        """Returns a function from [H, W, 3] uint8 to the SR output, for a `upscaler.keras_runner` and a value."""
        return run

    def options(self, value: float | None) -> dict[str, str]:
        """Returns the options of a .tflite (`litert.TFLiteModel`) that set its second input to a value."""
        return {}

    def convert(
        self,
        model: keras.Model | None,
        data: bytes,
        precision: str,
        samples: Sequence[Any],
        per_tensor: bool,
        size: tuple[int, int] | None,
        path: str,
    ) -> tuple[bytes, bytes]:
        """Converts a float .tflite to another precision.

        Args:
            model: the Keras model in its export form, with its original weights; None for a network from elsewhere.
            data: bytes of the float32 .tflite. Its weights may have changed since it was converted from the model.
            precision, samples, per_tensor: as for `quantizer.convert`.
            size: (height, width) of a fixed input, or None for a dynamic one.
            path: result of `path`.

        Returns:
            The bytes of the file, and those of its dense form alone.

        Raises:
            ConversionFailed, quantizer.ConversionError: the network cannot be converted.
        """
        from mobile_sr.converters.quantization import quantizer

        converted = quantizer.convert(data, precision, samples, per_tensor)
        return converted, converted

    def checks(self, data: bytes, dense: bytes, sparse: Any, integer: bool) -> list[dict[str, Any]]:
        """Returns the checks of a file's sparse signature, a `flatbuffer.Graph`."""
        return []

    def facts(self, model: keras.Model | None, precision: str) -> dict[str, Any]:
        """Returns entries of the sidecar about the network."""
        return {"desired_depth": None}
