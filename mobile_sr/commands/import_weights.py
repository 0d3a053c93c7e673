"""Take published PyTorch weights into a Keras network: DIR/best.npz, which export, evaluate, upscale and train --init take.

Every key of the checkpoint must belong to the network and the reverse. No PyTorch is needed, and nothing that the file holds is
run.

Example: mobile-sr import-weights --net rlfn --checkpoint team04_rlfn.pth --out imported/rlfn
"""

HELP = "take published PyTorch weights (.pth, .pt, .npz) into a network"


def add_arguments(parser):
    """Arguments of `mobile-sr import-weights`."""
    parser.add_argument("--net", required=True, metavar="N", help="network, such as imdn or rlfn (docs/reference/networks.md)")
    parser.add_argument("--checkpoint", required=True, metavar="F", help=".pth or .pt file of PyTorch, or .npz of its arrays")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the network")
    parser.add_argument("--scale", type=int, default=4, help="the network's scale (default 4)")
    parser.add_argument(
        "--range", type=int, choices=(1, 255), help="pictures that it was trained on: 0..1 or 0..255 (default: as published)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a size that is not the published one, as in blocks=7; repeatable",
    )


def run(args):
    """Import."""
    from mobile_sr.importing import import_weights

    sizes = [_size(text) for text in args.set]
    import_weights.import_weights(args.net, args.checkpoint, args.out, args.scale, args.range, dict(sizes))


def _size(text):
    from mobile_sr.errors import UserError

    name, equals, value = text.partition("=")
    if not (name and equals and value.isdecimal()):
        raise UserError(f"--set {text}: not of the form NAME=N with a whole number N")
    return name, int(value)
