"""Metrics of pyiqa, with a stand-in for the library: what it gets, and what is reported."""

import contextlib
import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.imaging import perceptual


@pytest.fixture
def library(monkeypatch):
    """Stand-ins for pyiqa and PyTorch; pyiqa's metrics return what they got."""
    got = []

    class Metric:
        def __init__(self, name):
            self.metric_mode = "NR" if name == "niqe" else "FR"

        def __call__(self, *images):
            got.append(images)
            return np.mean(images[0])

    def create(name, device):
        print("Downloading weights")
        if name == "dists":
            raise ConnectionError("no route to host")
        assert device == "cpu"
        return Metric(name)

    pyiqa = types.ModuleType("pyiqa")
    pyiqa.__spec__ = ModuleSpec("pyiqa", None)
    pyiqa.list_models, pyiqa.create_metric = lambda: ["lpips", "dists", "niqe"], create
    torch = types.ModuleType("torch")
    torch.from_numpy, torch.no_grad, torch.Tensor = np.asarray, contextlib.nullcontext, np.ndarray
    monkeypatch.setitem(sys.modules, "pyiqa", pyiqa)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return got


def test_images_are_passed_as_batches_of_planes_in_0_to_1(library, capsys):
    sr, hr = (np.random.default_rng(k).integers(0, 256, (5, 4, 3), np.uint8) for k in (0, 1))
    assert perceptual.load("lpips")(sr, hr) == pytest.approx(sr.mean() / 255)
    ((first, second),) = library
    np.testing.assert_allclose(first[0, 1], sr[..., 1] / 255, rtol=1e-6)
    np.testing.assert_allclose(second[0, 2], hr[..., 2] / 255, rtol=1e-6)
    assert first.shape == second.shape == (1, 3, 5, 4)
    assert capsys.readouterr() == ("", "Downloading weights\n"), "stdout may be JSON"


def test_a_metric_without_reference_gets_the_sr_image_only(library):
    image = np.zeros((4, 4, 3), np.uint8)
    perceptual.load("niqe")(image, image)
    assert [len(images) for images in library] == [1]


def test_what_cannot_be_used_is_reported(library):
    with pytest.raises(UserError, match=r"--metric lpip: pyiqa has no such metric; did you mean lpips\?"):
        perceptual.load("lpip")
    with pytest.raises(UserError, match=r"--metric dists: its weights could not be loaded \(no route to host\); check"):
        perceptual.load("dists")
