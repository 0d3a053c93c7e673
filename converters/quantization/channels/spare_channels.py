"""Spare channels: those that a network does not use get shifted copies of the channels whose rounding costs the most.

A tensor of step s rounds each channel to multiples of s. A copy that is shifted by s / 2 is rounded at the points in between,
so the mean of both has the resolution s / 2; and the mean of n of them, each shifted by s / n more, has s / n. One copy leaves
a quarter of the noise, two leave a ninth. The convolutions that read the tensor take this mean, and their biases undo the
shift. It costs nothing: the channels are there anyway. At the image's border, where a kernel reads zeros from outside, the
shift is not undone; that is no more than the error of rounding.

Trained networks have such channels. The first layer of ChainSR carries the image over the long skip in 5 of its channels;
some of the others are never active. Its rounding was nearly all that the 8-bit file lost at x2 (docs/measurements/chainsr.md).

A channel is copied in all tensors that sums connect. It is shifted in the one result of a convolution whose rounding costs
the most, among those where no activation cuts it.

A channel is spare only if the network can do without it on graphics, too: another channel of that layer is active on 3 % of the
pixels of photographs, and without it graphics change by up to 145 levels.

Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting", ICML 2019, add
channels to a network for half of its largest values, likewise half a step apart.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import activation_ranges
from mobile_sr.converters.quantization.channels import sensitivity
from mobile_sr.converters.quantization.channels.linear_spaces import is_dense
from mobile_sr.converters.quantization.channels.sensitivity import Inputs
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite import flatbuffer

CANDIDATES = 4  # channels of a bundle, those that seem to matter the least, without which the output is measured
LINEAR = 0.999  # share of the values that an activation must not cut in a channel that is shifted
MOST_CHANGE = 1.0  # levels of 255: largest RMS change of any sample without the spare channels of a bundle
LARGEST_CHANGE = 24  # levels of 255: likewise, largest change of any value
HARD = 8  # photographs that are also used with each channel black or white, like graphics
NEGLIGIBLE = 0.1  # gain that is too small to matter, as a share of the error of rounding the output to 8 bits
MOST_WORK = 3e12  # multiply-adds for the measurements of a bundle, about a minute
LEVELS = 255
ROUNDING = 1 / 12 / LEVELS**2  # mean squared error of rounding the output to 8 bits, as a share of its range squared
_ACTIVATIONS = ("NONE", "RELU")  # of convolutions

Record = Sequence[dict[str, Any]]


@dataclasses.dataclass
class _Bundle:
    """Tensors whose channels belong together: results of convolutions, and sums of these.

    Attributes:
        tensors: their indices, in the order of the network.
        writers: {tensor: the convolution that writes it}.
        sums: the sums, in the order of the network.
        readers: (convolution, the tensor that it reads).
    """

    tensors: list[int]
    writers: dict[int, Any]
    sums: list[Any]
    readers: list[tuple[Any, int]]

    def shifts(self, own: Mapping[int, float]) -> dict[int, float]:
        """{tensor: shift} of all tensors from those of the convolutions' results."""
        result: dict[int, float] = dict(own)
        for op in self.sums:
            result[op.outputs[0]] = sum(result[tensor] for tensor in op.inputs)
        return result


