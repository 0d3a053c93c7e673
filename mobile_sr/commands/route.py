"""Train a classifier that chooses for every patch of an image which network upscales it (ClassSR), and write the .tflite files.

Example: mobile-sr route --model runs/small --model runs/middle --model runs/large --data DIV2K_train_HR --out deploy/routed
Then: mobile-sr evaluate --model deploy/routed/routed_uint8.route.json --data Set5
"""

from mobile_sr.commands import common

HELP = "let a classifier choose a network for every patch (ClassSR)"


def add_arguments(parser):
    """Arguments of `mobile-sr route`."""
    parser.add_argument(
        "--model", action="append", required=True, help="trained network: zoo name, .npz or run folder; give two or more"
    )
    common.add_data(parser, "folder of HR training images, with LR beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="DIR", help="deployment folder; its name is the files'")
    parser.add_argument(
        "--budget",
        metavar="B",
        help="average multiply-adds of the chosen networks, overlaps not counted: 65%% of the largest network's, or 60G for a "
        "1280x720 output (default: halfway between the cheapest and the largest)",
    )
    parser.add_argument("--patch", type=int, default=32, metavar="P", help="side of a patch in LR pixels (default %(default)s)")
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="N",
        help="LR pixels that are run around a patch; fewer are cheaper and leave seams (default: the receptive field, exact)",
    )
    parser.add_argument("--precision", default="float32,uint8", help="of float32 and uint8 (default %(default)s)")
    parser.add_argument(
        "--patches", type=int, default=4000, metavar="N", help="patches that the networks are measured on (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    parser.add_argument("--calibration", metavar="DIR", help="images for the uint8 networks (default: scikit-image's)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for measuring (default 1)")
    parser.add_argument("--cache", metavar="DIR", help="where decoded images go (default $MOBILE_SR_CACHE, ~/.cache/mobile-sr)")


def run(args):
    """Train and write; status 1 when a converted file fails its audit."""
    import sys

    from mobile_sr.errors import UserError

    for name, least in (("patch", 4), ("patches", 16), ("threads", 1), ("overlap", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
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
