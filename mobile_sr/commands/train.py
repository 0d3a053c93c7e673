"""Train a recipe on a folder of images; interrupt it at any time and go on with --resume.

Example: mobile-sr train --recipe xlsr_x3 --data DIV2K_train_HR --out runs/xlsr_x3
"""

from mobile_sr.commands import common

HELP = "train a recipe on a folder of images"


def add_arguments(parser):
    """Arguments of `mobile-sr train`."""
    parser.add_argument("--recipe", required=True, help="recipe and scale, e.g. xlsr_x3 or xlsr_zoo_x3")
    common.add_data(parser, "folder of HR images, with LR beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--steps", type=int, help="number of steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="seed (default: the recipe's)")
    parser.add_argument("--smoke", action="store_true", help="the recipe shrunk to seconds, to try the pipeline")
    parser.add_argument("--init", metavar="MODEL", help="start from the weights of a zoo name, model file or run folder")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="layers calculate in bfloat16 (twice as fast on a CPU with AMX); weights, loss and scores stay float32",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the run folder's last checkpoint")
    parser.add_argument(
        "--backend", choices=("tensorflow", "torch", "jax"), help="Keras backend (default: the first of these installed)"
    )
    parser.add_argument("--cache", metavar="DIR", help="where decoded images go (default $MOBILE_SR_CACHE, ~/.cache/mobile-sr)")


def run(args):
    """Train; prints the best validation score and the model file."""
    from pathlib import Path

    from mobile_sr import backend, model_files, recipes, training
    from mobile_sr.errors import UserError

    if args.init and args.resume:
        raise UserError("--init starts a run and --resume continues one; give one of them")
    recipe = recipes.load(args.recipe, args.smoke, args.steps, args.seed)
    folder = common.need_data(args)
    init = args.init and model_files.find(args.init)
    backend.choose_backend(args.backend)
    dtype = "mixed_bfloat16" if args.bfloat16 else "float32"
    best = training.train(recipe, folder, args.out, init=init, resume=args.resume, cache=args.cache, dtype=dtype)
    print(f"best validation PSNR {best:.3f} dB (RGB): {Path(args.out) / 'best.npz'}")
