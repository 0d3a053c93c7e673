"""Quantization debugger: the error of an integer .tflite against the float one, by layer and by kind of quantization.

The kinds are weights, activations and output rounding. docs/reference/layer_report.md defines every figure.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import integer_forms
from mobile_sr.converters.quantization.channels import spare_channels
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import constants, flatbuffer, layer_matching, partial_quantization
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import litert, model_files, upscaler
from mobile_sr.quantization import suggestions

CROPS = 16  # images on which the layers are measured, unless a large fixed size makes them expensive
CROP_PIXELS = CROPS * 192**2  # LR pixels of the crops for which fewer than CROPS are used
CROP = 96  # side in LR pixels of the crops on which the layers are measured
MOST = 0.999  # share of a tensor's values that counts as most of them ("range_of_most")
PARTS = (
    ("weights", "weights and biases only"),
    ("activations", "activations only"),
    ("output", "output rounding only"),
    ("simulated", "all three, simulated in float"),
    ("model", "the integer file"),
)


def locate(
    reference: str | Path,
    model: str | Path,
    folder: evaluate.ImageSource,
    space: str = "y",
    crops: int | None = None,
    threads: int = 1,
    progress: evaluate.Progress | None = None,
) -> dict[str, Any]:
    """Compare a float and an integer .tflite of the same network, layer by layer and part by part.

    Args:
        reference, model: float and integer file: paths or zoo names, with options as in 'net.tflite@range=255'.
        folder: folder of images, or a list of (name, HR image).
        space: 'y' or 'rgb', for the PSNR of the split.
        crops: number of images on which the layers are measured; the centre of each, at most CROP LR pixels a side, or all of
            a fixed input size. None is CROPS, or at large fixed sizes as many as have CROP_PIXELS.
        threads: CPU threads.
        progress: called with (number done, what was done), several times for each image, crop and layer.
    Returns: JSON-able dict, see docs/reference/layer_report.md: {"reference", "model", "scale", "data", "protocol", "split",
        "layers", "worst", "crops", "skipped"}.
    Raises: UserError when a file is unusable, the two files are not of the same network, or no image is usable.
    """
    pair = _Pair(reference, model, threads)
    if crops is None:
        crops = CROPS if pair.fixed is None else min(CROPS, max(1, CROP_PIXELS // math.prod(pair.fixed)))
    problems: list[str] = []
    crops_taken: list[np.ndarray] = []
    scores: dict[str, list[dict[str, float | None]]] = {key: [] for key in ("reference", *(key for key, _ in PARTS))}
    variants = pair.variants()
    for count, (name, hr, lr, gray) in enumerate(evaluate.each_pair(folder, pair.scale, problems, pair.scale), 1):
        for key, variant in variants.items():
            scores[key].append(evaluate.score(variant(lr), hr, space, pair.scale, gray))
            if progress:
                progress(count, f"{name}: {dict(PARTS).get(key, key)}")
        if len(crops_taken) < crops:
            crops_taken.append(pair.crop(lr))
    layers = _layers(pair, crops_taken, progress)
    worst = suggestions.rank(layers)
    return {
        "reference": {"name": str(reference), **compare.file_facts(str(reference))},
        "model": {"name": str(model), **compare.file_facts(str(model))},
        "scale": pair.scale,
        "data": compare.folder_name(folder),
        "protocol": metrics.protocol(pair.scale, space),
        "split": _split(scores),
        "crops": {"count": len(crops_taken), "sizes": sorted({f"{c.shape[1]}x{c.shape[0]}" for c in crops_taken})},
        "layers": layers,
        "worst": worst,
        "skipped": problems,
    }


def check(reference: str | Path, model: str | Path) -> None:
    """Check that two files are the float and the integer file of the same network. Raises: UserError as `locate`."""
    _Pair(reference, model, threads=1)


def _split(scores: Mapping[str, Sequence[Mapping[str, float | None]]]) -> dict[str, Any]:
    """The drop of every part: the mean PSNR of the float file minus that of the simulation of the part."""
    means = {key: evaluate.mean(rows)["psnr"] for key, rows in scores.items()}
    reference = means["reference"]
    if reference is None:
        raise UserError("no image is large enough to measure a PSNR on")
    return {
        "images": len(scores["reference"]),
        "reference_psnr": reference,
        "parts": [
            {
                "part": key,
                "what": what,
                "psnr": psnr,
                "drop_db": None if psnr is None else reference - psnr,
            }
            for key, what in PARTS
            for psnr in (means[key],)
        ],
    }


class _Pair:
    """The float and the integer file, opened, with their layers matched.

    Attributes:
        plain: the float file.
        reference: the same function with operators (integer_forms.py) and copies of channels (channels/spare_channels.py) like
            those of the integer file.
    """

    def __init__(self, reference: str | Path, model: str | Path, threads: int):
        (self.reference, self.graph, self._field), (self.model, self.model_graph, _) = (
            _open(name, threads) for name in (reference, model)
        )
        self.plain = self.reference
        data = self._in_integer_form(self.reference.data)
        if data != self.reference.data:
            self.reference = self.reference.with_graph(data, str(reference))
            self.graph = litert.parse_graph(data, reference)
        try:
            self.match = layer_matching.match(self.reference.data, self.graph, self.model.data, self.model_graph)
        except (layer_matching.MatchError, flatbuffer.TFLiteFileError) as error:
            raise UserError(f"{model} against {reference}: {error}") from None
        sizes = [file.fixed for file in (self.reference, self.model)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise UserError(f"{model} against {reference}: the input sizes (H, W) differ, {sizes[1]} and {sizes[0]}")
        self.fixed = sizes[0] or sizes[1]
        self.scale = self.reference.scale
        if self.model.scale != self.scale:
            raise UserError(f"{reference} has scale {self.scale}, {model} has {self.model.scale}")

    def _in_integer_form(self, data: bytes) -> bytes:
        """The float file with the operators and the copies of channels that the integer file has in place of its own."""
        if not any(op.name in ("NEG", "SQUARE") for op in self.model_graph.ops):
            graph = FloatGraph(data)
            if integer_forms.rewrite(graph):
                data = flatbuffer.pack(graph.model)
        names = {tensor.name for tensor in self.graph.tensors}
        copies = [entry for entry in self.model.sidecar.spare_channels if not names.isdisjoint(entry["shifts"])]
        if copies and not self.reference.sidecar.spare_channels:
            with contextlib.suppress(ValueError):  # a reference from elsewhere: its channels are compared as they are
                data = spare_channels.applied(data, copies)
        return data

    def variants(self) -> dict[str, upscaler.Upscaler]:
        """{"reference" or part: Upscaler} of the split."""
        layers = self.match.layers
        indices = range(len(layers))
        output = [k for k in indices if layers[k].quant_params and layers[k].of_output]
        inner = [k for k in indices if layers[k].quant_params and not layers[k].of_output]
        chosen: dict[str, tuple[Sequence[int], Sequence[int]]] = {
            "weights": (indices, ()),
            "activations": ((), inner),
            "output": ((), output),
            "simulated": (indices, inner + output),
        }
        files = {key: self.simulated(*parts) for key, parts in chosen.items()}
        files |= {"reference": self.plain, "model": self.model}
        return {key: upscaler.Upscaler(key, self.scale, file.run, self._field, file.fixed) for key, file in files.items()}

    def simulated(self, weights: Collection[int], grids: Collection[int]) -> litert.TFLiteModel:
        """The float file with the integer file's quantization of the weights and results of layers, given by index."""
        return self.reference.with_graph(
            partial_quantization.simulate(self.reference.data, self.match, weights, grids), "simulation"
        )

    def crop(self, lr: np.ndarray) -> np.ndarray:
        """The centre of an LR image, at most CROP pixels a side; or of the fixed input size, with repeated edges."""
        sides = self.fixed or tuple(min(CROP, side) for side in lr.shape[:2])
        return to_tflite.center_crop_or_pad(lr, sides)


