"""Runner for .onnx files: the only module that runs them."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_io, tensor_layout, tensor_values
from mobile_sr.inference import sidecar as sidecars

MAX_VALUES = 2**28  # in a fixed input or output


SR, DEPTH_MAP = "sr", "depth_map"  # outputs of files with a depth map (converters/to_onnx.py)


@dataclasses.dataclass(frozen=True)
class Adjustable:
    """A scalar input whose value may change with each run, such as AdaDSR's desired depth.

    Attributes:
        name: name of the input.
        limits: (min, max) of the value, from the sidecar.
    """

    name: str
    limits: Sequence[float]


class OnnxModel:
    """A single-image super-resolution ONNX file: one float32 image to one larger image, see `tensor_layout`.

    A file that this project exported may also have a depth map as its second output, and a desired depth as its second input.

    Attributes:
        path: the file, or "model" for bytes.
        sidecar: the file's Sidecar.
        layout: layout of its tensors.
        scale: the scale factor, determined by running the network once.
        fixed: (H, W) if the input size is fixed, else None.
        adjustable: the second input, which `run_at` sets; None if the file has none or an option fixes it.
        value: value of the second input; its maximum unless assigned. None without one.
        has_map: whether the second output is a depth map, whose costs the sidecar has.
        map_channels: channels of that map; 0 without.
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1, options: Mapping[str, str] | None = None) -> None:
        """Opens a file.

        Args:
            model: a path, or the bytes of a file that this project converted (float values in 0..1).
            threads: CPU threads.
            options: such as {"range": "255", "order": "bgr", "layout": "nchw", name of the second input: number}, see
                docs/reference/models.md.

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
        if not isinstance(model, bytes):
            self.sidecar = sidecars.read(model, data)
        asked = tensor_layout.given(self.path, remaining, self.sidecar)
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        session.log_severity_level = 4
        try:
            with quiet():  # it prints failures too
                self._session = onnxruntime.InferenceSession(data, session, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types that are not public
            raise UserError(f"{self.path}: not a usable ONNX model ({str(error).splitlines()[0]})") from None
        image, sr = self._ends(remaining)
        unknown = remaining.keys() - set(model_io.OPTIONS)
        if unknown:
            raise UserError(f"{self.path}: unknown option '{min(unknown)}'; supported: {', '.join(model_io.ALL_OPTIONS)}")
        self._check_sizes(image, sr)
        try:
            layouts = tensor_layout.find(image.shape, sr.shape, *asked)
        except tensor_layout.LayoutError as error:
            raise UserError(f"{self.path}: {error}") from None
        self.layout, self.scale = tensor_layout.first_that_runs(self.path, layouts, image.shape, self._invoke)
        self.fixed = self.layout.input_size(image.shape)
        self._choices: model_io.Choices = ((1,), (1,), sidecars.ORDERS[self.layout.channels][:1])
        if not isinstance(model, bytes):
            self._choices = model_io.possible(self.path, remaining, self.sidecar, channels=self.layout.channels)

    def _ends(self, options: dict[str, str]) -> tuple[Any, Any]:
        """Returns ONNX Runtime's (input, output) and sets their names. Raises UserError if they are not single images.

        Sets the attributes about a second input and output, too, and removes the value of that input from `options`.
        """
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        inputs.sort(key=lambda end: len(end.shape) != 4)  # the image, then the scalar
        outputs.sort(key=lambda end: end.name != SR)
        self.adjustable, self.value = self._find_scalar(inputs[1:], options)
        with_map = [end.name for end in outputs] == [SR, DEPTH_MAP]
        self.has_map = with_map and self.sidecar.multiply_adds is not None
        expected = "expected one float32 image as input and one as output"
        if len(inputs) != 1 + (self.value is not None) or len(outputs) != 1 + with_map:
            raise UserError(f"{self.path}: has {len(inputs)} inputs and {len(outputs)} outputs; {expected}")
        for end, what in ((inputs[0], "input"), (outputs[0], "output")):
            reason = tensor_layout.why_not_image(end.shape) if what == "input" or len(end.shape) == 4 else None
            if end.type != "tensor(float)" or reason:
                raise UserError(
                    f"{self.path}: {what} {end.name} is {end.type} {end.shape}{f', {reason}' if reason else ''}; {expected}"
                )
        self._in, self._outs = inputs[0].name, [end.name for end in outputs]
        self._scalar = inputs[1].name if len(inputs) == 2 else None
        self.map_channels = int(outputs[1].shape[-1]) if with_map else 0
        return inputs[0], outputs[0]

    def _find_scalar(self, others: Sequence[Any], options: dict[str, str]) -> tuple[Adjustable | None, float | None]:
        """Returns the second input with its limits, and its value. (None, None) if there is none that is known."""
        if len(others) != 1 or list(others[0].shape) != [1, 1] or others[0].type != "tensor(float)":
            return None, None
        name = others[0].name
        limits, text = self.sidecar.limits(name), options.pop(name, None)
        if text is None:
            return (Adjustable(name, limits), float(limits[1])) if limits else (None, None)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (limits and not limits[0] <= value <= limits[1]):
            valid = f"a number from {limits[0]:g} to {limits[1]:g}" if limits else "a number"
            raise UserError(f"{self.path}: {name}={text}: expected {valid}")
        return None, value

    def _check_sizes(self, image: Any, sr: Any) -> None:
        """Checks types and fixed sizes before anything runs. Raises UserError if they cannot be an image of a sane size."""
        if sr.type not in ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(uint8)") or len(sr.shape) != 4:
            raise UserError(f"{self.path}: output {sr.name} is {sr.type} {sr.shape}; expected a float32 image")
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
        """Value ranges and channels: from the sidecar and options, else measured on a sample image."""
        io = model_io.measure(self._forward, tensor_values.from_float, self.sample_size, self.scale, self._choices)
        return dataclasses.replace(io, layout=self.layout)

    @property
    def sample_size(self) -> tuple[int, int]:
        """LR (H, W) of the sample image on which the file is measured."""
        return model_io.sample_size(self.fixed, self.sidecar.smallest_side)

    def _forward(self, image: np.ndarray, range_in: int) -> np.ndarray:
        """Returns the raw output, [H * s, W * s, C], for levels [H, W, C]. Raises UserError if ONNX Runtime fails."""
        return self.layout.from_output(self._invoke(self.layout.to_input(tensor_values.to_float(image, range_in))))

    def _invoke(self, values: np.ndarray) -> np.ndarray:
        """Returns the output tensor for an input tensor. Raises UserError if ONNX Runtime fails."""
        return self._run(values, self._outs[:1])[0]

    def _run(self, values: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        """Returns output tensors. Raises UserError if ONNX Runtime fails."""
        feeds = {self._in: values}
        if self._scalar:
            feeds[self._scalar] = np.full((1, 1), self.value, np.float32)
        try:
            result: list[np.ndarray] = self._session.run(list(names), feeds)
            return result
        except Exception as error:  # see above
            raise UserError(f"{self.path}: failed on {list(values.shape)} ({str(error).splitlines()[0]})") from None

    def run(self, image: np.ndarray) -> np.ndarray:
        """Upscales [H, W, 3] uint8 RGB to [H * s, W * s, 3] float32 in 0..1. Raises UserError if ONNX Runtime fails."""
        return model_io.run_float(self._forward, image, self.io)

    def run_at(self, image: np.ndarray, value: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns (SR output as `run`, depth map [H, W, M] float32) at a value of the second input; None for a file without."""
        self.value = self.value if value is None else value
        maps = []

        def forward(image: np.ndarray, range_in: int) -> np.ndarray:
            sr, depth_map = self._run(self.layout.to_input(tensor_values.to_float(image, range_in)), self._outs)
            maps.append(depth_map[0])
            return self.layout.from_output(sr)

        return model_io.run_float(forward, image, self.io), maps[0]

    def run_map(self, image: np.ndarray, value: float) -> np.ndarray:
        """Returns the depth map of `run_at` alone. It costs as much: ONNX Runtime runs the whole graph."""
        return self.run_at(image, value)[1]
