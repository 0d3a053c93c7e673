"""Runner for .keras files: the only module that runs them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import backend
from mobile_sr.converters.formats import keras_file
from mobile_sr.converters.formats.float_model import FormatError, first_line
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_io, sidecar, tensor_layout, tensor_values, weights

if TYPE_CHECKING:
    import keras


class KerasArchive:
    """A single-image super-resolution .keras file: one float32 image to one larger image, see `tensor_layout`.

    Attributes:
        path: the file.
        layout: layout of its tensors.
        scale: the scale factor, determined by running the network once.
        fixed: (H, W) if the input size is fixed, else None.
    """

    def __init__(self, path: str | Path, options: Mapping[str, str] | None = None, model: keras.Model | None = None) -> None:
        """Opens a file.

        Args:
            path: the .keras file.
            model: a model object to use instead of the file's; `path` is then its name in messages.
            options: such as {"range": "255", "order": "bgr", "layout": "nchw"}, see docs/reference/models.md.

        Raises:
            UserError: the file is unusable, Keras is not installed, or an option is invalid.
        """
        self.path = path
        remaining = dict(options or {})
        asked = tensor_layout.given(path, remaining, sidecar.Sidecar())
        unknown = remaining.keys() - set(model_io.OPTIONS)
        if unknown:
            raise UserError(f"{path}: unknown option '{min(unknown)}'; supported: {', '.join(model_io.ALL_OPTIONS)}")
        backend.require_keras(path)
        self._model = _read(path) if model is None else model
        ends = [("input", *self._model.inputs), ("output", *self._model.outputs)] if _is_functional(self._model) else []
        for what, *tensors in ends:
            reasons = [tensor_layout.why_not_image(tensor.shape) for tensor in tensors]
            if len(tensors) != 1 or any(reasons):
                shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
                raise UserError(f"{path}: {what} {shapes}: {next(filter(None, reasons), 'expected one image')}")
        both: list[Any] = [tensor.shape for _, tensor in ends] or [None, None]
        try:
            layouts = tensor_layout.find(both[0], both[1], *asked)
        except tensor_layout.LayoutError as error:
            raise UserError(f"{path}: {error}") from None
        self.layout, self.scale = tensor_layout.first_that_runs(path, layouts, both[0], self._invoke)
        self.fixed = self.layout.input_size(both[0]) if both[0] else None
        self._choices = model_io.possible(path, remaining, sidecar.Sidecar(), channels=self.layout.channels)

    @functools.cached_property
    def io(self) -> model_io.ModelIO:
        """Value ranges and channels of the file: from its options, else measured on a sample image."""
        io = model_io.measure(self._forward, tensor_values.from_float, self.sample_size, self.scale, self._choices)
        return dataclasses.replace(io, layout=self.layout)

    @property
    def model(self) -> keras.Model:
        """The Keras model."""
        return self._model

    @property
    def sample_size(self) -> tuple[int, int]:
        """LR (H, W) of the sample image on which the file is measured."""
        return model_io.sample_size(self.fixed)

    def _forward(self, image: np.ndarray, range_in: int) -> np.ndarray:
        """Returns the raw output, [H * s, W * s, C], for levels [H, W, C]. Raises UserError if the network fails."""
        return self.layout.from_output(self._invoke(self.layout.to_input(tensor_values.to_float(image, range_in))))

    def _invoke(self, values: np.ndarray) -> np.ndarray:
        """Returns the output tensor for an input tensor. Raises UserError if the network fails."""
        from keras import ops

        try:
            with quiet():
                return np.asarray(ops.convert_to_numpy(self._model(ops.convert_to_tensor(values), training=False)))
        except Exception as error:  # Keras and its backends raise many types
            failed = f"failed on {list(values.shape)}: {first_line(error)}"
            raise UserError(f"{self.path}: not usable as a Keras model ({failed})") from None

    def run(self, image: np.ndarray) -> np.ndarray:
        """Upscales [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 in 0..1. Raises UserError if the network fails."""
        return model_io.run_float(self._forward, image, self.io)


def _is_functional(model: keras.Model) -> bool:
    return bool(getattr(model, "inputs", None)) and bool(getattr(model, "outputs", None))


def _read(path: str | Path) -> keras.Model:
    """Loads the Keras model of a file. Raises UserError, naming the kind of file if it is recognized, if Keras cannot."""
    try:
        return keras_file.read_archive(path, weights.MAX_BYTES)
    except FormatError as error:
        raise UserError(str(error)) from None
