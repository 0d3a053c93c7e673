"""Checks of the documentation: Python blocks run, links resolve, commands exist."""

import argparse
import contextlib
import io
import re

import numpy as np
import pytest

from mobile_sr import load, zoo
from mobile_sr.cli import COMMANDS
from mobile_sr.commands import train
from mobile_sr.training import recipes
from tests.conftest import ROOT, make_image

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def anchors(page):
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_python_of_the_app_page_gives_our_bytes(monkeypatch):
    text = (DOCS / "guide" / "use_in_your_app.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    names = {"rgb": make_image(33, 47)}
    monkeypatch.chdir(zoo.FOLDER)
    exec(code, names)  # noqa: S102
    np.testing.assert_array_equal(names["sr"], load("xlsr_x3:uint8")(names["rgb"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_commands(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target
    code = "\n".join(block or inline for block, inline in re.findall(r"```(.*?)```|`([^`\n]+)`", text, re.DOTALL))
    for command in re.findall(r"^mobile-sr ([a-z-]+)", code, re.MULTILINE):
        assert command in COMMANDS, command
    assert "@@" not in text


def test_the_training_page_has_all_recipes_and_options():
    text = (DOCS / "reference" / "training.md").read_text()
    assert [name for name in recipes.RECIPES if f"`{name}`" not in text] == []
    assert {recipe for pair in recipes.EXPECTED_INIT.items() for recipe in pair} <= recipes.RECIPES.keys()
    parser = argparse.ArgumentParser(add_help=False)
    train.add_arguments(parser)
    options = [option for action in parser._actions for option in action.option_strings]
    assert len(options) > 10
    assert [option for option in options if option not in text] == []


def test_the_index_lists_every_page():
    text = (DOCS / "README.md").read_text()
    pages = [page.relative_to(DOCS).as_posix() for page in PAGES[1:] if page.parent != DOCS]
    assert [page for page in pages if f"]({page})" not in text and "/cards/" not in page] == []
    assert "](reference/cards)" in text


def test_the_sweep_lists_every_recipe_once():
    """The page's Python gives the recipes in three orders, in as many jobs as its sbatch lines have."""
    text = (DOCS / "guide" / "distributed.md").read_text()
    code = re.search(r'python -c "(.*?)"\)\)', text, re.DOTALL)[1]
    jobs = {}
    for order in "123":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code.replace("$1", order), {})  # noqa: S102
        jobs[order] = out.getvalue().split()
        assert f"--array=0-{len(jobs[order]) - 1} sweep.sh {order}" in text
    named = [job.partition(":")[0].removesuffix("_x2") for order in jobs.values() for job in order]
    assert sorted(named) == sorted(recipes.RECIPES)
    assert "xlsr_finetune_x2:xlsr_zoo_x2" in jobs["2"]
    assert "chainsr_m_uint8_x2:chainsr_m_long_x2" in jobs["3"]
