"""Compilation for Snapdragon chips: what it accepts, what it leaves, what it says."""

import ctypes
import importlib.util
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mobile_sr
from mobile_sr import zoo
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import simplify
from mobile_sr.devices import snapdragon
from mobile_sr.errors import UserError
from tests.converters.test_to_qdq_onnx import SHAPE, quantized

NAMES = [name for name in zoo.names() if not name.startswith("ada")]  # AdaDSR's files have two signatures


@pytest.fixture(scope="module")
def compiler():
    """The folders of the extra's libraries; skips the test without them."""
    try:
        return snapdragon.qualcomm_libraries()
    except UserError as error:
        pytest.skip(str(error))


def fixed(name, size=(32, 32)):
    """The bytes of a packaged uint8 file at a fixed size."""
    return simplify.fix_size(zoo.resolve(f"{name}:uint8").read_bytes(), (1, *size, 3))


def seven_dimensions(b, x):
    """Operators on seven dimensions, which the NPU does not run."""
    inner = {"shape": (1,) * 7}
    x = b.op("RESHAPE", [x, np.array([1, 6, 2, 4, 4, 2, 4])], newShape=[1, 6, 2, 4, 4, 2, 4], **inner)
    x = b.op("TRANSPOSE", [x, np.array([0, 2, 1, 4, 3, 6, 5])], **inner)
    return b.op("RESHAPE", [x, np.array(SHAPE)], newShape=list(SHAPE))


@pytest.mark.parametrize("name", ["xlsr_x3", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "xlsr_x3")])
def test_zoo_files_are_compiled_in_one_partition(compiler, name):
    data = fixed(name)
    graph = flatbuffer.parse(data)
    compiled = snapdragon.compile_for(data, name, "sm8650")
    residency = compiled.residency
    assert (residency.taken, residency.partitions, dict(residency.refused)) == (residency.nodes, 1, {})
    assert residency.nodes == len(graph.ops)
    assert compiled.soc == "SM8650"
    assert compiled.compiler.startswith("ai-edge-litert 2.")
    result = flatbuffer.parse(compiled.data)
    assert [op.name for op in result.ops] == ["DISPATCH_OP"]
    for before, after in ((graph.inputs, result.inputs), (graph.outputs, result.outputs)):
        assert graph.tensors[before[0]].describe() == result.tensors[after[0]].describe()
    assert not list(Path(tempfile.gettempdir()).glob("mobile-sr-snapdragon-*"))


def test_a_compiled_file_is_not_run_here(compiler, tmp_path):
    path = tmp_path / "compiled.tflite"
    path.write_bytes(snapdragon.compile_for(fixed("espcn_x3", (8, 8)), "espcn_x3", "SM8650").data)
    with pytest.raises(UserError, match="compiled.tflite: compiled for the NPU of one chip, .*; use the file it was made from"):
        mobile_sr.load(path)


@pytest.mark.slow
def test_every_chip(compiler):
    data = fixed("espcn_x3")
    files = {soc: snapdragon.compile_for(data, "espcn_x3", soc).data for soc in snapdragon.CHIPS}
    assert len(set(files.values())) >= 6  # one per architecture at least


def test_what_the_npu_leaves_is_named(compiler):
    residency = snapdragon.compile_for(quantized(seven_dimensions), "seven.tflite", "SM8650").residency
    assert (residency.nodes, residency.taken, residency.partitions) == (4, 1, 1)
    reason = "not supported by LiteRT's compiler for Qualcomm"
    assert residency.refused == dict.fromkeys(("RESHAPE_1", "TRANSPOSE_2", "RESHAPE_3"), reason)


def test_a_failing_compiler_is_quoted(compiler, monkeypatch):
    """The reason is the compiler's own; nothing is left in the temporary folder."""
    monkeypatch.setitem(snapdragon.CHIPS, "SM8250", snapdragon.Chip("Snapdragon 865", 66))
    with pytest.raises(UserError, match=r"espcn: cannot be compiled for SM8250 \(Unexpected SoC model: SM8250\)"):
        snapdragon.compile_for(fixed("espcn_x3"), "espcn", "SM8250")
    assert not list(Path(tempfile.gettempdir()).glob("mobile-sr-snapdragon-*"))


def test_refused_before_compiling(monkeypatch):
    data = zoo.resolve("xlsr_x3:uint8").read_bytes()
    with pytest.raises(UserError, match="--soc SM8651: unknown chip; use SM8350, .*; did you mean SM8650?"):
        snapdragon.compile_for(data, "xlsr", "SM8651")
    with pytest.raises(UserError, match=r"xlsr: its input has the dynamic shape .*: export it with --height and --width"):
        snapdragon.compile_for(data, "xlsr", "SM8650")
    with pytest.raises(UserError, match="xlsr: not a .tflite file"):
        snapdragon.compile_for(b"something else, long enough", "xlsr", "SM8650")
    sparse = zoo.resolve("adaedsr_b8_x2:uint8").read_bytes()
    with pytest.raises(UserError, match="ada: has the signatures .*; export it with --path dense|choose one of its signatures"):
        snapdragon.compile_for(sparse, "ada", "SM8650")


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        snapdragon.qualcomm_libraries()
    assert str(error.value) == "Qualcomm's NPU libraries are not installed; pip install 'mobile-sr[snapdragon]'"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(UserError, match=r"run on Linux on x86-64; this machine has \w+ on aarch64"):
        snapdragon.qualcomm_libraries()


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="a library for Linux on x86-64")
def test_the_empty_library_can_be_loaded(tmp_path):
    path = tmp_path / "libnothing.so"
    path.write_bytes(snapdragon.empty_library(path.name))
    ctypes.CDLL(str(path))
    assert path.stat().st_size < 400
