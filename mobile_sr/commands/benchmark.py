"""Time, memory and delegate residency of .tflite files on this machine, measured interleaved; with --device on a phone, too.

Example: mobile-sr benchmark --model xlsr_x3:float32 --model xlsr_x3:uint8 --height 360 --width 640 --threads 1 --runs 20
         mobile-sr benchmark --model xlsr_x3:uint8 --device auto --delegates cpu,nnapi,gpu --threads 4 --json phone.json
"""

from mobile_sr.commands import common
from mobile_sr.converters.quiet import say

HELP = "time and memory of .tflite files on this machine, or on an Android device"


def add_arguments(parser):
    """Arguments of `mobile-sr benchmark`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="a .tflite file[@KEY=VALUE,...] or a packaged one: xlsr_x3:uint8; repeat to compare, ratios are to the first",
    )
    parser.add_argument("--height", type=int, help="LR height (default: the files' own, 360 when that is dynamic)")
    parser.add_argument("--width", type=int, help="LR width (default: the files' own, 640 when that is dynamic)")
    parser.add_argument("--depth", type=float, metavar="D", help="desired depth in blocks of AdaDSR networks (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--runs", type=int, default=20, help="timed rounds (default 20)")
    parser.add_argument("--warmup", type=int, default=3, metavar="N", help="rounds before them (default 3)")
    parser.add_argument("--layers", action="store_true", help="also estimate each operator's CPU time")
    common.add_json(parser)
    device = parser.add_argument_group("on an Android device, by adb; android_demo/README.md tells more")
    device.add_argument("--device", metavar="SERIAL", help="measure there, too; 'auto' takes the only one connected")
    device.add_argument("--delegates", metavar="LIST", help="of cpu, nnapi, gpu, gpu_fp32 (default cpu,nnapi,gpu)")
    device.add_argument(
        "--apk", metavar="FILE", help="installed when the app is absent or older (default: what `make apk` built)"
    )
    device.add_argument("--no-host", action="store_true", help="not on this machine")
    device.add_argument("--timeout", type=float, metavar="S", help="seconds for one run on the device (default 600)")


def run(args):
    """Print one row per model, and one per model and delegate of a device; exit status 2 when one of those failed."""
    import sys

    from mobile_sr.errors import UserError

    for name, least in (("height", 1), ("width", 1), ("threads", 1), ("runs", 1), ("warmup", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    if (args.height is None) != (args.width is None):
        raise UserError("--height and --width go together; give both, or neither for the default")
    from mobile_sr.benchmarking import benchmark

    size = None if args.height is None else (args.height, args.width)
    models = args.model if args.depth is None else benchmark.at_depth(args.model, args.depth)
    out = sys.stderr if args.json == "-" else sys.stdout
    if args.device is not None:
        return _run_device(args, models, size, out)
    for option in ("delegates", "apk", "no_host", "timeout"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} goes with --device")
    found = benchmark.benchmark(models, size, args.threads, args.runs, args.warmup, args.layers, common.progress)
    common.clear_progress()
    _print(found, out)
    return common.write_json_result(args, found)


def _run_device(args, models, size, out):
    import sys

    from mobile_sr.benchmarking import adb, android, benchmark
    from mobile_sr.errors import UserError

    delegates = list(dict.fromkeys((args.delegates or "cpu,nnapi,gpu").split(",")))
    timeout = android.TIMEOUT_S if args.timeout is None else args.timeout
    if not timeout > 0:
        raise UserError(f"--timeout {timeout:g}: must be above 0")
    if args.layers and args.no_host:
        raise UserError("--layers is measured on this machine: not with --no-host")
    android.check(models, delegates, size, args.threads, args.runs, args.warmup)
    phone = adb.Adb(args.device)
    android.install(phone, args.apk)
    reports, counts = [], (args.threads, args.runs, args.warmup)
    if not args.no_host:
        reports.append(benchmark.benchmark(models, size, *counts, args.layers, common.progress))
        common.clear_progress()
        _print(reports[0], out)
        print(file=out)
    found = android.measure(phone, models, delegates, size, *counts, timeout, common.progress)
    common.clear_progress()
    _print_device(found, out)
    common.write_json_result(args, {"format": benchmark.FORMAT, "reports": reports + found})
    failed = [report["results"][0] for report in found if report["results"][0]["error"] is not None]
    for row in failed:
        say(f"mobile-sr benchmark: {row['model']}, {row['requested_delegate']}: {row['error']}", file=sys.stderr)
    return 2 if failed else 0


def _print_device(reports, out):
    """One row for each model and delegate."""
    best = next((r for r in reports if r["results"][0]["error"] is None), reports[0])
    where, place = best["environment"], best["where"]
    system = f"Android {where['android']} (SDK {where['sdk']}), {where['abi']}; LiteRT {where['litert'] or 'unknown'}"
    say(f"{place} {where['serial']}: {where['manufacturer']} {where['device']}, {system}", file=out)
    size = f"{where['width']}x{where['height']} (width x height), " if where["width"] else ""
    say(f"{size}{where['threads']} thread(s), {where['runs']} rounds after {where['warmup']}", file=out)
    columns = ("delegate", "ran on", "wall p50", "min", "p90", "init", "memory", "delegated", "vs CPU")
    widths = (10, 10, 9, 8, 8, 8, 9, 10, 8)
    say(_row(columns, widths) + "  model", file=out)
    for report in reports:
        row = report["results"][0]
        if row["error"] is not None:
            say(f"{row['requested_delegate']:>{widths[0]}}    failed: {row['error']}  {row['model']}", file=out)
            continue
        times, memory = row["latency_ms"], row["memory_pss_bytes"]
        cells = [row["requested_delegate"], row["effective_delegate"] or "-"]
        cells += [f"{value:.1f}" for value in (times["p50"], times["min"], times["p90"], row["init_ms"])]
        cells.append("-" if memory is None else f"{memory / 1e6:.1f}")
        cells.append("-" if row["nodes"] is None else f"{row['delegated_nodes']}/{row['nodes']}")
        cells.append("-" if row["psnr_vs_cpu"] is None else f"{row['psnr_vs_cpu']:.1f}")
        say(_row(cells, widths) + f"  {row['model']}{_notes(report)}", file=out)
    say("times in ms, memory of the whole app (PSS) in MB, PSNR against the device's CPU in dB", file=out)


def _row(cells, widths):
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _notes(report):
    """Which of a file's graphs ran, and what makes a device's times doubtful."""
    where, signature = report["environment"], report["results"][0].get("signature")
    notes = [] if signature is None else [f"signature {signature}"]
    notes += ["the app was out of sight: unlock the screen and leave it on"] if where["background"] else []
    notes += [f"thermal status {where['thermal']}"] if where["thermal"] not in (None, "none") else []
    notes += ["an emulator's times"] if report["where"] == "emulator" else []
    return f" ({'; '.join(notes)})" if notes else ""


def _print(found, out):
    where = found["environment"]
    load = f", load {where['load_average'][0]:.1f}" if where["load_average"] else ""
    say(f"{found['where']}: {where['cpu']}, {where['cores']} cores{load}; LiteRT {where['litert']}", file=out)
    counts = f"{where['runs']} rounds after {where['warmup']}"
    say(f"{where['width']}x{where['height']} (width x height), {where['threads']} thread(s), {counts}", file=out)
    columns = ("CPU p50", "min", "wall p50", "p90", "init", "memory", "delegated", "parts", "ratio")
    widths = (9, 8, 9, 8, 8, 9, 10, 6, 7)
    say(_row(columns, widths) + "  model", file=out)
    for row in found["results"]:
        memory = row["peak_memory_bytes"]
        cells = [row["cpu_ms"]["p50"], row["cpu_ms"]["min"], row["latency_ms"]["p50"], row["latency_ms"]["p90"], row["init_ms"]]
        cells = [f"{value:.1f}" for value in cells]
        cells.append("-" if memory is None else f"{memory / 1e6:.1f}")
        cells += [f"{row['delegated_nodes']}/{row['nodes']}", f"{row['partitions']}", f"{row['ratio_to_first']:.3f}"]
        say(_row(cells, widths) + f"  {row['model']}", file=out)
    say(f"times in ms, memory in MB; ratio of the {where['ratio_of']}", file=out)
    for row in found["results"]:
        if "layers" in row:
            say(f"{row['model']}: CPU ms by operator, estimated from the times of the graph's prefixes", file=out)
            for layer in row["layers"]:
                say(f"{layer['index']:5d}{layer['cpu_ms_estimate']:10.2f}  {layer['op']}  {layer['output']}", file=out)