def choose(graph: FloatGraph, samples: Sequence[Sample], photographs: int) -> Record:
    """Return the copies that lower the error at the network's output, for `applied`; [] if there are none.

    Args:
        graph: the network, with the ranges of its activations (activation_ranges.attach).
        samples: inputs, such as [1, H, W, 3] float32 images.
        photographs: how many of them come before the flat colours and ramps.

    Returns:
        {"channel": the spare channel, "copies": the channel that it becomes a copy of, "shifts": {name of each tensor: shift}}
        for each copy.
    """
    steps = {tensor: (high - low) / LEVELS for tensor, (low, high) in activation_ranges.stored(graph).items()}
    names = [graph.tensor_name(tensor) for op in graph.ops for tensor in op.outputs]
    bundles = [
        bundle
        for bundle in _bundles(graph)
        if bundle.writers and all(each in steps and names.count(graph.tensor_name(each)) == 1 for each in bundle.tensors)
    ]
    crops, graphics = sensitivity.crops(graph, samples), _graphics(graph, samples[:photographs])
    once, whole = sensitivity.work(graph, crops), sensitivity.work(graph, [*samples, *graphics])
    bundles = [
        bundle
        for bundle in bundles
        if len(bundle.writers) * graph.shape(bundle.tensors[0])[-1] * once + (CANDIDATES + 1) * whole <= MOST_WORK
    ]
    measured = _measure(graph, [tensor for bundle in bundles for tensor in bundle.writers], samples[:photographs])
    linear = {t: _linear(graph, op, measured[t]) for bundle in bundles for t, op in bundle.writers.items()}
    bundles = [bundle for bundle in bundles if any(linear[tensor].any() for tensor in bundle.writers)]
    if not bundles:
        return []
    samples = [*samples, *graphics]
    images = sensitivity.images(graph, samples)
    span = max(max(float(np.ptp(image)) for image in images), 1e-30)
    record: list[dict[str, Any]] = []
    for bundle in bundles:
        noise, power = _noise(graph, bundle, steps, linear, measured, crops, span)
        if noise.max() < NEGLIGIBLE * ROUNDING:
            continue
        changes = _changes(graph, bundle, np.argsort(power)[:CANDIDATES].tolist(), samples, photographs, images, span)
        record += _entries(graph, _assign(changes, noise.max(axis=0)), noise.argmax(axis=0), steps, bundle)
    return record


def _graphics(graph: FloatGraph, photographs: Sequence[Sample]) -> list[Sample]:
    """Some of the photographs with each channel black or white, by its median: saturated colours, hard edges and detail."""
    result: list[Sample] = []
    for sample in photographs[:HARD]:
        inputs = graph.by_tensor(sample)
        for tensor, array in inputs.items():
            if array.ndim == 4:
                limits = array.max(), array.min()
                inputs[tensor] = np.where(array > np.median(array, axis=(1, 2), keepdims=True), *limits).astype(array.dtype)
        result.append(inputs)
    return result


def applied(data: bytes, record: Record) -> bytes:
    """Return a float .tflite whose spare channels are copies. Except for what these contained, the output stays the same.

    Args:
        data: the float .tflite of `choose`, also with other weights, or a part of it.
        record: from `choose`.

    Raises:
        ValueError: the graph has no such tensors.
    """
    graph = FloatGraph(data)
    bundles = _bundles(graph)
    groups: dict[tuple[int, frozenset[str]], list[dict[str, Any]]] = {}
    for entry in record:
        groups.setdefault((entry["copies"], frozenset(entry["shifts"])), []).append(entry)
    for (original, names), entries in groups.items():
        channels = [original, *(entry["channel"] for entry in entries)]
        own = [bundle for bundle in bundles if any(graph.tensor_name(tensor) in names for tensor in bundle.writers)]
        if not own or any(max(channels) >= graph.shape(bundle.tensors[0])[-1] for bundle in own):
            raise ValueError(f"the network has no tensors {', '.join(sorted(names))} with channels that can be copied")
        for bundle in own:  # several if the record is of a network of which this is a part
            by_tensor = {tensor: graph.tensor_name(tensor) for tensor in bundle.writers}
            shifts = [{tensor: entry["shifts"].get(name, 0.0) for tensor, name in by_tensor.items()} for entry in entries]
            _copy(graph, bundle, channels, [dict.fromkeys(bundle.writers, 0.0), *shifts])
    return flatbuffer.pack(graph.model)  # the tensors keep their numbers


def _copy(graph: FloatGraph, bundle: _Bundle, channels: Sequence[int], shifts: Sequence[Mapping[int, float]]) -> None:
    """Make channels equal to the first of them and shifted; the readers take their mean. `shifts` are by written tensor."""
    first, count = channels[0], len(channels)
    totals = [bundle.shifts(each) for each in shifts]
    for tensor, op in bundle.writers.items():
        kernel, bias = _weights(graph, op)
        for channel, own in zip(channels[1:], shifts[1:], strict=True):
            kernel[channel], bias[channel] = kernel[first], bias[first] + own[tensor]
        _set_weights(graph, op, kernel, bias)
    for op, tensor in bundle.readers:
        kernel, bias = _weights(graph, op)
        share = kernel[..., first] / count
        for channel, total in zip(channels, totals, strict=True):
            kernel[..., channel] = share
            bias -= total[tensor] * share.sum(axis=(1, 2))
        _set_weights(graph, op, kernel, bias)


