"""Time, memory and delegate residency of .tflite files on this machine, measured interleaved.

Example: mobile-sr benchmark --model xlsr_x3:float32 --model xlsr_x3:uint8 --height 360 --width 640 --threads 1 --runs 20
"""

from mobile_sr.commands import common

HELP = "time and memory of .tflite files on this machine"


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


def run(args):
    """Print one row per model."""
    import sys

    from mobile_sr.errors import UserError

    for name, least in (("height", 1), ("width", 1), ("threads", 1), ("runs", 1), ("warmup", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    if (args.height is None) != (args.width is None):
        raise UserError("--height and --width go together; give both, or neither for the default")
    from mobile_sr import benchmark

    size = None if args.height is None else (args.height, args.width)
    models = args.model if args.depth is None else benchmark.at_depth(args.model, args.depth)
    found = benchmark.benchmark(models, size, args.threads, args.runs, args.warmup, args.layers, common.progress)
    common.clear_progress()
    _print(found, sys.stderr if args.json == "-" else sys.stdout)
    common.write_json_result(args, found)


def _print(found, out):
    where = found["environment"]
    load = f", load {where['load_average'][0]:.1f}" if where["load_average"] else ""
    print(f"{where['cpu']}, {where['logical_cores']} cores{load}; LiteRT {where['ai_edge_litert']}", file=out)
    counts = f"{where['runs']} rounds after {where['warmup']}"
    print(f"{where['width']}x{where['height']} (width x height), {where['threads']} thread(s), {counts}", file=out)
    columns = ("CPU p50", "min", "wall p50", "p90", "init", "memory", "delegated", "parts", "ratio")
    widths = (9, 8, 9, 8, 8, 9, 10, 6, 7)
    print("".join(f"{c:>{w}}" for c, w in zip(columns, widths, strict=True)) + "  model", file=out)
    for row in found["results"]:
        memory, nodes = row["peak_memory_bytes"], row["nodes"]
        cells = [row["cpu_ms"]["p50"], row["cpu_ms"]["min"], row["latency_ms"]["p50"], row["latency_ms"]["p90"], row["init_ms"]]
        cells = [f"{value:.1f}" for value in cells]
        cells.append("-" if memory is None else f"{memory / 1e6:.1f}")
        cells += [f"{nodes['delegated']}/{nodes['all']}", f"{row['partitions']}", f"{row['ratio_to_first']:.3f}"]
        print("".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)) + f"  {row['model']}", file=out)
    print(f"times in ms, memory in MB; ratio of the {where['ratio_of']}", file=out)
    for row in found["results"]:
        if "layers" in row:
            print(f"{row['model']}: CPU ms by operator, estimated from the times of the graph's prefixes", file=out)
            for layer in row["layers"]:
                print(f"{layer['index']:5d}{layer['cpu_ms_estimate']:10.2f}  {layer['op']}  {layer['output']}", file=out)
