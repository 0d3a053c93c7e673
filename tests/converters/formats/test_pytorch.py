"""PyTorch networks; make test-torch runs these."""

import collections
from importlib.util import find_spec

import pytest

from mobile_sr.converters.formats import FormatError, to_float_tflite
from mobile_sr.converters.tflite import flatbuffer

needs_litert_torch = pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="needs litert-torch: pip install '.[litert-torch]'"
)


def abpn():
    """Convolutions with PReLU, an anchor of repeated channels, PixelShuffle and a clamp."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 12, 3, padding=1))

        def forward(self, x):
            y = self.body(x) + torch.repeat_interleave(x, 4, dim=1)
            return torch.clamp(nn.functional.pixel_shuffle(y, 2), 0, 1)

    return Net()


OPERATORS = {"CONV_2D": 2, "PRELU": 1, "CONCATENATION": 1, "ADD": 1, "DEPTH_TO_SPACE": 1, "RELU_0_TO_1": 1}


def ops(model):
    """{operator: count} and the input shape of a FloatModel."""
    graph = flatbuffer.parse(model.data)
    return dict(collections.Counter(op.name for op in graph.ops)), graph.tensors[graph.inputs[0]].shape


@needs_litert_torch
def test_a_module():
    model = to_float_tflite(abpn(), size=(20, 24))
    assert ops(model) == (OPERATORS, [1, 20, 24, 3])
    assert (model.name, model.origin, model.scale) == ("net", "pytorch", 2)


@needs_litert_torch
def test_an_exported_program(tmp_path):
    """It is converted at the size with which it was exported."""
    import torch

    program = torch.export.export(abpn().eval(), (torch.zeros(1, 3, 16, 20),))
    torch.export.save(program, str(tmp_path / "net.pt2"))
    assert ops(to_float_tflite(tmp_path / "net.pt2")) == (OPERATORS, [1, 16, 20, 3])
    (tmp_path / "bad.pt2").write_bytes(b"damaged")
    with pytest.raises(FormatError, match="bad.pt2: not usable as an exported program of PyTorch"):
        to_float_tflite(tmp_path / "bad.pt2")


@needs_litert_torch
def test_what_litert_torch_cannot_convert():
    """A transposed convolution with output padding."""
    from torch import nn

    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ConvTranspose2d(4, 1, 9, 3, padding=4, output_padding=2))
    with pytest.raises(FormatError, match="sequential: litert-torch cannot convert it .*; export the network to .onnx"):
        to_float_tflite(net)


@pytest.mark.skipif(find_spec("litert_torch") is not None, reason="litert-torch is installed")
def test_without_litert_torch(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"")
    with pytest.raises(
        FormatError, match=r"net.pt2: a PyTorch network needs litert-torch: pip install 'mobile-sr\[litert-torch\]'"
    ):
        to_float_tflite(tmp_path / "net.pt2")
