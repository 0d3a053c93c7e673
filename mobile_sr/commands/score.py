"""Score a .tflite by the rules of Mobile AI 2021 (x3) or MLPerf Mobile (x2: PSNR and 90th percentile latency).

Example: mobile-sr score --model xlsr_x3:uint8 --contest mai2021 --data DIV2K_valid_HR --ms 44.9
"""

from __future__ import annotations

import argparse

from mobile_sr.commands import common

HELP = "score a .tflite by the rules of Mobile AI 2021 or MLPerf Mobile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr score`."""
    parser.add_argument("--model", required=True, help="a .tflite file[@KEY=VALUE,...] or a packaged one: xlsr_x3:uint8")
    parser.add_argument("--contest", required=True, choices=("mai2021", "mlperf"), help="rules of the score")
    common.add_data(parser, "folder of the PSNR set")
    parser.add_argument("--ms", type=float, help="runtime measured elsewhere, such as on a phone (default: measure here)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--runs", type=int, default=20, help="timed rounds (default 20)")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the score. Returns 2 if an image was skipped."""
    import sys

    from mobile_sr.challenge import challenge_scores
    from mobile_sr.errors import UserError

    for name in ("threads", "runs"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: must be at least 1")
    data = common.need_data(args)
    result = challenge_scores.score(args.model, args.contest, data, args.ms, args.threads, args.runs, common.progress)
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    border = f"shave {result['shave']}" if result["shave"] else "whole images"
    print(f"PSNR     {result['psnr']:8.3f} dB  mean of {result['images']} images, RGB, {border}", file=out)
    print(f"runtime  {result['runtime_ms']:8.2f} ms  {result['runtime_of']}", file=out)
    if args.contest == "mai2021":
        print(f"score    {result['score']:8.2f}     Mobile AI 2021 (comparable only with a runtime on its phone)", file=out)
    else:
        above = "above" if result["valid"] else "below"
        print(f"MLPerf Mobile: {above} its minimum PSNR of {result['least_psnr']:g} dB", file=out)
    common.write_json_result(args, result)
    return 2 if result["skipped"] else 0
