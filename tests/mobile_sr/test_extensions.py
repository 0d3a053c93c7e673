"""The hooks of training and export, and that modules which call them know no network by name."""

import ast
import inspect

import numpy as np
import pytest

from mobile_sr import extensions
from mobile_sr.errors import UserError
from mobile_sr.training import recipes
from tests.conftest import ROOT

PLAIN = {"network": "espcn", "scale": 3}
HOOKS = (extensions.Training, extensions.Export)


def test_an_extension_is_found_by_the_network():
    assert extensions.find(PLAIN) is None
    assert extensions.find({"network": "edsr", "scale": 2, "depth": "fixed"}).__name__ == "mobile_sr.adadsr.extension"
    assert type(extensions.export(PLAIN)) is extensions.Export
    assert type(extensions.training(recipes.load("espcn_x3"))) is extensions.Training
    assert extensions.added() == {"depth", "adapter_channels", "depth_scales", "exits"}


@pytest.mark.parametrize("kind", HOOKS, ids=lambda kind: kind.__name__)
def test_extensions_have_the_hooks_of_a_plain_network(kind):
    for module in extensions._modules():
        extended = getattr(module, kind.__name__)
        assert issubclass(extended, kind)
        for name, hook in inspect.getmembers(kind, inspect.isfunction):
            if name != "__init__":
                assert list(inspect.signature(getattr(extended, name)).parameters) == list(inspect.signature(hook).parameters)


def test_plain_training_changes_nothing():
    hooks = extensions.training(recipes.load("espcn_x3"))
    assert hooks.losses("mae") == {"loss": "mae"}
    assert hooks.batch("lr", "hr", 7, slice(None)) == hooks.signature("lr", "hr") == ("lr", "hr")
    assert hooks.start_validation() == (None,)
    assert hooks.sr(lambda lr, training: (lr, training), "lr", None) == ("lr", False)
    assert hooks.status() == ""
    hooks.initialize(None, (), None)  # touches neither the model nor the images


def test_plain_export_changes_nothing():
    hooks, images = extensions.export(PLAIN), [np.zeros((1, 2, 2, 3), np.float32)]
    assert hooks.samples(images) is images
    assert (hooks.values(), hooks.max_value, hooks.options(None)) == ((None,), None, {})
    assert hooks.at(len, None) is len
    assert hooks.facts(None, "uint8") == {"desired_depth": None}
    assert hooks.path(None, "uint8", "net.npz") == hooks.path("dense", "uint8", "net.npz") == "dense"
    with pytest.raises(UserError, match=r"--path sparse: net\.npz has no depth masks"):
        hooks.path("sparse", "uint8", "net.npz")


@pytest.mark.parametrize("folder", ["inference", "training", "evaluation", "quantization", "benchmarking"])
def test_generic_modules_do_not_ask_for_depths(folder):
    """They call hooks instead: `models.has_depth` and `models.max_depth` are for mobile_sr/adadsr/."""
    paths = list((ROOT / "mobile_sr" / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "models":
                assert node.attr not in ("has_depth", "max_depth"), f"{path}:{node.lineno}"
