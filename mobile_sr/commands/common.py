"""Arguments and printing that several commands share."""

import os
import sys


def add_data(parser, what="folder of images (DIV2K layout, HR/, or any folder)"):
    """--data, with MOBILE_SR_DATA as its default."""
    parser.add_argument("--data", default=os.environ.get("MOBILE_SR_DATA"), help=f"{what}; default $MOBILE_SR_DATA")


def need_data(args):
    """The --data folder. Raises: UserError when neither the option nor the variable is given."""
    from mobile_sr.errors import UserError

    if not args.data:
        raise UserError("no images: give --data DIR or set MOBILE_SR_DATA")
    return args.data


def add_space(parser):
    """--space y|rgb."""
    parser.add_argument("--space", choices=("y", "rgb"), default="y", help="colour space of the metric (default y)")


def add_json(parser):
    """--json FILE."""
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON ('-' for standard output)")


def write_json_result(args, value):
    """Write `value` where --json says, if it was given."""
    from mobile_sr.files import json_text, write_json

    if args.json == "-":
        sys.stdout.write(json_text(value))
    elif args.json:
        write_json(args.json, value)


def progress(done, name):
    """A counter on standard error where that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{done:5d}  {name:<50.50}", end="", file=sys.stderr, flush=True)


def clear_progress():
    """Wipe the counter's line."""
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