def _open(name: str | Path, threads: int) -> tuple[litert.TFLiteModel, flatbuffer.Graph, int | None]:
    path, options = model_files.locate_tflite(name)
    file = litert.TFLiteModel(path, threads, options)
    graph = litert.parse_graph(file.data, name)
    return file, graph, file.sidecar.receptive_field


def _layers(pair: _Pair, crops: Sequence[np.ndarray], progress: evaluate.Progress | None) -> list[dict[str, Any]]:
    """One row of figures per layer."""
    layers = pair.match.layers
    data, copies = partial_quantization.with_quantized_copies(pair.reference.data, pair.match)
    floats = pair.reference.with_graph(data, "float layers")
    exposed = partial_quantization.expose(pair.model.data, [layer.integer for layer in layers])
    integers = pair.model.with_graph(exposed, "integer layers")
    sums = [_Sums(layer, pair.model_graph.tensors[layer.integer]) for layer in layers]
    outputs = []
    for count, crop in enumerate(crops, 1):
        outputs.append(_levels(floats.run(crop)))
        integers.set(crop)
        integers.invoke()
        for index, (layer, total) in enumerate(zip(layers, sums, strict=True)):
            real, stored = floats.tensor(layer.float), integers.tensor(layer.integer)
            total.add(real, stored, floats.tensor(copies[index]) if index in copies else real)
        if progress:
            progress(count, f"all layers on crop {count} of {len(crops)}")
    floats.close()
    integers.close()
    rows = []
    for index, (layer, total) in enumerate(zip(layers, sums, strict=True)):
        noise = None
        if layer.quantizes:
            alone = pair.simulated({index}, {index} if layer.quant_params else ())
            errors = [np.mean((_levels(alone.run(c)) - p) ** 2) for c, p in zip(crops, outputs, strict=True)]
            noise = float(np.mean(errors))
            alone.close()
        row = {"name": layer.name, "op": layer.op, **total.numbers(), "shares_range_with": pair.match.partners(layer)}
        rows.append({**row, "picture_noise": noise})
        if progress:
            progress(index + 1, f"layer {layer.name}")
    power = sum(row["picture_noise"] or 0 for row in rows)
    for row in rows:
        mse = row.pop("picture_noise")
        row["picture_noise_rms"] = None if mse is None else mse**0.5
        row["share"] = None if mse is None else (mse / power if power else 0.0)
    return rows


