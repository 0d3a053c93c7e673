"""Train a recipe on a folder of images. Interrupt it at any time and continue with --resume.

Example: mobile-sr train --recipe xlsr_x3 --data DIV2K_train_HR --out runs/xlsr_x3
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mobile_sr.commands import common

HELP = "train a recipe on a folder of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr train`."""
    parser.add_argument(
        "--recipe",
        required=True,
        help="recipe and scale, e.g. xlsr_x3 or xlsr_zoo_x3; or FILE.py:FUNCTION, which runs that file "
        "(docs/guide/own_recipe.md)",
    )
    parser.add_argument(
        "--net",
        metavar="FILE.py:BUILD",
        help="train the network that this function returns, or the one of a name such as espcn, in place of the recipe's",
    )
    common.add_training(parser)
    parser.add_argument(
        "--all-stages",
        action="store_true",
        help="also train the recipes that --recipe starts from, in their order, each in its own folder of --out; the same "
        "command continues after an interruption",
    )
    parser.add_argument("--init", metavar="MODEL", help="start from the weights of a zoo name, model file or run folder")
    parser.add_argument(
        "--branches",
        choices=("ecb", "rep", "clb"),
        help="train every 3x3 convolution as a sum of branches; in best.npz they are merged into one convolution",
    )
    common.add_degrade(parser, "degrade the LR images of training and validation")
    parser.add_argument(
        "--architecture",
        metavar="FILE",
        help="for the recipes fgnas and chainsr: architecture.json of a search (default: that of --init)",
    )


def run(args: argparse.Namespace) -> int | None:
    """Train and print the best validation score and the model file."""
    return _all_stages(args) if args.all_stages else _train(args)


def _all_stages(args: argparse.Namespace) -> int | None:
    """Train the recipe and those that it starts from, one after another."""
    from mobile_sr import models
    from mobile_sr.errors import UserError
    from mobile_sr.training import distributed, recipes

    for option in ("init", "resume", "net", "architecture"):
        if getattr(args, option):
            raise UserError(f"--{option} is for a single stage; leave out --all-stages or --{option}")
    if max(args.processes, distributed.processes()) > 1:
        raise UserError("--all-stages trains in a single process; train each stage with --processes")
    names = recipes.stages(args.recipe)
    searches = [name for name in names if recipes.load(name).network["network"] in models.SUPERNETS]
    if searches:
        raise UserError(f"{args.recipe} starts from a search ({searches[0]}): run mobile-sr search, then train --init")
    init = None
    for number, name in enumerate(names, 1):
        out = Path(args.out) / name
        print(f"stage {number} of {len(names)}: {name}", file=sys.stderr)
        resume = (out / "config.json").exists()
        stage = {"recipe": name, "out": str(out), "init": None if resume else init, "resume": resume}
        if status := _train(argparse.Namespace(**{**vars(args), **stage})):
            return status
        init = str(out)
    return None


def _train(args: argparse.Namespace) -> int | None:
    from mobile_sr import backend
    from mobile_sr.architecture_search import architecture
    from mobile_sr.errors import UserError
    from mobile_sr.imaging import degradation
    from mobile_sr.inference import model_files
    from mobile_sr.training import distributed, recipes, train_loop

    if args.init and args.resume:
        raise UserError("--init starts a run and --resume continues one; give one of them")
    if recipes.needs_keras(args.recipe, args.net, args.set):  # a file may import it
        backend.choose_backend(common.backend_name(args))
    recipe = recipes.load(args.recipe, args.smoke, args.steps, args.seed, args.net)
    recipes.override(recipe, args.set)
    if args.branches:
        recipe.branches = args.branches
    if args.degrade is not None:
        recipe.degrade = degradation.normalized(args.degrade)
    folder = args.data if recipe.hooks.data else common.need_data(args)
    if recipe.hooks.data and folder and distributed.rank() == 0:
        print(f"{folder} is not read: the recipe has a data function", file=sys.stderr)
    init = args.init and model_files.find(args.init)
    if init:
        model_files.trained(init)
    launched = common.launch(args, recipe)
    if launched is not None:
        return launched
    backend.choose_backend(args.backend)
    recipe.network |= architecture.for_recipe(recipe, args.out, init, args.architecture, args.resume)
    start = recipes.expected_init(args.recipe)
    if start and not (args.init or args.resume or args.architecture) and distributed.rank() == 0:
        print(
            f"warning: {args.recipe} expects --init with a trained {start}; training starts from random weights",
            file=sys.stderr,
        )
    options = {"init": init, "resume": args.resume, "cache": args.cache, "dtype": common.dtype(args)}
    with distributed.group():
        best = train_loop.train(recipe, folder, args.out, **options)
    if distributed.rank() == 0:
        print(summary(best, Path(args.out) / "best.npz"))
    return None


def summary(best: float, file: Path) -> str:
    """Format the last line of output: the validation score, and whether training improved the initial weights.

    Args:
        best: best validation score.
        file: best.npz of the run.
    """
    from mobile_sr.inference import weights
    from mobile_sr.training import selection

    about = weights.read_arrays(file)[1]
    selected_by = about.get("selected_by", "rgb")
    what, unit = selection.describe(selected_by), selection.unit(selected_by)
    line = f"best validation PSNR {best:.3f} dB ({what}): {file}" if unit else f"best validation {what} {best:.3f}: {file}"
    return f"{line}, the initial weights: training did not improve them" if about["step"] == 0 else line
