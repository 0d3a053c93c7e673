"""Import published PyTorch weights into a Keras network: DIR/best.npz, for export, evaluate, upscale and train --init.

The keys of the checkpoint must match the network exactly. PyTorch is not needed, and no code in the file is run.

Example: mobile-sr import-weights --net rlfn --checkpoint team04_rlfn.pth --out imported/rlfn
"""

from __future__ import annotations

import argparse

HELP = "import published PyTorch weights (.pth, .pt, .npz)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr import-weights`."""
    parser.add_argument("--net", required=True, metavar="N", help="network, such as imdn or rlfn (docs/reference/networks.md)")
    parser.add_argument("--checkpoint", required=True, metavar="F", help=".pth or .pt file of PyTorch, or .npz of its arrays")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the network")
    parser.add_argument("--scale", type=int, default=4, help="the network's scale (default 4)")
    parser.add_argument(
        "--range",
        type=int,
        choices=(1, 255),
        help="range of its training images, 0..1 or 0..255 (default: as published)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a size that differs from the published one, such as blocks=7; repeatable",
    )


def run(args: argparse.Namespace) -> None:
    """Import the weights."""
    from mobile_sr.importing import import_weights

    sizes = [_size(text) for text in args.set]
    import_weights.import_weights(args.net, args.checkpoint, args.out, args.scale, args.range, dict(sizes))


def _size(text: str) -> tuple[str, int]:
    from mobile_sr.errors import UserError

    name, equals, value = text.partition("=")
    if not (name and equals and value.isdecimal()):
        raise UserError(f"--set {text}: expected NAME=N with a whole number N")
    return name, int(value)