def _levels(sr: np.ndarray) -> np.ndarray:
    """A float SR output as float64 levels in 0..255, clipped but not rounded."""
    return np.clip(sr.astype(np.float64), 0, 1) * 255


def decibels(signal: float, noise: float) -> float | None:
    """Returns 10 log10(signal / noise) of two powers: infinity without noise, None without a signal."""
    if signal <= 0:
        return None
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")


class _Sums:
    """Sums over the crops for one layer."""

    def __init__(self, layer: layer_matching.Layer, tensor: flatbuffer.Tensor):
        self.layer, self.quant_params = layer, layer_matching.quant_params_of(tensor)
        self.signal = self.error = self.own = self.by_weights = self.by_rounding = self.by_clipping = 0.0
        self.channel_signal: np.ndarray | float = 0.0
        self.channel_own: np.ndarray | float = 0.0
        self.min: np.ndarray | float = np.inf  # per channel, from the first crop on
        self.max: np.ndarray | float = -np.inf
        self.clipped, self.count = np.zeros(2), 0
        self.low = self.high = 0
        self.histogram = np.zeros(0, np.int64)
        if self.quant_params:
            limits = np.iinfo(self.quant_params[2])
            self.low, self.high = int(limits.min), int(limits.max)
            self.histogram = np.zeros(self.high - self.low + 1, np.int64)

    def add(self, real: np.ndarray, stored: np.ndarray, with_weights: np.ndarray) -> None:
        """Add one crop.

        Args:
            real: the layer's result in the float file.
            stored: its raw result in the integer file.
            with_weights: the result of the float layer with the weights of the integer file.
        """
        real, with_weights = real.astype(np.float64), with_weights.astype(np.float64)
        real, with_weights = np.atleast_2d(real), np.atleast_2d(with_weights)
        axes = tuple(range(real.ndim - 1))
        actual = np.atleast_2d(self._real(stored.astype(np.float64)))
        own = self._rounded(with_weights)[0] - real
        self.signal += np.sum(real**2)
        if not np.isfinite(self.signal):
            raise UserError(f"layer {self.layer.name}: the values of the reference are not finite; the network is unusable")
        self.error += np.sum((actual - real) ** 2)
        self.own += np.sum(own**2)
        self.by_weights += np.sum((with_weights - real) ** 2)
        self.channel_signal = self.channel_signal + np.sum(real**2, axis=axes)
        self.channel_own = self.channel_own + np.sum(own**2, axis=axes)
        self.min = np.minimum(self.min, real.min(axis=axes))
        self.max = np.maximum(self.max, real.max(axis=axes))
        self.count += real.size
        if self.layer.quant_params:
            rounded, levels, outside = self._rounded(real)
            error = (rounded - real) ** 2
            self.by_rounding += np.sum(error)
            self.by_clipping += np.sum(error[outside[0] | outside[1]])
            self.clipped += [np.count_nonzero(part) for part in outside]
            self.histogram += np.bincount(levels.ravel(), minlength=len(self.histogram))

    def _real(self, levels: np.ndarray) -> np.ndarray:
        return levels if self.quant_params is None else (levels - self.quant_params[1]) * self.quant_params[0]

    def _rounded(self, values: np.ndarray) -> tuple[np.ndarray, Any, Any]:
        """(quantized values as real numbers, levels counted from 0, (below the range, above the range))."""
        if self.layer.quant_params is None or self.quant_params is None:
            return values, None, None
        scale, zero_point, _ = self.quant_params
        levels = np.round(values / scale) + zero_point
        outside = levels < self.low, levels > self.high
        levels = np.clip(levels, self.low, self.high)
        return self._real(levels), (levels - self.low).astype(np.int64), outside

    def numbers(self) -> dict[str, Any]:
        """The row of the layer, see docs/reference/layer_report.md."""
        layer, signal = self.layer, self.signal
        row = {
            "sqnr_db": decibels(signal, self.error),
            "own_sqnr_db": decibels(signal, self.own) if layer.quantizes else None,
            "own_by_weights_db": decibels(signal, self.by_weights) if layer.weights else None,
            "own_by_rounding_db": decibels(signal, self.by_rounding) if layer.quant_params else None,
            "channel_sqnr_db": self._channel_sqnr() if layer.quantizes else None,
            "weight_scales": ("per channel" if layer.per_channel else "per tensor") if layer.weights else None,
            "of_output": layer.of_output,
            "dtype": self.quant_params[2] if self.quant_params else None,
            **_weight_numbers(layer),
        }
        if layer.quant_params:
            row |= self._range_numbers()
        return row

    def _channel_sqnr(self) -> float | None:
        sqnr = [decibels(s, n) for s, n in zip(np.ravel(self.channel_signal), np.ravel(self.channel_own), strict=True)]
        values = [value for value in sqnr if value is not None]
        return float(np.median(values)) if values else None

    def _range_numbers(self) -> dict[str, Any]:
        low, high = self._real(np.array([self.low, self.high], np.float64))
        width = high - low
        min_used, max_used = np.clip(self.min, low, high), np.clip(self.max, low, high)
        cumulative = np.cumsum(self.histogram) / self.histogram.sum()
        first, last = np.searchsorted(cumulative, [(1 - MOST) / 2, (1 + MOST) / 2])
        return {
            "range": [float(low), float(high)],
            "data_range": [float(np.min(self.min)), float(np.max(self.max))],
            "range_used": float((max_used.max() - min_used.min()) / width),
            "range_of_most": float((last - first + 1) / len(self.histogram)),
            "channel_range_used": float(np.median((max_used - min_used) / width)),
            "saturated_low": float(self.clipped[0] / self.count),
            "saturated_high": float(self.clipped[1] / self.count),
            "saturation_share_of_rounding": float(self.by_clipping / self.by_rounding) if self.by_rounding else 0.0,
        }


