"""PyTorch networks, the whole way to a verified uint8 file; make test-torch runs these."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

import mobile_sr
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.imaging import sample_images
from tests.conftest import ROOT
from tests.mobile_sr.quantization import foreign_nets

pytestmark = pytest.mark.skipif(find_spec("litert_torch") is None, reason="needs litert-torch: pip install '.[litert-torch]'")

SIZE = (40, 48)  # of the exported program
CODE = """
from tests.mobile_sr.quantization import test_pytorch_export

def build():
    return test_pytorch_export.network()
"""


def network():
    """A convolution, PReLU, a convolution and PixelShuffle, with the fitted weights of foreign_nets.

    They are better than bicubic interpolation on photographs. Random weights would make the drop meaningless, and tens of
    training steps do not reach bicubic interpolation.
    """
    import torch
    from torch import nn

    first, bias, last, last_bias = (torch.from_numpy(np.array(values, np.float32)) for values in foreign_nets.weights())
    order = np.arange(12).reshape(4, 3).T.ravel()  # of PixelShuffle; foreign_nets has that of DEPTH_TO_SPACE
    body = nn.Sequential(
        nn.Conv2d(3, foreign_nets.FEATURES, 3, padding=1),
        nn.PReLU(foreign_nets.FEATURES, init=foreign_nets.SLOPE),
        nn.Conv2d(foreign_nets.FEATURES, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )
    with torch.no_grad():
        for layer, kernel, offset in ((body[0], first, bias), (body[2], last[..., order], last_bias[order])):
            layer.weight.copy_(kernel.permute(3, 2, 0, 1))
            layer.bias.copy_(offset)
    return body


def module(folder):
    return network(), "sequential", (48, 64)


def function(folder):
    (folder / "code.py").write_text(CODE)
    return f"{folder / 'code.py'}:build", "code_build", (48, 64)


def program(folder):
    import torch

    exported = torch.export.export(network().eval(), (torch.zeros(1, 3, *SIZE),))
    torch.export.save(exported, str(folder / "net.pt2"))
    return folder / "net.pt2", "net", SIZE


@pytest.fixture(scope="module")
def photos():
    return [(name, image[60:220, 80:280]) for name, image in sample_images.images(["astronaut", "coffee"])]


@pytest.mark.parametrize("make", [module, function, program])
def test_from_pytorch_to_uint8(make, photos, tmp_path, monkeypatch):
    """Full integer, one XNNPACK partition, bytes are pixels, a small drop against the float file and the network itself."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # for CODE
    source, name, size = make(tmp_path)
    files = {file.precision: file for file in mobile_sr.export(source, tmp_path / "deploy").files}
    assert [file.path.name for file in files.values()] == [f"{name}_float32.tflite", f"{name}_uint8.tflite"]
    for file in files.values():
        assert all(check["passed"] for check in file.sidecar["audit"]["checks"])
        assert file.sidecar["source"]["origin"] == "pytorch"
    assert files["uint8"].sidecar["xnnpack"] == {"partitions": 1, "left": {}}
    graph = flatbuffer.load(files["uint8"].path)
    assert {op.name for op in graph.ops} == {"QUANTIZE", "CONV_2D", "MUL", "ADD", "DEPTH_TO_SPACE"}
    for tensor in (graph.tensors[index] for index in (*graph.inputs, *graph.outputs)):
        assert (tensor.dtype, tensor.zero_points[0]) == ("uint8", 0)
        assert tensor.scales[0] == pytest.approx(1 / 255)
    assert graph.tensors[graph.inputs[0]].shape == [1, *size, 3]
    upscaler = mobile_sr.load(source)
    for reference in (files["float32"].path, upscaler):
        result = mobile_sr.compare(reference, files["uint8"].path, photos)
        assert -0.02 < result.drop_db < 0.10
        assert len(result.to_dict()["images"]) == 2
    scores = mobile_sr.evaluate(upscaler, photos).to_dict()
    assert scores["mean"]["psnr"] > scores["bicubic"]["psnr"]
    found = mobile_sr.inspect(files["uint8"].path, files["float32"].path, photos).layers
    split = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert split["model"] == pytest.approx(split["simulated"], abs=0.01)
    assert sum(row["share"] or 0 for row in found["layers"]) == pytest.approx(1)
