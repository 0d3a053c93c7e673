"""virtual:ethos-u: how vela's report is read."""

import importlib.util
import json
import types

import numpy as np
import pytest

from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import interleave
from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.devices import ethos_u
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, model_files
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
    with pytest.raises(UserError, match="--soc ethos-u85-265: unknown.*did you mean ethos-u85-256"):
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


def opened(model):
    """A packaged file on the device, for 12x8 pixels."""
    path, options = model_files.locate_tflite(model)
    file = litert.TFLiteModel(path, 1, options, ethos_u.EthosUDevice())
    file.prepare((8, 12))
    return file


@needs_vela
def test_one_signature_of_several_is_compiled():
    """AdaDSR's signatures are subgraphs of one file, and its scalar input comes before the image."""
    residency, figures = opened("adaedsr_b8_x2:uint8@signature=dense").device_facts()
    assert (residency.nodes, residency.refused) == (67, {"DEPTH_TO_SPACE 63": "Unsupported opType"})
    assert figures["macs"] >= 8 * 12 * 790_000  # every pixel at full depth


@needs_vela
def test_a_file_without_names_of_tensors_has_the_same_report():
    """The exits of a file but the last have no names of inner tensors."""
    own, static = (opened(name).device_facts() for name in ("chainsr_exits_x3:uint8@signature=exit5", "chainsr_s_x3:uint8"))
    assert own[0] == static[0]
    assert list(own[0].refused.values()) == ["Unsupported opType"]
    assert own[1]["cycles"] == static[1]["cycles"]


@needs_vela
def test_control_flow_is_refused():
    with pytest.raises(
        UserError, match="sparse_uint8.tflite: virtual:ethos-u compiles no control flow; .*; try @signature=dense$"
    ):
        opened("adaedsr_b8_x2:uint8").device_facts()


@needs_vela
def test_inspect_compiles(run_here, tmp_path):
    (tmp_path / "net.tflite").write_bytes(uint8(2, False))
    done = run_here(
        "inspect", "--model", tmp_path / "net.tflite", "--device", "virtual:ethos-u", "--soc", "ethos-u85-256", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert "virtual:ethos-u (ethos-u85-256; vela" in done.stderr
    compiled = json.loads(done.stdout)["compiled"]
    (refused,) = compiled["residency"]["refused"]
    assert "DEPTH_TO_SPACE" in refused
    assert f"    not supported: {refused}: " in done.stderr
    assert compiled["residency"]["taken"] == compiled["residency"]["nodes"] - 1
    assert compiled["figures"]["cycles"] > 0
    refusal = run_here("inspect", "--model", tmp_path / "net.tflite", "--device", "virtual:arm64", "--soc", "v73")
    assert refusal.returncode == 2
    assert "--soc v73: requires --device virtual:hexagon or virtual:ethos-u, not virtual:arm64" in refusal.stderr
