"""Control dependencies in a file's metadata: writing, reading, damage, and edits of the file."""

import functools

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobile_sr import models
from mobile_sr.adadsr import files
from mobile_sr.converters import to_tflite
from mobile_sr.converters.tflite import flatbuffer, op_order, truncation
from mobile_sr.inference import litert

CONFIG = {"network": "edsr", "scale": 2, "blocks": 1, "channels": 8, "depth": "input"}


@functools.cache
def file():
    """Bytes of a file with the signatures dense and sparse."""
    model = models.build_for_export(CONFIG)
    return files.convert_both(model, to_tflite.float_tflite(model), "float32")[0]


def dependencies(data):
    return flatbuffer._control_dependencies(schema.Model.GetRootAs(data, 0))[1]


def test_each_gather_of_a_convolution_waits_for_the_product_before():
    data = file()
    pairs = dependencies(data)
    graph = flatbuffer.parse(data, "sparse")
    products = [op for op in graph.ops if op.name == "FULLY_CONNECTED"]
    assert len(pairs[graph.subgraph]) == len(products) - 2 > 8  # two convolutions; the first part of each does not wait
    assert sum(map(len, pairs)) == len(pairs[graph.subgraph])
    for product, gather in pairs[graph.subgraph]:
        assert (graph.ops[product].name, graph.ops[gather].name) == ("FULLY_CONNECTED", "GATHER")
    assert litert.delegate_partitions(flatbuffer.as_first_subgraph(data, graph)) > len(products)


def test_dependencies_move_with_the_subgraph_that_becomes_the_first():
    data = file()
    graph = flatbuffer.parse(data, "sparse")
    before, after = dependencies(data), dependencies(flatbuffer.as_first_subgraph(data, graph))
    assert after[0] == before[graph.subgraph]
    assert after[graph.subgraph] == before[0] == []


def test_a_truncated_graph_has_no_dependencies():
    data = flatbuffer.as_first_subgraph(file(), flatbuffer.parse(file(), "sparse"))
    _, _, first = next(truncation.prefixes(data))
    assert dependencies(first) == []


@pytest.mark.parametrize("pairs", [[], [[]], [[(0, 1), (3, 200)], [], [(5, 70)]]])
def test_decode_reverses_encode(pairs):
    assert op_order.decode(op_order.encode(pairs), [300] * len(pairs)) == pairs


@pytest.mark.parametrize(
    ("encoded", "operators"),
    [
        (b"", [3]),
        (b"\x02\x01\x00", [3]),  # another version
        (b"\x01\x02\x00\x00", [3]),  # another number of subgraphs
        (b"\x01\x01\x01\x00", [3]),  # an incomplete pair
        (b"\x01\x01\x01\x00\x82", [3]),  # ends within a number
        (b"\x01\x01\x00\x00", [3]),  # too long
        (b"\x01\x01\x01\x00\x06", [3]),  # an operator that does not exist
        (b"\x01\x01\x01\x02\x00", [3]),  # waiting for a later one
        (b"\x01\x01\x01\x01\x04", [3]),  # a negative number
    ],
)
def test_damaged_dependencies_are_refused(encoded, operators):
    with pytest.raises(ValueError, match="control dependencies"):
        op_order.decode(encoded, operators)


def test_a_file_with_damaged_dependencies_is_refused():
    model = schema.ModelT.InitFromPackedBuf(file(), 0)
    entry = next(entry for entry in model.metadata if entry.name == op_order.METADATA)
    model.buffers[entry.buffer].data = np.frombuffer(b"\x01\x01\x7f\x7f", np.uint8)
    with pytest.raises(flatbuffer.TFLiteFileError, match="damaged .*control dependencies"):
        flatbuffer.parse(flatbuffer.pack(model), "dense")
