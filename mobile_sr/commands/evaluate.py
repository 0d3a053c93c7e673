"""Measure the PSNR and SSIM of a model on a folder of images.

Example: mobile-sr evaluate --model xlsr_x3:uint8 --data Set5 --space y
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

if TYPE_CHECKING:
    from mobile_sr.routing.route import RoutedUpscaler

HELP = "measure the PSNR and SSIM of a model on a folder of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr evaluate`."""
    parser.add_argument("--model", required=True, help="zoo name, .tflite[@KEY=VALUE,...], model file, run folder, or bicubic")
    common.add_data(parser)
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    common.add_depth(parser)
    common.add_space(parser)
    common.add_device(parser)
    parser.add_argument("--nets", action="store_true", help="also measure every network of a routed model alone")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table. Returns 2 if a file was skipped."""
    import sys

    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import evaluate
    from mobile_sr.imaging import metrics
    from mobile_sr.routing import route

    folder = common.need_data(args)
    model = common.load_model(args, args.model)
    routed = model if isinstance(model, route.RoutedUpscaler) else None
    if args.nets and not routed:
        raise UserError(f"--nets: {args.model} is not a routed model (.route.json)")
    result = evaluate.evaluate(model, folder, args.space, common.progress)
    if args.nets and routed:
        result["nets"] = [_alone(routed, index, folder, args.space) for index in range(len(routed.nets))]
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    width = max(len(row["name"]) for row in result["images"])
    mean = {"name": f"mean of {len(result['images'])}", **result["mean"], "bicubic_psnr": result["bicubic"]["psnr"]}
    for row in [*result["images"], mean]:
        psnr = "-" if row["psnr"] is None else f"{row['psnr']:.3f}"
        ssim = "-" if row["ssim"] is None else f"{row['ssim']:.4f}"
        bicubic = "-" if row["bicubic_psnr"] is None else f"{row['bicubic_psnr']:.3f}"
        print_line(f"{row['name']:<{width}}  {psnr:>8} dB  {ssim:>7}  bicubic {bicubic:>8} dB", file=out)
    title = f"{args.model} on {result['device']}" if "device" in result else args.model
    print_line(f"{title}: {metrics.describe(result['protocol'])}", file=out)
    if args.model != "bicubic" and None not in (mean["psnr"], mean["bicubic_psnr"]):
        gain = mean["psnr"] - mean["bicubic_psnr"]
        print_line(f"{title}: {abs(gain):.3f} dB {'better' if gain >= 0 else 'WORSE'} than bicubic interpolation", file=out)
    if "routing" in result:
        print_line(route.describe(result["routing"]), file=out)
    if "nets" in result:
        for row in [{"name": "routed", "psnr": mean["psnr"], "routing": result["routing"]}, *result["nets"]]:
            done = {words: row["routing"][key]["done"] for key, words in route.KINDS.items() if key in row["routing"]}
            costs = ", ".join(f"{cost:,.0f} {words}" for words, cost in done.items())
            psnr = "-" if row["psnr"] is None else f"{row['psnr']:.3f}"
            print_line(f"{row['name']}: {psnr} dB, {costs} per LR pixel", file=out)
    common.write_json_result(args, result)
    return 2 if result["skipped"] else 0


def _alone(model: RoutedUpscaler, index: int, folder: str, space: str) -> dict[str, Any]:
    """Measures one network of a routed model: its mean PSNR in dB, and its costs, counted as those of the routed model."""
    from mobile_sr.evaluation import evaluate

    result = evaluate.evaluate(model.alone(index), folder, space, common.progress, ssim=False)
    return {"name": Path(model.nets[index].name).stem, "psnr": result["mean"]["psnr"], "routing": result["routing"]}
