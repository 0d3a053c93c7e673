"""Report on a network: costs, receptive field, smallest side, agreement with a reference, uint8, supported operators.

NETWORK is the name of a network here, which gets random weights; a packaged network, .npz file or run folder; a PyTorch
checkpoint that import-weights recognizes; or a network from elsewhere, such as net.onnx or module.py:function. Problems are
listed at the end, and the exit status is 1 if there are any.

Example: mobile-sr check-network rlfn --set channels=32
         mobile-sr check-network team04_rlfn.pth --verify truth.npz
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common

HELP = "report on a network: costs, receptive field, reference error, uint8, operators of each target"
NO_DEVICES = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr check-network`."""
    parser.add_argument("network", metavar="NETWORK", help="name, FILE[@KEY=VALUE,...] or module.py:function")
    parser.add_argument("--scale", type=int, help="scale of a network given by name or of a checkpoint (default: its own)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=N",
        help="argument of a network given by name or of a checkpoint, such as blocks=7; repeatable",
    )
    parser.add_argument("--verify", nargs="+", default=[], metavar="F", help=".npz files with true inputs and outputs")
    parser.add_argument(
        "--device",
        metavar="NAMES",
        help="virtual devices to compile for, separated by commas, or none (default: all that are installed)",
    )
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report. Returns 1 if there are problems."""
    import sys

    from mobile_sr.challenge import network_check, network_check_text
    from mobile_sr.commands import import_weights
    from mobile_sr.devices import names
    from mobile_sr.errors import UserError
    from mobile_sr.inference import weights

    if args.scale is not None and not 1 <= args.scale <= weights.MAX_SCALE:
        raise UserError(f"--scale {args.scale}: must be 1 to {weights.MAX_SCALE}")
    sizes = dict(import_weights.size(text) for text in args.set)
    devices = tuple(names.DEVICES) if args.device is None else tuple(args.device.split(","))
    devices = () if args.device == NO_DEVICES else devices

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    settings = {"scale": args.scale, "sizes": sizes, "verify": args.verify, "devices": devices, "log": log}
    report = network_check.check(args.network, **settings)
    print(network_check_text.text(report), file=sys.stderr if args.json == "-" else sys.stdout)
    common.write_json_result(args, report)
    return 1 if report["problems"] else 0
