"""Patch routing (ClassSR, Kong et al., CVPR 2021): a classifier chooses for every patch of an image which network upscales it.

What routes is described by NAME.route.json, beside which its .tflite files lie; route_training.py makes them.
"""

import itertools
import math
from pathlib import Path

import numpy as np

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
    """Upscales each patch by one of several networks.

    Attributes:
        nets: Upscalers, the cheapest first. net_costs: their multiply-adds per LR pixel.
        patch: side of a patch in LR pixels.
        overlap: LR pixels that are run around what is kept; None is each network's receptive field, which makes every
            patch what its network gives on the whole image.
        tally: what was done since it was loaded, or since a new Tally was assigned.
    """

    def __init__(self, name, nets, costs, classifier, patch, overlap=None):
        """See the attributes for `nets`, `costs`, `patch` and `overlap`; `classifier` is a Classifier."""
        super().__init__(name, nets[0].scale, None, None)
        self.nets, self.patch, self.overlap = nets, patch, overlap
        self.net_costs, self._classifier = costs, classifier
        self.tally = self.new_tally()

    def __call__(self, image, tile=None, progress=None, depth=None):
        """As Upscaler's; `tile` is how the networks cut what is still large."""
        self.check_depth(depth)
        return self._routed(image, tile, progress, lambda net, part: net(part, tile))

    def real(self, image, tile=None, depth=None):
        """As Upscaler's."""
        self.check_depth(depth)
        return self._routed(image, tile, None, lambda net, part: net.real(part, tile))

    def summary(self):
        """{"routing": Tally.summary} of the images upscaled so far."""
        return {"routing": self.tally.summary()}

    def new_tally(self):
        """An empty Tally for these networks."""
        return Tally([Path(net.name).stem for net in self.nets], self.net_costs, self._classifier.multiply_adds)

    def choose(self, image):
        """The network that the classifier chooses for each patch: [ceil(H / patch), ceil(W / patch)] ints."""
        down, right = (-side % self.patch for side in image.shape[:2])
        padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric")
        return self._classifier(padded).argmax(axis=2)  # the cheapest of equals

    def _routed(self, image, tile, progress, run):
        self.check_image(image)
        size, s, result = image.shape[:2], self.scale, None
        chosen = self.choose(image)
        overlaps = [net.receptive_field if self.overlap is None else self.overlap for net in self.nets]
        parts = plan(chosen, size, self.patch, self.net_costs, overlaps)
        self.tally.add_image(chosen, size, self.patch)
        for done, (index, inner) in enumerate(parts, 1):
            window = around(inner, size, overlaps[index])
            picture = run(self.nets[index], image[window])
            self.tally.add_run(index, self.nets[index].pixels([w.stop - w.start for w in window], tile))
            if len(parts) == 1:
                return picture
            if result is None:
                result = np.empty((size[0] * s, size[1] * s, 3), picture.dtype)
            kept = tuple(slice((i.start - w.start) * s, (i.stop - w.start) * s) for i, w in zip(inner, window, strict=True))
            result[tuple(slice(i.start * s, i.stop * s) for i in inner)] = picture[kept]
            if progress:
                progress(done, len(parts))
        return result


