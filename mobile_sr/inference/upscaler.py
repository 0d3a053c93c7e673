"""The one thing that upscales: `load` turns a name or a file into an Upscaler."""

import importlib
import math

import numpy as np

from mobile_sr import zoo
from mobile_sr.adadsr import depth_budget
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import locate, split

DEFAULT_TILE = 256  # LR pixels; an image with a longer side is cut into tiles about this large
# Kinds of models that other packages add: end of the file name -> module with load(path, threads) -> Upscaler, and
# files(path) -> [the files that belong to it].
EXTENSIONS = {".route.json": "mobile_sr.routing.route"}
UNKNOWN_RECEPTIVE_FIELD = 16  # overlap for files that do not say how far their network sees


class Upscaler:
    """Upscales images with one model, tile by tile where needed.

    Attributes:
        name: what was loaded. scale: the factor.
        receptive_field: LR pixels to each side that matter, None when the network sees the whole image.
        fixed: (H, W) when the model takes one input size only.
        smallest: shortest side in LR pixels that the model takes; smaller images are filled up with their last pixels.
        max_depth: D, the largest desired depth in blocks that the model takes; None where it takes none.
        depth: the desired depth of calls that give none; the maximum unless set.
        budget: {"gmacs": G} or {"ms": T} that chooses the depth of each image instead (depth_budget.choose); None for none.
        costs: of a network with masks, where they are known (depth_counts.costs).
        io: model_io.ModelIO, what the network's values mean.
        figures: of model_io.check on the sample image; None where `load` did not check the model.
    """

    def __init__(self, name, scale, run, receptive_field, fixed=None, max_depth=None, costs=None, smallest=1):
        """`run` takes [H, W, 3] uint8 and returns [H * s, W * s, 3], uint8 or float32 in 0..1.

        With `max_depth` it takes a desired depth too, and returns (picture, depth map [H, W, M] float32 in blocks).
        """
        self.name, self.scale, self.receptive_field, self.fixed = name, scale, receptive_field, fixed
        self.max_depth = self.depth = max_depth
        self.budget, self.costs, self.smallest = None, costs, smallest
        self.io, self.figures = model_io.ModelIO(), None
        self._run = run

    def __call__(self, image, tile=None, progress=None, depth=None):
        """Upscale [H, W, 3] uint8 RGB to [H * s, W * s, 3] uint8.

        Args:
            tile: side of the tiles in LR pixels; None cuts large images only, 0 never cuts.
            progress: called with (tiles done, tiles in all).
            depth: desired depth in blocks, 0..max_depth, for a model that takes one.
        Raises: UserError for a depth that the model does not take.
        """
        return self._tiled(image, tile, progress, to_uint8, depth)[0]

    def real(self, image, tile=None, depth=None):
        """As calling, but [H * s, W * s, 3] float32, 1.0 being white, not rounded (a uint8 model's levels / 255)."""
        return self._tiled(image, tile, None, _to_real, depth)[0]

    def with_depth_map(self, image, tile=None, progress=None, depth=None):
        """As calling, with the map of depths in blocks: (picture, [H, W, M] float32; M is 1 or the groups of RCAN).

        Raises: UserError as calling, and for a model without a desired depth.
        """
        if self.max_depth is None:
            raise UserError(f"{self.name}: has no depth map; only networks with AdaDSR's adapter have one")
        return self._tiled(image, tile, progress, to_uint8, depth)

    def run_once(self, image):
        """The network's output for [H, W, 3] uint8 in one run, as `__init__`'s `run` returns it, at the largest depth."""
        return self._run_window(image, self.max_depth)[0]

    def depth_for(self, image):
        """The desired depth at which a call without one runs [H, W, 3] uint8: the budget's choice, else `depth`.

        Raises: UserError as depth_budget.choose.
        """
        return depth_budget.choose(self, image, **self.budget) if self.budget else self.depth

    def check_depth(self, depth):
        """The desired depth to run with: `depth`, or the model's own where that is None. Raises: UserError."""
        if depth is None:
            return self.depth
        if self.max_depth is None:
            raise UserError(f"{self.name}: takes no desired depth")
        litert.check_depth(self.name, depth, (0, self.max_depth))
        return depth

    def summary(self):
        """What results say about the images upscaled so far: {} here; extensions add their own keys."""
        return {}

    def pixels(self, size, tile=None):
        """LR pixels that are run for an image of (H, W), the tiles' overlaps counted as often as they are run."""
        windows = plan_tiles(size, self._window(size, tile), self._overlap())
        return sum(math.prod(w.stop - w.start for w in window) for window, _ in windows)

    @staticmethod
    def check_image(image):
        """Raises: ValueError for anything but a non-empty [H, W, 3] uint8 image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"expected a non-empty [H, W, 3] uint8 image, got {image.dtype} {image.shape}")

    def _tiled(self, image, tile, progress, convert, depth):
        """[picture] or [picture, depth map] of an image."""
        self.check_image(image)
        depth = self.depth_for(image) if depth is None else self.check_depth(depth)
        windows = list(plan_tiles(image.shape[:2], self._window(image.shape[:2], tile), self._overlap()))
        results = None
        for done, (window, inner) in enumerate(windows, 1):
            picture, *maps = self._run_window(image[window], depth)
            model_io.check_finite(self.name, picture)
            parts = [(convert(picture), self.scale), *((found, 1) for found in maps)]
            if results is None and len(windows) > 1:
                results = [np.empty((image.shape[0] * s, image.shape[1] * s, p.shape[2]), p.dtype) for p, s in parts]
            top, left = (i.start - w.start for i, w in zip(inner, window, strict=True))
            height, width = (i.stop - i.start for i in inner)
            parts = [(p[top * s : (top + height) * s, left * s : (left + width) * s], s) for p, s in parts]
            if results is None:
                return [np.ascontiguousarray(part) for part, _ in parts]
            for result, (part, s) in zip(results, parts, strict=True):
                result[tuple(slice(i.start * s, i.stop * s) for i in inner)] = part
            if progress:
                progress(done, len(windows))
        return results

    def _overlap(self):
        if self.receptive_field is not None:
            return self.receptive_field
        return min(UNKNOWN_RECEPTIVE_FIELD, min(self.fixed) // 4) if self.fixed else UNKNOWN_RECEPTIVE_FIELD

    def _window(self, size, tile):
        """The one window size (H, W) in LR pixels that every tile of an image of `size` is run with."""
        if self.fixed:
            return self.fixed
        if tile is not None and tile < 0:
            raise ValueError(f"tile must not be negative, got {tile}")
        if tile is None:
            tile = 0 if self.receptive_field is None or max(size) <= 2 * DEFAULT_TILE else DEFAULT_TILE
        if tile == 0:
            return size
        return tuple(min(side, tile + 2 * self._overlap()) for side in size)

    def _run_window(self, part, depth):
        """(picture,) or (picture, depth map) of a window."""
        size = part.shape[:2]
        wanted = self.fixed or tuple(max(side, self.smallest) for side in size)
        if size != wanted:
            down, right = (want - have for want, have in zip(wanted, size, strict=True))
            part = np.pad(part, ((0, down), (0, right), (0, 0)), mode="edge")
        found = (self._run(part),) if self.max_depth is None else self._run(part, depth)
        return tuple(x[: size[0] * s, : size[1] * s] for x, s in zip(found, (self.scale, 1), strict=False))


def to_uint8(image):
    """Round half up to [H, W, 3] uint8; float images are in 0..1 and clipped."""
    if image.dtype == np.uint8:
        return image
    scaled = image * np.float32(255)
    scaled += np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _to_real(image):
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image


def plan_tiles(size, window, overlap):
    """Cut (H, W) into windows that are run and inner parts that are kept.

    Every window has the same size (one allocation of the runtime) and is moved inwards at the image's border, where the
    network's own zero padding then acts as it does on the whole image. Elsewhere the inner part keeps `overlap` pixels
    of distance from the window's edge, so that with overlap >= receptive field the result equals the untiled one.

    Yields: ((rows, columns) of the window, (rows, columns) of the inner part), slices in LR pixels.
    Raises: UserError when a window smaller than the image leaves nothing inside its overlap.
    """
    axes = []
    for length, side in zip(size, window, strict=True):
        side = min(side, length)
        step = side - 2 * overlap
        if side < length and step < 1:
            raise UserError(f"a tile of {side} LR pixels is too small for an overlap of {overlap} on each side")
        count = 1 if side == length else math.ceil((length - 2 * overlap) / step)
        spans, kept = [], 0
        for k in range(count):
            start = min(k * step, length - side)
            stop = length if k == count - 1 else start + side - overlap
            spans.append((slice(start, start + side), slice(kept, stop)))
            kept = stop
        axes.append(spans)
    for rows, inner_rows in axes[0]:
        for columns, inner_columns in axes[1]:
            yield (rows, columns), (inner_rows, inner_columns)


def load(model, scale=None, threads=1, check=True):
    """An Upscaler for a zoo name, a file or a run folder.

    Args:
        model: 'xlsr_x3' (Keras), 'xlsr_x3:float32' or 'xlsr_x3:uint8' (packaged .tflite), 'bicubic', or the path of a
            .tflite, of a routing sidecar (.route.json), of an .onnx, of a .npz model file, of a .keras file or of a run
            folder; .tflite, .onnx and .keras take options as in 'net.tflite@range=255' (docs/reference/models.md).
        scale: wanted factor; required for 'bicubic', otherwise checked against the model's.
        threads: CPU threads of a .tflite or .onnx.
        check: run a sample image, and say on standard error which range and order were measured, and when the output is
            far from bicubic interpolation. Packaged models are not run.
    Raises: UserError when nothing has that name, the file is unusable, its output is not finite, or the scales differ.
    """
    upscaler = _load(str(model), scale, threads)
    if scale is not None and upscaler.scale != scale:
        raise UserError(f"{model}: its scale is {upscaler.scale}, not {scale}")
    if check:
        check_output(upscaler)
    return upscaler


def check_output(upscaler):
    """Run a loaded Upscaler on the sample image, as `load` does unless told not to. Raises: UserError as `load`."""
    name, _ = split(upscaler.name)
    path = None if name == "bicubic" else locate(upscaler.name)[0]
    if path is None or path.parent == zoo.FOLDER or path.name.endswith(".route.json"):  # a routed model's were checked
        return
    size = model_io.sample_size(upscaler.fixed, upscaler.smallest)
    about = (upscaler.name, upscaler.io, upscaler.run_once, upscaler.scale)
    upscaler.figures = model_io.check_and_warn(*about, size, _takes_options(path))


def _takes_options(path):
    return path.suffix.lower() in (".tflite", ".onnx", ".keras")


def extension(path):
    """The module of EXTENSIONS that handles a file, None where none does."""
    return next((importlib.import_module(name) for end, name in EXTENSIONS.items() if path.name.endswith(end)), None)


def _load(model, scale, threads):
    name, options = split(model)
    path = None if name == "bicubic" else locate(model)[0]  # raises UserError for what is neither a file nor in the zoo
    suffix = path.suffix.lower() if path else ""
    if options and not (path and _takes_options(path)):
        raise UserError(f"{model}: options behind '@' are for .tflite, .onnx and .keras files")
    if path is None:
        return _bicubic(scale)
    if suffix == ".tflite":
        return _tflite(model, path, threads, options)
    if extension(path):
        return extension(path).load(path, threads)
    if path.is_dir() or suffix == ".npz":
        return _keras_file(model, path)
    if suffix == ".onnx":
        return _onnx(model, path, threads, options)
    if suffix == ".keras":
        return _keras_archive(model, path, options)
    if suffix in (".h5", ".hdf5"):
        raise UserError(
            f"{model}: an HDF5 file of Keras; load it where it was made and save it as .tflite or, in Keras 3, .keras"
        )
    raise UserError(f"{model}: not a model (expected .tflite, .route.json, .onnx, .npz, .keras or a run folder)")


def _bicubic(scale):
    from mobile_sr.imaging.resize import imresize

    if scale is None:
        raise UserError("bicubic: needs a scale (--scale)")
    if scale < 1:
        raise UserError(f"bicubic: a scale of {scale} does not upscale; give 2 or more")
    # Four taps reach two pixels; the borders clamp as on the whole image, because windows touch them only there.
    return Upscaler("bicubic", scale, lambda image: imresize(image, scale), receptive_field=3)


def _tflite(name, path, threads, options):
    runner = litert.TFLiteModel(path, threads, options)
    run = runner.run if runner.max_depth is None else runner.run_with_map
    known = runner.sidecar
    field, costs = known.receptive_field, known.multiply_adds
    upscaler = Upscaler(name, runner.scale, run, field, runner.fixed, runner.max_depth, costs, known.smallest_side)
    upscaler.io = runner.io
    return upscaler


def _onnx(name, path, threads, options):
    from mobile_sr.inference.onnx_model import OnnxModel

    runner = OnnxModel(path, threads, options)
    known = runner.sidecar
    upscaler = Upscaler(name, runner.scale, runner.run, known.receptive_field, runner.fixed, smallest=known.smallest_side)
    upscaler.io = runner.io
    return upscaler


def _keras_file(name, path):
    from mobile_sr import backend, models
    from mobile_sr.adadsr import depth_counts
    from mobile_sr.inference import weights

    backend.require_keras(name)
    model, config = weights.load_model(weights.model_file(path))
    field, max_depth = models.receptive_field(config), models.max_depth(config)
    costs = None if max_depth is None else depth_counts.costs(model)
    smallest = models.smallest_side(config)
    return Upscaler(name, config["scale"], keras_runner(model), field, max_depth=max_depth, costs=costs, smallest=smallest)


def _keras_archive(name, path, options):
    from mobile_sr.inference.keras_archive import KerasArchive

    runner = KerasArchive(path, options)
    upscaler = Upscaler(name, runner.scale, runner.run, None, runner.fixed)
    upscaler.io = runner.io
    return upscaler


def keras_runner(model):
    """A function from [H, W, 3] uint8 to the model's [H * s, W * s, 3] float32 output.

    Of a model with a second input it takes the desired depth too, and returns (picture, depth map [H, W, M]).
    """
    from keras import ops

    def run(image, depth=None):
        x = ops.convert_to_tensor(image[None].astype(np.float32) / np.float32(255))
        y = model(x if depth is None else [x, ops.full((1, 1), float(depth), "float32")], training=False)
        found = tuple(ops.convert_to_numpy(t)[0] for t in (y if isinstance(y, (list, tuple)) else [y]))
        return found[0] if depth is None else found

    return run
