"""virtual:ethos-u: vela's report, read into ours."""

import importlib.util
import types

import numpy as np
import pytest

from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import interleave
from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.devices import ethos_u
from mobile_sr.errors import UserError
from tests.converters.quantization.small_graphs import Builder, images

needs_vela = pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason=f"needs vela: {ethos_u.EXTRA}")

REPORT = """\
Warning (supported operators) operator: DEPTH_TO_SPACE, ofm: 'net/sr (x)'
Reason: Unsupported opType

Warning (supported operators) operator: RELU, ofm: 'net/body_act'
Reason: Operation has tensor with unsupported DataType Float32 (net/a;net/b)
Feature-map dataTypes must be one of {"INT16"}

CPU operators = 2 (50.0%)
   CPU: Passthrough = net/body (outputs [1, 4, 4, 3])
   CPU: Passthrough = net/sr (x) (outputs [1, 8, 8, 3])
NPU operators = 2 (50.0%)
   NPU: Conv2D = net/head (outputs [1, 4, 4, 3])
"""


def test_report():
    names = ["net/head", "net/body", "net/sr (x)"]
    kinds = ["CONV_2D", "MUL", "DEPTH_TO_SPACE"]
    tensors = [types.SimpleNamespace(name=name) for name in names]
    ops = [types.SimpleNamespace(name=kind, outputs=[k]) for k, kind in enumerate(kinds)]
    result = ethos_u.residency(types.SimpleNamespace(tensors=tensors, ops=ops), REPORT)
    assert (result.nodes, result.taken) == (3, 1)
    assert result.refused == {"MUL 1": "left on the CPU by vela", "DEPTH_TO_SPACE 2": "Unsupported opType"}


def test_unknown_accelerator():
    with pytest.raises(UserError, match="--accelerator ethos-u85-265: unknown.*did you mean ethos-u85-256"):
        ethos_u.EthosUDevice("ethos-u85-265")


def test_without_vela(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"virtual:ethos-u needs .* pip install 'mobile-sr\[ethos\]'"):
        ethos_u.EthosUDevice()


def uint8(block, interleaved):
    """A uint8 file of a convolution and DEPTH_TO_SPACE, or its other form."""
    builder = Builder()
    tail = builder.conv(builder.inputs[0], 3, 3 * block**2, 3)
    data = builder.finished(builder.op("DEPTH_TO_SPACE", [tail], blockSize=block)).packed()
    if interleaved:
        editor = Editor(data)
        interleave.replace_depth_to_space(editor)
        data = editor.pack()
    return quantizer.convert(data, "uint8", images())


@needs_vela
@pytest.mark.parametrize("block", [2, 3, 4])
@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_the_interleaved_form_is_placed_completely(block, accelerator):
    session = ethos_u.EthosUDevice(accelerator).open(uint8(block, True), "net.tflite", (1, 6, 8, 3))
    assert session.residency.refused == {}
    assert session.residency.taken == session.residency.nodes == 6
    facts = session.facts()
    assert facts["accelerator"] == accelerator
    assert facts["macs"] >= 6 * 8 * 27 * 3 * block**2
    assert facts["cycles_per_lr_pixel"] == round(facts["cycles"] / 48, 2)
    assert not [key for key in facts if "ms" in key.split("_") or "second" in key]


@needs_vela
def test_depth_to_space_is_left_on_the_cpu():
    session = ethos_u.EthosUDevice().open(uint8(3, False), "net.tflite", (1, 6, 8, 3))
    assert (session.residency.nodes, session.residency.taken) == (4, 3)
    assert session.residency.refused == {"DEPTH_TO_SPACE 2": "Unsupported opType"}
    with pytest.raises(UserError, match="virtual:ethos-u only compiles"):
        session.run({0: np.zeros((1, 6, 8, 3), np.uint8)})


@needs_vela
def test_a_file_of_dynamic_size_is_compiled_at_the_size_of_the_input():
    builder = Builder((1, -1, -1, 3))
    data = builder.finished(builder.conv(builder.inputs[0], 3, 3, 3)).packed()
    data = quantizer.convert(data, "uint8", images())
    assert -1 in flatbuffer.parse(data).tensors[flatbuffer.parse(data).inputs[0]].shape
    session = ethos_u.EthosUDevice().open(data, "net.tflite", (1, 16, 20, 3))
    assert session.residency.taken == 3
    assert session.facts()["macs"] >= 16 * 20 * 27 * 3
