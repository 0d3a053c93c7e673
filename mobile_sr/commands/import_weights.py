"""Import published PyTorch weights into a Keras network: DIR/best.npz, for export, evaluate, upscale and train --init.

The network, its sizes and the range of its images are recognized. PyTorch is not needed, and no code in the file is run.

Example: mobile-sr import-weights team04_rlfn.pth --out imported/rlfn
"""

from __future__ import annotations

import argparse

HELP = "import published PyTorch weights (.pth, .pt, .safetensors, .npz)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr import-weights`."""
    parser.add_argument("file", nargs="?", metavar="FILE", help=".pth, .pt or .safetensors file, or .npz of its arrays")
    parser.add_argument("--checkpoint", metavar="F", help=argparse.SUPPRESS)  # FILE, in scripts written for earlier versions
    parser.add_argument("--out", metavar="DIR", help="folder for the network (default: imported/ and the name of FILE)")
    parser.add_argument("--net", metavar="N", help="network, such as imdn or rlfn (default: recognized)")
    parser.add_argument("--scale", type=int, help="the network's scale (default: recognized)")
    parser.add_argument(
        "--range",
        type=int,
        choices=(1, 255),
        help="range of its training images, 0..1 or 0..255 (default: found by running the network)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a size that is not recognized, such as blocks=7, or a form such as depth=fixed; repeatable",
    )
    parser.add_argument("--verify", nargs="+", default=[], metavar="F", help=".npz files with true inputs and outputs")
    parser.add_argument("--map", metavar="F", help="JSON file with the names in FILE (docs/guide/published_weights.md)")


def run(args: argparse.Namespace) -> None:
    """Import the weights."""
    from mobile_sr.errors import UserError
    from mobile_sr.importing import import_weights

    file = args.file or args.checkpoint
    if not file or (args.file and args.checkpoint):
        raise UserError("give one FILE, the checkpoint to import")
    sizes = dict(size(text) for text in args.set)
    import_weights.import_weights(file, args.out, args.net, args.scale, args.range, sizes, args.verify, args.map)


def size(text: str) -> tuple[str, int | str]:
    """Returns (name, value) of --set NAME=VALUE. Raises UserError for another form."""
    from mobile_sr.errors import UserError

    name, equals, value = text.partition("=")
    if not (name and equals and (value.isdecimal() or value.isidentifier())):
        raise UserError(f"--set {text}: expected NAME=N with a whole number N, or a word such as depth=fixed")
    return name, int(value) if value.isdecimal() else value
