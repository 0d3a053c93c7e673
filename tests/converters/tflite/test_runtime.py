"""The only place that creates interpreters."""

import re

import pytest

from mobile_sr.converters.tflite import runtime
from tests.conftest import ROOT


def test_the_delegate_can_be_disabled(exported):
    data = (exported / "tiny_float32.tflite").read_bytes()
    ops = {}
    for delegate in (True, False):
        interpreter = runtime.create_interpreter(data, delegate=delegate)
        interpreter.allocate_tensors()
        ops[delegate] = {op["op_name"] for op in interpreter._get_ops_details()}
    assert "DELEGATE" in ops[True]
    assert "DELEGATE" not in ops[False]


def test_a_refused_file_raises():
    with pytest.raises(ValueError, match="Flatbuffer"):
        runtime.create_interpreter(b"no model")


def test_no_other_module_creates_an_interpreter():
    files = [path for top in ("mobile_sr", "converters", "models", "tools") for path in (ROOT / top).rglob("*.py")]
    creators = [path for path in files if re.search(r"\bInterpreter\(", path.read_text())]
    assert [path.name for path in creators] == ["runtime.py"]
