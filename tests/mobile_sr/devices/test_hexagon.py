"""The simulated Snapdragon NPU: it runs whole files, close to XNNPACK's bytes, and names what it does not run."""

import importlib.util
import json
import subprocess
import sys
import types

import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.devices import hexagon
from mobile_sr.errors import UserError
from mobile_sr.imaging.images import write_image
from tests.conftest import make_image
from tests.converters.quantization import small_graphs
from tests.converters.test_to_qdq_onnx import OPERATORS, SHAPE, quantized, zoo_file
from tests.mobile_sr.devices.test_snapdragon import seven_dimensions
from tests.mobile_sr.test_cli import one_line

FAST = ("xlsr_x3", "fsrcnn_x3")


@pytest.fixture(scope="module")
def device():
    """A Hexagon v73; skips the test without the simulator."""
    try:
        return hexagon.HexagonDevice()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in zoo.names() if n not in FAST)])
def test_zoo_files_run_whole_and_close_to_xnnpack(device, name):
    """Each convolution differs from XNNPACK's by at most one level (a tie is rounded otherwise); that adds up with depth."""
    data = zoo_file(name)
    graph = flatbuffer.parse(data)
    image = make_image(24, 32)[None]
    values = {i: image if len(graph.tensors[i].shape) == 4 else np.full((1, 1), 100, np.uint8) for i in graph.inputs}
    session = device.open(data, name, image.shape)
    assert session.residency.taken == session.residency.nodes == len(graph.ops)
    assert session.residency.refused == {}
    result = session.run(values)
    expected = dict(zip(graph.outputs, small_graphs.run(data, *values.values(), delegate=True), strict=True))
    sr = max(graph.outputs, key=lambda i: expected[i].size)
    assert result[sr].dtype == np.uint8
    assert result[sr].shape == expected[sr].shape
    error = np.abs(result[sr].astype(int) - expected[sr])
    assert 0 < error.max() <= 9
    assert np.square(error).mean() < 255**2 / 10**4.5  # 45 dB


def test_int8_files_keep_their_type(device):
    data = quantized(OPERATORS["concatenation"])
    values = np.random.default_rng(5).integers(-128, 128, SHAPE, np.int8)
    session = device.open(data, "concatenation", SHAPE)
    graph = flatbuffer.parse(data)
    (result,) = session.run({graph.inputs[0]: values}).values()
    (expected,) = small_graphs.run(data, values, delegate=True)
    assert result.dtype == np.int8
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert session.facts() == {"arch": "v73"}
    session.close()
    with pytest.raises(UserError, match="a closed session"):
        session.run({graph.inputs[0]: values})


def test_what_the_npu_refuses_is_named_and_nothing_is_run(device):
    data = quantized(seven_dimensions)
    session = device.open(data, "seven.tflite", SHAPE)
    reason = "QNN's check fails with error 3110"
    assert session.residency.refused == dict.fromkeys(("RESHAPE_1", "TRANSPOSE_2", "RESHAPE_3"), reason)
    assert (session.residency.nodes, session.residency.taken) == (4, 1)
    with pytest.raises(UserError, match=r"seven\.tflite: virtual:hexagon .* does not run RESHAPE_1 \(.*3110\); TRANSPOSE_2"):
        session.run({flatbuffer.parse(data).inputs[0]: np.zeros(SHAPE, np.int8)})


def test_files_that_cannot_be_opened(device):
    with pytest.raises(UserError, match="damaged: not a .tflite file"):
        device.open(b"something else, long enough", "damaged", SHAPE)
    with pytest.raises(UserError, match="runs uint8 and int8 files; this one has float values"):
        device.open(zoo.resolve("espcn_x3:float32").read_bytes(), "espcn_x3", (1, 8, 8, 3))
    data = quantized(lambda b, x: b.op("ARG_MAX", [x, np.int32(3)], outputType=2))
    with pytest.raises(UserError, match=r"arg: cannot be compiled for virtual:hexagon \(operator ARG_MAX_1 has no QDQ form"):
        device.open(data, "arg", SHAPE)


