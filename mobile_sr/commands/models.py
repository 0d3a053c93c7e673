"""The zoo: packaged networks with their cost and their measured scores.

Example: mobile-sr models
"""

from mobile_sr.commands import common

HELP = "list the packaged networks"


def add_arguments(parser):
    """Arguments of `mobile-sr models`."""
    common.add_json(parser)


def run(args):
    """Print one row per entry."""
    import sys

    from mobile_sr import zoo

    cards = [zoo.entry(name) for name in zoo.names()]
    out = sys.stderr if args.json == "-" else sys.stdout
    width = max(len(card["name"]) for card in cards)
    heading = f"{'name':<{width}} {'parameters':>10} {'Mult-Adds':>10}   {'Set5 Y':>7} {'uint8':>7} {'drop':>6}   files"
    print(heading, file=out)
    for card in cards:
        files = ", ".join([card["name"], *(f"{card['name']}:{v}" for v in zoo.VARIANTS)])
        scores = card["scores"]["Set5"]["y"]
        print(
            f"{card['name']:<{width}} {card['parameters']:>10,} {card['multiply_adds_720p'] / 1e9:>9.2f}G   "
            f"{scores['float32']:>7.2f} {scores['uint8']:>7.2f} {scores['float32'] - scores['uint8']:>6.3f}   "
            f"{files}",
            file=out,
        )
    print("Mult-Adds for a 1280x720 output; PSNR in dB, protocol and training in each entry (--json)", file=out)
    common.write_json_result(args, cards)
