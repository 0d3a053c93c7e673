"""Runs the function of a user's Python file that a source `path/to/module.py:function` names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobile_sr.converters.formats.float_model import FormatError, first_line


def split(source: str) -> tuple[Path, str] | None:
    """Split 'path/to/module.py:function' into its two parts; None for another source."""
    path, colon, function = source.rpartition(":")
    return (Path(path), function) if colon and path.endswith(".py") and function.isidentifier() else None


def mentions(path: Path, *words: str) -> bool:
    """Whether a file can be read and contains one of the words, such as the name of a library."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return any(word in text for word in words)


def call(path: Path, function: str) -> Any:
    """Import a Python file and call a function of it without arguments.

    The file can import modules of its own folder.

    Args:
        path: the Python file.
        function: name of the function.

    Returns:
        What the function returns.

    Raises:
        FormatError: the file is missing or raises an error, or has no such function, or the function raises an error.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    with _own_imports(path.parent):
        try:
            spec = importlib.util.spec_from_file_location(f"mobile_sr_user_{path.stem}", path)
            assert spec is not None  # true for every .py file, as is the next one
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses and Keras look it up
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the user's code raises anything
            raise FormatError(f"{path}: cannot be imported ({type(error).__name__}: {first_line(error)})") from error
        target = getattr(module, function, None)
        if not callable(target):
            raise FormatError(f"{path}: has no function '{function}'")
        try:
            return target()
        except (Exception, SystemExit) as error:  # as above
            raise FormatError(f"{path}:{function}: raised {type(error).__name__}: {first_line(error)}") from error


@contextmanager
def _own_imports(folder: Path) -> Iterator[None]:
    """Put a folder on sys.path for a while."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
