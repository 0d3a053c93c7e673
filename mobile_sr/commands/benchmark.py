"""Measure time, memory and delegate coverage of .tflite files in interleaved rounds, here and with --device on a phone.

On a virtual device, output values, supported operators and instructions or cycles are reported, but no time.

Example: mobile-sr benchmark --model xlsr_x3:float32 --model xlsr_x3:uint8 --height 360 --width 640 --threads 1 --runs 20
         mobile-sr benchmark --model xlsr_x3:uint8 --device auto --delegates cpu,nnapi,gpu --threads 4 --json phone.json
         mobile-sr benchmark --model xlsr_x3:uint8 --model abpn_x3:uint8 --device virtual:arm64 --cpu cortex-a76 --layers
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from mobile_sr.commands import common
from mobile_sr.converters.quiet import print_line

if TYPE_CHECKING:
    import numpy as np

HELP = "measure .tflite files on this machine, an Android device or a virtual device"

MOST_REFUSED = 10  # operators of a model that the table names
DEFAULTS = {"threads": 1, "runs": 20, "warmup": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr benchmark`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="a .tflite file[@KEY=VALUE,...] or a packaged one: xlsr_x3:uint8; repeatable, ratios are relative to the first",
    )
    parser.add_argument("--height", type=int, help="LR height (default: the height of the files, 360 if it is dynamic)")
    parser.add_argument("--width", type=int, help="LR width (default: the width of the files, 640 if it is dynamic)")
    parser.add_argument("--image", metavar="FILE", help="LR image to run, at its size (default: a generated one)")
    parser.add_argument("--depth", type=float, metavar="D", help="desired depth in blocks of AdaDSR networks (default: all)")
    parser.add_argument(
        "--threads", metavar="N", help="CPU threads (default 1); with --device and --no-host also a list: 1,2,4"
    )
    parser.add_argument("--runs", type=int, help="timed rounds (default 20)")
    parser.add_argument("--warmup", type=int, metavar="N", help="untimed rounds before them (default 3)")
    parser.add_argument("--layers", action="store_true", help="also estimate the CPU time or instructions of each operator")
    common.add_json(parser)
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="serial of an Android device, or 'auto' for the only one connected, to measure on it, too; or virtual:arm64, "
        "virtual:hexagon, virtual:gpu or virtual:ethos-u (docs/guide/devices.md)",
    )
    common.add_chip(parser.add_argument_group("on a virtual device"))
    device = parser.add_argument_group("on an Android device, through adb; see android_demo/README.md")
    device.add_argument("--delegates", metavar="LIST", help="some of cpu, nnapi, gpu, gpu_fp32, npu (default cpu,nnapi,gpu)")
    device.add_argument(
        "--apk", metavar="FILE", help="installed if the app is missing or older (default: the result of `make apk`)"
    )
    device.add_argument("--cool-down", type=float, metavar="S", help="before each run, wait up to S seconds while it throttles")
    device.add_argument("--csv", metavar="FILE", help="also write the device's runs as CSV")
    device.add_argument("--no-host", action="store_true", help="measure on the device only")
    device.add_argument("--timeout", type=float, metavar="S", help="seconds per run on the device (default 600)")


def run(args: argparse.Namespace) -> int | None:
    """Print one row per model, and one per model and delegate on a device. Returns 2 if a run on the device failed."""
    import sys

    from mobile_sr.devices import names
    from mobile_sr.errors import UserError

    out = sys.stderr if args.json == "-" else sys.stdout
    if names.is_virtual(args.device):
        _run_virtual(args, out)
        return None
    if args.device is not None and (args.cpu or args.soc):
        raise UserError(f"--cpu and --soc are for virtual devices, not for --device {args.device}")
    common.device(argparse.Namespace(device=None, cpu=args.cpu, soc=args.soc))
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    thread_counts = _thread_counts(str(args.threads))
    args.threads = thread_counts[0]
    if len(thread_counts) > 1 and not (args.device and args.no_host):
        raise UserError(f"--threads {','.join(map(str, thread_counts))}: several counts require --device and --no-host")
    for name, minimum in (("height", 1), ("width", 1), ("threads", 1), ("runs", 1), ("warmup", 0)):
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise UserError(f"--{name} {value}: must be at least {minimum}")
    from mobile_sr.benchmarking import benchmark

    size = _size(args)
    models = args.model if args.depth is None else benchmark.at_depth(args.model, args.depth)
    if args.device is not None:
        if args.image is not None:
            raise UserError(f"--image: the app runs an image of its own; leave it out with --device {args.device}")
        return _run_device(args, models, size, thread_counts, out)
    for option in ("delegates", "apk", "no_host", "timeout", "cool_down", "csv"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} requires --device")
    counts = (args.threads, args.runs, args.warmup)
    report = benchmark.benchmark(models, size, *counts, args.layers, common.progress, _image(args))
    common.clear_progress()
    _name_image(args, report)
    _print(report, out)
    common.write_json_result(args, report)
    return None


def _thread_counts(text: str) -> list[int]:
    """The counts of --threads, each once."""
    from mobile_sr.errors import UserError

    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--threads {text}: expected a number, or numbers separated by commas") from None


def _image(args: argparse.Namespace) -> np.ndarray | None:
    """The image of --image; None without it."""
    from mobile_sr.errors import UserError
    from mobile_sr.imaging import images

    if args.image is None:
        return None
    if args.height is not None:
        raise UserError("--image has a size of its own; leave out --height and --width")
    return images.read_image(args.image)


def _name_image(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Record the name of --image in a report."""
    if args.image is not None:
        report["environment"]["image"] = os.path.basename(args.image)


