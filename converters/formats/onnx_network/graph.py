"""Reads an ONNX file: its nodes, and the values of all tensors on trial images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.formats.float_model import FormatError, first_line
from mobile_sr.converters.formats.verification import sample
from mobile_sr.converters.quiet import quiet

# (H, W) of the trial images of a network of dynamic size. What differs between them depends on the size. Larger ones are for
# networks that divide the size by more.
_TRIALS = (((16, 24), (24, 40)), ((64, 96), (96, 64)), ((128, 192), (192, 128)))
# The first of these on which the network runs joins them: what is computed from the remainder of a division differs there.
_ODD = ((37, 45), (38, 46), (36, 44))
_MAX_KEPT = 2**22  # values of a tensor that are kept
_SIZE_ONLY = ("Shape", "Size")  # operators whose result depends on the size of their input, not on its values


@dataclasses.dataclass
class Node:
    """One operator.

    Attributes:
        op: operator type.
        name: name for messages.
        inputs: names of tensors, '' for an absent one.
        outputs: names of tensors.
        attributes: {name: value}.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclasses.dataclass
class OnnxGraph:
    """A network, with the values of its tensors on one to three trial images.

    Attributes:
        path: name in messages.
        nodes: operators in the order of execution.
        image: name of the input.
        outputs: names of the outputs.
        layout: 'NCHW' or 'NHWC', of the input.
        channels: channels of the input.
        size: (H, W) of a fixed input, else None.
        trials: {name of a tensor: value} of each trial image.
        constant: names of the tensors that do not depend on the input.
        by_size: names of the tensors that depend on its size only.
        opset: version of the operator set.
        run: runs the network in ONNX Runtime on an array in its own layout; returns all outputs.
    """

    path: str
    nodes: list[Node]
    image: str
    outputs: list[str]
    layout: str
    channels: int
    size: tuple[int, int] | None
    trials: list[Mapping[str, np.ndarray]]
    constant: set[str]
    by_size: set[str]
    opset: int
    run: Callable[[np.ndarray], list[np.ndarray]]

    def shapes(self, name: str) -> list[tuple[int, ...]]:
        """Return the shape of a tensor in each trial."""
        return [trial[name].shape for trial in self.trials]

    def readers(self) -> dict[str, list[Node]]:
        """Return {name of a tensor: the operators that read it}."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers


def read(path: Path, size: tuple[int, int] | None, exact: bool = False) -> OnnxGraph:
    """Read a file and run it on trial images.

    Args:
        path: the file.
        size: (H, W) of a fixed input, None for the file's own or a dynamic one.
        exact: whether a network of dynamic size is tried at `size` itself. Small images are quicker, but values that depend
            on the size are known for that size only.

    Raises:
        FormatError: onnx or ONNX Runtime is missing, the file is damaged, has several inputs, or fails on images.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise FormatError(f"{path}: needs onnx and ONNX Runtime: pip install 'mobile-sr[onnx]' ({error})") from None
    try:
        model = onnx.load(str(path))
        if model.functions:  # PyTorch's newer exporter keeps its own operators as functions
            import onnx.inliner

            model = onnx.inliner.inline_local_functions(model)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None
    except Exception as error:  # protobuf's DecodeError and others
        raise FormatError(f"{path}: damaged ONNX file ({first_line(error)})") from None
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise FormatError(f"{path}: has {len(inputs)} inputs ({names}); expected one image")
    tensor_type = inputs[0].type.tensor_type
    if tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor_type.elem_type).lower()
        raise FormatError(f"{path}: its input {inputs[0].name} is {kind}; expected a float32 image")
    nodes = [_node(onnx, node, number) for number, node in enumerate(model.graph.node)]
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains:
        node = next(node for node in model.graph.node if node.domain in domains)
        raise FormatError(f"{path}: operator {node.op_type} of the domain {node.domain} is not supported (node {node.name})")
    sides = [dim.dim_value or None for dim in tensor_type.shape.dim]
    layout, channels, own, trials, run = _try(onnx, model, str(path), inputs[0].name, sides, size, exact)
    constant, by_size = _dependence(nodes, stored, inputs[0].name)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    outputs = [value.name for value in model.graph.output]
    return OnnxGraph(str(path), nodes, inputs[0].name, outputs, layout, channels, own, trials, constant, by_size, opset, run)


