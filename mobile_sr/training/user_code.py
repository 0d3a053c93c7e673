"""Functions of the user in a training: loaded from files (converters/user_code.py), called, and recorded in the run folder."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mobile_sr.converters import user_code
from mobile_sr.errors import UserError
from mobile_sr.files import sha256

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
    try:
        return user_code.load(reference, what.lstrip("-"), (UserError,))
    except user_code.BadReferenceError as error:
        raise UserError(f"{what} {error}") from None
    except user_code.UserCodeError as error:
        raise UserError(str(error)) from error.__cause__


@contextlib.contextmanager
def reported(name: str) -> Iterator[None]:
    """Context manager for a call into the user's code: raises UserError for every exception.

    Args:
        name: of the file or function, for exceptions without a line in a file of the user.
    """
    try:
        with user_code.reported(name, (UserError,)):
            yield
    except user_code.UserCodeError as error:
        raise UserError(str(error)) from error.__cause__


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of the user. Raises UserError for every exception in it."""
    file = file_of(function)  # also of a function that a Python caller passed
    if file:
        user_code.show_lines_of(file)
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