def _weights(graph: FloatGraph, op: Any) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = graph.constant(op.inputs[1]), graph.constant(graph.bias(op))
    assert kernel is not None  # by _bundles
    assert bias is not None  # likewise
    return kernel.astype(np.float64), bias.astype(np.float64)


def _set_weights(graph: FloatGraph, op: Any, kernel: np.ndarray, bias: np.ndarray) -> None:
    graph.set_constant(op.inputs[1], kernel.astype(np.float32))
    graph.set_constant(graph.bias(op), bias.astype(np.float32))


def _bundles(graph: FloatGraph) -> list[_Bundle]:
    """All bundles of a graph that nothing but convolutions without groups and sums writes and reads."""
    parent: dict[int, int] = {}
    barred = {*graph.graph.inputs, *graph.graph.outputs}
    writers: dict[int, Any] = {}
    sums: list[Any] = []
    readers: list[tuple[Any, int]] = []

    def root(tensor: int) -> int:
        while (above := parent.setdefault(tensor, tensor)) != tensor:
            tensor = above
        return tensor

    for op in graph.ops:
        result = op.outputs[0]
        if is_dense(graph, op):
            root(result)
            writers[result] = op
            readers.append((op, op.inputs[0]))
            barred.update([] if graph.activation(op) in _ACTIVATIONS else [result])
        elif graph.name(op) == "ADD" and graph.activation(op) == "NONE" and _is_sum(graph, op):
            sums.append(op)
            for tensor in op.inputs:
                parent[root(tensor)] = root(result)
        else:
            barred.update((*op.inputs, *op.outputs))
    members: dict[int, list[int]] = {}
    for tensor in list(parent):
        members.setdefault(root(tensor), []).append(tensor)
    return [
        _Bundle(
            tensors,
            {tensor: writers[tensor] for tensor in tensors if tensor in writers},
            [op for op in sums if op.outputs[0] in tensors],
            [(op, tensor) for op, tensor in readers if tensor in tensors],
        )
        for tensors in members.values()
        if barred.isdisjoint(tensors)
    ]


def _is_sum(graph: FloatGraph, op: Any) -> bool:
    """Whether a sum has two activations of one shape as operands."""
    return all(graph.constant(tensor) is None for tensor in op.inputs) and len({(*graph.shape(t),) for t in op.inputs}) == 1


@dataclasses.dataclass
class _Values:
    """The values of a tensor on photographs: [C] mean squares, and [C] shares of positive ones."""

    squares: np.ndarray
    positive: np.ndarray


def _measure(graph: FloatGraph, tensors: Sequence[int], samples: Sequence[Sample]) -> dict[int, _Values]:
    found: dict[int, list[np.ndarray]] = {}

    def add(tensor: int, values: np.ndarray) -> None:
        flat = values.reshape(-1, values.shape[-1])
        sums = [np.square(flat).sum(axis=0, dtype=np.float64), np.count_nonzero(flat > 0, axis=0)]
        found.setdefault(tensor, []).append(np.array([*sums, np.full(flat.shape[1], len(flat))]))

    graph.visit(tensors, samples, add)
    totals = {tensor: np.sum(parts, axis=0) for tensor, parts in found.items()}
    return {tensor: _Values(squares / count, positive / count) for tensor, (squares, positive, count) in totals.items()}


def _linear(graph: FloatGraph, op: Any, values: _Values) -> np.ndarray:
    """[C] bool: whether the activation of a convolution leaves the values of a channel as they are."""
    return (values.positive >= LINEAR) | (graph.activation(op) == "NONE")