def _weight_numbers(layer: layer_matching.Layer) -> dict[str, Any]:
    """The SQNR of the worst operand with its farthest weight, and the error of the bias in quantization steps of the result.

    Biases have 32 or 64 bits, so the SQNR leaves them out. They differ only in a wrong file, or where they correct the mean
    error of the weights' rounding (converters/quantization/gptq.py).
    """
    worst: tuple[Any, ...] | None = None
    bias = constants.BIASED.get(layer.op, (None, None, None))[2]
    numbers: dict[str, Any] = {"weights_sqnr_db": None, "bias_error_steps": None}
    for operand, values in layer.weights.items():
        reference = layer.reference_weights[operand]
        if operand == bias:
            steps = np.abs(values - reference).max() / layer.quant_params[0] if layer.quant_params else None
            numbers["bias_error_steps"] = None if steps is None else float(steps)
            continue
        error = (values - reference) ** 2
        sqnr = decibels(np.sum(reference**2), np.sum(error))
        if sqnr is not None and (worst is None or sqnr < worst[0]):
            where = np.unravel_index(int(error.argmax()), error.shape)
            worst = sqnr, operand, [int(i) for i in where], float(reference[where]), float(values[where])
    if worst is not None:
        keys = ("weights_sqnr_db", "farthest_operand", "farthest_weight", "farthest_reference", "farthest_model")
        numbers |= dict(zip(keys, worst, strict=True))
    return numbers
