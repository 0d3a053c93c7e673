"""The one place that runs an .onnx file."""

import math
from pathlib import Path

import numpy as np

from mobile_sr.errors import UserError

MAX_VALUES = 2**28  # of a fixed input or output


class OnnxModel:
    """A single-image super-resolution ONNX file: [N, H, W, 3] float32 in 0..1 to [N, H * s, W * s, 3].

    Attributes:
        scale: found by running it once.
        fixed: (H, W) when the input size is fixed, else None.
    """

    def __init__(self, model, threads=1):
        """Open a path or a file's bytes. Raises: UserError when it is unusable or ONNX Runtime is missing."""
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"{self._name(model)}: needs ONNX Runtime; pip install 'mobile-sr[onnx]'") from None
        self.path = self._name(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            data = model if isinstance(model, bytes) else Path(model).read_bytes()
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        except Exception as error:  # ONNX Runtime raises its own types, none of them public
            raise UserError(f"{self.path}: no usable ONNX model ({str(error).splitlines()[0]})") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if inputs else None
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[3] != 3:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise UserError(f"{self.path}: takes {found}; expected one float32 [N, H, W, 3] image in and one out")
        self._check_sizes(inputs[0], outputs[0])
        self._in, self._out = inputs[0].name, outputs[0].name
        self.fixed = (shape[1], shape[2]) if isinstance(shape[1], int) and isinstance(shape[2], int) else None
        height, width = self.fixed or (16, 16)
        out = self.run(np.zeros((height, width, 3), np.uint8)).shape
        self.scale = out[0] // height if out else 0
        if len(out) != 3 or self.scale < 1 or out != (height * self.scale, width * self.scale, 3):
            raise UserError(f"{self.path}: turns {height}x{width} into {out}, which is no whole scale")

    def _check_sizes(self, image, sr):
        """Raises: UserError before anything runs where the types or fixed sizes say that it cannot be an image of sane size."""
        if sr.type not in ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(uint8)") or len(sr.shape) != 4:
            raise UserError(f"{self.path}: gives {sr.name} {sr.type} {sr.shape}; expected a float32 [N, H, W, 3] image out")
        for end in (image, sr):
            sides = [side for side in end.shape if isinstance(side, int)]
            if min(sides, default=1) < 1 or math.prod(sides) > MAX_VALUES:
                raise UserError(f"{self.path}: {end.name} has the shape {end.shape}; sides must be 1 or more, and not huge")

    @staticmethod
    def _name(model):
        return "model" if isinstance(model, bytes) else model

    def run(self, image):
        """Upscale [H, W, 3] uint8 to [H * s, W * s, 3] float32. Raises: UserError when ONNX Runtime fails on it."""
        try:
            return self._session.run([self._out], {self._in: image[None].astype(np.float32) / np.float32(255)})[0][0]
        except Exception as error:  # see above
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{self.path}: failed on {size} ({str(error).splitlines()[0]})") from None
