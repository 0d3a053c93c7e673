"""Patch routing (ClassSR, Kong et al., CVPR 2021): a classifier chooses the network that upscales each patch of an image.

NAME.route.json describes a routed model; its .tflite files are in the same folder. route_training.py writes them.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256_file
from mobile_sr.inference import litert, tensor_values, upscaler
from mobile_sr.inference.weights import MAX_SCALE

FORMAT = 1
KIND = "mobile_sr.route"
SUFFIX = ".route.json"
MAX_PATCH = 1024  # LR pixels
MAX_COST = 1e12  # multiply-adds per LR pixel


class RoutedUpscaler(upscaler.Upscaler):
    """Upscales each patch with one of several networks.

    Attributes:
        nets: Upscalers, the cheapest first.
        net_costs: their multiply-adds per LR pixel.
        patch: side of a patch in LR pixels.
        overlap: LR pixels that are run around the kept part. None means each network's receptive field; each patch then
            equals its network's output for the whole image.
        tally: counts of the patches processed since loading, or since a new Tally was assigned.
    """

    def __init__(
        self,
        name: str,
        nets: Sequence[upscaler.Upscaler],
        costs: Sequence[float],
        classifier: Classifier,
        patch: int,
        overlap: int | None = None,
        instructions: Sequence[float] | None = None,
    ) -> None:
        """Combines networks and a classifier.

        Args:
            name: name of the model.
            nets, costs, patch, overlap: see the attributes (`costs` is `net_costs`).
            classifier: chooses the network of each patch.
            instructions: Arm instructions per LR pixel of the classifier and of the networks, if they are known.
        """
        super().__init__(name, nets[0].scale, None, None)
        self.nets, self.patch, self.overlap = nets, patch, overlap
        self.net_costs, self._instructions = costs, instructions
        self._classifier: Classifier | _Always = classifier
        self.tally = self.new_tally()

    def _upscale(
        self, image: np.ndarray, tile: int | None, progress: upscaler.Progress | None, depth: float | None
    ) -> np.ndarray:
        """Like `Upscaler._upscale`; the networks cut parts that are still large into tiles by `tile`."""
        self.check_depth(depth)
        return self._routed(image, tile, progress, lambda net, part: net(part, tile))

    def real(self, image: np.ndarray, tile: int | None = None, depth: float | None = None) -> np.ndarray:
        """See `Upscaler.real`."""
        self.check_depth(depth)
        return self._routed(image, tile, None, lambda net, part: net.real(part, tile))

    def run_once(self, image: np.ndarray) -> np.ndarray:
        """Returns the SR output for [H, W, 3] uint8: a routed model has no single network to run."""
        return self._upscale(image, None, None, None)

    def alone(self, index: int) -> RoutedUpscaler:
        """Returns a model that runs one of the networks on everything, without a classifier, and counts its cost."""
        other = copy.copy(self)
        other._classifier = _Always(index, len(self.nets), self.patch)
        other._instructions = self._instructions and [0.0, *self._instructions[1:]]
        other.tally = other.new_tally()
        return other

    def summary(self) -> dict[str, Any]:
        """Returns {"routing": `Tally.summary`} of the images upscaled so far."""
        return {"routing": self.tally.summary()}

    def new_tally(self) -> Tally:
        """Returns an empty Tally for these networks."""
        costs: dict[str, tuple[Sequence[float], float]] = {"multiply_adds": (self.net_costs, self._classifier.multiply_adds)}
        if self._instructions:
            costs["instructions"] = (self._instructions[1:], self._instructions[0])
        return Tally([Path(net.name).stem for net in self.nets], costs)

    def choose(self, image: np.ndarray) -> np.ndarray:
        """Returns the network that the classifier chooses for each patch: [ceil(H / patch), ceil(W / patch)] ints."""
        down, right = (-side % self.patch for side in image.shape[:2])
        padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric")
        return self._classifier(padded).argmax(axis=2)  # the cheapest one on a tie

    def _routed(
        self,
        image: np.ndarray,
        tile: int | None,
        progress: upscaler.Progress | None,
        run: Callable[[upscaler.Upscaler, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        self.check_image(image)
        size, s = image.shape[:2], self.scale
        result: np.ndarray | None = None
        chosen = self.choose(image)
        overlaps: list[Any] = [net.receptive_field if self.overlap is None else self.overlap for net in self.nets]
        parts = plan(chosen, size, self.patch, self.net_costs, overlaps)
        self.tally.add_image(chosen, size, self.patch)
        for done, (index, inner) in enumerate(parts, 1):
            window = around(inner, size, overlaps[index])
            sr = run(self.nets[index], image[window])
            rows, columns = window
            self.tally.add_run(index, self.nets[index].pixels((rows.stop - rows.start, columns.stop - columns.start), tile))
            if len(parts) == 1:
                return sr
            if result is None:
                result = np.empty((size[0] * s, size[1] * s, 3), sr.dtype)
            kept = tuple(slice((i.start - w.start) * s, (i.stop - w.start) * s) for i, w in zip(inner, window, strict=True))
            result[tuple(slice(i.start * s, i.stop * s) for i in inner)] = sr[kept]
            if progress:
                progress(done, len(parts))
        assert result is not None  # a plan has at least one part
        return result


class Tally:
    """Counts patches, and the cost per LR pixel of the chosen networks and of all computation."""

    def __init__(self, names: Sequence[str], costs: Mapping[str, tuple[Sequence[float], float]]) -> None:
        """Starts with zero counts.

        Args:
            names: names of the networks, the cheapest first.
            costs: {kind of cost: (that of each network, that of the classifier)} per LR pixel.
        """
        self._names, self._costs = names, costs
        self._patches = np.zeros(len(names), int)
        self._kept, self._run = np.zeros(len(names)), np.zeros(len(names))
        self._pixels = self._classified = 0

    def add_image(self, chosen: np.ndarray, size: tuple[int, int], patch: int) -> None:
        """Counts the chosen networks of an image.

        Args:
            chosen: [rows, columns] ints, the network of each patch.
            size: (H, W) of the image in LR pixels; the classifier sees it padded to whole patches.
            patch: side of a patch in LR pixels.
        """
        heights, widths = (np.minimum(patch, side - np.arange(n) * patch) for side, n in zip(size, chosen.shape, strict=True))
        self._patches += np.bincount(chosen.ravel(), minlength=len(self._names))
        self._kept += np.bincount(chosen.ravel(), np.outer(heights, widths).ravel(), len(self._names))
        self._pixels += size[0] * size[1]
        self._classified += chosen.size * patch**2

    def add_run(self, index: int, pixels: int) -> None:
        """Counts LR pixels, overlaps included, on which network `index` was run."""
        self._run[index] += pixels

    def summary(self) -> dict[str, Any] | None:
        """Returns the counts, or None if there are none.

        Returns:
            {"patches": {network: share 0..1}, "multiply_adds": {"chosen", "done", "largest"}}, multiply-adds per LR pixel, and
            "instructions" with the same keys if these are known. "chosen" counts the chosen networks without overlaps and
            classifier, as ClassSR does. "done" includes both. "largest" is the cost of the largest network without overlaps.
        """
        if not self._pixels:
            return None
        shares = self._patches / self._patches.sum()
        result: dict[str, Any] = {
            "patches": {name: float(share) for name, share in zip(self._names, shares, strict=True)},
        }
        for kind, (costs, classifier) in self._costs.items():
            done = float(self._run @ np.array(costs, float)) + self._classified * classifier
            chosen = float(self._kept @ np.array(costs, float))
            result[kind] = {"chosen": chosen / self._pixels, "done": done / self._pixels, "largest": float(costs[-1])}
        return result


KINDS = {"multiply_adds": "multiply-adds", "instructions": "Cortex-A76 instructions (estimated)"}


def describe(summary: Mapping[str, Any]) -> str:
    """Formats a Tally's summary as one line."""
    parts = ["patches: " + ", ".join(f"{name} {share:.1%}" for name, share in summary["patches"].items())]
    for kind, words in KINDS.items():
        if counts := summary.get(kind):
            chosen, done = (f"{counts[key]:,.0f} ({counts[key] / counts['largest']:.1%})" for key in ("chosen", "done"))
            parts.append(f"{words} per LR pixel: {chosen} by choice, {done} done; largest {counts['largest']:,.0f}")
    return "; ".join(parts)