class Tally:
    """Counts patches, and the multiply-adds per LR pixel of the patches' own networks and those really done."""

    def __init__(self, names, costs, classifier):
        self._names, self._costs, self._classifier = names, np.array(costs, float), classifier
        self._patches = np.zeros(len(names), int)
        self._kept, self._run = np.zeros(len(names)), np.zeros(len(names))
        self._pixels = self._classified = 0

    def add_image(self, chosen, size, patch):
        """Count the chosen networks of an image of (H, W), which the classifier sees padded to whole patches."""
        heights, widths = (np.minimum(patch, side - np.arange(n) * patch) for side, n in zip(size, chosen.shape, strict=True))
        self._patches += np.bincount(chosen.ravel(), minlength=len(self._names))
        self._kept += np.bincount(chosen.ravel(), np.outer(heights, widths).ravel(), len(self._names))
        self._pixels += size[0] * size[1]
        self._classified += chosen.size * patch**2

    def add_run(self, index, pixels):
        """Count LR pixels, overlaps among them, that network `index` was run on."""
        self._run[index] += pixels

    def summary(self):
        """What was counted, None when nothing was.

        Returns: {"patches": {network: share 0..1}, "multiply_adds": {"chosen": of the patches' own networks, without overlaps
            and classifier, as ClassSR counts; "done": with both; "largest": of the largest network, without overlaps}}, all
            per LR pixel.
        """
        if not self._pixels:
            return None
        done = float(self._run @ self._costs) + self._classified * self._classifier
        counts = {"chosen": float(self._kept @ self._costs) / self._pixels, "done": done / self._pixels}
        shares = self._patches / self._patches.sum()
        return {
            "patches": {name: float(share) for name, share in zip(self._names, shares, strict=True)},
            "multiply_adds": {**counts, "largest": float(self._costs[-1])},
        }


def describe(summary):
    """A Tally's summary in one line."""
    patches = ", ".join(f"{name} {share:.1%}" for name, share in summary["patches"].items())
    counts = summary["multiply_adds"]
    chosen, done = (f"{counts[key]:,.0f} ({counts[key] / counts['largest']:.1%})" for key in ("chosen", "done"))
    return f"patches: {patches}; multiply-adds per LR pixel: {chosen} by choice, {done} done; largest {counts['largest']:,.0f}"


def around(inner, size, overlap):
    """The window (rows, columns) that is run for what is kept: `overlap` LR pixels more where the image of (H, W) has them."""
    return tuple(slice(max(0, i.start - overlap), min(n, i.stop + overlap)) for i, n in zip(inner, size, strict=True))


