"""Replaces groups of ONNX nodes by one node: pixel shuffles written as Reshape-Transpose-Reshape, and GELU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mobile_sr.converters.formats.onnx_network.graph import Node, OnnxGraph
from mobile_sr.converters.tflite.passes.pixel_shuffle import Shuffle, Step, recognize

_CHAIN = ("Reshape", "Transpose", "Unsqueeze", "Squeeze")
# Operators that move values without changing them.
_MOVING = ("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze")


def rewrite(graph: OnnxGraph) -> None:
    """Replace groups of nodes of `graph` by the nodes 'Shuffle' (attribute 'shuffle') and 'Gelu'."""
    readers = graph.readers()
    for node in list(graph.nodes):
        if node.op in ("Reshape", "Unsqueeze"):
            replacement = _shuffle(graph, node, readers)
            replacement = replacement or _moved_channels(graph, node)
        elif node.op == "Concat":
            replacement = _moved_channels(graph, node)
        elif node.op == "Erf":
            replacement = _gelu(graph, node, readers)
        else:
            continue
        if replacement is not None:
            graph.nodes = [replacement if other.outputs == replacement.outputs else other for other in graph.nodes]


def needed(graph: OnnxGraph, output: str) -> list[Node]:
    """Return the nodes that an output needs and that depend on the values of the image, in the order of execution."""
    wanted, nodes = {output}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs) and not set(node.outputs) <= graph.constant | graph.by_size:
            nodes.append(node)
            wanted.update(node.inputs)
    return nodes[::-1]


def _only_reader(node: Node, readers: dict[str, list[Node]], graph: OnnxGraph) -> Node | None:
    """The single node that reads a node's result, across Identity."""
    following = readers.get(node.outputs[0], [])
    if len(following) != 1 or node.outputs[0] in graph.outputs:
        return None
    return _only_reader(following[0], readers, graph) if following[0].op == "Identity" else following[0]


def _shuffle(graph: OnnxGraph, first: Node, readers: dict[str, list[Node]]) -> Node | None:
    """The longest chain of reshapes and transpositions from `first` that is a shuffle."""
    source = first.inputs[0]
    if source in graph.constant | graph.by_size:
        return None
    chain = [first]
    while (following := _only_reader(chain[-1], readers, graph)) is not None and following.op in _CHAIN:
        chain.append(following)
    for length in range(len(chain), 1, -1):
        found = {
            recognize(shape, [_step(graph, node, trial) for node in chain[:length]])
            for trial, shape in enumerate(graph.shapes(source))
        }
        shuffle = found.pop()
        if not found and shuffle is not None:
            return Node("Shuffle", first.name, [source], chain[length - 1].outputs, {"shuffle": shuffle})
    return None


def _step(graph: OnnxGraph, node: Node, trial: int) -> Step:
    """A node for `recognize`."""
    shape = graph.shapes(node.outputs[0])[trial]
    if node.op == "Transpose":
        return "transpose", node.attributes.get("perm", range(len(shape))[::-1])
    return "reshape", shape


def _moved_channels(graph: OnnxGraph, last: Node) -> Node | None:
    """A selection of channels made of several nodes, such as torch.repeat_interleave, found by its values."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    waiting, sources = list(last.inputs), set()
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if name in graph.constant or name in graph.by_size:
            continue
        if maker is not None and maker.op in _MOVING:
            waiting += maker.inputs
        else:
            sources.add(name)
    if len(sources) != 1:
        return None
    (source,) = sources
    order: tuple[int, ...] | None = None
    for trial in graph.trials:
        before, after = trial[source], trial[last.outputs[0]]
        if before.ndim != 4 or after.ndim != 4 or before.shape[2:] != after.shape[2:] or len(before) != 1 or len(after) != 1:
            return None
        equal = [[np.array_equal(channel, other) for other in before[0]] for channel in after[0]]
        if not all(sum(row) == 1 for row in equal):
            return None
        found = tuple(row.index(True) for row in equal)
        if order not in (None, found):
            return None
        order = found
    assert order is not None
    shuffle = Shuffle("channels", 1, order, "NCHW", "NCHW", trial[source].shape[1])
    return Node("Shuffle", last.name, [source], last.outputs, {"shuffle": shuffle})


def _gelu(graph: OnnxGraph, erf: Node, readers: dict[str, list[Node]]) -> Node | None:
    """The exact GELU around an Erf, found by its values: the order of its factors differs between exporters."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    inner = makers.get(erf.inputs[0])
    if inner is None or inner.op not in ("Div", "Mul"):
        return None
    data = [name for name in inner.inputs if name not in graph.constant | graph.by_size]
    if len(data) != 1:
        return None
    values = [trial[data[0]] for trial in graph.trials]
    expected = [value * 0.5 * (1 + trial[erf.outputs[0]]) for value, trial in zip(values, graph.trials, strict=True)]
    scaled = (
        np.allclose(value / 2**0.5, trial[erf.inputs[0]], atol=1e-6) for value, trial in zip(values, graph.trials, strict=True)
    )
    if not all(scaled):
        return None
    for name in _following(erf, readers, 4):
        if all(_equal(trial[name], value) for trial, value in zip(graph.trials, expected, strict=True)):
            return Node("Gelu", erf.name, data, [name], {"approximate": "none"})
    return None


def _following(node: Node, readers: dict[str, list[Node]], steps: int) -> Iterator[str]:
    """Names of the results of the next nodes, the nearest first."""
    front = [node]
    for _ in range(steps):
        front = [reader for part in front for name in part.outputs for reader in readers.get(name, [])]
        yield from (name for part in front for name in part.outputs)


def _equal(value: np.ndarray, expected: np.ndarray) -> bool:
    return value.shape == expected.shape and bool(np.allclose(value, expected, rtol=1e-4, atol=1e-6))
