"""Compare models on the same images: PSNR, SSIM, gain over bicubic, colour error, size, time, and the drop from a reference.

With --reference and one --model, such as a float network and its uint8 file, the report shows the difference of the two.

Example: mobile-sr compare --reference xlsr_x3 --model xlsr_x3:uint8 --data Set5 --report out/report --max-drop 0.4
         mobile-sr compare --model xlsr_x3:uint8 --model net.onnx --model net.keras --data Set5 --report out/models
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TextIO

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

if TYPE_CHECKING:
    from mobile_sr.imaging.degradation import SeededDegradation
    from mobile_sr.inference.upscaler import Upscaler

HELP = "compare models on the same images; report the drop from a reference"
_SORT_KEYS = ("psnr", "gain", "drop", "ssim", "colour", "size", "instructions", "time")  # of evaluation/models_report.py


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr compare`."""
    parser.add_argument("--reference", help="model to count the drop from, usually float; a .tflite accepts @KEY=VALUE,...")
    parser.add_argument("--model", action="append", required=True, help="model under test; repeatable, all of one scale")
    common.add_data(parser)
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    common.add_depth(parser)
    common.add_space(parser)
    common.add_degraded_evaluation(parser)
    common.add_device(parser, "run each --model, a .tflite, on a virtual device")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="METRIC",
        help="further metric: a perceptual one by its name in pyiqa, such as lpips, dists or niqe (needs the extra "
        "[perceptual]), or FILE.py:FUNCTION, a function of (SR, HR), [H, W, 3] uint8 arrays, that returns a number; repeatable",
    )
    parser.add_argument(
        "--sort", choices=_SORT_KEYS, help="column to sort the printed table of several models by (default psnr)"
    )
    parser.add_argument(
        "--report",
        metavar="OUT",
        help="folder for report.html, .md and .json; of several models also .csv, .svg and .png files",
    )
    parser.add_argument(
        "--layers", action="store_true", help="also locate the error layer by layer, for two .tflite files of one network"
    )
    parser.add_argument("--max-drop", type=float, metavar="DB", help="exit with status 1 if the mean drop is larger")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the comparison. Returns 1 if a drop exceeds --max-drop, 2 if a file was skipped."""
    import sys

    from mobile_sr.adadsr import depth_report
    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import compare_models, models_report
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import quantization_debugger

    common.need_data(args)
    device = common.device(args)
    if device and args.layers:
        raise UserError("--layers compares files on this machine; leave out --device")
    as_pair = args.reference is not None and len(args.model) == 1 and not (args.metric or args.sort)
    if args.layers and not as_pair:
        raise UserError("--layers compares two files: give --reference and one --model, without --metric and --sort")
    for option, given in (("--max-drop", args.max_drop is not None), ("--sort drop", args.sort == "drop")):
        if given and args.reference is None:
            raise UserError(f"{option}: the drop is counted from a reference; give --reference")
    degraded = common.degradation(args)
    if degraded and args.layers:
        raise UserError("--layers measures on clean images; leave out --degrade")
    own_metrics = compare_models.load_metrics(args.metric)
    out = sys.stderr if args.json == "-" else sys.stdout
    reference = None if args.reference is None else upscaler.load(args.reference, args.scale, args.threads, check=False)
    scale = args.scale or (reference.scale if reference else None)
    models = []
    for name in args.model:
        models.append(upscaler.load(name, scale, args.threads, check=False, device=device))
        scale = scale or models[0].scale
    every = [*([reference] if reference else []), *models]
    common.set_depth(args, *every)
    if args.layers:
        quantization_debugger.check(args.reference, args.model[0])
    for model in every:
        upscaler.check_output(model)
    if reference and as_pair:
        result = _compare_pair(args, reference, models[0], degraded, out)
        drops = [(args.model[0], result["drop_db"])]
    else:
        result, crops = compare_models.compare_models(
            models, reference, args.data, args.space, common.progress, own_metrics, args.threads, degraded
        )
        common.clear_progress()
        page = models_report.write(args.report, result, crops) if args.report else None  # first: a reader may close the pipe
        print(models_report.text(result, args.sort or "psnr"), file=out)
        for one in result["models"]:
            for line in filter(None, depth_report.lines(one)):
                print_line(f"{one['name']}: {line}", file=out)
        if page:
            print_line(f"report: {page}", file=out)
        drops = [(model["name"], model["drop_db"]) for model in result["models"][1:]]
    common.write_json_result(args, result)
    failed = [] if args.max_drop is None else [(name, drop) for name, drop in drops if drop is None or drop > args.max_drop]
    for name, drop in failed:
        from mobile_sr.evaluation.report import number

        named = f"{name}: " if len(drops) > 1 else ""
        line = f"{named}the drop of {number(drop, 3)} dB exceeds --max-drop {args.max_drop}"
        print_line(f"mobile-sr compare: {line}", file=sys.stderr)
    return 1 if failed else 2 if result["skipped"] else 0


def _compare_pair(
    args: argparse.Namespace, reference: Upscaler, model: Upscaler, degraded: SeededDegradation | None, out: TextIO
) -> dict[str, Any]:
    """Compare a model with a reference, print the figures and write the report."""
    from mobile_sr.adadsr import depth_report
    from mobile_sr.evaluation import compare, report
    from mobile_sr.imaging import flat_colours, metrics
    from mobile_sr.quantization import layer_report, quantization_debugger
    from mobile_sr.routing import tally

    result, crops = compare.compare(reference, model, args.data, args.space, common.progress, degraded)
    appendix = ("", "")
    if args.layers:
        layers = quantization_debugger.locate(
            args.reference, args.model[0], args.data, args.space, threads=args.threads, progress=common.progress
        )
        result["location"] = layers
        appendix = (layer_report.section(layers), layer_report.markdown(layers))
    common.clear_progress()
    page = report.write(args.report, result, crops, appendix) if args.report else None  # first: a reader may close the pipe
    print_line(f"{report.gain(result['model'])} over bicubic: {report.title(result['model'])}", file=out)
    for key in ("reference", "model"):
        psnr, ssim = report.number(result[key]["psnr"], 3), report.number(result[key]["ssim"], 4)
        print_line(f"{key:<9}  {psnr:>7} dB  {ssim:>6}  {report.title(result[key])}", file=out)
    print_line(
        f"{'drop':<9}  {report.number(result['drop_db'], 3):>7} dB  {report.number(result['ssim_drop'], 4):>6}", file=out
    )
    for key in ("reference", "model"):
        print_line(f"{key:<9}  {flat_colours.describe(result[key]['colour_error'])}", file=out)
    print_line(f"{len(result['images'])} images; {metrics.describe(result['protocol'])}", file=out)
    for line in filter(None, depth_report.lines(result)):
        print_line(line, file=out)
    if "routing" in result:
        print_line(tally.describe(result["routing"]), file=out)
    if args.layers:
        print(f"\n{layer_report.text(layers)}\n", file=out)
    if page:
        print_line(f"report: {page}", file=out)
    return result
