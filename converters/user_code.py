"""Functions from the user's own Python files: given as FILE.py:FUNCTION. No other code is run.

What goes wrong in such a file is reported in one line with the file, the line in it and the exception.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_modules: dict[Path, tuple[str, ModuleType]] = {}  # path -> (SHA-256, module): functions of one file share its variables
_files: set[str] = set()  # files whose lines are shown in error messages


class UserCodeError(ValueError):
    """The user's code raised an exception. The message is one line, 'FILE:LINE: EXCEPTION: text'."""


class BadReferenceError(UserCodeError):
    """A text does not name a function in a file. The message starts with the text."""


def split(reference: str) -> tuple[Path, str] | None:
    """Split 'path/to/module.py:function' into its two parts; None for another text."""
    path, colon, function = reference.rpartition(":")
    return (Path(path), function) if colon and path.endswith(".py") and function.isidentifier() else None


def mentions(path: Path, *words: str) -> bool:
    """Whether a file can be read and contains one of the words, such as the name of a library."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return any(word in text for word in words)


def load(reference: str, example: str = "net", passing: tuple[type[Exception], ...] = ()) -> Callable[..., Any]:
    """Run a file and return the function that a text FILE.py:FUNCTION names.

    The file is run once for each content. It can import modules of its own folder.

    Args:
        reference: the text.
        example: name of a function, for the message about a text of another form.
        passing: exceptions of the file that are raised as they are.

    Raises:
        BadReferenceError: the text has another form, or there is no such file or function.
        UserCodeError: the file raises an exception.
    """
    file, colon, name = reference.rpartition(":")
    if not colon or not name or not file.endswith(".py"):
        text = reference.rstrip(":")
        shown = f"{text}:{example}" if text.endswith(".py") else "FILE.py:NAME"
        raise BadReferenceError(f"{reference}: expected FILE.py:FUNCTION, such as {shown}")
    module = _module(Path(file), passing)
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
        ]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"
        raise BadReferenceError(f"{reference}: {file} has no function {name}; {hint}")
    return function


def _module(file: Path, passing: tuple[type[Exception], ...]) -> ModuleType:
    """Run a file as a module, once for each version of its content."""
    path = file.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise BadReferenceError(f"{file}: {'no such file' if not file.exists() else error.strerror}") from None
    digest = hashlib.sha256(source).hexdigest()
    if path in _modules and _modules[path][0] == digest:
        return _modules[path][1]
    name = f"{path.stem}_{digest[:12]}"  # never the name of an installed package
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, path  # a .py file
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: the file may import its neighbours, but they hide no package
    sys.modules[name] = module  # dataclasses and Keras look it up
    _files.add(str(path))
    with reported(str(file), passing):
        exec(compile(source, str(path), "exec"), module.__dict__)  # not the loader: it may run an older file's bytecode
    _modules[path] = digest, module
    return module


def show_lines_of(file: str) -> None:
    """Let error messages name lines of a further file, such as one whose function a Python caller passed."""
    _files.add(file)


@contextlib.contextmanager
def reported(name: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Context manager for a call into the user's code: raises UserCodeError for every exception.

    Args:
        name: of the file or function, for exceptions without a line in a file of the user.
        passing: exceptions that are raised as they are.
    """
    try:
        yield
    except passing:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(_message(name, error)) from error


def _message(name: str, error: BaseException) -> str:
    """'FILE:LINE: EXCEPTION: text' with the innermost line of the user's code."""
    text = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}{f': {text}' if text else ''}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {what}" if frames else f"{name}: {what}"
