"""Scripts of benchmarks/: what they take from the package must exist, and their page lists them. Most are not run."""

import ast
import importlib
import runpy
import types

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.adadsr import depth_counts
from mobile_sr.imaging.images import write_image
from mobile_sr.inference import upscaler, weights
from tests.conftest import ROOT, make_image

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def taken(tree):
    """The (module, attribute) of the package that a script imports or names behind an imported module."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mobile_sr":
            package = importlib.import_module(node.module)
            for alias in node.names:
                found = getattr(package, alias.name, None) or importlib.import_module(f"{node.module}.{alias.name}")
                if isinstance(found, types.ModuleType):
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_names_that_a_script_imports_exist(script):
    names = taken(ast.parse(script.read_text()))
    assert [f"{module.__name__}.{name}" for module, name in names if not hasattr(module, name)] == []


def test_the_page_lists_every_script():
    page = (ROOT / "benchmarks" / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in page] == []


@pytest.mark.parametrize("script", ["quantization.py", "quantization_peers.py"])
def test_the_quantization_page_has_the_text_of_its_script(script):
    page = (ROOT / "docs" / "measurements" / "quantization.md").read_text()
    tree = ast.parse((ROOT / "benchmarks" / script).read_text())
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    texts = [value.value.strip() for value in values if isinstance(value.value, str)]
    assert texts
    assert [text for text in texts if "{" not in text and text not in page] == []


SET5 = ((512, 512), (288, 288), (256, 256), (280, 280), (344, 228))  # sides of the HR images


@pytest.mark.parametrize(("network", "scale"), [(name, scale) for name in ("edsr", "rcan") for scale in (2, 3, 4)])
def test_published_flops_of_the_backbones(network, scale):
    """The counts of Table 2 on Set5, to all printed digits, from the sizes of its images."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "adadsr_tables.py"))
    config = models.complete({"network": network, "scale": scale})
    counts = [depth_counts.paper_count(config, (h // scale, w // scale)) for h, w in SET5]
    row = script["row_name"](config)
    assert row == network.upper()
    assert round(float(np.mean(counts)), 1) == script["published"](row, scale, "Set5")["gflops"]


def test_tables_of_adadsr(depth_file, tmp_path):
    """The lines of an image and of its set, which are the same figures; the FLOPs are those of the active blocks."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "adadsr_tables.py"))
    (tmp_path / "Set5").mkdir()
    write_image(tmp_path / "Set5" / "a.png", make_image(48, 56, seed=1))
    lines = list(script["tables"]([f"AdaEDSR={depth_file}"], tmp_path, ["Set5"], True))[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    depths = ("0.75", "1.5", "2.25", "3")
    assert [row[:4] for row in rows] == [["AdaEDSR", "x2", depth, of] for depth in depths for of in ("a.png", "Set5")]
    assert [row[4:7] for row in rows[::2]] == [row[4:7] for row in rows[1::2]]
    assert [row[7:] for row in rows[-2:]] == [["", "", ""], ["38.21", "0.9611", "650.60"]]  # the published row of d = 32
    _, config = weights.load_model(depth_file)
    ((_, values),) = script["measure"](upscaler.load(str(depth_file)), config, tmp_path / "Set5", 0.75)
    assert rows[0][4:6] == [f"{values['psnr']:.2f}", f"{values['ssim']:.4f}"]
    assert values["gflops"] < depth_counts.paper_count(config, (24, 28))


def test_published_values_of_adadsr():
    script = runpy.run_path(str(ROOT / "benchmarks" / "adadsr_tables.py"))
    published = script["published"]
    assert published("AdaEDSR (8)", 2, "Set5") == {
        "row": "AdaEDSR (8)", "scale": 2, "set": "Set5", "psnr": 38.10, "ssim": 0.9605, "gflops": 329.5
    }  # fmt: skip
    assert published("AdaRCAN", 4, "Manga109")["psnr"] == 31.22
    assert published("AdaEDSR", 2, "Set9") == {}
    edsr = {"network": "edsr", "scale": 2, "blocks": 8, "channels": 256}
    assert script["row_name"](edsr) == "EDSR (8)"
    assert script["row_name"]({**edsr, "blocks": 32, "depth": "input"}) == "AdaEDSR"
    assert script["row_name"]({**edsr, "channels": 64}) is None
    assert script["depths_of"]({**edsr, "blocks": 32, "depth": "input"}) == (8, 16, 24, 32)
