"""Checkpoints of AdaEDSR, FAdaEDSR and AdaRCAN that real PyTorch writes; make test-torch runs these."""

from importlib.util import find_spec

import numpy as np
import pytest

from mobile_sr.importing import import_weights
from mobile_sr.inference import weights

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch: make test-torch")

MEAN = (0.4488, 0.4371, 0.4040)
CHANNELS, BLOCKS, GROUPS = 16, 3, 2


def network(kind, scale):
    """One of the networks of Liu et al. (2020) with the names of the authors' files, for images in 0..255.

    Written from the paper: Sec. 3.1 (masks), 3.3 (adapter) and 3.4 (EDSR; RCAN's mask is in front of the channel attention).
    """
    import torch
    from torch import nn

    def shift(sign):
        layer = nn.Conv2d(3, 3, 1, groups=3)
        layer.weight.data, layer.bias.data = torch.ones(3, 1, 1, 1), sign * 255 * torch.tensor(MEAN)
        return layer

    def conv(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            layers = nn.Conv2d(CHANNELS, 4, 1), nn.ReLU(), nn.Conv2d(4, CHANNELS, 1), nn.Sigmoid()
            self.conv_du = nn.Sequential(*layers)

        def forward(self, x):
            return x * self.conv_du(x.mean((2, 3), keepdim=True))

    class Block(nn.Module):
        def __init__(self, attention):
            super().__init__()
            self.layer0, self.layer2 = conv(CHANNELS, CHANNELS), conv(CHANNELS, CHANNELS)
            self.cuca = Attention() if attention else nn.Identity()

        def forward(self, x, mask):
            return x + self.cuca(mask * self.layer2(torch.relu(self.layer0(x))))

    class Group(nn.Module):
        def __init__(self):
            super().__init__()
            for k in range(BLOCKS):
                setattr(self, f"block{k}", Block(True))
            setattr(self, f"block{BLOCKS}", conv(CHANNELS, CHANNELS))

        def forward(self, x, depth):
            y = x
            for k in range(BLOCKS):
                y = getattr(self, f"block{k}")(y, (depth - k).clamp(0, 1))
            return x + getattr(self, f"block{BLOCKS}")(y)

    class Predictor(nn.Module):
        def __init__(self, hidden, maps):
            super().__init__()
            self.layer0 = conv(CHANNELS, hidden)
            for k in range(1, 5):
                setattr(self, f"layer{k}", nn.Sequential(nn.PReLU(), conv(hidden, hidden if k < 4 else maps)))

        def forward(self, x, desired):
            x = self.layer0(x * desired if kind == "AdaRCAN" else x)
            for k in range(1, 5):
                x = getattr(self, f"layer{k}")(x)
            return torch.relu(x * desired if kind == "AdaEDSR" else x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(shift(-1), conv(3, CHANNELS))
            rcan = kind == "AdaRCAN"
            self.parts = [f"group{k}" for k in range(GROUPS)] if rcan else [f"block{k}" for k in range(BLOCKS)]
            for name in self.parts:
                setattr(self, name, Group() if rcan else Block(False))
            self.body_lastconv = conv(CHANNELS, CHANNELS)
            ups = [nn.Sequential(conv(CHANNELS, CHANNELS * 4), nn.PixelShuffle(2)) for _ in range(scale // 2)]
            self.up = nn.Sequential(*ups)
            self.tail = nn.Sequential(conv(CHANNELS, 3), shift(1))
            self.predictor = Predictor(CHANNELS if rcan else CHANNELS // 2, GROUPS if rcan else 1)

        def forward(self, x, desired):
            x = self.head(x)
            depth, y = self.predictor(x, desired), x
            for k, name in enumerate(self.parts):
                y = getattr(self, name)(y, depth[:, k : k + 1] if kind == "AdaRCAN" else (depth - k).clamp(0, 1))
            return self.tail(self.up(x + self.body_lastconv(y)))

    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize(("kind", "scale"), [("AdaEDSR", 2), ("FAdaEDSR", 4), ("AdaRCAN", 2)])
def test_the_output_of_pytorch(tmp_path, kind, scale):
    """Within 1e-5, at full depth by --verify and at a lower one."""
    import torch

    net = network(kind, scale)
    net.predictor.layer4[1].bias.data[:] = 0.6 if kind == "AdaEDSR" else 1.4
    torch.save({"scale": scale, "state_dict": net.state_dict()}, tmp_path / "net.pth")
    lr = np.random.default_rng(0).integers(0, 256, (1, 12, 17, 3), np.uint8)

    def truth(desired):
        with torch.no_grad():
            sr = net(torch.from_numpy(lr.transpose(0, 3, 1, 2).astype(np.float32)), desired)
        return sr.numpy().transpose(0, 2, 3, 1)

    full = truth(float(BLOCKS))
    np.savez(tmp_path / "truth.npz", input=lr, output=full, data_range=255.0)
    file = import_weights.import_weights(tmp_path / "net.pth", tmp_path / "out", verify=[tmp_path / "truth.npz"], log=str)
    model, config = weights.load_model(file, output_activation="linear")
    assert (config["depth"], config["scale"], config["blocks"]) == ("fixed" if kind[0] == "F" else "input", scale, BLOCKS)
    assert np.abs(full - truth(0.7)).max() > 0.1 or kind == "FAdaEDSR"
    for desired in (BLOCKS, 0.7):
        images = lr.astype(np.float32) / 255
        sr, _ = model(images if kind == "FAdaEDSR" else [images, np.full((1, 1), desired, np.float32)])
        assert np.abs(np.array(sr) - truth(desired) / 255).max() < 1e-5