def _noise(
    graph: FloatGraph,
    bundle: _Bundle,
    steps: Mapping[int, float],
    linear: Mapping[int, np.ndarray],
    measured: Mapping[int, _Values],
    crops: Sequence[Inputs],
    span: float,
) -> tuple[np.ndarray, np.ndarray]:
    """[writers, C]: the error at the output by roundings that a shifted copy improves; [C]: about that without a channel."""
    noise, power = [], np.zeros(graph.shape(bundle.tensors[0])[-1])
    for tensor in bundle.writers:
        mask = linear[tensor]
        amplitudes = np.full(len(mask), max(steps[tensor], 1e-12))
        own = np.diag(sensitivity.sensitivity(graph, tensor, crops, amplitudes, span=span))
        noise.append(np.where(mask, own * steps[tensor] ** 2 / 12, 0))
        power += own * measured[tensor].squares
    return np.array(noise), power


def _changes(
    graph: FloatGraph,
    bundle: _Bundle,
    candidates: Sequence[int],
    samples: Sequence[Sample],
    photographs: int,
    images: Sequence[np.ndarray],
    span: float,
) -> dict[int, float]:
    """{candidate: mean squared change of photographs without it}, of those that together change no sample by too much.

    `images` are the outputs of the network on the samples, `span` their range. Photographs come first.
    """
    changes: dict[int, float] = {}
    before = 0.0
    for candidate in candidates:
        others = _without(graph, bundle, [*changes, candidate], samples)
        differences = [(a - b) / span for a, b in zip(images, others, strict=True)]
        squares = [sensitivity.image_count(graph) * float(np.square(each).mean()) for each in differences]
        largest = max(float(np.abs(each).max()) for each in differences)
        if max(squares) ** 0.5 * LEVELS <= MOST_CHANGE and largest * LEVELS <= LARGEST_CHANGE:
            after = float(np.mean(squares[:photographs]))
            changes[candidate], before = max(after - before, 0.0), after
    return changes


def _without(graph: FloatGraph, bundle: _Bundle, channels: Sequence[int], samples: Sequence[Sample]) -> list[np.ndarray]:
    """The images of a network in which no convolution reads some channels."""
    kernels = [(op, _weights(graph, op)[0]) for op, _ in bundle.readers]
    for op, kernel in kernels:
        changed = kernel.copy()
        changed[..., list(channels)] = 0
        graph.set_constant(op.inputs[1], changed.astype(np.float32))
    images = sensitivity.images(graph, samples)
    for op, kernel in kernels:
        graph.set_constant(op.inputs[1], kernel.astype(np.float32))
    return images


def _assign(changes: Mapping[int, float], noise: np.ndarray) -> dict[int, list[int]]:
    """{channel: spare channels that become its copies}: each one goes where it lowers the noise the most, if it does at all.

    Args:
        changes: {channel that may be spare: mean squared change of the output without it}.
        noise: [C], that of the rounding that a shifted copy improves.
    """
    copies: dict[int, list[int]] = {}
    for spare in sorted(changes, key=lambda each: changes[each]):
        counts = np.array([1 + len(copies.get(channel, [])) for channel in range(len(noise))])
        gains = noise * (1 / counts**2 - 1 / (counts + 1) ** 2)
        gains[[spare, *itertools.chain(*copies.values())]] = 0
        best = int(gains.argmax())
        if spare not in copies and gains[best] > max(changes[spare], NEGLIGIBLE * ROUNDING):
            copies.setdefault(best, []).append(spare)
    return copies


def _entries(
    graph: FloatGraph, copies: Mapping[int, Sequence[int]], writers: np.ndarray, steps: Mapping[int, float], bundle: _Bundle
) -> Record:
    """The record of a bundle's copies; `writers` [C] are the numbers of the tensors that shift each channel."""
    record = []
    tensors = list(bundle.writers)
    for channel, own in copies.items():
        shifted = tensors[writers[channel]]
        for number, spare in enumerate(own, 1):
            shift = number / (len(own) + 1) * steps[shifted]
            shifts = {graph.tensor_name(tensor): shift if tensor == shifted else 0.0 for tensor in tensors}
            record.append({"channel": spare, "copies": channel, "shifts": shifts})
    return record
