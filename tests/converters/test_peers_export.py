"""Export of the networks of models/classic and of those for phones: float32 and whole-integer uint8."""

import json

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.inference import weights
from mobile_sr.quantization.export import export
from tests.models.classic import test_classic
from tests.models.mobile import test_phones

FORMS = [
    *test_classic.FORMS,
    *({"network": net, **sizes} for net, sizes in test_phones.SMALL.items()),
    {"network": "quicksrnet", "channels": 8, "blocks": 1, "anchor": True},
    {"network": "sesr", "channels": 8, "blocks": 1, "activation": "prelu"},
]
GRAY_BIAS = ("srresnet", "rdn", "carn", "wdsr")  # their last biases are about mid-grey


@pytest.mark.slow
@pytest.mark.parametrize("config", FORMS, ids=lambda config: "_".join(map(str, config.values())))
def test_float32_and_uint8(tmp_path, config):
    """Compared with Keras by the export; integer throughout."""
    keras.utils.set_random_seed(0)
    config = {"scale": 2, "output_activation": "clipped_relu", **config}
    model = models.build(config)
    tail = model.get_layer("tail")
    kernel, bias = tail.get_weights()
    tail.set_weights([kernel * 0.1, bias if config["network"] in GRAY_BIAS else np.zeros(bias.shape)])
    weights.save_model(tmp_path / "net.npz", model, config)
    files = export(tmp_path / "net.npz", tmp_path, ["float32", "uint8"], log=lambda line: None)
    sidecar = json.loads(files[1].with_suffix(".json").read_text())
    assert sidecar["agreement_with_keras"]["psnr_rgb"] > 38
    assert "DEQUANTIZE" not in sidecar["ops"]