def test_chips_and_architectures(device):
    assert hexagon.HexagonDevice("SM8650").arch == hexagon.HexagonDevice("v75").arch == hexagon.HexagonDevice("75").arch == 75
    label = hexagon.HexagonDevice("sm8550").label
    assert label.startswith("virtual:hexagon (Hexagon v73 of SM8550, Snapdragon 8 Gen 2, simulator of onnxruntime-qnn ")
    with pytest.raises(UserError, match="--soc v74: unknown Hexagon version; use v68, v69, v73, v75, v79, v81 or a chip"):
        hexagon.HexagonDevice("v74")
    with pytest.raises(UserError, match="--soc kirin: unknown chip; use SM8350"):
        hexagon.HexagonDevice("kirin")


def test_refused_nodes_are_counted_by_the_operator_of_their_name():
    """A node of operator 12 does not belong to operator 1. Without the simulator."""
    opened = {"partitions": None, "refused": {"CONV_2D_12_relu": "no reason"}}
    graph = types.SimpleNamespace(inputs=[0], outputs=[1], input_names={}, output_names={})
    ops = [types.SimpleNamespace(label=label) for label in ("CONV_2D_1", "ADD_2", "CONV_2D_12")]
    device = types.SimpleNamespace(open_onnx=lambda model, what: types.SimpleNamespace(opened=opened))
    session = hexagon.HexagonSession(device, types.SimpleNamespace(graph=graph, ops=ops), b"", "net")
    assert (session.residency.nodes, session.residency.taken) == (3, 2)
    assert session.residency.refused == opened["refused"]


def test_a_dead_simulator_is_one_line_and_the_next_session_starts_another(device):
    data = zoo_file("espcn_x3")
    values = {0: make_image(8, 8)[None]}
    session = device.open(data, "net.tflite", (1, 8, 8, 3))
    (before,) = session.run(values).values()
    process = device._running()._process
    process.kill()
    with pytest.raises(UserError, match=r"^virtual:hexagon: net\.tflite: the process ended with signal SIGKILL"):
        session.run(values)
    assert process.returncode is not None
    session.close()
    (after,) = device.open(data, "net.tflite", (1, 8, 8, 3)).run(values).values()
    np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_tensorflow_loads_after_the_simulator(device):
    """Regular expressions of TensorFlow crash in a process that has loaded Qualcomm's libraries."""
    code = (
        "import numpy, mobile_sr\n"
        "mobile_sr.load('espcn_x3:uint8', device='virtual:hexagon')(numpy.zeros((8, 8, 3), numpy.uint8))\n"
        "import tensorflow as tf\n"
        "assert tf.strings.regex_replace('abc', 'b', 'x') == b'axc'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_command_line_without_the_extra(run_here, monkeypatch, image_folder):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime_qnn" else find(name, *rest)
    )
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    options = ("--model", "espcn_x3:uint8", "--data", image_folder, "--device", "virtual:hexagon")
    one_line(run_here("evaluate", *options), "pip install 'mobile-sr[snapdragon]'")
    one_line(run_here("evaluate", *options, "--soc", "v1"), "--soc v1: unknown Hexagon version; use v68")


def test_the_command_line_measures_the_npu(device, run_here, tmp_path):
    """PSNR within 0.15 dB of XNNPACK's; here it is the same to 0.05 dB."""
    write_image(tmp_path / "photo.png", make_image(72, 96))
    means = []
    for options in ((), ("--device", "virtual:hexagon", "--soc", "SM8650")):
        result = run_here("evaluate", "--model", "espcn_x3:uint8", "--data", tmp_path, "--json", tmp_path / "f.json", *options)
        assert result.returncode == 0, result.stderr
        means.append(json.loads((tmp_path / "f.json").read_text())["mean"]["psnr"])
    assert "Hexagon v75 of SM8650" in result.stdout
    assert means[0] != means[1]
    assert abs(means[0] - means[1]) < 0.05
