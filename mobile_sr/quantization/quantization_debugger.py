"""Where an integer .tflite loses against its float twin: layer by layer, and by weights, activations and output rounding."""

import numpy as np

from mobile_sr.converters import to_tflite
from mobile_sr.converters.tflite import constants, flatbuffer, layer_matching, partial_quantization
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import litert, model_files, upscaler
from mobile_sr.quantization import suggestions

CROP = 96  # LR pixels a side of what the layers are measured on
MOST = 0.999  # of a tensor's values, for the range that "most" of them take
PARTS = (
    ("weights", "weights and biases only"),
    ("activations", "activations only"),
    ("output", "output rounding only"),
    ("simulated", "all three, simulated in float"),
    ("model", "the integer file"),
)


def locate(reference, model, folder, space="y", crops=16, threads=1, progress=None):
    """Compare a float and an integer .tflite of one network, layer by layer and part by part.

    Args:
        reference, model: paths or zoo names, with options as in 'net.tflite@range=255'.
        folder: of images, or a list of (name, HR image).
        space: 'y' or 'rgb', for the split's PSNR.
        crops: on how many images' centres (CROP LR pixels at most) the layers are measured.
        progress: called with (number, what) during the work.
    Returns: JSON-able dict, see docs/reference/layer_report.md: {"reference", "model", "scale", "data", "protocol", "split",
        "layers", "worst", "crops", "skipped"}.
    Raises: UserError when the files are unusable or do not belong together, or no image is usable.
    """
    pair = _Pair(reference, model, threads)
    problems, crops_taken, pictures = [], [], {key: [] for key in ("reference", *(key for key, _ in PARTS))}
    variants = pair.variants()
    for count, (name, hr, lr, gray) in enumerate(evaluate.each_pair(folder, pair.scale, problems), 1):
        for key, variant in variants.items():
            pictures[key].append(evaluate.score(variant(lr), hr, space, pair.scale, gray))
        if len(crops_taken) < crops:
            crops_taken.append(pair.crop(lr))
        if progress:
            progress(count, name)
    layers = _layers(pair, crops_taken, progress)
    worst = suggestions.rank(layers)
    return {
        "reference": {"name": str(reference), **compare.file_facts(str(reference))},
        "model": {"name": str(model), **compare.file_facts(str(model))},
        "scale": pair.scale,
        "data": compare.folder_name(folder),
        "protocol": metrics.protocol(pair.scale, space),
        "split": _split(pictures),
        "crops": {"count": len(crops_taken), "sizes": sorted({f"{c.shape[1]}x{c.shape[0]}" for c in crops_taken})},
        "layers": layers,
        "worst": worst,
        "skipped": problems,
    }


def check(reference, model):
    """Raise UserError as `locate` when two files are no float and integer file of one network."""
    _Pair(reference, model, threads=1)


def _split(scores):
    """The drop of every part: mean PSNR of the float file less that of the part's simulation."""
    means = {key: evaluate.mean(rows)["psnr"] for key, rows in scores.items()}
    if means["reference"] is None:
        raise UserError("no image is large enough to measure a PSNR on")
    return {
        "images": len(scores["reference"]),
        "reference_psnr": means["reference"],
        "parts": [
            {
                "part": key,
                "what": what,
                "psnr": means[key],
                "drop_db": None if means[key] is None else means["reference"] - means[key],
            }
            for key, what in PARTS
        ],
    }


