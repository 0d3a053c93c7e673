"""Every network of the registry, but for a named one, exports to float32 and to a uint8 file without a float operator."""

import json

import pytest

from mobile_sr import models
from mobile_sr.quantization.export import export
from tests.converters import test_peers_export
from tests.converters.test_efficient_export import model_file

QUICK = ("etds", "rlfn")  # a chain of convolutions, and an attention with strides and a resize
NO_TFLITE = {"nlffc"}  # it needs an inverse real FFT, see test_efficient_export.py
ELSEWHERE = {config["network"] for config in test_peers_export.FORMS} - {"vdsr"}  # the same test of several forms
# Supernets are for a search, which exports the network that it finds.
EXPORTED = [net for net in models.NETWORKS if net not in {*models.SUPERNETS, *NO_TFLITE, *ELSEWHERE}]
# Random weights may amplify the rounding of 8 bits; for all others the uint8 file is this near to the Keras model, in dB.
MIN_PSNR = 25


@pytest.mark.parametrize("net", [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in EXPORTED])
def test_float32_and_whole_integer_uint8(tmp_path, net):
    """The export itself compares the files with Keras: float32 within 1e-5, uint8 by its audit."""
    files = export(model_file(tmp_path, net), tmp_path, ["float32", "uint8"], max_colour_error=255, log=lambda line: None)
    sidecar = json.loads(files[1].with_suffix(".json").read_text())
    assert sidecar["agreement_with_keras"]["psnr_rgb"] > MIN_PSNR
    assert "DEQUANTIZE" not in sidecar["ops"]
    assert {end["dtype"] for end in (*sidecar["inputs"], *sidecar["outputs"])} == {"uint8"}


def test_sixty_networks_are_exported():
    assert len({*EXPORTED, *ELSEWHERE}) >= 60
