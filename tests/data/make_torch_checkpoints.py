"""Writes the small checkpoints of this folder with PyTorch, and the output of PyTorch for one of them.

python make_torch_checkpoints.py, with torch and numpy installed; the files here came from torch 2.15.0.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
CHANNELS, ATTENTION, SCALE = 4, 2, 2


def state():
    """An RLFN of one block with random weights: {key: tensor}."""
    c, a = CHANNELS, ATTENTION
    shapes = {"fea_conv": (c, 3, 3), "LR_conv": (c, c, 3), "upsampler.0": (3 * SCALE**2, c, 3)}
    shapes |= {f"B1.c{k}_r": (c, c, 3) for k in (1, 2, 3)} | {"B1.c5": (c, c, 1), "B1.esa.conv1": (a, c, 1)}
    shapes |= {"B1.esa.conv_f": (a, a, 1), "B1.esa.conv2": (a, a, 3), "B1.esa.conv3": (a, a, 3), "B1.esa.conv4": (c, a, 1)}
    made = OrderedDict()
    for name, (outputs, inputs, side) in shapes.items():
        made[f"{name}.weight"] = torch.randn(outputs, inputs, side, side) * (inputs * side**2) ** -0.5
        made[f"{name}.bias"] = torch.randn(outputs) * 10  # of features in 0..255
    made["B1.esa.conv4.weight"] /= 100  # keeps the sigmoid from its ends
    return made


def upscale(x, weights):
    """The network on [1, 3, H, W] in 0..255."""

    def conv(y, name, **options):
        return F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    features = conv(x, "fea_conv", padding=1)
    y = features
    for k in (1, 2, 3):
        y = F.leaky_relu(conv(y, f"B1.c{k}_r", padding=1), 0.05)
    y = conv(y + features, "B1.c5")
    reduced = conv(y, "B1.esa.conv1")
    low = F.max_pool2d(conv(reduced, "B1.esa.conv2", stride=2), 7, stride=3)
    low = F.interpolate(conv(low, "B1.esa.conv3", padding=1), y.shape[2:], mode="bilinear", align_corners=False)
    y = y * torch.sigmoid(conv(low + conv(reduced, "B1.esa.conv_f"), "B1.esa.conv4"))
    y = conv(y, "LR_conv", padding=1) + features
    return F.pixel_shuffle(conv(y, "upsampler.0", padding=1), SCALE)


torch.manual_seed(0)
made = state()
x = torch.randint(0, 256, (1, 3, 16, 21)).float()
torch.save(made, HERE / "rlfn_zip.pth")
wrapped = {"epoch": 3, "state_dict": OrderedDict((f"module.{key}", value) for key, value in made.items())}
torch.save(wrapped, HERE / "rlfn_legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"params": {}, "params_ema": {key: value.bfloat16() for key, value in made.items()}}, HERE / "rlfn_bfloat16.pt")
torch.save({key: torch.nn.Parameter(value.half()) for key, value in made.items()}, HERE / "rlfn_half.pth")
torch.save({**made, "note": "not a tensor"}, HERE / "rlfn_note.pth", _use_new_zipfile_serialization=False)
torch.save({**made, "LR_conv.bias": made["LR_conv.bias"].long()}, HERE / "rlfn_long.pth", _use_new_zipfile_serialization=False)
torch.save(torch.nn.Conv2d(1, 1, 1), HERE / "module.pth")
output = upscale(x, made).permute(0, 2, 3, 1)
np.savez_compressed(HERE / "rlfn_truth.npz", input=x.permute(0, 2, 3, 1).to(torch.uint8), output=output)