def _size(args: argparse.Namespace) -> tuple[int, int] | None:
    """The LR (H, W) of --height and --width; None for the default."""
    from mobile_sr.errors import UserError

    if (args.height is None) != (args.width is None):
        raise UserError("--height and --width must be given together; give both, or neither for the default")
    for name in ("height", "width"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    return None if args.height is None else (args.height, args.width)


def _run_virtual(args: argparse.Namespace, out: TextIO) -> None:
    from mobile_sr.benchmarking import benchmark, virtual
    from mobile_sr.errors import UserError

    for option in (*DEFAULTS, "delegates", "apk", "no_host", "timeout", "cool_down", "csv"):
        if getattr(args, option) is not None and getattr(args, option) is not False:
            raise UserError(f"--{option.replace('_', '-')} does not apply to --device {args.device}")
    size = _size(args)
    device = common.device(args)
    assert device is not None
    models = args.model if args.depth is None else benchmark.at_depth(args.model, args.depth)
    report = virtual.measure(models, device, size, args.layers, common.progress, _image(args))
    common.clear_progress()
    _name_image(args, report)
    _print_virtual(report, out)
    common.write_json_result(args, report)


def _run_device(
    args: argparse.Namespace, models: list[str], size: tuple[int, int] | None, thread_counts: list[int], out: TextIO
) -> int:
    import sys

    from mobile_sr.benchmarking import adb, android, benchmark, device_files, device_matrix
    from mobile_sr.errors import UserError
    from mobile_sr.files import write_text

    delegates = list(dict.fromkeys((args.delegates or "cpu,nnapi,gpu").split(",")))
    timeout = android.TIMEOUT_S if args.timeout is None else args.timeout
    if not timeout > 0:
        raise UserError(f"--timeout {timeout:g}: must be above 0")
    if args.layers and args.no_host:
        raise UserError("--layers is measured on this machine; leave out --no-host")
    if args.cool_down is not None and not args.cool_down >= 0:
        raise UserError(f"--cool-down {args.cool_down:g}: must be at least 0")
    files, _ = android.check(models, delegates, size, thread_counts, args.runs, args.warmup)
    compiled = [file.name for file in files if isinstance(file, device_files.CompiledNetwork)]
    if compiled and not args.no_host:
        raise UserError(f"{compiled[0]}: compiled for an NPU, this machine cannot run it; give --no-host")
    phone = adb.Adb(args.device)
    android.install(phone, args.apk)
    reports, counts = [], (args.threads, args.runs, args.warmup)
    if not args.no_host:
        reports.append(benchmark.benchmark(models, size, *counts, args.layers, common.progress))
        common.clear_progress()
        _print(reports[0], out)
        print(file=out)
    device_reports = android.measure(
        phone, models, delegates, size, thread_counts, *counts[1:], timeout, common.progress, args.cool_down or 0
    )
    common.clear_progress()
    _print_device(device_reports, out)
    if args.csv:
        write_text(args.csv, device_matrix.to_csv(device_reports))
    common.write_json_result(args, {"format": benchmark.FORMAT, "reports": reports + device_reports})
    failed = [report["results"][0] for report in device_reports if report["results"][0]["error"] is not None]
    for row in failed:
        print_line(f"mobile-sr benchmark: {row['model']}, {row['requested_delegate']}: {row['error']}", file=sys.stderr)
    return 2 if failed else 0


def _print_device(reports: Sequence[dict[str, Any]], out: TextIO) -> None:
    """Print one row per model and delegate."""
    best = next((r for r in reports if r["results"][0]["error"] is None), reports[0])
    environment, where = best["environment"], best["where"]
    version = f"Android {environment['android']} (SDK {environment['sdk']})"
    system = f"{version}, {environment['abi']}; LiteRT {environment['litert'] or 'unknown'}"
    print_line(f"{where} {environment['serial']}: {environment['manufacturer']} {environment['device']}, {system}", file=out)
    size = f"{environment['width']}x{environment['height']} (width x height), " if environment["width"] else ""
    rounds = f"{environment['runs']} rounds after {environment['warmup']}"
    print_line(f"{size}{rounds}", file=out)
    columns = ("delegate", "threads", "ran on", "wall p50", "min", "p90", "init", "memory", "delegated", "vs CPU")
    widths = (10, 9, 10, 9, 8, 8, 8, 9, 10, 8)
    print_line(_row(columns, widths) + "  model", file=out)
    for report in reports:
        row = report["results"][0]
        if row["error"] is not None:
            print_line(f"{row['requested_delegate']:>{widths[0]}}    failed: {row['error']}  {row['model']}", file=out)
            continue
        times, memory = row["latency_ms"], row["memory_pss_bytes"]
        cells = [row["requested_delegate"], str(row["threads"]), row["effective_delegate"] or "-"]
        cells += [f"{value:.1f}" for value in (times["p50"], times["min"], times["p90"], row["init_ms"])]
        cells.append("-" if memory is None else f"{memory / 1e6:.1f}")
        cells.append("-" if row["nodes"] is None else f"{row['delegated_nodes']}/{row['nodes']}")
        cells.append("-" if row["psnr_vs_cpu"] is None else f"{row['psnr_vs_cpu']:.1f}")
        print_line(_row(cells, widths) + f"  {row['model']}{_notes(report)}", file=out)
    print_line("times in ms, memory of the whole app (PSS) in MB, PSNR against the device's CPU in dB", file=out)


def _print_virtual(report: dict[str, Any], out: TextIO) -> None:
    """Print one row per model, the operators that the device refuses, and its other figures."""
    environment = report["environment"]
    print_line(f"{environment['label']}; a virtual device: no times", file=out)
    print_line(f"{environment['width']}x{environment['height']} (width x height)", file=out)
    columns = ("instr/LR px", "ratio", "taken", "parts", "differing", "max diff")
    widths = (12, 8, 9, 7, 11, 10)
    print_line(_row(columns, widths) + "  model", file=out)
    for row in report["results"]:
        residency, differs = row["residency"], row["against_host"]
        count, ratio = row["instructions_per_lr_pixel"], row["ratio_to_first"]
        cells = ["-" if count is None else f"{count:,.0f}", "-" if ratio is None else f"{ratio:.3f}"]
        cells.append(f"{residency['taken']}/{residency['nodes']}")
        cells.append("-" if residency["partitions"] is None else f"{residency['partitions']}")
        cells += ["-", "-"] if differs is None else [f"{differs['differing_fraction']:.2%}", f"{differs['max_difference']:.3g}"]
        print_line(_row(cells, widths) + f"  {row['model']}", file=out)
    print_line("differing: SR values that differ from those of XNNPACK on this machine, and by how much", file=out)
    for row in report["results"]:
        refused = row["residency"]["refused"].items()
        for name, reason in itertools.islice(refused, MOST_REFUSED):
            print_line(f"{row['model']}: not supported: {name}: {reason}", file=out)
        if len(refused) > MOST_REFUSED:
            print_line(f"{row['model']}: not supported: {len(refused) - MOST_REFUSED} more, see --json", file=out)
        figures = ", ".join(f"{key} {value}" for key, value in row["figures"].items() if key != "cpu")  # the label names it
        if figures:
            print_line(f"{row['model']}: {figures}", file=out)
        if "layers" in row:
            print_line(f"{row['model']}: instructions per LR pixel of each operator, from the graph's prefixes", file=out)
            for layer in row["layers"]:
                number = f"{layer['instructions_per_lr_pixel']:10.1f}"
                print_line(f"{layer['index']:5d}{number}  {layer['op']}  {layer['output']}", file=out)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _notes(report: dict[str, Any]) -> str:
    """The signature that ran, and reasons to distrust the times of a device."""
    environment, signature = report["environment"], report["results"][0].get("signature")
    notes = [] if signature is None else [f"signature {signature}"]
    notes += ["the app was in the background: unlock the screen and leave it on"] if environment["background"] else []
    notes += [f"thermal status {environment['thermal']}"] if environment["thermal"] not in (None, "none") else []
    notes += ["measured on an emulator"] if report["where"] == "emulator" else []
    return f" ({'; '.join(notes)})" if notes else ""


def _print(report: dict[str, Any], out: TextIO) -> None:
    from mobile_sr.adadsr import depth_usage

    environment = report["environment"]
    load = f", load {environment['load_average'][0]:.1f}" if environment["load_average"] else ""
    machine = f"{environment['cpu']}, {environment['cores']} cores{load}"
    print_line(f"{report['where']}: {machine}; LiteRT {environment['litert']}", file=out)
    size = f"{environment['width']}x{environment['height']} (width x height)"
    rounds = f"{environment['runs']} rounds after {environment['warmup']}"
    print_line(f"{size}, {environment['threads']} thread(s), {rounds}", file=out)
    columns = ("CPU p50", "min", "wall p50", "p90", "init", "memory", "delegated", "parts", "ratio")
    widths = (9, 8, 9, 8, 8, 9, 10, 6, 7)
    print_line(_row(columns, widths) + "  model", file=out)
    for row in report["results"]:
        memory = row["peak_memory_bytes"]
        cells = [row["cpu_ms"]["p50"], row["cpu_ms"]["min"], row["latency_ms"]["p50"], row["latency_ms"]["p90"], row["init_ms"]]
        cells = [f"{value:.1f}" for value in cells]
        cells.append("-" if memory is None else f"{memory / 1e6:.1f}")
        cells += [f"{row['delegated_nodes']}/{row['nodes']}", f"{row['partitions']}", f"{row['ratio_to_first']:.3f}"]
        print_line(_row(cells, widths) + f"  {row['model']}", file=out)
    print_line(f"times in ms, memory in MB; ratio of the {environment['ratio_of']}", file=out)
    for row in report["results"]:
        if "depth" in row:
            print_line(f"{row['model']}: {depth_usage.describe(row['depth'], row['depth']['deepest'])}", file=out)
        if "layers" in row:
            print_line(f"{row['model']}: CPU ms per operator, estimated from the times of the graph's prefixes", file=out)
            for layer in row["layers"]:
                print_line(f"{layer['index']:5d}{layer['cpu_ms_estimate']:10.2f}  {layer['op']}  {layer['output']}", file=out)
