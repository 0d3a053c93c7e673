"""The command line: `mobile-sr COMMAND ...`. Imports nothing heavy until a command runs."""

import argparse
import importlib
import signal
import sys

from absl import app
from absl.flags import argparse_flags

from mobile_sr import __version__, distributed
from mobile_sr.converters.quiet import say
from mobile_sr.errors import UserError

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


class Parser(argparse_flags.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


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


def main(args):
    """Run the parsed command; returns the exit status."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return args.run(args) or 0
    except UserError as error:
        if not distributed.is_ended(error):
            say(f"mobile-sr {args.command}: {error}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        if distributed.processes() == 1:  # of several, who started them says it
            say(f"\nmobile-sr {args.command}: interrupted", sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _stop(signum, frame):
    raise KeyboardInterrupt


def run():
    """Entry point of the `mobile-sr` script."""
    app.run(main, flags_parser=_parse)
