"""Runner for .keras files: the only module that runs them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobile_sr import backend
from mobile_sr.converters.formats import keras_file
from mobile_sr.converters.formats.float_model import FormatError, first_line
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_io, sidecar, tensor_values, weights

if TYPE_CHECKING:
    import keras


class KerasArchive:
    """A single-image super-resolution .keras file: [N, H, W, 3] float32 to [N, H * s, W * s, 3].

    Attributes:
        path: the file.
        scale: the scale factor, determined by running the network once.
        fixed: (H, W) if the input size is fixed, else None.
    """

    def __init__(self, path: str | Path, options: Mapping[str, str] | None = None, model: keras.Model | None = None) -> None:
        """Opens a file.

        Args:
            path: the .keras file.
            model: a model object to use instead of the file's; `path` is then its name in messages.
            options: value range and channel order such as {"range": "255", "order": "bgr"}, see docs/reference/models.md.

        Raises:
            UserError: the file is unusable, Keras is not installed, or an option is invalid.
        """
        self.path = path
        remaining = dict(options or {})
        self._choices = model_io.possible(path, remaining, sidecar.Sidecar())
        if remaining:
            raise UserError(f"{path}: unknown option '{next(iter(remaining))}'; supported: {', '.join(model_io.OPTIONS)}")
        backend.require_keras(path)
        self._model = _read(path) if model is None else model
        ends = [("input", *self._model.inputs), ("output", *self._model.outputs)] if _is_functional(self._model) else []
        for what, *tensors in ends:
            reasons = [model_io.why_not_image(tensor.shape) for tensor in tensors]
            if len(tensors) != 1 or any(reasons):
                shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
                raise UserError(f"{path}: {what} {shapes}: {next(filter(None, reasons), 'expected one image')}")
        sides = tuple(ends[0][1].shape[1:3]) if ends else (None, None)
        self.fixed: tuple[int, int] | None = None if None in sides else sides
        height, width = self.fixed or (16, 16)
        out = self._forward(np.zeros((height, width, 3), np.uint8), 1).shape
        self.scale = out[0] // height if len(out) == 3 else 0
        if self.scale < 1 or out != (height * self.scale, width * self.scale, 3):
            reason = model_io.why_not_image((1, *out)) or "not an integer scale"
            raise UserError(f"{path}: maps {width}x{height} to {out}: {reason}; not a super-resolution network")

    @functools.cached_property
    def io(self) -> model_io.ModelIO:
        """Value ranges and channel order of the file: from its options, else measured on a sample image."""
        return model_io.measure(self._forward, tensor_values.from_float, self.sample_size, self.scale, self._choices)

    @property
    def sample_size(self) -> tuple[int, int]:
        """LR (H, W) of the sample image on which the file is measured."""
        return model_io.sample_size(self.fixed)

    def _forward(self, image: np.ndarray, range_in: int) -> np.ndarray:
        """Returns the raw output for [H, W, 3] uint8. Raises UserError if the network fails."""
        from keras import ops

        try:
            with quiet():
                output = self._model(ops.convert_to_tensor(tensor_values.to_float(image[None], range_in)), training=False)
                return np.asarray(ops.convert_to_numpy(output))[0]
        except Exception as error:  # Keras and its backends raise many types
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{self.path}: not usable as a Keras model (failed on {size}: {first_line(error)})") from None

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
