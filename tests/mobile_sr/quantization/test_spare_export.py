"""8-bit files with spare channels: the sidecar lists the copies, and the quantization debugger compares like with like."""

import json
import shutil

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, weights
from mobile_sr.quantization import export, quantization_debugger
from tests.conftest import make_image

COLOURS = 3  # channels of the head that carry the image; the others are dead


@pytest.fixture(scope="module", params=[[], [1]], ids=["one network", "with exits"])
def files(request, tmp_path_factory):
    """The float32 and the uint8 file of a ChainSR with dead channels."""
    config = {"network": "chainsr", "scale": 2, "output_activation": "clipped_relu", "channels": 8, "layers": 2}
    config |= {"exits": request.param, "shared_layers": True} if request.param else {}
    model, rng = models.build(config), np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            if layer.name == "head":
                kernel[:] = 0
                kernel[1, 1, range(COLOURS), range(COLOURS)] = 0.9
                bias[:] = [0.05] * COLOURS + [-1] * (len(bias) - COLOURS)
            elif layer.name.startswith("conv"):
                kernel[:] = rng.normal(0, 0.1, kernel.shape)
                bias[COLOURS:] = -5
            else:
                kernel[:] = rng.normal(0, 0.02, kernel.shape)
                kernel[1, 1, range(COLOURS)] = np.tile(np.eye(COLOURS), 4)
                bias[:] = -0.1
            layer.set_weights([kernel, bias])
    folder = tmp_path_factory.mktemp("spare")
    weights.save_model(folder / "net.npz", model, config, {})
    return export.export(folder / "net.npz", folder / "out", ["float32", "uint8"], max_colour_error=255)


def copies(file):
    return json.loads(file.with_suffix(".json").read_text())["spare_channels"]


def test_dead_channels_become_copies(files):
    found = copies(files[1])
    skip = [entry for entry in found if entry["copies"] < COLOURS and any("head" in name for name in entry["shifts"])]
    assert skip
    assert all(entry["channel"] >= COLOURS for entry in found)
    assert all(0 < max(entry["shifts"].values()) < 0.1 for entry in skip)
    assert litert.TFLiteModel(files[1]).sidecar.spare_channels == found


def test_the_debugger_gives_the_float_file_the_same_copies(files, tmp_path):
    images = [(f"made{k}", make_image(64, 64, seed=k)) for k in range(2)]
    other = shutil.copy(files[1], tmp_path / "other.tflite")
    sidecar = json.loads(files[1].with_suffix(".json").read_text())
    del sidecar["spare_channels"]
    other.with_suffix(".json").write_text(json.dumps(sidecar))
    found = [quantization_debugger.locate(files[0], file, images) for file in (files[1], other)]
    with_copies, without = ({row["name"]: row["sqnr_db"] for row in each["layers"]} for each in found)
    (head,) = (name for name in with_copies if "head" in name)
    assert with_copies[head] > 35 > 10 > without[head]
    assert found[0]["split"]["reference_psnr"] == found[1]["split"]["reference_psnr"]


def test_a_steered_float_file_has_the_copies_itself(files, tmp_path):
    images = [(f"made{k}", make_image(64, 64, seed=k)) for k in range(2)]
    network = files[0].parent.parent / "net.npz"
    (steered,) = export.export(network, tmp_path, ["float32"], float_weights="steered", max_colour_error=255)
    assert copies(steered) == copies(files[1])
    found = quantization_debugger.locate(steered, files[1], images)
    (head,) = (row["sqnr_db"] for row in found["layers"] if "head" in row["name"])
    assert head > 35


@pytest.mark.parametrize(
    "damage", [{}, [3], [{"channel": -1}], [{"channel": 1, "copies": 0, "shifts": {"a": "b"}}], [{"channel": 1, "copies": 0}]]
)
def test_damaged_copies_give_one_line(files, tmp_path, damage):
    file = shutil.copy(files[1], tmp_path / "net.tflite")
    sidecar = json.loads(files[1].with_suffix(".json").read_text()) | {"spare_channels": damage}
    file.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match="spare_channels"):
        litert.TFLiteModel(file)
