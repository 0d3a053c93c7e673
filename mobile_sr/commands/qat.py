"""Fine-tune a trained network with fake quantization and convert it to an audited uint8 .tflite.

Example: mobile-sr qat --model runs/xlsr_x3 --data DIV2K_train_HR --out runs/xlsr_x3_qat
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common
from mobile_sr.qat.settings import RATES, Settings

ENGINES = ("keras", "tfmot")
HELP = "quantization-aware training: fine-tune for uint8 and convert"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr qat`."""
    default = Settings()
    parser.add_argument("--model", required=True, help="zoo name, model file (.npz, .keras) or run folder to start from")
    common.add_data(parser, "folder of HR images, with LR images beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the .tflite, its sidecar and the run files")
    parser.add_argument("--steps", type=int, default=default.steps, help="number of steps (default %(default)s)")
    parser.add_argument("--per-tensor", action="store_true", help="one scale per kernel instead of one per output channel")
    rates = ", ".join(f"{rate:g} for {engine}" for engine, (rate, _) in RATES.items())
    parser.add_argument("--rate", type=float, help=f"peak learning rate of Adam (default {rates} and --round-weights)")
    parser.add_argument("--batch", type=int, default=default.batch, help="patches per step (default %(default)s)")
    parser.add_argument("--patch", type=int, default=default.patch, help="side of a patch in LR pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed (default %(default)s)")
    common.add_cache(parser)
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="keras",
        help="keras: fake quantization in this process, for any functional network, then export (default); "
        "tfmot: tensorflow-model-optimization, with learned ranges in the file",
    )
    parser.add_argument(
        "--round-weights",
        action="store_true",
        help="engine keras: round the weights during the training, too (default: after it; always with --per-tensor)",
    )
    parser.add_argument(
        "--max-colour-error",
        type=int,
        default=16,
        metavar="LEVELS",
        help="engine keras: refuse a file if a flat colour differs more than this from the float network (default %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint of --out (engine keras)")
    parser.add_argument("--calibration", metavar="DIR", help="images for the initial activation ranges (default: --data)")


def run(args: argparse.Namespace) -> int:
    """Fine-tune, convert and print the score on held-out images. Returns 1 if the training or the audit fails."""
    import sys

    from mobile_sr.errors import UserError
    from mobile_sr.files import sole_writer
    from mobile_sr.qat import trainer
    from mobile_sr.quantization import export

    if args.resume and args.engine != "keras":
        raise UserError(f"--resume: not supported by --engine {args.engine}")
    if args.round_weights and args.engine != "keras":
        raise UserError(f"--round-weights: --engine {args.engine} always rounds them")
    if args.max_colour_error < 0:
        raise UserError(f"--max-colour-error {args.max_colour_error}: must be at least 0")
    is_rounded = args.engine == "keras" and (args.round_weights or args.per_tensor)
    rate, range_rate = RATES["tfmot" if is_rounded else args.engine]
    settings = Settings(
        steps=args.steps,
        rate=rate if args.rate is None else args.rate,
        range_rate=range_rate,
        batch=args.batch,
        patch=args.patch,
        seed=args.seed,
        per_tensor=args.per_tensor,
        rounded_weights=is_rounded,
    )
    if args.per_tensor:
        # Equalization gives output channels ranges too different for one scale (docs/measurements/qat.md).
        settings.equalize = 0.0
    settings.check()
    folder = common.need_data(args)
    files = {"cache": args.cache, "calibration": args.calibration}
    try:
        with sole_writer(args.out):
            if args.engine == "tfmot":
                file, best = trainer.train(args.model, folder, args.out, settings, **files)
            else:
                from mobile_sr.qat import keras_trainer

                options = {"resume": args.resume, "max_colour_error": args.max_colour_error}
                file, best = keras_trainer.train(args.model, folder, args.out, settings, **options, **files)
    except (export.AuditError, trainer.QatError) as error:
        print(f"mobile-sr qat: {error}", file=sys.stderr)
        return 1
    of = " with fake quantization" if args.engine == "tfmot" else ""
    print(f"{best:.3f} dB (RGB) on held-out images{of}: {file}")
    return 0
