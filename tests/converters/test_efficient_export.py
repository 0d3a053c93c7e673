"""Export of the networks of the NTIRE 2022 efficient challenge: which precisions pass their audit."""

import json

import keras
import numpy as np
import pytest

from mobile_sr import load, models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.quantization.export import export
from tests.conftest import make_image
from tests.models.test_efficient import MINI, TEAMS

CENTRED = (
    "xlsr",
    "espcn",
    "fsrcnn",
    "chainsr",
    "edsr",
    "rcan",
    "fgnas",
    "abpn",
    "etds",
    "ecbsr",
    "vdsr",
    "mobilesr",
    "nasnet_bn",
    "aaln",
    "rlcsr",
    "mdan",
    "restormer",
)  # their outputs are around mid-grey without a change

# Small forms of the networks.
SIZES = {
    **MINI,
    **TEAMS,
    "chainsr": {"channels": 4, "layers": 2},
    "edsr": {"blocks": 2, "channels": 8},
    "rcan": {"groups": 2, "blocks": 2, "channels": 8, "reduction": 2},
    "fgnas": {},
}


def model_file(folder, net):
    """A small untrained network with outputs around mid-grey."""
    keras.utils.set_random_seed(0)
    config = {"network": net, "scale": 2, "output_activation": "clipped_relu", **SIZES.get(net, {})}
    model = models.build(config)
    if net == "hnct":  # without biases, black areas have features of 0, and their normalization a factor out of all proportion
        head = model.get_layer("head")
        head.set_weights([head.get_weights()[0], np.linspace(-0.5, 0.5, 8)])
    if net not in CENTRED:
        tail = model.get_layer("head_tail" if net == "scet" else "body" if net == "afdn" else "tail")
        kernel, *bias = tail.get_weights()
        tail.set_weights([kernel, *(value + 0.5 for value in bias)])
    tails = {"rlcsr": ("tail_row", "tail_column", "tail_square"), "restormer": ("tail",)}.get(net, ())
    for name in tails:  # their sum with the upscaled input would leave 0..1 by far
        tail = model.get_layer(name)
        tail.set_weights([value / 10 for value in tail.get_weights()])
    weights.save_model(folder / "net.npz", model, config)
    return folder / "net.npz"


def exported(folder, net, precision):
    (file,) = export(model_file(folder, net), folder, [precision], log=lambda line: None)
    return file, json.loads(file.with_suffix(".json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("net", [net for net in MINI if net != "pruned_rfdn"])
def test_onnx_equals_the_float_tflite_and_keras(tmp_path, net):
    """Each within 1e-5 by the audit, and also at a size that the export did not try."""
    pytest.importorskip("tf2onnx")
    file, sidecar = exported(tmp_path, net, "onnx")
    assert sidecar["agreement_with_tflite"]["largest_error"] <= 1e-5
    image = make_image(29, 35)
    assert abs(load(file).real(image) - load(tmp_path / "net.npz").real(image)).max() <= 2e-5


@pytest.mark.slow
def test_a_network_that_tflite_cannot_express(tmp_path):
    with pytest.raises(UserError, match="nlffc cannot become a .tflite: TFLite has no inverse real FFT"):
        exported(tmp_path, "nlffc", "float32")
    assert [file.name for file in tmp_path.iterdir()] == ["net.npz"]


@pytest.mark.slow
def test_the_resize_is_bilinear_with_half_pixels(tmp_path):
    file, sidecar = exported(tmp_path, "rlfn", "float32")
    assert sidecar["ops"]["RESIZE_BILINEAR"] == sidecar["ops"]["MAX_POOL_2D"] == 1
    assert sidecar["smallest_side"] == 15
    assert sidecar["receptive_field"] is None
    assert load(file)(make_image(4, 40)).shape == (8, 80, 3)


@pytest.mark.parametrize(("net", "side"), [("rlfn", 15), ("efdn", 5), ("imdn", 1)])
def test_images_smaller_than_the_attention_supports(tmp_path, net, side):
    """They are padded with their last pixels; a float runtime would otherwise end the process."""
    upscaler = load(model_file(tmp_path, net))
    assert upscaler.smallest == side
    small = make_image(3, 20)
    padded = small[[*range(3), *[2] * (max(side, 3) - 3)]]
    assert (upscaler(small) == upscaler(padded)[:6]).all()
