"""Functions from the user's own files: named as FILE.py:FUNCTION, run only because they were named so.

What goes wrong in such a file is reported in one line with the file, the line in it and the exception.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mobile_sr.errors import UserError
from mobile_sr.files import sha256

_modules: dict[Path, tuple[str, ModuleType]] = {}  # path -> (SHA-256, module): functions of one file share its variables
_files: set[str] = set()  # files whose lines are shown in error messages
_failures: list[UserError] = []  # of functions that Keras called, see `failures_of_callbacks`


def is_reference(name: object) -> bool:
    """Return whether a text names a function in a file, such as 'net.py:build', or at least a file."""
    return isinstance(name, str) and (":" in name or name.endswith(".py"))


def load(reference: str, what: str) -> Callable[..., Any]:
    """Run a file and return the function that a text FILE.py:FUNCTION names.

    Args:
        reference: the text.
        what: start of error messages, such as '--recipe'.

    Raises:
        UserError: for a text of another form, a missing file or function, or a file that raises an exception.
    """
    file, colon, name = reference.rpartition(":")
    if not colon or not name or not file.endswith(".py"):
        example = (
            f"{reference.removesuffix(':')}:{what.lstrip('-')}" if reference.rstrip(":").endswith(".py") else "FILE.py:NAME"
        )
        raise UserError(f"{what} {reference}: expected FILE.py:FUNCTION, such as {example}")
    module = _module(Path(file), what)
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
        ]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"
        raise UserError(f"{what} {reference}: {file} has no function {name}; {hint}")
    return function


def _module(file: Path, what: str) -> ModuleType:
    """Run a file as a module, once for each content."""
    path = file.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} {file}: {'no such file' if not file.exists() else error.strerror}") from None
    digest = sha256(source)
    if path in _modules and _modules[path][0] == digest:
        return _modules[path][1]
    name = f"{path.stem}_{digest[:12]}"  # never the name of an installed package
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, path  # a .py file
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: the file may import its neighbours, but they hide no package
    sys.modules[name] = module  # dataclasses look their module up
    _files.add(str(path))
    with reported(str(file)):
        exec(compile(source, str(path), "exec"), module.__dict__)  # not the loader: it may run an older file's bytecode
    _modules[path] = digest, module
    return module


@contextlib.contextmanager
def reported(name: str) -> Iterator[None]:
    """Context manager for a call into the user's code: raises UserError for every exception.

    Args:
        name: of the file or function, for exceptions without a line in a file of the user.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(_message(name, error)) from error


def _message(name: str, error: BaseException) -> str:
    """'FILE:LINE: EXCEPTION: text' with the innermost line of the user's code."""
    text = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}{f': {text}' if text else ''}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {what}" if frames else f"{name}: {what}"


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of the user. Raises UserError for every exception in it."""
    file = file_of(function)  # also of a function that a Python caller passed
    if file:
        _files.add(file)
    with recorded(), reported(name_of(function)):
        return function(*args, **kwargs)


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Context manager: remembers a UserError for `failures_of_callbacks`."""
    try:
        yield
    except UserError as error:
        _failures.append(error)
        raise


@contextlib.contextmanager
def failures_of_callbacks() -> Iterator[None]:
    """Context manager around Keras code that calls functions of the user: raises their UserError as it was.

    TensorFlow replaces exceptions in traced functions and data sets by its own, with a traceback as the message.
    """
    _failures.clear()
    try:
        yield
    except Exception as error:
        if _failures and error is not _failures[0]:
            raise _failures[0] from error
        raise


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return those of the arguments that the function's signature has."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def name_of(function: Callable[..., Any]) -> str:
    """Return 'FILE.py:FUNCTION' of a function, without the folder; the name alone for one that is not in a file."""
    code = _code(function)
    name = getattr(code, "__qualname__", type(function).__name__).replace("<locals>.", "")
    file = file_of(function)
    return f"{Path(file).name}:{name}" if file else name


def identity(function: Callable[..., Any]) -> dict[str, str | None]:
    """Return what a run folder records of a function: its name and the SHA-256 of its file.

    For a function that is not in a file (of a notebook, for example), it is the SHA-256 of the function's own text, or None
    if that is unknown, too.
    """
    file = file_of(function)
    if file:
        return {"function": name_of(function), "sha256": sha256(Path(file).read_bytes())}
    try:
        text = inspect.getsource(_code(function))
    except (OSError, TypeError):
        return {"function": name_of(function), "sha256": None}
    return {"function": name_of(function), "sha256": sha256(text.encode())}


def _code(function: Callable[..., Any]) -> Any:
    """The function or class that a callable's code is in."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    has_code = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isclass(function)
    return function if has_code else type(function)


def file_of(function: Callable[..., Any]) -> str | None:
    """Return the file that a function is in, or None."""
    try:
        file = inspect.getsourcefile(_code(function))
    except TypeError:
        return None
    return file if file and Path(file).is_file() else None
