"""List the packaged networks with cost and scores; --scoreboard ranks networks by the measures of a challenge.

Example: mobile-sr models
         mobile-sr models --scoreboard --weights imported --data DIV2K_valid_HR --out board
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from mobile_sr.commands import common

HELP = "list the packaged networks; --scoreboard ranks networks by cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr models`."""
    common.add_json(parser)
    board = parser.add_argument_group("scoreboard of the NTIRE 2022 efficient super-resolution challenge")
    board.add_argument("--scoreboard", action="store_true", help="measure networks side by side and rank them")
    board.add_argument(
        "--net",
        action="append",
        default=[],
        metavar="N",
        help="a network such as rlfn, a zoo name or a run folder; repeatable (default: the ten of the challenge)",
    )
    board.add_argument("--weights", metavar="DIR", help="folder with the results of import-weights, DIR/NAME for each network")
    board.add_argument("--data", help="folder of the PSNR set (default: no PSNR)")
    board.add_argument("--test-data", help="folder of a second PSNR set, for the challenge's gate on its test set")
    board.add_argument("--gate", type=float, metavar="DB", help="minimum PSNR to be ranked (default: 0.18 below the baseline)")
    board.add_argument("--scale", type=int, help="of all networks (default 4)")
    board.add_argument("--threads", type=int, help="CPU threads (default 1)")
    board.add_argument("--runs", type=int, help="timed rounds (default 12)")
    board.add_argument("--out", metavar="DIR", help="folder for scoreboard.md, scoreboard.json and plots")


def run(args: argparse.Namespace) -> None:
    """Print one row per network."""
    import sys

    from mobile_sr.errors import UserError

    if args.scoreboard:
        _scoreboard(args)
        return
    for name in ("net", "weights", "data", "test-data", "gate", "scale", "threads", "runs", "out"):
        if getattr(args, name.replace("-", "_")):
            raise UserError(f"--{name} requires --scoreboard")
    from mobile_sr import zoo

    cards = [zoo.card(name) for name in zoo.names()]
    out = sys.stderr if args.json == "-" else sys.stdout
    width = max(len(card["name"]) for card in cards)
    columns = f"{'parameters':>10} {'Mult-Adds':>10}   {'Set5 Y':>7} {'uint8':>7} {'drop':>6}   {'use':<8}   files"
    heading = f"{'name':<{width}} {columns}"
    print(heading, file=out)
    for card in cards:
        files = ", ".join([card["name"], *(f"{card['name']}:{v}" for v in zoo.VARIANTS)])
        use = "any" if card["product"] else "research"
        print(f"{card['name']:<{width}} {card['parameters']:>10,} {_figures(card)}   {use:<8}   {files}", file=out)
        for each in card.get("exits", []):
            print(f"{'':<{width}} {'':>10} {_figures(each)}   {'':<8}   --depth {each['layers']}", file=out)
    print(
        "Mult-Adds for a 1280x720 output; PSNR in dB; use: what the weights are licensed for, products included (any) or",
        file=out,
    )
    print("research only; protocol, training and licence of each network: --json", file=out)
    common.write_json_result(args, cards)


def _figures(card: Mapping[str, Any]) -> str:
    """The multiply-adds and the PSNR of an entry or of one of its exits."""
    scores = card["scores"]["Set5"]["y"]
    psnr = f"{scores['float32']:>7.2f} {scores['uint8']:>7.2f} {scores['float32'] - scores['uint8']:>6.3f}"
    return f"{card['multiply_adds_720p'] / 1e9:>9.2f}G   {psnr}"


def _scoreboard(args: argparse.Namespace) -> None:
    import sys

    from mobile_sr import backend, files
    from mobile_sr.challenge import scoreboard, scoreboard_page
    from mobile_sr.errors import UserError
    from mobile_sr.inference import weights

    given = {"scale": 4, "threads": 1, "runs": 12}
    given |= {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    for name, value in given.items():
        if value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    if given["scale"] > weights.MAX_SCALE:
        raise UserError(f"--scale {given['scale']}: must be at most {weights.MAX_SCALE}")
    if args.gate is not None and not args.data:
        raise UserError("--gate needs --data, the PSNR set")
    if args.out:
        files.check_folder(args.out)
    backend.require_tensorflow("the scoreboard")
    board = scoreboard.entrants(args.net, args.weights, given["scale"])
    out = sys.stderr if args.json == "-" else sys.stdout

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    measured = (args.data, args.gate, given["runs"], given["threads"], log, common.progress, args.test_data)
    result = scoreboard.measure(board, *measured)
    common.clear_progress()
    print(scoreboard_page.text(result), file=out)
    if args.out:
        print(f"board: {scoreboard_page.write(args.out, result)}", file=out)
    common.write_json_result(args, result)
