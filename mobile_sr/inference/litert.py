"""Runner for super-resolution .tflite files."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer, runtime, truncation
from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.inference import graph_io, model_files, model_io, tensor_layout, tensor_values, trial
from mobile_sr.inference import sidecar as sidecars

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

    from mobile_sr.converters.tflite.flatbuffer import Graph, Tensor
    from mobile_sr.devices.device import Device, Residency


def read_file(path: str | Path) -> bytes:
    """Reads a file's bytes. Raises UserError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def parse_graph(data: bytes, name: str | Path = "model", signature: str | None = None) -> Graph:
    """Parses a .tflite file.

    Args:
        data: the file's bytes.
        name: name of the file in messages.
        signature: the signature whose graph is returned. None means the only one, 'serving_default' among several, or the
            first subgraph of a file without signatures.

    Raises:
        UserError: the file is damaged, compiled for an NPU, does not have the signature, or a signature must be chosen.
    """
    try:
        graph = flatbuffer.parse(data, signature)
    except flatbuffer.TFLiteFileError as error:
        raise UserError(f"{name}: {error}") from None
    if any(op.name == "DISPATCH_OP" for op in graph.ops):
        raise UserError(f"{name}: compiled for the NPU of one chip, where only an app runs it; use the file it was made from")
    return graph


