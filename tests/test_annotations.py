"""Every public function, method and dataclass field of the package is annotated, and public ones have a docstring."""

import ast

import pytest

from tests.conftest import ROOT
from tests.test_layout import LEVELS, modules

FOLDERS = [*LEVELS, None]  # None: the base modules


def missing(path):
    """Lines about public functions of a module that lack an annotation or a docstring."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            overload = any(isinstance(name, ast.Name) and name.id == "overload" for name in node.decorator_list)
            if not ast.get_docstring(node) and not overload:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has no docstring"
            functions = (
                [node] if isinstance(node, ast.FunctionDef) else [f for f in node.body if isinstance(f, ast.FunctionDef)]
            )
            for function in functions:
                if function.name.startswith("_") and function.name not in ("__init__", "__call__"):
                    continue
                arguments = function.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
                bare = [a.arg for a in every if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
                if bare:
                    yield f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}: no annotation of {', '.join(bare)}"
                if function.returns is None and function.name != "__init__":
                    yield f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}: no return annotation"


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_public_functions_are_annotated(folder):
    paths = [path for path, parts in modules() if (parts[0] if len(parts) > 1 else None) == folder]
    assert paths
    assert [line for path in paths for line in missing(path)] == []
