"""Audit a .tflite file; with --reference, locate its quantization error layer by layer. Describe networks of other formats.

Example: mobile-sr inspect --model xlsr_x3:uint8
         mobile-sr inspect --model xlsr_x3:uint8 --reference xlsr_x3:float32 --data Set5 --report out/layers
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

HELP = "show operators, partitions and quantization of a .tflite; locate its error; describe another network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr inspect`."""
    parser.add_argument(
        "--model",
        required=True,
        help="a .tflite file[@signature=NAME], a packaged one (xlsr_x3:uint8), or a network from elsewhere as for export",
    )
    parser.add_argument("--reference", help="float .tflite of the same network, to locate the quantization error")
    common.add_data(parser, "with --reference: folder of images (without one: images of scikit-image)")
    common.add_space(parser)
    parser.add_argument(
        "--crops", type=int, help="number of images that the layers are measured on (default 16; fewer at a large fixed size)"
    )
    parser.add_argument("--report", metavar="OUT", help="with --reference: folder for layers.html and layers.json")
    devices = "virtual:arm64, virtual:hexagon, virtual:gpu or virtual:ethos-u"
    common.add_device(parser, "also open the file on a virtual device and list the operators that it supports", devices)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the audit or, with --reference, the layers. Returns 1 if a check in the sidecar failed, 2 if a file was skipped."""
    from mobile_sr.errors import UserError

    if args.reference:
        if args.device:
            raise UserError("--device: cannot be combined with --reference; the layers are measured on this machine")
        return _locate(args)
    if args.report:
        raise UserError("--report needs --reference, the float .tflite of the same network")
    return _audit(args)


def _audit(args: argparse.Namespace) -> int:
    import sys

    from mobile_sr.converters.tflite import delegates
    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import instructions, network_facts
    from mobile_sr.inference import model_files, model_io, upscaler

    device = common.device(args)
    facts, values = network_facts.inspect(args.model), None
    if device:
        from mobile_sr.benchmarking import virtual

        facts["compiled"] = virtual.compile_for(args.model, device)
    try:
        model = upscaler.load(args.model, threads=args.threads)
        facts |= model_io.facts(model.io, model.figures)
        values = f"{model.io}, {str(model.io.layout).upper()}, {'measured' if model.io.measured else 'given'}"
    except UserError as error:  # a file that is not a single-image network, or needs an option, can still be inspected
        print(f"note: not run on a sample image: {error}", file=sys.stderr)
    out = sys.stderr if args.json == "-" else sys.stdout
    about = f"{facts['parameters']:,} parameters" if "parameters" in facts else f"{facts['partitions']} XNNPACK partition(s)"
    name = model_files.split(args.model)[0]
    shown = name if model_files.needs_conversion(name) else model_files.locate(args.model)[0]
    print_line(f"{shown}: {facts['size_bytes']:,} bytes, {about}", file=out)
    if "signatures" in facts:
        print_line(f"  signature {facts['signature']} of {', '.join(facts['signatures'])}", file=out)
    arm64 = facts.get("arm64")
    for name, count in facts["ops"].items():
        cost = f"{arm64['by_operator'][name]:8,.0f}  " if arm64 and name in arm64["by_operator"] else ""
        print_line(f"  {count:4d}  {cost or (' ' * 10 if arm64 else '')}{name}", file=out)
    if arm64:
        print_line(f"        {instructions.describe(arm64)} (the second column)", file=out)
    for delegate, refusals in facts.get("refused", {}).items():
        rejected = delegates.describe(refusals)
        verdict = f"rejects {rejected}" if rejected else "supports every operator"
        print_line(f"  {delegates.TITLES[delegate]}, by its rules: {verdict}", file=out)
    if compiled := facts.get("compiled"):
        residency = compiled["residency"]
        taken = f"supports {residency['taken']} of {residency['nodes']} operators at {compiled['width']}x{compiled['height']}"
        print_line(f"  {compiled['label']}: {taken}", file=out)
        for name, reason in residency["refused"].items():
            print_line(f"    not supported: {name}: {reason}", file=out)
    for end in ("inputs", "outputs"):
        for t in facts[end]:
            quantization = f"  scale {t['scale']:.9g}  zero point {t['zero_point']}" if t["scale"] is not None else ""
            print_line(f"  {end[:-1]:<6}  {t['name']}  {t['dtype']} {t['shape']}{quantization}", file=out)
    if values:
        print_line(f"  values  {values}", file=out)
    for check in facts.get("checks", []):
        print_line(f"  {'passed' if check['passed'] else 'FAILED'}  {check['check']}", file=out)
    common.write_json_result(args, facts)
    return 0 if all(check["passed"] for check in facts.get("checks", [])) else 1


def _locate(args: argparse.Namespace) -> int:
    import sys

    from mobile_sr import files
    from mobile_sr.errors import UserError
    from mobile_sr.imaging import sample_images
    from mobile_sr.quantization import layer_report, quantization_debugger

    if args.crops is not None and args.crops < 1:
        raise UserError(f"--crops {args.crops}: must be at least 1")
    if args.report:
        files.check_folder(args.report)
    folder = args.data or sample_images.images(sample_images.EVALUATION)
    result = quantization_debugger.locate(
        args.reference, args.model, folder, args.space, args.crops, args.threads, common.progress
    )
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    print(layer_report.text(result), file=out)
    if args.report:
        print_line(f"report: {layer_report.write(args.report, result)}", file=out)
    common.write_json_result(args, result)
    return 2 if result["skipped"] else 0