def around(inner: Sequence[slice], size: Sequence[int], overlap: int) -> tuple[slice, slice]:
    """Returns the window (rows, columns) to run for a kept part: `overlap` LR pixels more, within the image of (H, W)."""
    rows, columns = (slice(max(0, i.start - overlap), min(n, i.stop + overlap)) for i, n in zip(inner, size, strict=True))
    return rows, columns


def plan(
    chosen: np.ndarray, size: tuple[int, int], patch: int, costs: Sequence[float], overlaps: Sequence[int]
) -> list[tuple[int, tuple[slice, slice]]]:
    """Plans the rectangles in which an image is run. No patch gets a smaller network than the chosen one.

    Overlaps make small rectangles expensive. The image is halved recursively. A part is run as a whole, by the largest network
    that it needs, if that costs no more than its halves.

    Args:
        chosen: [rows, columns] ints, the network of each patch.
        size: (H, W) of the image in LR pixels.
        patch: side of a patch in LR pixels.
        costs: multiply-adds per LR pixel of each network.
        overlaps: overlap in LR pixels of each network.

    Returns:
        [(network, (rows, columns))], slices in LR pixels that cover the image once.
    """

    def best(box: tuple[int, int, int, int]) -> tuple[float, list[tuple[int, tuple[slice, slice]]]]:
        """Returns (multiply-adds, rectangles) for a box of patches (top, bottom, left, right)."""
        top, bottom, left, right = box
        part = chosen[top:bottom, left:right]
        index = int(part.max())
        inner = (slice(top * patch, min(size[0], bottom * patch)), slice(left * patch, min(size[1], right * patch)))
        area = math.prod(w.stop - w.start for w in around(inner, size, overlaps[index]))
        whole = area * costs[index], [(index, inner)]
        if part.min() == index:
            return whole
        if bottom - top > right - left:
            middle = (top + bottom) // 2
            halves = best((top, middle, left, right)), best((middle, bottom, left, right))
        else:
            middle = (left + right) // 2
            halves = best((top, bottom, left, middle)), best((top, bottom, middle, right))
        cost = halves[0][0] + halves[1][0]
        return whole if whole[0] <= cost else (cost, halves[0][1] + halves[1][1])

    return best((0, chosen.shape[0], 0, chosen.shape[1]))[1]


