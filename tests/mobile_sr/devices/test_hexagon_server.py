"""The process of the Snapdragon simulator; test_hexagon.py runs it. Without the simulator."""

import types

import pytest

from mobile_sr.devices import hexagon_server


def refusing(kind):
    """A function that opens a file only with a fallback to the CPU, which gets a node of this kind."""

    def open_onnx(data, fallback, severity):
        if not fallback:
            raise RuntimeError("a node is not supported")
        node = types.SimpleNamespace(name="CONV_2D_12_relu", op_type=kind)
        subgraph = types.SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [node])
        return types.SimpleNamespace(get_provider_graph_assignment_info=lambda: [subgraph])

    return open_onnx


def test_refused_nodes():
    model = hexagon_server.NpuModel(refusing("Relu"), b"")
    assert model.about == {"partitions": None, "refused": {"CONV_2D_12_relu": "the compiler gives no reason"}}
    with pytest.raises(RuntimeError, match="the NPU leaves quantization to the CPU"):
        hexagon_server.NpuModel(refusing("QuantizeLinear"), b"")


def test_the_log_of_the_provider():
    """Lines of onnxruntime-qnn 2.7.0: a type that QNN does not have, and a node whose shape it refuses."""
    log = """[V] Validation FAILED for 3 nodes in OrtNodeUnit (Erf) :
\tOperator type: DequantizeLinear Node name: d Node index: 3
\tOperator type: Erf Node name: ERF_1 Node index: 4
\tREASON : Operators of type `Erf` are not supported by QNN EP.Erf node `ERF_1` will not be assigned to QNN EP.
[W] QNN.backendValidateOpConfig() failed for node `RESHAPE_1` of type `Reshape` with error code 3110
[V] Validation FAILED for 3 nodes in OrtNodeUnit (Reshape) :
\tOperator type: Reshape Node name: RESHAPE_1 Node index: 12
\tREASON : Failed to add node.
"""
    reasons = hexagon_server._reasons(log)
    assert reasons["ERF_1"] == "Operators of type `Erf` are not supported by QNN EP"
    assert reasons["RESHAPE_1"] == "QNN's check fails with error 3110"
