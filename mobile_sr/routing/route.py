"""Patch routing (ClassSR, Kong et al., CVPR 2021): a classifier chooses the network that upscales each patch of an image.

NAME.route.json describes a routed model; its .tflite files are in the same folder. route_training.py writes them.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256_file
from mobile_sr.inference import upscaler
from mobile_sr.inference.weights import MAX_SCALE
from mobile_sr.routing import image_budget
from mobile_sr.routing.classifier import Always, Classifier
from mobile_sr.routing.tally import Tally

FORMAT = 1
KIND = "mobile_sr.route"
SUFFIX = ".route.json"
MAX_PATCH = 1024  # LR pixels
MAX_COST = 1e12  # multiply-adds per LR pixel
UNITS = {"ms": "ms", "gmacs": "G multiply-adds", "instructions": "instructions per LR pixel"}  # of budgets


class RoutedUpscaler(upscaler.Upscaler):
    """Upscales each patch with one of several networks.

    Attributes:
        nets: Upscalers, the cheapest first.
        net_costs: their multiply-adds per LR pixel.
        patch: side of a patch in LR pixels.
        overlap: LR pixels that are run around the kept part. None means each network's receptive field; each patch then
            equals its network's output for the whole image.
        tally: counts of the patches processed since loading, or since a new Tally was assigned.
        exits: numbers of layers of the networks if these are the exits of one, else (). `max_depth` and `depth` are one of
            them; a `depth` of None leaves the choice to the classifier.
        chosen_for: what a network is chosen for, a key of the tally.
    """

    budget_units = ("ms", "gmacs", "instructions")
    chosen_for = "patches"

    def __init__(
        self,
        name: str,
        nets: Sequence[upscaler.Upscaler],
        costs: Sequence[float],
        classifier: Classifier | Always,
        patch: int,
        overlap: int | None = None,
        instructions: Sequence[float] | None = None,
        exits: Sequence[int] = (),
    ) -> None:
        """Combines networks and a classifier.

        Args:
            name: name of the model.
            nets, costs, patch, overlap, exits: see the attributes (`costs` is `net_costs`).
            classifier: chooses the network of each patch.
            instructions: Arm instructions per LR pixel of the classifier and of the networks, if they are known.
        """
        super().__init__(name, nets[0].scale, None, None)
        self.nets, self.patch, self.overlap = nets, patch, overlap
        self.net_costs, self._instructions = costs, instructions
        self.exits, self.max_depth = exits, float(exits[-1]) if exits else None
        self._classifier: Classifier | Always = classifier
        self._ms: Sequence[float] | None = None  # per LR pixel of the classifier and of the networks, once measured
        self.tally = self.new_tally()

    @property
    def net_names(self) -> list[str]:
        """Names of the networks."""
        return [Path(net.name).stem for net in self.nets]

    def _upscale(
        self, image: np.ndarray, tile: int | None, progress: upscaler.Progress | None, depth: float | None
    ) -> np.ndarray:
        """Like `Upscaler._upscale`; the networks cut parts that are still large into tiles by `tile`."""
        return self._routed(image, tile, progress, lambda net, part: net(part, tile), self.check_depth(depth))

    def real(self, image: np.ndarray, tile: int | None = None, depth: float | None = None) -> np.ndarray:
        """See `Upscaler.real`."""
        return self._routed(image, tile, None, lambda net, part: net.real(part, tile), self.check_depth(depth))

    def run_once(self, image: np.ndarray) -> np.ndarray:
        """Returns the SR output for [H, W, 3] uint8: a routed model has no single network to run."""
        return self._upscale(image, None, None, None)

    def check_depth(self, depth: float | None) -> float | None:
        """As `Upscaler.check_depth`; a depth is the number of layers of an exit."""
        if depth is None or not self.exits:
            return super().check_depth(depth)
        if depth not in self.exits:
            raise UserError(f"{self.name}: depth {depth:g} is not one of its exits, {', '.join(map(str, self.exits))}")
        return depth

    def alone(self, index: int) -> RoutedUpscaler:
        """Returns a model that runs one of the networks on everything, without a classifier, and counts its cost."""
        other = copy.copy(self)
        other._classifier = Always(index, len(self.nets), self.patch)
        other._instructions = self._instructions and [0.0, *self._instructions[1:]]
        other.depth = other.budget = None
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
        return Tally(self.net_names, costs, self.chosen_for)

    def choose(self, image: np.ndarray) -> np.ndarray:
        """Returns the network that the classifier chooses for each patch: [ceil(H / patch), ceil(W / patch)] ints."""
        return self._logits(image).argmax(axis=2)  # the cheapest one on a tie

    def _logits(self, image: np.ndarray) -> np.ndarray:
        down, right = (-side % self.patch for side in image.shape[:2])
        return self._classifier(np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric"))

    def _routed(
        self,
        image: np.ndarray,
        tile: int | None,
        progress: upscaler.Progress | None,
        run: Callable[[upscaler.Upscaler, np.ndarray], np.ndarray],
        depth: float | None = None,
    ) -> np.ndarray:
        self.check_image(image)
        size, s = image.shape[:2], self.scale
        result: np.ndarray | None = None
        classified = True
        if self.budget:
            chosen, classified = self._within_budget(image, tile)
        elif depth is not None:
            chosen, classified = self._everywhere([*self.exits].index(int(depth)), size), False
        else:
            chosen = self.choose(image)
        parts = self._plan(chosen, size)
        self.tally.add_image(chosen, size, self.patch, classified)
        for done, (index, inner) in enumerate(parts, 1):
            window = around(inner, size, self._overlap_of(index))
            sr = run(self.nets[index], image[window])
            self.tally.add_run(index, self._pixels(index, window, tile))
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

    def _overlap_of(self, index: int) -> int:
        field = self.nets[index].receptive_field if self.overlap is None else self.overlap
        assert field is not None  # of the networks, it is limited
        return field

    def _plan(self, chosen: np.ndarray, size: tuple[int, int]) -> list[tuple[int, tuple[slice, slice]]]:
        return plan(chosen, size, self.patch, self.net_costs, [self._overlap_of(index) for index in range(len(self.nets))])

    def _pixels(self, index: int, window: Sequence[slice], tile: int | None) -> int:
        """Returns the LR pixels, overlaps of tiles included, that a network processes in a window."""
        rows, columns = window
        return self.nets[index].pixels((rows.stop - rows.start, columns.stop - columns.start), tile)

    def _everywhere(self, index: int, size: tuple[int, int]) -> np.ndarray:
        return np.full([-(-side // self.patch) for side in size], index)

    def _within_budget(self, image: np.ndarray, tile: int | None) -> tuple[np.ndarray, bool]:
        """Returns the networks of the patches under `budget`, and whether the classifier was run."""
        size = image.shape[:2]
        unit, limit = self._limit(size)
        costs, classifier = self._costs_in(unit)
        padded = math.prod(-(-side // self.patch) * self.patch for side in size)

        def cost(chosen: np.ndarray) -> float:
            return sum(
                costs[index] * self._pixels(index, around(inner, size, self._overlap_of(index)), tile)
                for index, inner in self._plan(chosen, size)
            )

        best = self._largest([cost(self._everywhere(index, size)) for index in range(len(costs))], size)
        if best == len(costs) - 1:
            return self._everywhere(best, size), False
        chosen = image_budget.choose(self._logits(image), costs, cost, limit - padded * classifier)
        if chosen is None or max(index for index, _ in self._plan(chosen, size)) <= best:
            return self._everywhere(best, size), False  # one network for all is at least as good
        return chosen, True

    def _limit(self, size: tuple[int, int]) -> tuple[str, float]:
        """Returns the unit of `budget`, and the budget for an image of (H, W) in the costs of `_costs_in`."""
        assert self.budget
        ((unit, budget),) = self.budget.items()
        return unit, budget * {"ms": 1.0, "gmacs": 1e9, "instructions": float(math.prod(size))}[unit]

    def _largest(self, uniform: Sequence[float], size: tuple[int, int]) -> int:
        """Returns the largest network within `budget`, from the cost of each network for the whole image of (H, W).

        Raises:
            UserError: not even the first one is.
        """
        assert self.budget
        unit, limit = self._limit(size)
        if uniform[0] > limit:
            budget = self.budget[unit]
            minimum = uniform[0] / limit * budget
            raise UserError(
                f"{self.name}: {size[1]}x{size[0]} costs {minimum:.4g} {UNITS[unit]}, more than the budget of {budget:g}"
            )
        return max(index for index, value in enumerate(uniform) if value <= limit)

    def _costs_in(self, unit: str) -> tuple[Sequence[float], float]:
        """Returns the costs per LR pixel of the networks and of the classifier in a unit of `budget`."""
        if unit == "gmacs":
            return self.net_costs, self._classifier.multiply_adds
        if unit == "instructions":
            if not self._instructions:
                raise UserError(f"{self.name}: its instructions are unknown; they are known for uint8 files")
            return self._instructions[1:], self._instructions[0]
        if self._ms is None:
            runs: list[Callable[[np.ndarray], Any]] = [self._logits, *self.nets]
            self._ms = image_budget.milliseconds(runs, self.patch)
        return self._ms[1:], self._ms[0]


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
    exits = [entry["exit"] for entry in sidecar["nets"] if "exit" in entry]
    return RoutedUpscaler(str(path), nets, costs, run, sidecar["patch"], sidecar["overlap"], instructions, exits)


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
        else "exit" if (
            any("exit" in net for net in nets)
            and not all(_whole(net.get("exit"), 1, MAX_PATCH) for net in nets)
            or any(a["exit"] >= b["exit"] for a, b in itertools.pairwise(nets) if "exit" in a)
        )
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
