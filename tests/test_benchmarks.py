"""Tests do not run the scripts of benchmarks/; what they take from the package must exist, and their page lists them."""

import ast
import importlib
import types

import pytest

from tests.conftest import ROOT

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
