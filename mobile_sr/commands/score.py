"""A contest's score of a .tflite: Mobile AI 2021's (x3), or MLPerf Mobile's PSNR and 90th percentile latency (x2).

Example: mobile-sr score --model xlsr_x3:uint8 --contest mai2021 --data DIV2K_valid_HR --ms 44.9
"""

from mobile_sr.commands import common

HELP = "a .tflite's score in Mobile AI 2021 or MLPerf Mobile"


def add_arguments(parser):
    """Arguments of `mobile-sr score`."""
    parser.add_argument("--model", required=True, help="a .tflite file[@KEY=VALUE,...] or a packaged one: xlsr_x3:uint8")
    parser.add_argument("--contest", required=True, choices=("mai2021", "mlperf"), help="whose score")
    common.add_data(parser, "folder of the PSNR set")
    parser.add_argument("--ms", type=float, help="runtime measured elsewhere, as on a phone (default: measure here)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--runs", type=int, default=20, help="timed rounds (default 20)")
    common.add_json(parser)


def run(args):
    """Print the score; status 2 when an image had to be skipped."""
    import sys

    from mobile_sr.challenge import challenge_scores
    from mobile_sr.errors import UserError

    for name in ("threads", "runs"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: must be at least 1")
    data = common.need_data(args)
    found = challenge_scores.score(args.model, args.contest, data, args.ms, args.threads, args.runs, common.progress)
    common.clear_progress()
    out = sys.stderr if args.json == "-" else sys.stdout
    cut = f"{found['shave']} pixels cut" if found["shave"] else "whole pictures"
    print(f"PSNR     {found['psnr']:8.3f} dB  mean of {found['images']} images, RGB, {cut}", file=out)
    print(f"runtime  {found['runtime_ms']:8.2f} ms  {found['runtime_of']}", file=out)
    if args.contest == "mai2021":
        print(f"score    {found['score']:8.2f}     Mobile AI 2021 (of its phone only where the runtime is)", file=out)
    else:
        print(f"MLPerf Mobile: {'above' if found['valid'] else 'below'} its least PSNR of {found['least_psnr']:g} dB", file=out)
    common.write_json_result(args, found)
    return 2 if found["skipped"] else 0
