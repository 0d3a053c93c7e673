"""The command line `mobile-sr COMMAND ...`. Heavy packages are imported only when a command runs."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import errno
import importlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import IO, Any, NoReturn

from absl import app
from absl.flags import argparse_flags

from mobile_sr import __version__
from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.training import distributed

# Each command is a module in mobile_sr.commands with HELP, add_arguments(parser) and run(args), which returns the exit status
# or None. The module's name has "_" where the command has "-".
COMMANDS = (
    "demo",
    "upscale",
    "train",
    "search",
    "route",
    "qat",
    "export",
    "evaluate",
    "compare",
    "benchmark",
    "inspect",
    "models",
    "score",
    "serve",
    "import-weights",
    "check-network",
)


_WRITE_ERRORS = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT)


class _StoreOnce(argparse.Action):
    """Stores an option's value. Refuses a repeated option instead of silently replacing the first value."""

    _stored_in: argparse.Namespace | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if self.option_strings and self._stored_in is namespace:
            raise argparse.ArgumentError(self, "given more than once; give it one value")
        self._stored_in = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse_flags.ArgumentParser):
    """Argument parser that reports an error in one line and refuses repeated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in (None, "store"):  # None is add_argument's default
            self.register("action", name, _StoreOnce)

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, for an unknown choice with a similar known one, and exit with status 2."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        hint = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2])) if choice else ""
        _print_error(f"{self.prog}: {message}{hint}; see {self.prog} --help")
        sys.exit(2)

    def _print_message(self, message: str, file: IO[str]) -> None:
        """Like argparse, but raises an error if the message cannot be written."""
        if message:
            file.write(message)
            file.flush()


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="mobile-sr",
        description="Super-resolution networks for phones: train, export to uint8 .tflite, measure quality and speed.",
    )
    parser.add_argument("--version", action="version", version=f"mobile-sr {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"mobile_sr.commands.{name.replace('-', '_')}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            inherited_absl_flags=None,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args, unknown = parser.parse_known_args(argv[1:])
    if unknown:
        hint = did_you_mean(unknown[0].partition("=")[0], commands.choices[args.command]._option_string_actions)
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return args


def _parse_or_exit(argv: Sequence[str]) -> argparse.Namespace:
    try:
        return _parse(argv)
    except (KeyboardInterrupt, Exception) as error:
        sys.exit(_report("mobile-sr", error))


def main(args: argparse.Namespace) -> int:
    """Run the parsed command and return its exit status."""
    signal.signal(signal.SIGTERM, _stop)
    sys.unraisablehook = _interrupt_again
    try:
        status = args.run(args) or 0
        sys.stdout.flush()  # a full disk raises here and not during interpreter shutdown, where nothing catches it
        return status
    except (KeyboardInterrupt, Exception) as error:
        return _report(f"mobile-sr {args.command}", error)


def _report(name: str, error: BaseException) -> int:
    """Print in one line why a command failed; returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        if distributed.processes() == 1:  # with several, the process that started them reports it
            _print_error("")  # ends an unfinished line
            _print_error(f"{name}: interrupted")
        return 130
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has closed the pipe
        _discard_stdout()
        return 1
    if os.environ.get("MOBILE_SR_TRACEBACK") and not isinstance(error, UserError):
        raise error
    if not distributed.is_ended(error):
        _print_error(f"{name}: {describe(error)}")
    return 2


def _print_error(line: str) -> None:
    """Print a line on standard error, if it can be written."""
    with contextlib.suppress(OSError):
        print_line(line, sys.stderr)


def describe(error: BaseException) -> str:
    """Describe an exception to the user in one line."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError):
        if error.filename is None and error.errno in _WRITE_ERRORS:  # functions that write files name them in their errors
            _discard_stdout()
            return f"standard output cannot be written ({error.strerror})"
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{name}{error.strerror or text}"
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({text})' if text else ''}; use smaller images, tiles or batches, or fewer workers"
    if isinstance(error, UnicodeError):
        return f"text cannot be read or written in this encoding ({text})"
    if isinstance(error, RecursionError):
        return "a file is nested too deeply to be read"
    last_frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in last_frame)
    what = f"{type(error).__name__}{f': {text}' if text else ''}"
    return f"unexpected {what}{where}; MOBILE_SR_TRACEBACK=1 shows the traceback for a bug report"


def _discard_stdout() -> None:
    """Discard the rest of standard output, which the interpreter would try to write again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupts once more after an interrupt that was lost in a callback, such as the one of JAX at garbage collections."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main, [signal.SIGTERM]).start()  # not from here: it would be lost again
    else:
        sys.__unraisablehook__(unraisable)


def _prepare_streams() -> None:
    """Make the standard streams escape text that they cannot encode, and reserve the descriptors of closed streams.

    The system gives closed descriptors 0 to 2 to the next files that are opened. Printing to a closed standard output fails
    as in other programs (bad file descriptor). Printing to a closed standard error does nothing.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, mode), descriptor)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 open until the process exits
        getattr(sys, name).reconfigure(errors="backslashreplace")


def run() -> None:
    """Parse the process's arguments, run the command and exit with its status."""
    UserError.names_options = True
    _prepare_streams()
    app.run(main, flags_parser=_parse_or_exit)
