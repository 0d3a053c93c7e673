"""Compare two models, such as uint8 and float32, and report the drop in PSNR and SSIM.

Example: mobile-sr compare --reference xlsr_x3 --model xlsr_x3:uint8 --data Set5 --report out/report --max-drop 0.4
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

HELP = "report the drop of one model against another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr compare`."""
    parser.add_argument(
        "--reference", required=True, help="model to compare with, usually float; a .tflite accepts @KEY=VALUE,..."
    )
    parser.add_argument("--model", required=True, help="model under test, usually uint8")
    common.add_data(parser)
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    common.add_depth(parser)
    common.add_space(parser)
    common.add_degraded_evaluation(parser)
    common.add_device(parser, "run --model, a .tflite, on a virtual device")
    parser.add_argument("--report", metavar="OUT", help="folder for report.html, report.md and report.json")
    parser.add_argument(
        "--layers", action="store_true", help="also locate the error layer by layer, for two .tflite files of one network"
    )
    parser.add_argument("--max-drop", type=float, metavar="DB", help="exit with status 1 if the mean drop is larger")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the drop. Returns 1 if it exceeds --max-drop, 2 if a file was skipped."""
    import sys

    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import compare, report
    from mobile_sr.imaging import flat_colours, metrics
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import layer_report, quantization_debugger
    from mobile_sr.routing import route

    folder = common.need_data(args)
    device = common.device(args)
    if device and args.layers:
        raise UserError("--layers compares files on this machine; leave out --device")
    degraded = common.degradation(args)
    if degraded and args.layers:
        raise UserError("--layers measures on clean images; leave out --degrade")
    reference = upscaler.load(args.reference, args.scale, args.threads, check=False)
    model = upscaler.load(args.model, args.scale or reference.scale, args.threads, check=False, device=device)
    common.set_depth(args, reference, model)
    if reference.scale != model.scale:
        raise UserError(f"{args.reference} has scale {reference.scale}, {args.model} has {model.scale}")
    if args.layers:
        quantization_debugger.check(args.reference, args.model)
    for side in (reference, model):
        upscaler.check_output(side)
    result, crops = compare.compare(reference, model, folder, args.space, common.progress, degraded)
    appendix = ("", "")
    if args.layers:
        layers = quantization_debugger.locate(
            args.reference, args.model, folder, args.space, threads=args.threads, progress=common.progress
        )
        result["location"] = layers
        appendix = (layer_report.section(layers), layer_report.markdown(layers))
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    for key in ("reference", "model"):
        psnr, ssim = report.number(result[key]["psnr"], 3), report.number(result[key]["ssim"], 4)
        print_line(f"{key:<9}  {psnr:>7} dB  {ssim:>6}  {report.title(result[key])}", file=out)
    print_line(
        f"{'drop':<9}  {report.number(result['drop_db'], 3):>7} dB  {report.number(result['ssim_drop'], 4):>6}", file=out
    )
    for key in ("reference", "model"):
        print_line(f"{key:<9}  {flat_colours.describe(result[key]['colour_error'])}", file=out)
    print_line(f"{len(result['images'])} images; {metrics.describe(result['protocol'])}", file=out)
    if "routing" in result:
        print_line(route.describe(result["routing"]), file=out)
    if args.layers:
        print(f"\n{layer_report.text(layers)}\n", file=out)
    if args.report:
        print_line(f"report: {report.write(args.report, result, crops, appendix)}", file=out)
    common.write_json_result(args, result)
    if args.max_drop is not None and (result["drop_db"] is None or result["drop_db"] > args.max_drop):
        drop = report.number(result["drop_db"], 3)
        print_line(f"mobile-sr compare: the drop of {drop} dB exceeds --max-drop {args.max_drop}", file=sys.stderr)
        return 1
    return 2 if result["skipped"] else 0
