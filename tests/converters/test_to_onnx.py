"""Conversion to ONNX: agreement with the float .tflite, sidecar, damaged files."""

import json

import numpy as np
import pytest

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.quantization.export import export
from tests.conftest import make_image


@pytest.fixture(scope="module")
def onnx_file(model_file, tmp_path_factory):
    pytest.importorskip("tf2onnx")
    return export(model_file, tmp_path_factory.mktemp("onnx"), ["onnx"], log=lambda line: None)[0]


@pytest.mark.parametrize("size", [(20, 31), (64, 48), (1, 1)])
def test_onnx_equals_the_float_tflite(onnx_file, exported, size):
    image = make_image(*size)
    result, expected = load(onnx_file).real(image), load(exported / "tiny_float32.tflite").real(image)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_tiles_and_sidecar(onnx_file):
    image = make_image(50, 70)
    upscaler = load(onnx_file)
    np.testing.assert_allclose(upscaler.real(image, 20), upscaler.real(image, 0), rtol=0, atol=1e-5)
    sidecar = json.loads(onnx_file.with_suffix(".json").read_text())
    assert sidecar["ops"]["Conv"] == 11
    assert (sidecar["inputs"][0]["name"], sidecar["outputs"][0]["name"]) == ("lr", "sr")
    assert sidecar["agreement_with_tflite"]["largest_error"] <= 1e-5


def test_a_damaged_file_is_refused(onnx_file, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(onnx_file.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cut\.onnx"):
        load(tmp_path / "cut.onnx")
