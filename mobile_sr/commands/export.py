"""Convert a trained network to audited .tflite or ONNX files, each with a sidecar JSON.

Example: mobile-sr export --model xlsr_x3 --out deploy --precision float32,uint8 --calibration photos
         mobile-sr export --model net.onnx --out deploy --precision uint8
         mobile-sr export --model xlsr_x3 --out deploy --target mediatek --height 128 --width 128
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

HELP = "convert a trained network to .tflite or ONNX"
PRECISIONS = "float32,float16,uint8"  # without --target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr export`."""
    parser.add_argument(
        "--model",
        required=True,
        help="zoo name, model file (.npz) or run folder; or a network from elsewhere: .keras, .h5, .onnx, .pt2 or float "
        ".tflite file, SavedModel folder, or module.py:function; files accept options: net.tflite@range=255",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="deployment folder")
    parser.add_argument(
        "--precision",
        help="comma-separated list of float32, float16, uint8 and int8 (full integer, input and output included), int16 "
        f"(int16 activations, float input and output), dynamic (int8 weights), onnx (default {PRECISIONS}, or of --target)",
    )
    parser.add_argument(
        "--target",
        metavar="DEVICE",
        help="device that the files are for: cpu, gpu, nnapi, snapdragon, mediatek, samsung, google or ethos-u (NPUs); it "
        "chooses precision, groups, fixed size and the form of the upsampler (docs/guide/targets.md)",
    )
    parser.add_argument(
        "--soc",
        metavar="CHIPS",
        help="with --target snapdragon: comma-separated chips, such as SM8650,SM8750, for which LiteRT's compiler also "
        "compiles the file; needs the extra [snapdragon]",
    )
    parser.add_argument("--per-tensor", action="store_true", help="one scale per integer kernel, as some NPUs require")
    parser.add_argument(
        "--methods",
        default="mix,equalize,round,clip,spare,fit",
        help="methods that reduce the loss of integer files: mix (channels of linear tensors combined), equalize (cross-layer "
        "equalization), round (GPTQ); for 8-bit files also clip (ranges of least squared error), spare (channels that the "
        "network does not use become copies of important ones; with clip and fit), fit (weights fitted to the float network's "
        "results); 'none' for the quantization of TensorFlow alone (default %(default)s)",
    )
    parser.add_argument(
        "--float-weights",
        choices=("trained", "equalized", "steered"),
        help="weights of float and ONNX files: trained; equalized, the same function; steered, for quantization by another "
        "tool: nearly the same function, and rounding to nearest gives the integers of the uint8 file (default: equalized "
        "beside an integer file, else trained)",
    )
    parser.add_argument(
        "--path",
        choices=("sparse", "dense"),
        help="AdaDSR networks: sparse writes NAME_sparse_PRECISION.tflite, with the signatures sparse and dense (float32, "
        "float16, uint8, int8); dense writes only the dense network, for delegates without GATHER (GPU, NNAPI); default: "
        "sparse if the network has a sparse path",
    )
    parser.add_argument(
        "--dense-groups",
        action="store_true",
        help="write grouped convolutions as ordinary ones with zeros between the groups; NNAPI rejects grouped ones",
    )
    parser.add_argument(
        "--max-colour-error",
        type=int,
        default=16,
        metavar="LEVELS",
        help="refuse a file with integer or steered weights if a flat colour differs more than this from the float network "
        "(default %(default)s)",
    )
    parser.add_argument("--height", type=int, help="fixed LR height (default: dynamic)")
    parser.add_argument("--width", type=int, help="fixed LR width (default: dynamic)")
    parser.add_argument(
        "--calibration",
        metavar="DIR",
        help="calibration images for integer files and for equalized or steered weights (default: from scikit-image)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the calibration crops (default 0)")


def run(args: argparse.Namespace) -> int:
    """Export the network. Returns 1 if a converted file fails its audit."""
    import sys

    from mobile_sr.errors import UserError

    if (args.height is None) != (args.width is None):
        raise UserError("--height and --width must be given together; give both, or neither for a dynamic size")
    if args.max_colour_error < 0:
        raise UserError(f"--max-colour-error {args.max_colour_error}: must be at least 0")
    chips = _parts(args.soc or "")
    if args.soc is not None and not chips:
        raise UserError("--soc: names no chip; give one, such as SM8650, or leave it out")
    from mobile_sr.quantization import export

    size = None if args.height is None else (args.height, args.width)
    precision = args.precision if args.precision is not None or args.target else PRECISIONS
    try:
        export.export(
            args.model,
            args.out,
            None if precision is None else _parts(precision),
            target=args.target,
            soc=chips,
            size=size,
            calibration=args.calibration,
            seed=args.seed,
            per_tensor=args.per_tensor,
            methods=_methods(args.methods, export.METHODS),
            float_weights=args.float_weights,
            path=args.path,
            dense_groups=args.dense_groups,
            max_colour_error=args.max_colour_error,
        )
    except export.AuditError as error:
        print(f"mobile-sr export: {error}", file=sys.stderr)
        return 1
    return 0


def _parts(text: str) -> list[str]:
    """Return the items of a comma-separated list without duplicates."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _methods(text: str, known: Sequence[str]) -> list[str]:
    from mobile_sr.errors import UserError

    methods = [] if text == "none" else [m.strip() for m in text.split(",") if m.strip()]
    unknown = [m for m in methods if m not in known]
    if unknown:
        raise UserError(f"--methods {text}: unknown '{unknown[0]}'; use {', '.join(known)} or none")
    return methods