def _node(onnx: Any, node: Any, number: int) -> Node:
    attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return Node(node.op_type, node.name or f"number {number}", list(node.input), list(node.output), attributes)


def _layouts(sides: Sequence[int | None]) -> list[tuple[str, int]]:
    """Possible (layout, channels) of an input's shape, the likeliest first."""
    if len(sides) != 4 or sides[0] not in (1, None):
        return []
    pairs = [("NCHW", 3), ("NCHW", 1), ("NHWC", 3), ("NHWC", 1)]
    return sorted(
        (pair for pair in pairs if sides[pair[0].index("C")] in (pair[1], None)),
        key=lambda pair: sides[pair[0].index("C")] is None,
    )


def _try(
    onnx: Any, model: Any, path: str, image: str, sides: Sequence[int | None], size: tuple[int, int] | None, exact: bool
) -> tuple[str, int, tuple[int, int] | None, list[Mapping[str, np.ndarray]], Callable[[np.ndarray], list[np.ndarray]]]:
    """Layout, channels and fixed size of the input, the values of the trials, and a function that runs the network."""
    everything = onnx.ModelProto()
    everything.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    everything.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session, plain = _session(everything, path, optimized=False), _session(model, path, optimized=True)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    error: Exception | None = None
    for layout, channels in _layouts(sides):
        height, width = (sides[layout.index(side)] for side in "HW")
        own = None if height is None or width is None else (height, width)
        if own and size and own != size:
            raise FormatError(
                f"{path}: has the fixed input size {own[1]}x{own[0]}; --height {size[0]} --width {size[1]} does not fit"
            )
        fixed = size if exact else own
        for sizes in [(fixed,)] if fixed else _TRIALS:
            try:
                trials = [_trial(session, image, layout, channels, side, constants) for side in sizes]
            except Exception as reason:  # ONNX Runtime raises many types
                error = error or reason
                continue
            if not fixed:
                trials += _odd_trial(session, image, layout, channels, constants)
            return layout, channels, own or size, trials, lambda array: plain.run(None, {image: array})
    if error is None:
        shown = [side or -1 for side in sides]
        raise FormatError(f"{path}: its input {shown} is not one image; expected [1, 3, H, W], [1, 1, H, W] or channels last")
    raise FormatError(f"{path}: ONNX Runtime fails on an image ({first_line(error)})") from None


def _session(model: Any, path: str, optimized: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with quiet():
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many types
        raise FormatError(f"{path}: ONNX Runtime refuses it ({first_line(error)})") from None


def _trial(
    session: Any, image: str, layout: str, channels: int, size: tuple[int, int], constants: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """{name: value} of all tensors on an image."""
    lr = sample(*size, channels)
    lr = lr.transpose(0, 3, 1, 2) if layout == "NCHW" else lr
    names = [output.name for output in session.get_outputs()]
    at_once = len(names) if size[0] * size[1] <= 2**16 else 16  # all tensors of a large image would fill the memory
    values: dict[str, np.ndarray] = {}
    with quiet():
        for first in range(0, len(names), at_once):
            some = names[first : first + at_once]
            values |= {name: _small(value) for name, value in zip(some, session.run(some, {image: lr}), strict=True)}
    return {**constants, image: lr, **values}


def _odd_trial(
    session: Any, image: str, layout: str, channels: int, constants: Mapping[str, np.ndarray]
) -> list[Mapping[str, np.ndarray]]:
    """The trial of an odd size, if the network runs on one."""
    for size in _ODD:
        try:
            return [_trial(session, image, layout, channels, size, constants)]
        except Exception:  # as above: a network that needs even sides
            continue
    return []


def _small(value: np.ndarray) -> np.ndarray:
    """A value, or NaN in its shape if it takes much memory."""
    return value if value.size <= _MAX_KEPT else np.broadcast_to(np.float32(np.nan), value.shape)


def _dependence(nodes: Sequence[Node], stored: set[str], image: str) -> tuple[set[str], set[str]]:
    """Names of the tensors that do not depend on the image, and of those that depend on its size only."""
    constant: set[str] = set(stored) | {""}
    by_size: set[str] = set()
    for node in nodes:
        inputs = set(node.inputs)
        if inputs <= constant:
            constant.update(node.outputs)
        elif node.op in _SIZE_ONLY or inputs <= constant | by_size:
            by_size.update(node.outputs)
    return constant - {""}, by_size