def plan(chosen, size, patch, costs, overlaps):
    """The rectangles in which an image is run, so that no patch gets a smaller network than was chosen for it.

    Overlaps make small rectangles dear. The image is halved again and again, and a part is run as a whole by the largest
    network that it needs wherever that costs no more than its halves.

    Args:
        chosen: [rows, columns] ints, the network of each patch. size: (H, W) of the image in LR pixels.
        costs, overlaps: of each network, multiply-adds per LR pixel and LR pixels.
    Returns: [(network, (rows, columns))], slices in LR pixels that cover the image once.
    """

    def best(box):
        """(multiply-adds, rectangles) of a box of patches (top, bottom, left, right)."""
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
    """The classifier's .tflite: [H, W, 3] uint8, H and W multiples of the patch, to logits [H / patch, W / patch, classes]."""

    def __init__(self, path, patch, classes, multiply_adds, threads=1):
        """Raises: UserError when the file is unusable or no such classifier."""
        self.name, self.patch, self.classes, self.multiply_adds = str(path), patch, classes, multiply_adds
        data = litert.read_file(path)
        graph = litert.parse_graph(data, path)
        ends = [[graph.tensors[i] for i in indices] for indices in (graph.inputs, graph.outputs)]
        for tensors, channels in zip(ends, (3, classes), strict=True):
            fits = len(tensors) == 1 and tensors[0].dtype in ("float32", "uint8", "int8") and len(tensors[0].shape) == 4
            if not fits or tensors[0].shape[3] not in (-1, channels):
                raise UserError(f"{path}: no classifier of patches for {classes} networks")
        (self._image,), (self._logits,) = ends
        self._input, self._output = graph.inputs[0], graph.outputs[0]
        self._interpreter, self._size = litert.open_interpreter(data, self.name, threads), None

    def __call__(self, image):
        """The logits of an image's patches, float32. Raises: UserError when the runtime fails or gives another shape."""
        size = image.shape[:2]
        if size != self._size:
            litert.allocate(self._interpreter, self.name, (1, *size, 3), self._input)
            self._size = size
        self._interpreter.set_tensor(self._input, tensor_values.encode(image, self._image)[None])
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self.name}: failed while running ({str(error).splitlines()[0]})") from None
        logits = tensor_values.real(self._interpreter.get_tensor(self._output)[0], self._logits)
        wanted = (size[0] // self.patch, size[1] // self.patch, self.classes)
        if logits.shape != wanted:
            raise UserError(f"{self.name}: gives {logits.shape} for {size[1]}x{size[0]}, expected {wanted}")
        return logits


def load(path, threads=1):
    """The RoutedUpscaler of a routing sidecar. Raises: UserError when it or a file that it names is unusable."""
    sidecar = read(path)
    classifier, *found = files(path)
    nets = []
    for file, entry in zip(found, sidecar["nets"], strict=True):
        net = upscaler.load(file, threads=threads)
        if net.scale != sidecar["scale"] or net.fixed or net.max_depth is not None:
            raise UserError(f"{path}: {entry['file']} does not fit (routing takes plain files of dynamic size and one scale)")
        net.receptive_field = entry["receptive_field"]
        nets.append(net)
    costs = [entry["multiply_adds"] for entry in sidecar["nets"]]
    run = Classifier(classifier, sidecar["patch"], len(nets), sidecar["classifier"]["multiply_adds"], threads)
    return RoutedUpscaler(str(path), nets, costs, run, sidecar["patch"], sidecar["overlap"])


def files(path):
    """The files that a routing sidecar names, the classifier's first. Raises: UserError when one is missing or another."""
    sidecar, found = read(path), []
    for entry in (sidecar["classifier"], *sidecar["nets"]):
        file = Path(path).parent / entry["file"]
        if not file.is_file():
            raise UserError(f"{path}: its file {entry['file']} is missing")
        if sha256_file(file) != entry["sha256"]:
            raise UserError(f"{path}: {entry['file']} is not the file that it was made with (its SHA-256 differs)")
        found.append(file)
    return found


def read(path):
    """A routing sidecar as a dict, checked. Raises: UserError when it is damaged or something else."""
    found = read_json(path)
    if found.get("kind") != KIND:
        raise UserError(f"{path}: no routing sidecar (its kind is not {KIND})")
    if found.get("format") != FORMAT:
        raise UserError(f"{path}: a routing sidecar of format {found.get('format')}, this version reads {FORMAT}")
    nets, classifier = found.get("nets"), found.get("classifier")
    problem = (
        "scale" if not _whole(found.get("scale"), 1, MAX_SCALE)
        else "patch" if not _whole(found.get("patch"), 1, MAX_PATCH)
        else "overlap" if found.get("overlap", 0) is not None and not _whole(found.get("overlap"), 0, MAX_PATCH)
        else "classifier" if not _file(classifier)
        else "nets" if not (isinstance(nets, list) and len(nets) > 1 and all(map(_file, nets)))
        else "receptive_field" if not all(_whole(net.get("receptive_field"), 1, MAX_PATCH) for net in nets)
        else "multiply_adds" if any(a["multiply_adds"] >= b["multiply_adds"] for a, b in itertools.pairwise(nets))
        else None
    )  # fmt: skip
    if problem:
        raise UserError(f"{path}: damaged, '{problem}' is missing or not what it should be")
    return found


def _whole(value, least, most):
    return type(value) is int and least <= value <= most


def _file(entry):
    """Whether a file's entry is whole, and names a .tflite of the sidecar's own folder."""
    if not isinstance(entry, dict):
        return False
    name, cost = entry.get("file"), entry.get("multiply_adds")
    plain = isinstance(name, str) and name.isprintable() and Path(name).name == name and "\\" not in name
    counted = type(cost) in (int, float) and 0 < cost < MAX_COST
    return plain and name.endswith(".tflite") and isinstance(entry.get("sha256"), str) and counted
