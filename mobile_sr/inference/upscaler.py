"""The Upscaler: one entry point for every model format. `load` turns a name or a file into an Upscaler."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mobile_sr import zoo
from mobile_sr.devices import names as devices
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import ROUTED, locate, needs_conversion, routed_hint, split
from mobile_sr.inference.tiles import plan_tiles

if TYPE_CHECKING:
    import keras
    from PIL import Image

    from mobile_sr.devices.device import Device
    from mobile_sr.inference.keras_archive import KerasArchive

AnyImage = TypeVar("AnyImage", np.ndarray, "Image.Image")

Progress = Callable[[int, int], object]  # called with (tiles done, total tiles)

DEFAULT_TILE = 256  # LR pixels; images with a side above twice this length are cut into tiles of about this size
# Model kinds that other folders add: end of the file name -> module with load(path, threads) -> Upscaler and
# files(path) -> [the files that belong to it].
EXTENSIONS = {ROUTED: "mobile_sr.routing.route"}
CONVERSION = "mobile_sr.importing.foreign"  # module with load(model, threads) -> Upscaler, for networks of `needs_conversion`
# Networks with an input besides the image: name of that input -> module with of_keras(name, model, config) -> Upscaler and
# of_file(name, runner) -> Upscaler.
DEPTH_MAPS = "mobile_sr.adadsr.depth_upscaler"  # of networks with a depth map
EXITS = "mobile_sr.routing.exits"  # of networks with exits, with of_tflite(name, runner, device) and of_keras as above
ADJUSTABLE = {"desired_depth": DEPTH_MAPS}
_NO_DEPTH_MAP = "has no depth map; only networks with AdaDSR's adapter have one"
UNKNOWN_RECEPTIVE_FIELD = 16  # overlap in LR pixels for files without a recorded receptive field


class Upscaler:
    """Upscales images with one model, tile by tile if needed.

    Subclasses in other folders add kinds of models (EXTENSIONS, ADJUSTABLE). They override `summary`, `with_figures`,
    `with_details`, `summarize_details`, `with_overlay` and the methods about a desired depth, which do nothing or refuse here.

    Attributes:
        name: the model string that was loaded.
        scale: the scale factor.
        receptive_field: LR pixels to each side that an output pixel depends on; None if it is the whole image.
        fixed: (H, W) if the model supports only one input size.
        smallest: minimum side in LR pixels; smaller images are padded with their edge pixels.
        is_object: whether it runs a model object of Python, so that no file has its name.
        has_details: whether `with_details` returns any.
        max_depth: maximum desired depth D in blocks; None for models without a desired depth, as the next three.
        depth: desired depth of calls that pass none; the maximum unless set.
        budget: {"gmacs": G}, {"ms": T} or {"instructions": N} that chooses the depth of each image instead; None for none.
        budget_units: the keys that `budget` may have.
        costs: `depth_counts.costs` of a network with depth masks, if known.
        device: label of the virtual device that runs the model; None for this machine.
        default_tile: side in LR pixels of the tiles of images that are longer than twice this side.
        io: value ranges and channel order, a `model_io.ModelIO`.
        figures: figures of `model_io.check` on the sample image; None if `load` did not check the model.
    """

    is_object: bool = False
    has_details: bool = False
    device: str | None = None
    default_tile: int = DEFAULT_TILE
    max_depth: float | None = None
    depth: float | None = None
    budget: Mapping[str, float] | None = None
    budget_units: Sequence[str] = ()
    costs: Mapping[str, Any] | None = None

    def __init__(
        self,
        name: str,
        scale: int,
        run: Callable[..., Any] | None,
        receptive_field: int | None,
        fixed: tuple[int, int] | None = None,
        smallest: int = 1,
    ) -> None:
        """Wraps a function that runs the network once.

        Args:
            run: function from [H, W, 3] uint8 to [H * s, W * s, 3], uint8 or float32 in 0..1. Subclasses that override
                `_outputs` or all its callers may pass another function or None.
            name, scale, receptive_field, fixed, smallest: see the attributes.
        """
        self.name, self.scale, self.receptive_field, self.fixed = name, scale, receptive_field, fixed
        self.smallest = smallest
        self.io = model_io.ModelIO()
        self.figures: dict[str, Any] | None = None
        self._run: Any = run

    def __call__(
        self, image: AnyImage, tile: int | None = None, progress: Progress | None = None, depth: float | None = None
    ) -> AnyImage:
        """Upscales an image.

        Args:
            image: [H, W, 3] uint8 RGB, or a PIL image, which is converted to RGB.
            tile: side of the tiles in LR pixels; None cuts only large images into tiles, 0 never does.
            progress: called with (tiles done, total tiles).
            depth: desired depth in blocks, 0..max_depth, for a model that supports one.

        Returns:
            The same kind of image, [H * s, W * s, 3].

        Raises:
            UserError: the model does not support the depth.
        """
        if isinstance(image, np.ndarray):
            return self._upscale(image, tile, progress, depth)
        from PIL import Image

        return Image.fromarray(self._upscale(np.asarray(image.convert("RGB")), tile, progress, depth))

    def _upscale(self, image: np.ndarray, tile: int | None, progress: Progress | None, depth: float | None) -> np.ndarray:
        return self._tiled(image, tile, progress, to_uint8, depth)[0]

    def real(self, image: np.ndarray, tile: int | None = None, depth: float | None = None) -> np.ndarray:
        """Like `__call__`, but returns float32 with white at 1.0, not rounded (the levels / 255 of a uint8 model)."""
        return self._tiled(image, tile, None, _to_real, depth)[0]

    def with_depth_map(
        self, image: np.ndarray, tile: int | None = None, progress: Progress | None = None, depth: float | None = None
    ) -> list[np.ndarray]:
        """Like `__call__`, but also returns the depth map.

        Returns:
            [SR output, depth map [H, W, M] float32 in blocks]; M is 1, or the number of groups of RCAN.

        Raises:
            UserError: as `__call__`, or the model has no desired depth.
        """
        raise UserError(f"{self.name}: {_NO_DEPTH_MAP}")

    def with_overlay(
        self, image: np.ndarray, tile: int | None = None, progress: Progress | None = None
    ) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
        """As `with_figures`, and also returns the depth map drawn over the SR output (`depth_map.overlay`), uint8.

        Raises:
            UserError: as `with_depth_map`.
        """
        raise UserError(f"{self.name}: {_NO_DEPTH_MAP}")

    def with_figures(
        self, image: np.ndarray, tile: int | None = None, progress: Progress | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As `__call__`, and also returns figures of the image, JSON-able: {} here, {"depth": ...} with a depth map."""
        return self(image, tile, progress), {}

    def describe_figures(self, figures: Mapping[str, Any]) -> str:
        """Returns the figures of `with_figures` as text; '' without any."""
        return ""

    def run_once(self, image: np.ndarray) -> np.ndarray:
        """Returns the raw output of `run` for [H, W, 3] uint8, in one run at the maximum depth."""
        return self._run_window(image, None)[0]

    def depth_for(self, image: np.ndarray) -> float | None:
        """Returns the desired depth of a call without `depth`: the budget's choice, else the attribute `depth`.

        Raises:
            UserError: as `depth_budget.choose`.
        """
        if self.budget:
            raise UserError(f"{self.name}: does not support a desired depth, so a budget cannot be met")
        return self.depth

    def check_depth(self, depth: float | None) -> float | None:
        """Returns `depth`, or the model's own if it is None. Raises UserError if the model does not support the depth."""
        if depth is not None:
            raise UserError(f"{self.name}: does not support a desired depth")
        return self.depth

    def with_details(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]:
        """As `__call__`, and also returns details for a comparison.

        Returns:
            (SR output, {key: figures} for the image's row, {key: image} for its page); both dicts are empty here.
        """
        return self(image), {}, {}

    def summarize_details(self, rows: Sequence[Mapping[str, Any]], of: str) -> dict[str, Any]:
        """Summarizes the figures of `with_details` for a comparison: {} here; subclasses add their own keys.

        Args:
            rows: the figures of each image.
            of: 'model' or 'reference', the role of this model.
        """
        return {}

    def summary(self) -> dict[str, Any]:
        """Returns statistics of the images upscaled so far for JSON results: {} here; subclasses add their own keys."""
        return {}

    @property
    def model_string(self) -> str:
        """The model string of the network that runs: `name`, or with the signature that its depth selects."""
        return self.name

    def where(self) -> dict[str, str]:
        """Returns {"device": label} for JSON results; {} for a model that runs on this machine."""
        return {} if self.device is None else {"device": self.device}

    def pixels(self, size: tuple[int, int], tile: int | None = None) -> int:
        """Returns the number of LR pixels that the network processes for an image of (H, W), overlaps of tiles included."""
        windows = plan_tiles(size, self._window(size, tile), self._overlap())
        return sum(math.prod(w.stop - w.start for w in window) for window, _ in windows)

    @staticmethod
    def check_image(image: np.ndarray) -> None:
        """Raises ValueError unless the argument is a non-empty [H, W, 3] uint8 image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"expected a non-empty [H, W, 3] uint8 image, got {image.dtype} {image.shape}")

    def _tiled(
        self,
        image: np.ndarray,
        tile: int | None,
        progress: Progress | None,
        convert: Callable[[np.ndarray], np.ndarray],
        depth: float | None,
    ) -> list[np.ndarray]:
        """Returns the outputs of an image: [SR output], or more as `_outputs` does."""
        self.check_image(image)
        depth = self.depth_for(image) if depth is None else self.check_depth(depth)
        windows = list(plan_tiles(image.shape[:2], self._window(image.shape[:2], tile), self._overlap()))
        results: list[np.ndarray] = []
        for done, (window, inner) in enumerate(windows, 1):
            sr, *maps = self._run_window(image[window], depth)
            model_io.check_finite(self.name, sr)
            parts = [(convert(sr), self.scale), *((values, 1) for values in maps)]
            if not results and len(windows) > 1:
                results = [np.empty((image.shape[0] * s, image.shape[1] * s, p.shape[2]), p.dtype) for p, s in parts]
            top, left = (i.start - w.start for i, w in zip(inner, window, strict=True))
            height, width = (i.stop - i.start for i in inner)
            parts = [(p[top * s : (top + height) * s, left * s : (left + width) * s], s) for p, s in parts]
            if not results:
                return [np.ascontiguousarray(part) for part, _ in parts]
            for result, (part, s) in zip(results, parts, strict=True):
                result[tuple(slice(i.start * s, i.stop * s) for i in inner)] = part
            if progress:
                progress(done, len(windows))
        return results

    def _overlap(self) -> int:
        if self.receptive_field is not None:
            return self.receptive_field
        return min(UNKNOWN_RECEPTIVE_FIELD, min(self.fixed) // 4) if self.fixed else UNKNOWN_RECEPTIVE_FIELD

    def _window(self, size: tuple[int, int], tile: int | None) -> tuple[int, int]:
        """Returns the window size (H, W) in LR pixels that all tiles of an image of `size` share."""
        if self.fixed:
            return self.fixed
        if tile is not None and tile < 0:
            raise ValueError(f"tile must not be negative, got {tile}")
        if tile is None:
            tile = 0 if self.receptive_field is None or max(size) <= 2 * self.default_tile else self.default_tile
        if tile == 0:
            return size
        side = tile + 2 * self._overlap()
        return min(size[0], side), min(size[1], side)

    def _run_window(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        """Returns the outputs of a window, as `_outputs`."""
        size = part.shape[:2]
        padded = self.fixed or tuple(max(side, self.smallest) for side in size)
        if size != padded:
            down, right = (after - before for after, before in zip(padded, size, strict=True))
            part = np.pad(part, ((0, down), (0, right), (0, 0)), mode="edge")
        outputs = self._outputs(part, depth)
        return tuple(x[: size[0] * s, : size[1] * s] for x, s in zip(outputs, (self.scale, 1), strict=False))

    def _outputs(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        """Runs the network. Returns (SR output,), or in subclasses (SR output, a map [H, W, M] in LR pixels)."""
        return (self._run(part),)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts to [H, W, 3] uint8, rounding half up. Float images are in 0..1 and are clipped."""
    if image.dtype == np.uint8:
        return image
    scaled = image * np.float32(255)
    scaled += np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _to_real(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image


def load(
    model: str | Path, scale: int | None = None, threads: int = 1, check: bool = True, device: Device | None = None
) -> Upscaler:
    """Loads a zoo model, a file or a run folder as an Upscaler.

    Args:
        model: 'xlsr_x3' (Keras), 'xlsr_x3:float32' or 'xlsr_x3:uint8' (packaged .tflite), 'bicubic', or the path of a
            .tflite, .onnx, .keras, .h5, .pt2 or .npz model file, of a routing sidecar (.route.json), of a run folder or of a
            SavedModel folder, or 'module.py:function'. Networks from elsewhere support options such as
            'net.tflite@range=255' (docs/reference/models.md).
        scale: expected scale factor; required for 'bicubic', otherwise compared with the model's.
        threads: CPU threads of a .tflite or .onnx file.
        check: run a sample image, report on standard error a measured value range or channel order, and warn if the output
            is far below bicubic interpolation. Packaged models are not run.
        device: a virtual device that runs the model, a .tflite; None for this machine.

    Raises:
        UserError: the model does not exist, the file is unusable, its output is not finite, the scales differ, or the device
            cannot run it.
    """
    upscaler = _with_scale(_load(str(model), scale, threads, device), scale)
    if check:
        check_output(upscaler)
    return upscaler


def of_keras_model(model: keras.Model, scale: int | None = None) -> Upscaler:
    """Returns an Upscaler for a Keras model object; its value range and channel order are measured on a sample image.

    Raises:
        UserError: the model is not a super-resolution network, its output is not finite, or it has another scale.
    """
    from mobile_sr.inference.keras_archive import KerasArchive

    name = f"Keras model {model.name}"
    return checked(_of_archive(name, KerasArchive(name, model=model)), scale)


def checked(upscaler: Upscaler, scale: int | None = None) -> Upscaler:
    """Returns the Upscaler of a model object after a run on the sample image, as `load` with `check`.

    Raises:
        UserError: its output is not finite, or it has another scale.
    """
    upscaler.is_object = True
    _check_on_sample(_with_scale(upscaler, scale), False)
    return upscaler


def check_output(upscaler: Upscaler) -> None:
    """Runs a loaded Upscaler on the sample image as `load` does with `check`. Raises UserError as `load` does."""
    name, _ = split(upscaler.name)
    if needs_conversion(name):
        _check_on_sample(upscaler, True)
        return
    path = None if name == "bicubic" else locate(upscaler.name)[0]
    if path is None or path.parent == zoo.FOLDER or extension(path):  # extensions check the models that they consist of
        return
    _check_on_sample(upscaler, _supports_options(path))


def _check_on_sample(upscaler: Upscaler, options: bool) -> None:
    size = model_io.sample_size(upscaler.fixed, upscaler.smallest)
    about = (upscaler.name, upscaler.io, upscaler.run_once, upscaler.scale)
    upscaler.figures = model_io.check_and_warn(*about, size, options)


def _with_scale(upscaler: Upscaler, scale: int | None) -> Upscaler:
    """Returns the Upscaler. Raises UserError if it has another scale."""
    if scale is not None and upscaler.scale != scale:
        raise UserError(f"{upscaler.name}: its scale is {upscaler.scale}, not {scale}")
    return upscaler


def _supports_options(path: Path) -> bool:
    return path.suffix.lower() in (".tflite", ".onnx", ".keras")


def extension(path: Path) -> ModuleType | None:
    """Returns the module of EXTENSIONS for a file, or None."""
    return next((importlib.import_module(name) for end, name in EXTENSIONS.items() if path.name.endswith(end)), None)


def _not_on_device(model: str, device: Device) -> UserError:
    help_ = routed_hint(model) or "; `mobile-sr export` writes one"
    return UserError(f"{model}: not a .tflite file, the only kind that {device.name} runs{help_}")


def _load(model: str, scale: int | None, threads: int, device: Device | None) -> Upscaler:
    if device and not device.runs:
        raise UserError(f"--device {device.name}: only compiles models; `mobile-sr benchmark` prints its report")
    name, options = split(model)
    if needs_conversion(name):
        if device:
            raise _not_on_device(model, device)
        return importlib.import_module(CONVERSION).load(model, threads)
    path = None if name == "bicubic" else locate(model)[0]  # raises UserError if it is neither a file nor in the zoo
    suffix = path.suffix.lower() if path else ""
    if options and not (path and _supports_options(path)):
        raise UserError(
            f"{model}: options after '@' are supported for .tflite, .onnx and .keras files and other networks from elsewhere"
        )
    if device and suffix != ".tflite":
        raise _not_on_device(model, device)
    if path is None:
        return _bicubic(scale)
    if suffix == ".tflite":
        return _tflite(model, path, threads, options, device)
    if module := extension(path):
        return module.load(path, threads)
    if path.is_dir() or suffix == ".npz":
        return _keras_file(model, path)
    if suffix == ".onnx":
        return _onnx(model, path, threads, options)
    if suffix == ".keras":
        return _keras_archive(model, path, options)
    raise UserError(
        f"{model}: not a model (expected .tflite, .route.json, .onnx, .npz, .keras, .h5, .pt2, module.py:function, a run "
        "folder or a SavedModel folder)"
    )


def _bicubic(scale: int | None) -> Upscaler:
    from mobile_sr.imaging.resize import imresize

    if scale is None:
        raise UserError("bicubic: needs a scale (--scale)")
    if scale < 1:
        raise UserError(f"bicubic: a scale of {scale} does not upscale; give 2 or more")
    # Four taps reach two pixels. Borders are clamped as on the whole image, because windows reach only its own borders.
    return Upscaler("bicubic", scale, lambda image: imresize(image, scale), receptive_field=3)


def _tflite(name: str, path: Path, threads: int, options: Mapping[str, str], device: Device | None) -> Upscaler:
    runner = litert.TFLiteModel(path, threads, options, device)
    known = runner.sidecar
    field = runner.io.reach(known.receptive_field)
    if known.exits:
        upscaler: Upscaler = importlib.import_module(EXITS).of_tflite(name, runner, device)
    elif runner.adjustable:
        upscaler = _adjustable(runner.adjustable.name).of_file(name, runner)
    elif runner.has_map:
        upscaler = importlib.import_module(DEPTH_MAPS).of_file(name, runner)
    else:
        upscaler = Upscaler(name, runner.scale, runner.run, field, runner.fixed, known.smallest_side)
    upscaler.io = runner.io
    if device:
        upscaler.device, upscaler.default_tile = device.label, devices.TILES.get(device.name, DEFAULT_TILE)
    return upscaler


def _adjustable(scalar: str) -> ModuleType:
    """Returns the module of ADJUSTABLE for an input."""
    return importlib.import_module(ADJUSTABLE[scalar])


def _onnx(name: str, path: Path, threads: int, options: Mapping[str, str]) -> Upscaler:
    from mobile_sr.inference.onnx_model import OnnxModel

    runner = OnnxModel(path, threads, options)
    known = runner.sidecar
    field = runner.io.reach(known.receptive_field)
    if runner.has_map:
        upscaler: Upscaler = importlib.import_module(DEPTH_MAPS).of_file(name, runner)
    else:
        upscaler = Upscaler(name, runner.scale, runner.run, field, runner.fixed, smallest=known.smallest_side)
    upscaler.io = runner.io
    return upscaler


def _keras_file(name: str, path: Path) -> Upscaler:
    from mobile_sr import backend, extensions
    from mobile_sr.inference import weights

    backend.require_keras(name)
    model, config = weights.load_model(weights.model_file(path))
    extensions.export(config).check_upscaler(name)
    return of_network(name, model, config)


def of_network(name: str, model: keras.Model, config: Mapping[str, Any]) -> Upscaler:
    """Returns an Upscaler for one of our networks.

    Args:
        name: name in messages.
        model: the Keras model.
        config: its configuration.
    """
    from mobile_sr import extensions, models

    if module := getattr(extensions.find(config), "UPSCALER", None):
        return importlib.import_module(module).of_keras(name, model, config)
    field, smallest = models.receptive_field(config), models.smallest_side(config)
    return Upscaler(name, config["scale"], keras_runner(model), field, smallest=smallest)


def _keras_archive(name: str, path: Path, options: Mapping[str, str]) -> Upscaler:
    from mobile_sr.inference.keras_archive import KerasArchive

    return _of_archive(name, KerasArchive(path, options))


def _of_archive(name: str, runner: KerasArchive) -> Upscaler:
    upscaler = Upscaler(name, runner.scale, runner.run, None, runner.fixed)
    upscaler.io = runner.io
    return upscaler


def once_per_image(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from [H, W, 3] uint8 to the SR output as uint8, which remembers the output of every image."""
    cached = functools.cache(lambda raw, shape: to_uint8(run(np.frombuffer(raw, np.uint8).reshape(shape))))
    return lambda image: cached(image.tobytes(), image.shape)


def keras_runner(model: keras.Model, every: bool = False) -> Callable[..., Any]:
    """Returns a function from [H, W, 3] uint8 to the model's [H * s, W * s, 3] float32 output.

    For a model with a second input, a number for each image, the function also takes that number and returns all outputs: the
    SR output and a map [H, W, M]; with `every`, always.
    """
    from keras import ops

    def run(image: np.ndarray, value: float | None = None) -> Any:
        x = ops.convert_to_tensor(image[None].astype(np.float32) / np.float32(255))
        y = model(x if value is None else [x, ops.full((1, 1), float(value), "float32")], training=False)
        outputs = tuple(ops.convert_to_numpy(t)[0] for t in (y if isinstance(y, (list, tuple)) else [y]))
        return outputs if every or value is not None else outputs[0]

    return run