class Classifier:
    """The classifier's .tflite: maps [H, W, 3] uint8 to logits [H / patch, W / patch, classes].

    H and W must be multiples of the patch.
    """

    def __init__(self, path: str | Path, patch: int, classes: int, multiply_adds: float, threads: int = 1) -> None:
        """Opens a file.

        Args:
            path: the .tflite file.
            patch: side of a patch in LR pixels.
            classes: number of networks.
            multiply_adds: multiply-adds of the classifier per LR pixel.
            threads: CPU threads.

        Raises:
            UserError: the file is unusable or not such a classifier.
        """
        self.name, self.patch, self.classes, self.multiply_adds = str(path), patch, classes, multiply_adds
        data = litert.read_file(path)
        graph = litert.parse_graph(data, path)
        ends = [[graph.tensors[i] for i in indices] for indices in (graph.inputs, graph.outputs)]
        for tensors, channels in zip(ends, (3, classes), strict=True):
            is_valid = len(tensors) == 1 and tensors[0].dtype in ("float32", "uint8", "int8") and len(tensors[0].shape) == 4
            if not is_valid or tensors[0].shape[3] not in (-1, channels):
                raise UserError(f"{path}: not a patch classifier for {classes} networks")
        (self._image,), (self._logits,) = ends
        self._input, self._output = graph.inputs[0], graph.outputs[0]
        self._interpreter = engines.open_interpreter(data, self.name, threads)
        self._size: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns the float32 logits of an image's patches. Raises UserError if the runtime fails or returns another shape."""
        size = image.shape[:2]
        if size != self._size:
            engines.allocate(self._interpreter, self.name, (1, *size, 3), self._input)
            self._size = size
        self._interpreter.set_tensor(self._input, tensor_values.encode(image, self._image)[None])
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self.name}: failed while running ({str(error).splitlines()[0]})") from None
        logits = tensor_values.real(self._interpreter.get_tensor(self._output)[0], self._logits)
        expected = (size[0] // self.patch, size[1] // self.patch, self.classes)
        if logits.shape != expected:
            raise UserError(f"{self.name}: returns {logits.shape} for {size[1]}x{size[0]}, expected {expected}")
        return logits


class _Always:
    """A classifier that always chooses the same network, for nothing."""

    multiply_adds = 0.0

    def __init__(self, index: int, classes: int, patch: int) -> None:
        self._logits, self._patch = np.eye(classes, dtype=np.float32)[index], patch

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns logits, as `Classifier`."""
        rows, columns = (side // self._patch for side in image.shape[:2])
        return np.broadcast_to(self._logits, (rows, columns, len(self._logits)))


def load(path: Path, threads: int = 1) -> RoutedUpscaler:
    """Loads a routing sidecar as a RoutedUpscaler. Raises UserError if it or one of its files is unusable."""
    sidecar = read(path)
    classifier, *net_files = files(path)
    nets = []
    for file, entry in zip(net_files, sidecar["nets"], strict=True):
        net = upscaler.load(file, threads=threads)
        if net.scale != sidecar["scale"] or net.fixed or net.max_depth is not None:
            raise UserError(
                f"{path}: {entry['file']} is unusable (routing needs dynamic sizes, one scale and no desired depth)"
            )
        net.receptive_field = entry["receptive_field"]
        nets.append(net)
    costs = [entry["multiply_adds"] for entry in sidecar["nets"]]
    run = Classifier(classifier, sidecar["patch"], len(nets), sidecar["classifier"]["multiply_adds"], threads)
    counted = [entry.get("instructions") for entry in (sidecar["classifier"], *sidecar["nets"])]
    instructions = None if None in counted else counted
    return RoutedUpscaler(str(path), nets, costs, run, sidecar["patch"], sidecar["overlap"], instructions)


def files(path: Path) -> list[Path]:
    """Returns the files of a routing sidecar, the classifier first. Raises UserError if one is missing or was replaced."""
    sidecar, result = read(path), []
    for entry in (sidecar["classifier"], *sidecar["nets"]):
        file = Path(path).parent / entry["file"]
        if not file.is_file():
            raise UserError(f"{path}: its file {entry['file']} is missing")
        if sha256_file(file) != entry["sha256"]:
            raise UserError(f"{path}: {entry['file']} was replaced (its SHA-256 differs)")
        result.append(file)
    return result


def read(path: Path) -> dict[str, Any]:
    """Reads and checks a routing sidecar. Raises UserError if it is damaged or another kind of file."""
    value = read_json(path)
    if value.get("kind") != KIND:
        raise UserError(f"{path}: not a routing sidecar (its kind is not {KIND})")
    if value.get("format") != FORMAT:
        raise UserError(f"{path}: a routing sidecar of format {value.get('format')}; this version reads {FORMAT}")
    nets, classifier = value.get("nets"), value.get("classifier")
    problem = (
        "scale" if not _whole(value.get("scale"), 1, MAX_SCALE)
        else "patch" if not _whole(value.get("patch"), 1, MAX_PATCH)
        else "overlap" if value.get("overlap", 0) is not None and not _whole(value.get("overlap"), 0, MAX_PATCH)
        else "classifier" if not _file(classifier)
        else "nets" if not (isinstance(nets, list) and len(nets) > 1 and all(map(_file, nets)))
        else "receptive_field" if not all(_whole(net.get("receptive_field"), 1, MAX_PATCH) for net in nets)
        else "multiply_adds" if any(a["multiply_adds"] >= b["multiply_adds"] for a, b in itertools.pairwise(nets))
        else None
    )  # fmt: skip
    if problem:
        raise UserError(f"{path}: damaged: '{problem}' is missing or invalid")
    return value


def _whole(value: Any, minimum: int, maximum: int) -> bool:
    return type(value) is int and minimum <= value <= maximum


def _file(entry: Any) -> bool:
    """Returns whether a file's entry is complete and names a .tflite in the sidecar's folder."""
    if not isinstance(entry, dict):
        return False
    name: Any = entry.get("file")
    cost: Any = entry.get("multiply_adds")
    plain = isinstance(name, str) and name.isprintable() and Path(name).name == name and "\\" not in name
    counted = type(cost) in (int, float) and 0 < cost < MAX_COST
    instructions: Any = entry.get("instructions")  # earlier versions did not write them
    counted &= instructions is None or (type(instructions) in (int, float) and 0 < instructions < MAX_COST)
    return plain and name.endswith(".tflite") and isinstance(entry.get("sha256"), str) and counted