class _Pair:
    """The two files, opened and matched."""

    def __init__(self, reference, model, threads):
        (self.reference, self.graph, self._field), (self.model, self.model_graph, _) = (
            _open(name, threads) for name in (reference, model)
        )
        try:
            self.match = layer_matching.match(self.reference.data, self.graph, self.model.data, self.model_graph)
        except (layer_matching.MatchError, flatbuffer.TFLiteFileError) as error:
            raise UserError(f"{model} against {reference}: {error}") from None
        sizes = [file.fixed for file in (self.reference, self.model)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise UserError(f"{model} against {reference}: their input sizes (H, W) differ, {sizes[1]} and {sizes[0]}")
        self.fixed = sizes[0] or sizes[1]
        self.scale = self.reference.scale
        if self.model.scale != self.scale:
            raise UserError(f"{reference} has scale {self.scale}, {model} has {self.model.scale}")

    def variants(self):
        """{"reference" or part: Upscaler} of the split."""
        layers = self.match.layers
        every = range(len(layers))
        output = [k for k in every if layers[k].grid and layers[k].of_output]
        inner = [k for k in every if layers[k].grid and not layers[k].of_output]
        chosen = {
            "weights": (every, ()),
            "activations": ((), inner),
            "output": ((), output),
            "simulated": (every, inner + output),
        }
        found = {key: self.simulated(*parts) for key, parts in chosen.items()}
        found |= {"reference": self.reference, "model": self.model}
        return {key: upscaler.Upscaler(key, self.scale, file.run, self._field, file.fixed) for key, file in found.items()}

    def simulated(self, weights, grids):
        """A TFLiteModel of the float file with the given layers' quantization."""
        return self.reference.with_graph(
            partial_quantization.simulate(self.reference.data, self.match, weights, grids), "simulation"
        )

    def crop(self, lr):
        """The centre of an LR image, at most CROP pixels a side, or of the files' fixed size (edges repeated)."""
        sides = self.fixed or tuple(min(CROP, side) for side in lr.shape[:2])
        return to_tflite.fit(lr, sides)


def _open(name, threads):
    path, options = model_files.locate_tflite(name)
    file = litert.TFLiteModel(path, threads, options)
    graph = litert.parse_graph(file.data, name)
    return file, graph, file.sidecar.receptive_field


def _layers(pair, crops, progress):
    """One dict of numbers per layer."""
    layers = pair.match.layers
    data, copies = partial_quantization.beside(pair.reference.data, pair.match)
    floats = pair.reference.with_graph(data, "float layers")
    exposed = partial_quantization.expose(pair.model.data, [layer.integer for layer in layers])
    integers = pair.model.with_graph(exposed, "integer layers")
    sums = [_Sums(layer, pair.model_graph.tensors[layer.integer]) for layer in layers]
    pictures = []
    for crop in crops:
        pictures.append(_levels(floats.run(crop)))
        integers.set(crop)
        integers.invoke()
        for number, (layer, total) in enumerate(zip(layers, sums, strict=True)):
            real, stored = floats.tensor(layer.float), integers.tensor(layer.integer)
            total.add(real, stored, floats.tensor(copies[number]) if number in copies else real)
    floats.close()
    integers.close()
    rows = []
    for number, (layer, total) in enumerate(zip(layers, sums, strict=True)):
        noise = None
        if layer.quantizes:
            alone = pair.simulated({number}, {number} if layer.grid else ())
            errors = [np.mean((_levels(alone.run(c)) - p) ** 2) for c, p in zip(crops, pictures, strict=True)]
            noise = float(np.mean(errors))
            alone.close()
        row = {"name": layer.name, "op": layer.op, **total.numbers(), "shares_range_with": pair.match.partners(layer)}
        rows.append({**row, "picture_noise": noise})
        if progress:
            progress(number + 1, layer.name)
    power = sum(row["picture_noise"] or 0 for row in rows)
    for row in rows:
        mse = row.pop("picture_noise")
        row["picture_noise_rms"] = None if mse is None else mse**0.5
        row["share"] = None if mse is None else (mse / power if power else 0.0)
    return rows


def _levels(picture):
    """A float picture as levels 0..255, float64, clipped, not rounded."""
    return np.clip(picture.astype(np.float64), 0, 1) * 255


def decibels(signal, noise):
    """10 log10 of a ratio of powers; infinity without noise, None without a signal."""
    if signal <= 0:
        return None
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")


class _Sums:
    """What is summed up of one layer over the crops."""

    def __init__(self, layer, tensor):
        self.layer, self.grid = layer, layer_matching.grid_of(tensor)
        self.signal = self.error = self.own = self.by_weights = self.by_rounding = self.by_clipping = 0.0
        self.channel_signal = self.channel_own = 0.0
        self.least, self.most, self.clipped, self.count = np.inf, -np.inf, np.zeros(2), 0
        self.histogram = None
        if self.grid:
            limits = np.iinfo(self.grid[2])
            self.low, self.high = limits.min, limits.max
            self.histogram = np.zeros(self.high - self.low + 1, np.int64)

    def add(self, real, stored, with_weights):
        """One crop: the float file's values, the integer file's raw ones, and the float layer's with the integer weights."""
        real, with_weights = real.astype(np.float64), with_weights.astype(np.float64)
        real, with_weights = np.atleast_2d(real), np.atleast_2d(with_weights)
        axes = tuple(range(real.ndim - 1))
        found = np.atleast_2d(self._real(stored.astype(np.float64)))
        own = self._rounded(with_weights)[0] - real
        self.signal += np.sum(real**2)
        if not np.isfinite(self.signal):
            raise UserError(f"layer {self.layer.name}: the reference's values are not finite; it is no usable network")
        self.error += np.sum((found - real) ** 2)
        self.own += np.sum(own**2)
        self.by_weights += np.sum((with_weights - real) ** 2)
        self.channel_signal = self.channel_signal + np.sum(real**2, axis=axes)
        self.channel_own = self.channel_own + np.sum(own**2, axis=axes)
        self.least = np.minimum(self.least, real.min(axis=axes))
        self.most = np.maximum(self.most, real.max(axis=axes))
        self.count += real.size
        if self.layer.grid:
            rounded, levels, outside = self._rounded(real)
            error = (rounded - real) ** 2
            self.by_rounding += np.sum(error)
            self.by_clipping += np.sum(error[outside[0] | outside[1]])
            self.clipped += [np.count_nonzero(part) for part in outside]
            self.histogram += np.bincount(levels.ravel(), minlength=len(self.histogram))

    def _real(self, levels):
        return levels if self.grid is None else (levels - self.grid[1]) * self.grid[0]

    def _rounded(self, values):
        """(values on the layer's grid, levels from 0, (below it, above it))."""
        if self.layer.grid is None:
            return values, None, None
        levels = np.round(values / self.grid[0]) + self.grid[1]
        outside = levels < self.low, levels > self.high
        levels = np.clip(levels, self.low, self.high)
        return self._real(levels), (levels - self.low).astype(np.int64), outside

    def numbers(self):
        """The layer's row, see docs/reference/layer_report.md."""
        layer, signal = self.layer, self.signal
        row = {
            "sqnr_db": decibels(signal, self.error),
            "own_sqnr_db": decibels(signal, self.own) if layer.quantizes else None,
            "own_by_weights_db": decibels(signal, self.by_weights) if layer.weights else None,
            "own_by_rounding_db": decibels(signal, self.by_rounding) if layer.grid else None,
            "channel_sqnr_db": self._channel_sqnr() if layer.quantizes else None,
            "weight_scales": ("per channel" if layer.per_channel else "per tensor") if layer.weights else None,
            "of_output": layer.of_output,
            "dtype": self.grid[2] if self.grid else None,
            **_weight_numbers(layer),
        }
        if layer.grid:
            row |= self._range_numbers()
        return row

    def _channel_sqnr(self):
        values = [decibels(s, n) for s, n in zip(np.ravel(self.channel_signal), np.ravel(self.channel_own), strict=True)]
        values = [value for value in values if value is not None]
        return float(np.median(values)) if values else None

    def _range_numbers(self):
        low, high = self._real(np.array([self.low, self.high], np.float64))
        width = high - low
        least, most = np.clip(self.least, low, high), np.clip(self.most, low, high)
        cumulative = np.cumsum(self.histogram) / self.histogram.sum()
        ends = np.searchsorted(cumulative, [(1 - MOST) / 2, (1 + MOST) / 2])
        return {
            "range": [float(low), float(high)],
            "data_range": [float(np.min(self.least)), float(np.max(self.most))],
            "range_used": float((most.max() - least.min()) / width),
            "range_of_most": float((ends[1] - ends[0] + 1) / len(self.histogram)),
            "channel_range_used": float(np.median((most - least) / width)),
            "saturated_low": float(self.clipped[0] / self.count),
            "saturated_high": float(self.clipped[1] / self.count),
            "saturation_share_of_rounding": float(self.by_clipping / self.by_rounding) if self.by_rounding else 0.0,
        }


def _weight_numbers(layer):
    """The worst operand's SQNR with the one stored weight that is farthest off, and the bias's error in output steps.

    Biases stand in 32 or 64 bits: they are no part of the former, and are off only in a wrong file, or where they take back
    the mean of what the weights' rounding moves (rounding.py).
    """
    worst, bias = None, constants.BIASED.get(layer.op, (None, None, None))[2]
    numbers = {"weights_sqnr_db": None, "bias_error_steps": None}
    for place, values in layer.weights.items():
        reference = layer.reference_weights[place]
        if place == bias:
            steps = np.abs(values - reference).max() / layer.grid[0] if layer.grid else None
            numbers["bias_error_steps"] = None if steps is None else float(steps)
            continue
        error = (values - reference) ** 2
        sqnr = decibels(np.sum(reference**2), np.sum(error))
        if sqnr is not None and (worst is None or sqnr < worst[0]):
            where = np.unravel_index(int(error.argmax()), error.shape)
            worst = sqnr, place, [int(i) for i in where], float(reference[where]), float(values[where])
    if worst is not None:
        keys = ("weights_sqnr_db", "farthest_operand", "farthest_weight", "farthest_reference", "farthest_model")
        numbers |= dict(zip(keys, worst, strict=True))
    return numbers
