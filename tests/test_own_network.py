"""docs/guide/own_network.md, its commands, run in order on a small network."""

import re
import shlex

import pytest

from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import read_image, write_image
from tests.conftest import ROOT
from tests.mobile_sr.quantization import foreign_nets


@pytest.fixture(scope="module")
def commands():
    text = (ROOT / "docs" / "guide" / "own_network.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    found = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    return [command for command in found if command[0] != "check-network"]  # it takes half a minute; tests of its own


def test_the_page(commands, run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign_nets.functional().save("own.keras")
    (_, hr), *_ = sample_images.images(["astronaut"])
    (tmp_path / "photos").mkdir()
    write_image("photos/astronaut.png", hr[60:160, 80:200])
    write_image("photo.png", hr[60:110, 80:140])
    assert [command[0] for command in commands] == [
        *("export", "export", "compare", "compare", "benchmark", "inspect", "inspect", "upscale")
    ]
    said = []
    for command in commands:
        done = run_here(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
        said.append(done.stdout)
    assert (tmp_path / "report" / "report.html").exists()
    assert "1. " in said[3]  # the suggestion for the worst layer
    assert read_image("big/photo.png").shape == (100, 120, 3)
