"""Every network of the registry exports to float32 and, but for named exceptions, to a uint8 file without a float operator."""

import json

import pytest

from mobile_sr import models
from mobile_sr.quantization.export import AuditError, export
from tests.converters.test_efficient_export import model_file

QUICK = ("etds", "rlfn")  # a chain of convolutions, and an attention with strides and a resize
FLOAT_ONLY: dict[str, str] = {}  # networks without an 8-bit form: the reason in the message of the audit
# Supernets are for a search, which exports the network that it finds.
EXPORTED = [net for net in models.NETWORKS if net not in models.SUPERNETS]
# Random weights may amplify the rounding of 8 bits; for all others the uint8 file is this near to the Keras model, in dB.
MIN_PSNR = 25


@pytest.mark.parametrize("net", [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in EXPORTED])
def test_float32_and_whole_integer_uint8(tmp_path, net):
    """The export itself compares the files with Keras: float32 within 1e-5, uint8 by its audit."""
    file = model_file(tmp_path, net)
    if net in FLOAT_ONLY:
        with pytest.raises(AuditError, match=FLOAT_ONLY[net]):
            export(file, tmp_path, ["float32", "uint8"], max_colour_error=255, log=lambda line: None)
        assert (tmp_path / "net_float32.tflite").exists()
        return
    files = export(file, tmp_path, ["float32", "uint8"], max_colour_error=255, log=lambda line: None)
    sidecar = json.loads(files[1].with_suffix(".json").read_text())
    assert sidecar["agreement_with_keras"]["psnr_rgb"] > MIN_PSNR
    assert "DEQUANTIZE" not in sidecar["ops"]
    assert {end["dtype"] for end in (*sidecar["inputs"], *sidecar["outputs"])} == {"uint8"}


def test_forty_networks_are_exported():
    assert len(EXPORTED) - len(FLOAT_ONLY) >= 40
