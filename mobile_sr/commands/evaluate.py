"""Measure the PSNR and SSIM of one or more models on a folder of images, and their gain over bicubic interpolation.

Example: mobile-sr evaluate --model xlsr_x3:uint8 --data Set5 --space y
         mobile-sr evaluate --model xlsr_x3:uint8 --model xlsr_x2:uint8 --data Set5
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

if TYPE_CHECKING:
    from mobile_sr.imaging.degradation import SeededDegradation
    from mobile_sr.inference.upscaler import Upscaler
    from mobile_sr.routing.cost_curve import Point
    from mobile_sr.routing.route import RoutedUpscaler

HELP = "measure the PSNR and SSIM of models on a folder of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr evaluate`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="zoo name, .tflite[@KEY=VALUE,...], model file, run folder, or bicubic; repeatable",
    )
    common.add_data(parser)
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    common.add_depth(parser)
    common.add_space(parser)
    common.add_degraded_evaluation(parser)
    common.add_device(parser)
    parser.add_argument(
        "--nets",
        action="store_true",
        help="also measure every network of a routed model, or every exit of a network, alone; with further models, also print "
        "all by cost",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table of each model. Returns 2 if a file was skipped."""
    import sys

    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import evaluate
    from mobile_sr.inference import upscaler
    from mobile_sr.routing import cost_curve, route

    folder = common.need_data(args)
    degraded = common.degradation(args)
    out = sys.stderr if args.json == "-" else sys.stdout
    device = common.device(args)
    # All models first: a wrong name is reported at once.
    models = [upscaler.load(name, args.scale, args.threads, check=False, device=device) for name in args.model]
    if args.nets and not any(isinstance(model, route.RoutedUpscaler) for model in models):
        raise UserError(f"--nets: {args.model[0]} is not a routed model (.route.json) and has no exits")
    common.set_depth(args, *models)
    for model in models:
        upscaler.check_output(model)
    results = []
    for name, model in zip(args.model, models, strict=True):
        results.append(evaluate.evaluate(model, folder, args.space, common.progress, degraded=degraded))
        if args.nets and isinstance(model, route.RoutedUpscaler):
            results[-1]["nets"] = [_alone(model, index, folder, args.space, degraded) for index in range(len(model.nets))]
        common.clear_progress()
        _print(name, results[-1], out)
    if len(results) > 1:
        print_line("", file=out)
        width = max(len(_title(name, result)) for name, result in zip(args.model, results, strict=True))
        for name, result in zip(args.model, results, strict=True):
            print_line(f"{_title(name, result):<{width}}  {_scores(result['mean'])}  {_gain(result)}", file=out)
    curve = _curve(models, results) if args.nets and len(results) > 1 else []
    for line in cost_curve.table(curve) if curve else ():
        print_line(line, file=out)
    several = {"models": results, **({"curve": [_point(point, curve) for point in curve]} if curve else {})}
    common.write_json_result(args, results[0] if len(results) == 1 else several)
    return 2 if any(result["skipped"] for result in results) else 0


def _print(name: str, result: Mapping[str, Any], out: TextIO) -> None:
    """Print the gain over bicubic, then the scores of every image."""
    from mobile_sr.adadsr import depth_report
    from mobile_sr.imaging import metrics
    from mobile_sr.imaging.degradation import Amounts
    from mobile_sr.routing import tally

    title = _title(name, result)
    if name != "bicubic":
        print_line(f"{title}: {_gain(result)}", file=out)
    width = max(len(row["name"]) for row in result["images"])
    mean = {"name": f"mean of {len(result['images'])}", **result["mean"], "bicubic_psnr": result["bicubic"]["psnr"]}
    for row in [*result["images"], mean]:
        bicubic = "-" if row["bicubic_psnr"] is None else f"{row['bicubic_psnr']:.3f}"
        amounts = f"  {Amounts(**row['degradation'])}" if "degradation" in row else ""
        print_line(f"{row['name']:<{width}}  {_scores(row)}  bicubic {bicubic:>8} dB{amounts}", file=out)
    print_line(f"{title}: {metrics.describe(result['protocol'])}", file=out)
    for line in filter(None, depth_report.lines(result)):
        print_line(line, file=out)
    if "routing" in result:
        print_line(tally.describe(result["routing"]), file=out)
    if "nets" in result:
        chosen = {"name": "as chosen", "psnr": mean["psnr"], "routing": result["routing"]}
        for row in [chosen, *result["nets"]]:
            done = {words: row["routing"][key]["done"] for key, words in tally.KINDS.items() if key in row["routing"]}
            costs = ", ".join(f"{cost:,.0f} {words}" for words, cost in done.items())
            psnr = "-" if row["psnr"] is None else f"{row['psnr']:.3f}"
            print_line(f"{row['name']}: {psnr} dB, {costs} per LR pixel", file=out)


def _alone(model: RoutedUpscaler, index: int, folder: str, space: str, degraded: SeededDegradation | None) -> dict[str, Any]:
    """Measures one network of a routed model: its mean PSNR in dB, and its costs, counted as those of the routed model."""
    from mobile_sr.evaluation import evaluate

    result = evaluate.evaluate(model.alone(index), folder, space, common.progress, ssim=False, degraded=degraded)
    return {"name": model.net_names[index], "psnr": result["mean"]["psnr"], "routing": result["routing"]}


def _curve(models: Sequence[Upscaler], results: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The models, the networks of routed models and the exits of networks, whose instructions are known."""
    from mobile_sr.evaluation import compare
    from mobile_sr.routing import exits
    from mobile_sr.routing.cost_curve import usable

    points = []
    for model, result in zip(models, results, strict=True):
        rows = [{"name": model.name, "psnr": result["mean"]["psnr"], "routing": result.get("routing")}]
        if isinstance(model, exits.ExitsUpscaler):
            own = [{**row, "name": f"{model.name} {row['name']}"} for row in result["nets"]]
            rows = [*rows, *own] if model.budget else own  # without a budget, the model runs one of its exits
        else:
            rows += result.get("nets", ())
        for row in rows:
            if counts := row["routing"]:
                cost = counts.get("instructions", {}).get("done")
            else:
                cost = ((compare.facts(model).get("audit") or {}).get("arm64") or {}).get("per_lr_pixel")
            points += usable(row["name"], cost, row["psnr"], "routing" not in result)
    return points


def _point(point: Point, points: Sequence[Point]) -> dict[str, Any]:
    return {**dataclasses.asdict(point), "above_line_db": point.above(points)}


def _title(name: str, result: Mapping[str, Any]) -> str:
    return f"{name} on {result['device']}" if "device" in result else name


def _scores(row: Mapping[str, Any]) -> str:
    psnr = "-" if row["psnr"] is None else f"{row['psnr']:.3f}"
    ssim = "-" if row["ssim"] is None else f"{row['ssim']:.4f}"
    return f"{psnr:>8} dB  {ssim:>7}"


def _gain(result: Mapping[str, Any]) -> str:
    """The gain over bicubic as text."""
    psnr, bicubic = result["mean"]["psnr"], result["bicubic"]["psnr"]
    if psnr is None or bicubic is None:
        return "no gain over bicubic: no finite PSNR"
    return f"{abs(psnr - bicubic):.3f} dB {'better' if psnr >= bicubic else 'WORSE'} than bicubic interpolation"
