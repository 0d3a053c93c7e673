"""Train a recipe on a folder of images; interrupt it at any time and go on with --resume.

Example: mobile-sr train --recipe xlsr_x3 --data DIV2K_train_HR --out runs/xlsr_x3
"""

import sys

from mobile_sr.commands import common

HELP = "train a recipe on a folder of images"


def add_arguments(parser):
    """Arguments of `mobile-sr train`."""
    parser.add_argument("--recipe", required=True, help="recipe and scale, e.g. xlsr_x3 or xlsr_zoo_x3")
    common.add_training(parser)
    parser.add_argument("--init", metavar="MODEL", help="start from the weights of a zoo name, model file or run folder")
    parser.add_argument(
        "--branches",
        choices=("ecb", "rep"),
        help="train every 3x3 convolution as a sum of branches, which best.npz holds collapsed into one",
    )
    parser.add_argument(
        "--architecture", metavar="FILE", help="for an FGNAS recipe: a search's architecture.json (default: that of --init)"
    )


def run(args):
    """Train; prints the best validation score and the model file."""
    from pathlib import Path

    from mobile_sr import backend
    from mobile_sr.errors import UserError
    from mobile_sr.inference import model_files
    from mobile_sr.training import distributed, recipes, train_loop

    if args.init and args.resume:
        raise UserError("--init starts a run and --resume continues one; give one of them")
    recipe = recipes.load(args.recipe, args.smoke, args.steps, args.seed)
    recipes.override(recipe, args.set)
    if args.branches:
        recipe.branches = args.branches
    folder = common.need_data(args)
    init = args.init and model_files.find(args.init)
    if init:
        model_files.trained(init)
    launched = common.launch(args, recipe)
    if launched is not None:
        return launched
    backend.choose_backend(args.backend)
    recipe.network |= _architecture(args, recipe, init)
    start = recipes.start(args.recipe)
    if start and not (args.init or args.resume or args.architecture) and distributed.rank() == 0:
        print(
            f"{args.recipe} is meant to go on from a trained {start} (--init), and starts from random weights", file=sys.stderr
        )
    options = {"init": init, "resume": args.resume, "cache": args.cache, "dtype": common.dtype(args)}
    with distributed.group():
        best = train_loop.train(recipe, folder, args.out, **options)
    if distributed.rank() == 0:
        print(summary(best, Path(args.out) / "best.npz"))
    return None


def summary(best, file):
    """The last line: what the kept weights score, and whether they are only those that the run was given."""
    from mobile_sr.inference import weights
    from mobile_sr.training import selection

    about = weights.read_arrays(file)[1]
    line = f"best validation PSNR {best:.3f} dB ({selection.describe(about.get('selected_by', 'rgb'))}): {file}"
    started = about["step"] == 0
    return f"{line}, the weights it started from: none that were trained are better" if started else line


def _architecture(args, recipe, init):
    """What the network of an FGNAS recipe is built from: --architecture, else that of --init or of the run to resume."""
    from mobile_sr.errors import UserError
    from mobile_sr.search import architecture

    network = recipe.network["network"]
    if network == "fgnas_supernet":
        raise UserError(f"--recipe {args.recipe}: is a search; use `mobile-sr search`")
    if network != "fgnas":
        if args.architecture:
            raise UserError(f"--architecture: recipe {args.recipe} is no FGNAS recipe and has its own")
        return {}
    if args.architecture:
        return architecture.read(args.architecture)
    if args.resume:
        return architecture.of_run(args.out)
    if not init:
        raise UserError(f"--recipe {args.recipe}: give --init SEARCH or --architecture FILE, what a search has found")
    return architecture.of_model(init)
