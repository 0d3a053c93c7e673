"""What the pages claim: Python blocks run, links lead somewhere, commands exist."""

import re

import numpy as np
import pytest

from mobile_sr import load, zoo
from mobile_sr.cli import COMMANDS
from tests.conftest import ROOT, picture

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_of_the_app_page_gives_our_bytes(monkeypatch):
    text = (ROOT / "docs" / "use_in_your_app.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    names = {"rgb": picture(33, 47)}
    monkeypatch.chdir(zoo.FOLDER)
    exec(code, names)  # noqa: S102
    np.testing.assert_array_equal(names["sr"], load("xlsr_x3:uint8")(names["rgb"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    code = "\n".join(block or inline for block, inline in re.findall(r"```(.*?)```|`([^`\n]+)`", text, re.DOTALL))
    for command in re.findall(r"^mobile-sr ([a-z-]+)", code, re.MULTILINE):
        assert command in COMMANDS, command
    assert "@@" not in text
