"""Train a classifier that chooses a network, or an exit, for every patch of an image (ClassSR), and write the .tflite files.

Example: mobile-sr route --model runs/small --model runs/middle --model runs/large --data DIV2K_train_HR --out deploy/routed
Then: mobile-sr evaluate --model deploy/routed/routed_uint8.route.json --data Set5
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common

HELP = "train a classifier that chooses a network for every patch (ClassSR)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr route`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="trained network: zoo name, .npz or run folder; give two or more, or one run of classsr or of a recipe with exits",
    )
    common.add_data(parser, "folder of HR training images, with LR images beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="DIR", help="deployment folder; the files are named after it")
    parser.add_argument(
        "--budget",
        metavar="B",
        help="average multiply-adds of the chosen networks, without overlaps, such as 65%% of the largest network or "
        "60G for a 1280x720 output (default: halfway between the cheapest and the largest)",
    )
    parser.add_argument("--patch", type=int, metavar="P", help="side of a patch in LR pixels (default 32, or that of classsr)")
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="N",
        help="LR pixels added around a patch; fewer are cheaper but leave seams (default: the receptive field, without seams)",
    )
    parser.add_argument("--precision", default="float32,uint8", help="one or both of float32, uint8 (default %(default)s)")
    parser.add_argument(
        "--patches", type=int, default=4000, metavar="N", help="patches that the networks are measured on (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    parser.add_argument(
        "--calibration", metavar="DIR", help="calibration images for the uint8 networks (default: from scikit-image)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for measuring (default 1)")
    common.add_cache(parser)


def run(args: argparse.Namespace) -> int:
    """Train the classifier and write the files. Returns 1 if a converted file fails its audit."""
    import sys

    from mobile_sr.errors import UserError

    for name, minimum in (("patch", 4), ("patches", 16), ("threads", 1), ("overlap", 0)):
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise UserError(f"--{name} {value}: must be at least {minimum}")
    folder = common.need_data(args)
    from mobile_sr.quantization import export
    from mobile_sr.routing import route_training

    precisions = list(dict.fromkeys(p.strip() for p in args.precision.split(",") if p.strip()))
    options = {
        key: getattr(args, key) for key in ("budget", "patch", "patches", "overlap", "seed", "cache", "calibration", "threads")
    }
    try:
        written = route_training.train(args.model, folder, args.out, precisions=precisions, **options)
    except export.AuditError as error:
        print(f"mobile-sr route: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0
