"""The layout: which folder may import which, how many modules a folder has, and a checkout that imports without an install."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import LONGEST, ROOT

# From the bottom up: a folder imports those above it in this list, and mobile_sr's base modules. `models` and `converters`
# import no base module: they are of use without the rest.
LEVELS = (
    "models",
    "converters",
    "imaging",
    "zoo",
    "devices",
    "inference",
    "adadsr",
    "importing",
    "benchmarking",
    "evaluation",
    "video",
    "serving",
    "quantization",
    "challenge",
    "training",
    "qat",
    "architecture_search",
    "routing",
    "commands",
)
BASE = ("errors", "extensions", "files", "backend", "results", "api", "__init__")
MAX_MODULES = 15
MAX_COMMANDS = 20  # one module for each command


def modules():
    """(path, parts of its dotted name below mobile_sr) of every module."""
    for top in ("mobile_sr", "models", "converters"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if top != "mobile_sr":
                yield path, parts
            elif parts[1] not in ("models", "converters"):  # the links
                yield path, parts[1:]


def imports(path):
    """(line, dotted name) of every import of our own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("mobile_sr"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mobile_sr":
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            assert node.level == 0, f"{path}:{node.lineno}: relative import"


def test_imports_go_one_way():
    wrong = []
    for path, parts in modules():
        own = parts[0] if len(parts) > 1 else None
        for line, name in imports(path):
            target = name.split(".")[1] if "." in name else "__init__"
            if target == own or (own is None and target not in LEVELS):
                continue
            if target not in LEVELS:  # a base module, or a name of mobile_sr/__init__.py such as __version__
                assert target in BASE or not (ROOT / "mobile_sr" / f"{target}.py").exists(), f"{path}:{line}: {name}"
                allowed = own not in ("models", "converters")
            elif own is None:  # base modules import heavier ones only inside functions of cli.py and __init__.py
                allowed = parts[0] in ("cli", "api") or target == "converters"
            else:
                allowed = LEVELS.index(target) < LEVELS.index(own)
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert wrong == []


def test_every_folder_has_a_level_and_says_what_it_is():
    folders = {parts[0] for _, parts in modules() if len(parts) > 1}
    assert folders == set(LEVELS)
    for path, parts in modules():
        if parts[-1] == "__init__":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path}: no docstring"


def test_no_folder_is_crowded():
    counts = {}
    for path, parts in modules():
        if parts[-1] != "__init__":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    limits = {ROOT / "mobile_sr" / "commands": MAX_COMMANDS}
    assert {folder: count for folder, count in counts.items() if count > limits.get(folder, MAX_MODULES)} == {}


def test_networks_know_no_framework():
    for path, parts in modules():
        if parts[0] == "models":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert not {name.split(".")[0] for name in names} & {"tensorflow", "torch", "jax"}, path


@pytest.mark.parametrize("link", ["models", "converters"])
def test_links(link):
    assert (ROOT / "mobile_sr" / link).is_symlink()
    assert (ROOT / "mobile_sr" / link).resolve() == ROOT / link


def test_a_checkout_imports_without_an_install():
    """-S: no site-packages, so neither an installed copy nor any dependency."""
    code = "import mobile_sr, mobile_sr.models, mobile_sr.converters; print(mobile_sr.models.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(ROOT / "mobile_sr" / "models" / "__init__.py")


def test_the_longest_test_modules_exist():
    paths = [path.as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    assert [end for end in LONGEST if sum(path.endswith(f"/{end}") for path in paths) != 1] == []
