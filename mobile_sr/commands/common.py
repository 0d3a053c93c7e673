"""Arguments and printing that several commands share."""

import os
import sys

from mobile_sr.converters.printable import printable


def add_data(parser, what="folder of images (a known layout or any folder: docs/reference/protocol.md), or one image"):
    """--data, with MOBILE_SR_DATA as its default."""
    parser.add_argument("--data", default=os.environ.get("MOBILE_SR_DATA"), help=f"{what}; default $MOBILE_SR_DATA")


def add_training(parser):
    """What `train` and `search` share."""
    add_data(parser, "folder of HR images, with LR beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--steps", type=int, help="number of steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="seed (default: the recipe's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value for a field of the recipe; repeat it for more",
    )
    parser.add_argument("--smoke", action="store_true", help="the recipe shrunk to seconds, to try the pipeline")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="layers calculate in bfloat16 (twice as fast on a CPU with AMX); weights, loss and scores stay float32",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the run folder's last checkpoint")
    parser.add_argument(
        "--backend", choices=("tensorflow", "torch", "jax"), help="Keras backend (default: the first of these installed)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes of this machine that share every batch, on PyTorch (several machines: docs/guide/distributed.md)",
    )
    parser.add_argument("--cache", metavar="DIR", help="where decoded images go (default $MOBILE_SR_CACHE, ~/.cache/mobile-sr)")


def launch(args, recipe):
    """Run the command in --processes processes, where it is not yet one of several.

    Returns: their exit status, None when this process is to do the work.
    Raises: UserError when they cannot share the recipe's batch, or for another backend than torch.
    """
    from pathlib import Path

    from mobile_sr import backend
    from mobile_sr.converters.quiet import say
    from mobile_sr.errors import UserError
    from mobile_sr.training import distributed

    count = distributed.processes() if distributed.processes() > 1 else args.processes
    distributed.check_batch(recipe.batch, count)
    if count == 1:
        return None
    args.backend = args.backend or os.environ.get("KERAS_BACKEND") or "torch"
    if args.backend != "torch":
        raise UserError(f"{count} processes need the torch backend, not {args.backend}; give --backend torch")
    backend.check_installed(args.backend)
    if distributed.processes() > 1:
        return None

    def say_failure(line):
        begun = (Path(args.out) / "config.json").exists()
        hint = "--resume goes on from the last checkpoint" if begun else "no training had begun"
        say(f"mobile-sr {args.command}: {line}; {hint}", sys.stderr)

    return distributed.launch(count, say_failure)


def dtype(args):
    """training.train's dtype for --bfloat16."""
    return "mixed_bfloat16" if args.bfloat16 else "float32"


def need_data(args):
    """The --data folder. Raises: UserError when neither the option nor the variable is given."""
    from mobile_sr.errors import UserError

    if not args.data:
        raise UserError("no images: give --data DIR or set MOBILE_SR_DATA")
    return args.data


def add_depth(parser):
    """--depth, --budget-ms and --budget-gmacs, of which one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--depth", type=float, metavar="D", help="desired depth in blocks of an AdaDSR network (default: all)")
    group.add_argument("--budget-ms", type=float, metavar="T", help="choose each image's depth for T ms on this machine")
    group.add_argument("--budget-gmacs", type=float, metavar="G", help="choose each image's depth for G * 10^9 multiply-adds")


def set_depth(args, *models):
    """Let those of the Upscalers that take a desired depth run as `add_depth`'s options say.

    Raises: UserError when none takes one, or not this one.
    """
    from mobile_sr.errors import UserError

    taking = [model for model in models if model.max_depth is not None]
    budgets = {"ms": args.budget_ms, "gmacs": args.budget_gmacs}
    given = {unit: budget for unit, budget in budgets.items() if budget is not None}
    for unit, budget in given.items():
        if not taking:
            raise UserError(f"--budget-{unit}: {models[-1].name} takes no desired depth")
        if not budget > 0:
            raise UserError(f"--budget-{unit} {budget:g}: must be above 0")
    for model in taking or models[-1:]:
        model.depth, model.budget = model.check_depth(args.depth), given


def load_model(args, name, check=True):
    """The Upscaler of a model at --scale, --threads and as `add_depth`'s options say (`check`: see upscaler.load).

    Raises: UserError.
    """
    from mobile_sr.inference import upscaler

    model = upscaler.load(name, args.scale, args.threads, check=False)
    set_depth(args, model)
    if check:  # behind everything that can be wrong with the options
        upscaler.check_output(model)
    return model


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
        print(f"\r{done:5d}  {printable(name):<50.50}", end="", file=sys.stderr, flush=True)


def clear_progress():
    """Wipe the counter's line."""
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
