"""Measure the PSNR and SSIM of a model on a folder of images.

Example: mobile-sr evaluate --model xlsr_x3:uint8 --data Set5 --space y
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

HELP = "measure the PSNR and SSIM of a model on a folder of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr evaluate`."""
    parser.add_argument("--model", required=True, help="zoo name, .tflite[@KEY=VALUE,...], model file, run folder, or bicubic")
    common.add_data(parser)
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    common.add_depth(parser)
    common.add_space(parser)
    common.add_degraded_evaluation(parser)
    common.add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table. Returns 2 if a file was skipped."""
    import sys

    from mobile_sr.evaluation import evaluate
    from mobile_sr.imaging import metrics
    from mobile_sr.imaging.degradation import Amounts
    from mobile_sr.routing import route

    folder = common.need_data(args)
    degraded = common.degradation(args)
    result = evaluate.evaluate(common.load_model(args, args.model), folder, args.space, common.progress, degraded=degraded)
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    width = max(len(row["name"]) for row in result["images"])
    mean = {"name": f"mean of {len(result['images'])}", **result["mean"], "bicubic_psnr": result["bicubic"]["psnr"]}
    for row in [*result["images"], mean]:
        psnr = "-" if row["psnr"] is None else f"{row['psnr']:.3f}"
        ssim = "-" if row["ssim"] is None else f"{row['ssim']:.4f}"
        bicubic = "-" if row["bicubic_psnr"] is None else f"{row['bicubic_psnr']:.3f}"
        amounts = f"  {Amounts(**row['degradation'])}" if "degradation" in row else ""
        print_line(f"{row['name']:<{width}}  {psnr:>8} dB  {ssim:>7}  bicubic {bicubic:>8} dB{amounts}", file=out)
    title = f"{args.model} on {result['device']}" if "device" in result else args.model
    print_line(f"{title}: {metrics.describe(result['protocol'])}", file=out)
    if args.model != "bicubic" and None not in (mean["psnr"], mean["bicubic_psnr"]):
        gain = mean["psnr"] - mean["bicubic_psnr"]
        print_line(f"{title}: {abs(gain):.3f} dB {'better' if gain >= 0 else 'WORSE'} than bicubic interpolation", file=out)
    if "routing" in result:
        print_line(route.describe(result["routing"]), file=out)
    common.write_json_result(args, result)
    return 2 if result["skipped"] else 0
