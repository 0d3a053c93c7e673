"""The command line: `mobile-sr COMMAND ...`. Imports nothing heavy until a command runs."""

import argparse
import contextlib
import errno
import importlib
import os
import signal
import sys
import traceback

from absl import app
from absl.flags import argparse_flags

from mobile_sr import __version__
from mobile_sr.converters.quiet import say
from mobile_sr.errors import UserError
from mobile_sr.training import distributed

# Each command is a module in mobile_sr.commands ("_" for its "-") with HELP, add_arguments(parser) and run(args) -> exit status
# or None.
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
    "import-weights",
)


_WRITING = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT)


class _StoreOnce(argparse.Action):
    """Stores an option's value; refuses the option when it is given again, whose first value would be lost."""

    _stored_in = None

    def __call__(self, parser, namespace, values, option_string=None):
        if self.option_strings and self._stored_in is namespace:
            raise argparse.ArgumentError(self, "given more than once; give it one value")
        self._stored_in = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse_flags.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in (None, "store"):  # None is add_argument's default
            self.register("action", name, _StoreOnce)

    def error(self, message):
        _complain(f"{self.prog}: {message}; see {self.prog} --help")
        sys.exit(2)

    def _print_message(self, message, file=None):
        """As argparse, which drops the error when a help text cannot be written."""
        if message:
            file.write(message)
            file.flush()


def _parse(argv):
    parser = Parser(
        prog="mobile-sr",
        description="Super-resolution networks for phones: train, export to uint8 .tflite, say what it cost, measure.",
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
    return parser.parse_args(argv[1:])


def _parse_or_exit(argv):
    try:
        return _parse(argv)
    except (KeyboardInterrupt, Exception) as error:
        sys.exit(_report("mobile-sr", error))


def main(args):
    """Run the parsed command; returns the exit status."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        status = args.run(args) or 0
        sys.stdout.flush()  # a full disk shows here rather than at the exit, where nobody catches it
        return status
    except (KeyboardInterrupt, Exception) as error:
        return _report(f"mobile-sr {args.command}", error)


def _report(name, error):
    """Say in one line why a command ended; returns its exit status."""
    if isinstance(error, KeyboardInterrupt):
        if distributed.processes() == 1:  # of several, who started them says it
            _complain("")  # ends an unfinished line
            _complain(f"{name}: interrupted")
        return 130
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        _discard_stdout()
        return 1
    if os.environ.get("MOBILE_SR_TRACEBACK") and not isinstance(error, UserError):
        raise error
    if not distributed.is_ended(error):
        _complain(f"{name}: {describe(error)}")
    return 2


def _complain(line):
    """`say` it on standard error; the exit status alone must do where that is full."""
    with contextlib.suppress(OSError):
        say(line, sys.stderr)


def describe(error):
    """The one line that says what an exception means to the user."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError):
        if error.filename is None and error.errno in _WRITING:  # other files are written by functions that name them
            _discard_stdout()
            return f"standard output cannot be written ({error.strerror})"
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{name}{error.strerror or text}"
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({text})' if text else ''}; use smaller images, tiles or batches, or fewer workers"
    if isinstance(error, UnicodeError):
        return f"text that cannot be read or written in this encoding ({text})"
    if isinstance(error, RecursionError):
        return "a file is nested too deep to be read"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in place)
    what = f"{type(error).__name__}{f': {text}' if text else ''}"
    return f"unexpected {what}{where}; MOBILE_SR_TRACEBACK=1 shows the traceback for a bug report"


def _discard_stdout():
    """Keep the interpreter from writing the rest of standard output at its exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(signum, frame):
    raise KeyboardInterrupt


def _prepare_streams():
    """Make the standard streams usable: text that they cannot encode is escaped, and a closed one does not take another file.

    Descriptors 0 to 2 that are closed would be given to the next files that are opened. What is printed to a closed standard
    output fails as it does for other programs (bad file descriptor); a closed standard error stays silent.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, mode), descriptor)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 for the process's life
        getattr(sys, name).reconfigure(errors="backslashreplace")


def run():
    """Parse the process's arguments and run the command; ends the process."""
    _prepare_streams()
    app.run(main, flags_parser=_parse_or_exit)