def as_first_subgraph(data: bytes, graph: Graph, name: str | Path = "model") -> bytes:
    """Returns a file whose first subgraph is `graph`, see `flatbuffer.as_first_subgraph`. Raises UserError if impossible."""
    try:
        return flatbuffer.as_first_subgraph(data, graph)
    except flatbuffer.TFLiteFileError as error:
        raise UserError(f"{name}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Adjustable:
    """A scalar input whose value may change with each run, such as AdaDSR's desired depth.

    Attributes:
        name: name of the input.
        index: its tensor index.
        tensor: the tensor.
        limits: (min, max) of the value, from the sidecar.
    """

    name: str
    index: int
    tensor: Tensor
    limits: Sequence[float]


def check_value(name: str | Path, scalar: str, value: float, limits: Sequence[float]) -> None:
    """Raises UserError if the value of a scalar input of the model `name` is outside of (min, max), or NaN."""
    if not limits[0] <= value <= limits[1]:
        what = scalar.replace("_", " ")
        raise UserError(f"{name}: {what} {value:g} is out of range; use {limits[0]:g} to {limits[1]:g}")


class TFLiteModel:
    """A super-resolution .tflite: from one image, plus optional scalars, to one SR output.

    The runtime or the device opens the file on first use.

    Attributes:
        path: the file; None for bytes.
        name: name of the file in messages.
        threads: CPU threads.
        device: the virtual device that runs it; None for LiteRT's interpreter on this machine.
        sidecar: the file's Sidecar.
        data: the bytes that run, see `flatbuffer.as_first_subgraph`.
        image: the image input tensor.
        sr: the SR output tensor.
        layout: layout of these two.
        fixed: (H, W) if the input size is fixed, else None.
        adjustable: the scalar input that `set` sets to `value`; None if the file has none or an option fixes it.
        value: value of the adjustable input; its maximum unless assigned.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        threads: int = 1,
        options: Mapping[str, str] | None = None,
        device: Device | None = None,
    ) -> None:
        """Reads and checks a file.

        Args:
            model: a path, or the bytes of a file that this project converted (its float values are in 0..1).
            threads: CPU threads.
            options: {"range": "1", "order": "bgr", "layout": "nchw", "signature": name, name of a scalar input: number}
                (docs/reference/models.md).
            device: a virtual device that runs it. Scale, value range and channel order are those of a run on this machine.

        Raises:
            UserError: the file is unusable or not a super-resolution network, or an option does not apply to it.
        """
        self.path = None if isinstance(model, bytes) else Path(model)
        self.name, self.threads, self.device = str(self.path or "model"), threads, device
        data = model if isinstance(model, bytes) else read_file(model)
        remaining = dict(options or {})
        self.sidecar = sidecars.read(self.path, data) if self.path else sidecars.Sidecar()
        graph = parse_graph(data, self.name, remaining.pop("signature", model_files.own_signature(self.sidecar)))
        self.sidecar = self.sidecar.of_signature(graph.signature)
        sidecars.check_graph(self.sidecar, graph, self.name)
        self._has_dense = graph.signature != "dense" and "dense" in graph.signatures
        asked = tensor_layout.given(self.name, remaining, self.sidecar)
        try:
            self._graph_io = graph_io.find(graph, *asked)
        except graph_io.GraphIOError as error:
            raise UserError(f"{self.name}: {error}") from None
        self.image, self.sr = graph.tensors[self._graph_io.image], graph.tensors[self._graph_io.sr]
        self.layout = self._graph_io.layout
        self.fixed = self.layout.input_size(self.image.shape)
        self._choices: model_io.Choices = ((1,), (1,), sidecars.ORDERS[self.layout.channels][:1])
        if self.path:
            ranges = (tensor_values.value_ranges(self.image), tensor_values.value_ranges(self.sr))
            self._choices = model_io.possible(self.name, remaining, self.sidecar, *ranges, self.layout.channels)
        self._others = [(i, graph.tensors[i]) for i in graph.outputs if i != self._graph_io.sr]
        self.adjustable = self._find_adjustable(graph, remaining)
        self.value = self.adjustable.limits[1] if self.adjustable else None
        self._scalars = self._scalar_values(graph, remaining)
        self.data = as_first_subgraph(data, graph, self.name)
        if self.path and not self.sidecar.sha256:
            trial.run(self.data, self.name, threads)
        self._engine: Any = None  # Any: an engines.Engine, or None before `prepare`
        self._size: tuple[int, int] | None = None
        self._lr: Any = None  # the last image that was set

    def _find_adjustable(self, graph: Graph, options: Mapping[str, str]) -> Adjustable | None:
        """Returns the scalar input with limits in the sidecar. None if an option sets it, or without a second output."""
        for name, index in self._graph_io.scalars.items():
            limits = self.sidecar.limits(name)
            if limits and self._others and not set(options) & set(graph_io.scalar_names(graph, index)):
                return Adjustable(name, index, graph.tensors[index], limits)
        return None

    def _scalar_values(self, graph: Graph, options: dict[str, str]) -> list[tuple[int, np.ndarray]]:
        """Returns [(tensor index, array)] of all scalar inputs."""
        values = []
        for name, index in self._graph_io.scalars.items():
            if self.adjustable and index == self.adjustable.index:
                continue
            given = [key for key in graph_io.scalar_names(graph, index) if key in options]
            if not given:
                raise UserError(f"{self.name}: its input '{name}' needs a value; add {name}=NUMBER after '@'")
            text = options.pop(given[0])
            try:
                values.append((index, tensor_values.scalar(text, graph.tensors[index])))
            except ValueError as error:
                raise UserError(f"{self.name}: {name}: {error}") from None
            if limits := self.sidecar.limits(name):
                check_value(self.name, name, float(text), limits)
        if options:
            known = ", ".join([*model_io.ALL_OPTIONS, "signature", *self._graph_io.scalars])
            raise UserError(f"{self.name}: unknown option '{next(iter(options))}'; supported: {known}")
        return values

    @functools.cached_property
    def scale(self) -> int:
        """The scale factor, from the tensor shapes. Raises UserError if it is not an integer, or as `prepare` does."""
        if self.device:
            return self.on_host.scale
        size = self._size or self.fixed or (16, 16)
        self.prepare(size)
        shape = self._sr_shape()
        if not self.layout.scale(size, shape):  # the runtime knows some shapes only after a run
            self._set(np.zeros((*size, self.layout.channels), np.uint8), 1)
            self.invoke()
            shape = self._sr_shape()
        scale = self.layout.scale(size, shape)
        if not scale:
            raise UserError(f"{self.name}: maps {size[1]}x{size[0]} to {shape}, which is not an integer scale")
        return scale

    def _sr_shape(self) -> tuple[int, ...]:
        return self._engine.shape(self._graph_io.sr)

    @functools.cached_property
    def io(self) -> model_io.ModelIO:
        """Value ranges and channels: from the sidecar, tensors and options, else measured on a sample image."""
        if self.device:
            return self.on_host.io
        io = model_io.measure(self._forward, self._decoded, self.sample_size, self.scale, self._choices)
        return dataclasses.replace(io, layout=self.layout)

    @functools.cached_property
    def on_host(self) -> TFLiteModel:
        """The same file, run by LiteRT's interpreter on this machine."""
        other = copy.copy(self)
        other.device = other._engine = other._size = None
        return other

    @property
    def sample_size(self) -> tuple[int, int]:
        """LR (H, W) of the sample image on which the file is measured."""
        return model_io.sample_size(self.fixed, self.sidecar.smallest_side)

    def _forward(self, image: np.ndarray, range_in: int) -> np.ndarray:
        self._set(image, range_in)
        self.invoke()
        return self.raw()

    def raw(self) -> np.ndarray:
        """Returns the raw output of the last run, [H * s, W * s, C]."""
        return self.layout.from_output(self._engine.get(self._graph_io.sr))

    def prepare(self, size: tuple[int, int]) -> None:
        """Allocates for an image of (H, W). Raises UserError if the runtime or device refuses the file or the size."""
        if self._engine is None and self.device:
            self._engine = engines.DeviceEngine(self.device, self.data, self.name)
        elif self._engine is None:
            self._engine = engines.InterpreterEngine(self.data, self.name, self.threads, self._graph_io.image)
        if size != self._size:
            self._size = None
            shape = None if size == self.fixed and not self.device else self.layout.input_shape(size)
            try:
                self._engine.resize(shape)
            except UserError as error:
                if self.device and self._has_dense:
                    raise UserError(f"{error}; try @signature=dense") from None
                raise
            self._size = size

    def set(self, image: np.ndarray) -> None:
        """Sets the input image and the scalars.

        Args:
            image: [H, W, 3] uint8 RGB; it is converted to the file's value range, channels and layout.

        Raises:
            UserError: as `prepare`.
        """
        self._set(model_io.to_network(image, self.io.order), self.io.range_in)
        self._lr = image

    def encode(self, image: np.ndarray) -> np.ndarray:
        """Returns the input tensor for an image, [H, W, 3] uint8 RGB: in the file's value range, channels and layout."""
        values = tensor_values.encode(model_io.to_network(image, self.io.order), self.image, self.io.range_in)
        return self.layout.to_input(values)

    def _set(self, image: np.ndarray, range_in: int) -> None:
        values = tensor_values.encode(image, self.image, range_in)
        self.prepare(image.shape[:2])
        self._engine.set(self._graph_io.image, self.layout.to_input(values))
        for index, value in self._scalars:
            self._engine.set(index, value)
        if self.adjustable and self.value is not None:
            self._engine.set(self.adjustable.index, tensor_values.scalar(self.value, self.adjustable.tensor))

    def invoke(self) -> None:
        """Runs the network on the inputs that were set. Raises UserError if the runtime or device fails."""
        try:
            self._engine.invoke()
        except BaseException:
            self._size = None  # the next run prepares again
            raise

    def get(self) -> np.ndarray:
        """Returns the SR output for the last image that was set, [H * s, W * s, 3] RGB.

        It is uint8 if the file's output has three channels and is quantized, else float32 in 0..1.
        """
        return model_io.from_network(self._decoded(self.raw(), self.io.range_out), self.io.order, self._lr)

    def _decoded(self, values: np.ndarray, range_out: int) -> np.ndarray:
        if self.layout.channels == 1:  # float: it is rounded once, after the conversion to RGB
            return tensor_values.from_float(tensor_values.real(values, self.sr), range_out)
        return tensor_values.decode(values, self.sr, range_out)

    def tensor(self, index: int) -> np.ndarray:
        """Returns the raw values of an input or output by its tensor index, after `invoke`."""
        return self._engine.get(index)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Calls `set`, `invoke` and `get`. Raises UserError as they do."""
        self.set(image)
        self.invoke()
        return self.get()

    @property
    def has_map(self) -> bool:
        """Whether the second output is a depth map, whose costs the sidecar has."""
        return bool(self._others) and self.sidecar.multiply_adds is not None

    @property
    def map_channels(self) -> int:
        """Channels of the second output."""
        return int(self._others[0][1].shape[-1])

    def run_at(self, image: np.ndarray, value: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Like `run`, with a value of the adjustable input. Returns (SR output, second output [H, W, M] float32)."""
        self.value = value
        sr = self.run(image)
        index, tensor = self._others[0]
        return sr, tensor_values.real(self.tensor(index)[0], tensor)

    def run_map(self, image: np.ndarray, value: float) -> np.ndarray:
        """Returns the second output of `run_at` alone, without running the operators that it does not need."""
        index, tensor = self._others[0]
        part = self._map_part
        part.value = value
        part.set(image)
        part.invoke()
        return tensor_values.real(part.tensor(index)[0], tensor)

    @functools.cached_property
    def _map_part(self) -> TFLiteModel:
        return self.with_graph(truncation.ending_at(self.data, self._others[0][0]), f"{self.name} up to its depth map")

    def with_graph(self, data: bytes, name: str) -> TFLiteModel:
        """Returns a model with the same inputs that runs other bytes, such as a prefix of its graph, for `set` and `invoke`."""
        other = copy.copy(self)
        other.data, other.name, other.io = data, name, self.io
        other._engine = other._size = None
        return other

    def residency(self) -> tuple[int, int, int]:
        """Returns the share of the graph that the delegate or device runs, see `Engine.residency`. Call `prepare` first."""
        return self._engine.residency()

    def device_facts(self) -> tuple[Residency, dict[str, Any]]:
        """Returns residency and figures of the device for the size that was prepared, see `Session`."""
        return self._engine.facts()

    def close(self) -> None:
        """Frees the runtime's or device's memory; the next `prepare` opens the file again."""
        if self._engine:
            self._engine.close()
        self._engine = self._size = None


def delegate_split(data: bytes, name: str | Path = "model", size: tuple[int, int] = (64, 64)) -> tuple[int, dict[str, int]]:
    """Determines how XNNPACK splits a graph.

    Args:
        data: the bytes of a .tflite file.
        name: name of the file in messages.
        size: LR (H, W) used if the input size is dynamic.

    Returns:
        (number of delegate partitions, {operator: count} of those that the delegate leaves to the interpreter). What
        computes the shape of a dynamic tensor, or turns uint8 into int8 at an end, does not count.
    """
    graph = parse_graph(data, name)
    interpreter = engines.open_interpreter(data, name)
    images = [i for i in graph.image_inputs() if min(graph.tensors[i].shape[1:]) < 0]
    shape = tensor_layout.with_sides(graph.tensors[images[0]].shape, size) if images else None
    engines.allocate(interpreter, name, shape, images[0] if images else None)
    partitions, delegated, nodes = runtime.delegated(interpreter._get_ops_details())
    ends = {*graph.inputs, *graph.outputs}
    left: collections.Counter[str] = collections.Counter()
    for index, op in nodes.items():
        inputs, outputs = (list(map(int, op[end])) for end in ("inputs", "outputs"))
        is_end = op["op_name"] == "QUANTIZE" and bool(ends & {*inputs, *outputs})
        if index not in delegated and not is_end and any(graph.tensors[tensor].dtype != "int32" for tensor in outputs):
            left[op["op_name"]] += 1
    return partitions, dict(sorted(left.items()))


def delegate_partitions(data: bytes, name: str | Path = "model", size: tuple[int, int] = (64, 64)) -> int:
    """Counts the partitions of `delegate_split`: 1 if XNNPACK runs its operators in one piece, 0 if it runs none."""
    return delegate_split(data, name, size)[0]


def residency(interpreter: Interpreter) -> tuple[int, int, int]:
    """Determines how much of its graph the delegate runs, for an allocated interpreter.

    Returns:
        (partitions, delegated nodes, total nodes).
    """
    partitions, delegated, nodes = runtime.delegated(interpreter._get_ops_details())
    return partitions, len(delegated), len(nodes)
