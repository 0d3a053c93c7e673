"""Runner for .onnx files: the only module that runs them."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_io, tensor_values
from mobile_sr.inference import sidecar as sidecars

MAX_VALUES = 2**28  # in a fixed input or output


class OnnxModel:
    """A single-image super-resolution ONNX file: [N, H, W, 3] float32 to [N, H * s, W * s, 3].

    Attributes:
        path: the file, or "model" for bytes.
        sidecar: the file's Sidecar.
        scale: the scale factor, determined by running the network once.
        fixed: (H, W) if the input size is fixed, else None.
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1, options: Mapping[str, str] | None = None) -> None:
        """Opens a file.

        Args:
            model: a path, or the bytes of a file that this project converted (float values in 0..1).
            threads: CPU threads.
            options: value range and channel order such as {"range": "255", "order": "bgr"}, see docs/reference/models.md.

        Raises:
            UserError: the file is unusable, ONNX Runtime is not installed, or an option is invalid.
        """
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"{self._name(model)}: needs ONNX Runtime; pip install 'mobile-sr[onnx]'") from None
        self.path = self._name(model)
        try:
            data = model if isinstance(model, bytes) else Path(model).read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        remaining, self.sidecar = dict(options or {}), sidecars.Sidecar()
        self._choices: model_io.Choices = ((1,), (1,), ("rgb",))
        if not isinstance(model, bytes):
            self.sidecar = sidecars.read(model, data)
            self._choices = model_io.possible(self.path, remaining, self.sidecar)
        if remaining:
            raise UserError(f"{self.path}: unknown option '{next(iter(remaining))}'; supported: {', '.join(model_io.OPTIONS)}")
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        session.log_severity_level = 4
        try:
            with quiet():  # it prints failures too
                self._session = onnxruntime.InferenceSession(data, session, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types that are not public
            raise UserError(f"{self.path}: not a usable ONNX model ({str(error).splitlines()[0]})") from None
        shape = self._input_shape()
        self._check_sizes(*self._session.get_inputs(), *self._session.get_outputs())
        self.fixed: tuple[int, int] | None = (
            (shape[1], shape[2]) if isinstance(shape[1], int) and isinstance(shape[2], int) else None
        )
        height, width = self.fixed or (16, 16)
        out = self._forward(np.zeros((height, width, 3), np.uint8), 1).shape
        self.scale = out[0] // height if len(out) == 3 else 0
        if self.scale < 1 or out != (height * self.scale, width * self.scale, 3):
            reason = model_io.why_not_image((1, *out)) or "not an integer scale"
            raise UserError(f"{self.path}: maps {height}x{width} to {out}: {reason}")

    def _input_shape(self) -> list[Any]:
        """Returns the input's shape and sets the names of input and output. Raises UserError if they are not single images."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        expected = "expected one float32 [N, H, W, 3] input and one such output"
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(f"{self.path}: has {len(inputs)} inputs and {len(outputs)} outputs; {expected}")
        for end, what in ((inputs[0], "input"), (outputs[0], "output")):
            reason = model_io.why_not_image(end.shape) if what == "input" or len(end.shape) == 4 else None
            if end.type != "tensor(float)" or reason:
                raise UserError(
                    f"{self.path}: {what} {end.name} is {end.type} {end.shape}{f', {reason}' if reason else ''}; {expected}"
                )
        self._in, self._out = inputs[0].name, outputs[0].name
        return inputs[0].shape

    def _check_sizes(self, image: Any, sr: Any) -> None:
        """Checks types and fixed sizes before anything runs. Raises UserError if they cannot be an image of a sane size."""
        if sr.type not in ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(uint8)") or len(sr.shape) != 4:
            raise UserError(f"{self.path}: output {sr.name} is {sr.type} {sr.shape}; expected a float32 [N, H, W, 3] image")
        for end in (image, sr):
            sides = [side for side in end.shape if isinstance(side, int)]
            if min(sides, default=1) < 1 or math.prod(sides) > MAX_VALUES:
                raise UserError(
                    f"{self.path}: {end.name} has shape {end.shape}; sides must be 1 or more, the total at most {MAX_VALUES:,}"
                )

    @staticmethod
    def _name(model: str | Path | bytes) -> str | Path:
        return "model" if isinstance(model, bytes) else model

    @functools.cached_property
    def io(self) -> model_io.ModelIO:
        """Value ranges and channel order: from the sidecar and options, else measured on a sample image."""
        return model_io.measure(self._forward, tensor_values.from_float, self.sample_size, self.scale, self._choices)

    @property
    def sample_size(self) -> tuple[int, int]:
        """LR (H, W) of the sample image on which the file is measured."""
        return model_io.sample_size(self.fixed, self.sidecar.smallest_side)

    def _forward(self, image: np.ndarray, range_in: int) -> np.ndarray:
        """Returns the raw output for [H, W, 3] uint8. Raises UserError if ONNX Runtime fails."""
        try:
            return self._session.run([self._out], {self._in: tensor_values.to_float(image[None], range_in)})[0][0]
        except Exception as error:  # see above
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{self.path}: failed on {size} ({str(error).splitlines()[0]})") from None

    def run(self, image: np.ndarray) -> np.ndarray:
        """Upscales [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 in 0..1. Raises UserError if ONNX Runtime fails."""
        return model_io.run_float(self._forward, image, self.io)
