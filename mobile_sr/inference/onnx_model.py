"""The one place that runs an .onnx file."""

import functools
import math
from pathlib import Path

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_io, tensor_values
from mobile_sr.inference import sidecar as sidecars

MAX_VALUES = 2**28  # of a fixed input or output


class OnnxModel:
    """A single-image super-resolution ONNX file: [N, H, W, 3] float32 to [N, H * s, W * s, 3].

    Attributes:
        scale: found by running it once.
        fixed: (H, W) when the input size is fixed, else None.
    """

    def __init__(self, model, threads=1, options=None):
        """Open a path, or the bytes of a file that this project converted (values in 0..1).

        Args:
            options: {"range": "255", "order": "bgr"}, see docs/reference/models.md.
        Raises: UserError when it is unusable, ONNX Runtime is missing, or an option does not fit.
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
        options, self.sidecar, self._choices = dict(options or {}), sidecars.Sidecar(), ((1,), (1,), ("rgb",))
        if not isinstance(model, bytes):
            self.sidecar = sidecars.read(model, data)
            self._choices = model_io.possible(self.path, options, self.sidecar)
        if options:
            raise UserError(f"{self.path}: unknown option '{next(iter(options))}'; it takes {', '.join(model_io.OPTIONS)}")
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        session.log_severity_level = 4
        try:
            with quiet():  # it prints the failure, too
                self._session = onnxruntime.InferenceSession(data, session, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own types, none of them public
            raise UserError(f"{self.path}: no usable ONNX model ({str(error).splitlines()[0]})") from None
        shape = self._input_shape()
        self._check_sizes(*self._session.get_inputs(), *self._session.get_outputs())
        self.fixed = (shape[1], shape[2]) if isinstance(shape[1], int) and isinstance(shape[2], int) else None
        height, width = self.fixed or (16, 16)
        out = self._forward(np.zeros((height, width, 3), np.uint8), 1).shape
        self.scale = out[0] // height if len(out) == 3 else 0
        if self.scale < 1 or out != (height * self.scale, width * self.scale, 3):
            found = model_io.why_not_image((1, *out))
            raise UserError(f"{self.path}: turns {height}x{width} into {out}, {found or 'which is no whole scale'}")

    def _input_shape(self):
        """The input's shape; sets the names of both ends. Raises: UserError when they are not images as expected."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        expected = "expected one float32 [N, H, W, 3] image in and one out"
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(f"{self.path}: has {len(inputs)} inputs and {len(outputs)} outputs; {expected}")
        for end, what in ((inputs[0], "takes"), (outputs[0], "gives")):
            reason = model_io.why_not_image(end.shape) if what == "takes" or len(end.shape) == 4 else None
            if end.type != "tensor(float)" or reason:
                raise UserError(
                    f"{self.path}: {what} {end.name} {end.type} {end.shape}{f', {reason}' if reason else ''}; {expected}"
                )
        self._in, self._out = inputs[0].name, outputs[0].name
        return inputs[0].shape

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

    @functools.cached_property
    def io(self):
        """The model_io.ModelIO of the file: as its sidecar and options say, else measured on a sample image."""
        return model_io.measure(self._forward, tensor_values.from_float, self.sample_size, self.scale, self._choices)

    @property
    def sample_size(self):
        """LR (H, W) of the sample image that the file is measured with."""
        return model_io.sample_size(self.fixed, self.sidecar.smallest_side)

    def _forward(self, image, range_in):
        """The output's values for [H, W, 3] uint8. Raises: UserError when ONNX Runtime fails on it."""
        try:
            return self._session.run([self._out], {self._in: tensor_values.to_float(image[None], range_in)})[0][0]
        except Exception as error:  # see above
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{self.path}: failed on {size} ({str(error).splitlines()[0]})") from None

    def run(self, image):
        """Upscale [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 in 0..1. Raises: UserError when ONNX Runtime fails."""
        return model_io.run_float(self._forward, image, self.io)
