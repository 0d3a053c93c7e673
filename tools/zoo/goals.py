"""Checks the packaged files against the goals for uint8: `python -m tools.zoo.goals --data Set5 [NAME...]`.

Prints a row for each entry, by default all: what its uint8 file loses in Y and in RGB, its largest error on flat colours, and
what TensorFlow's own quantization of its float32 file loses (other_quantizers.py). All losses are against the trained weights.
The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mobile_sr
from mobile_sr import zoo
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import flat_colours
from mobile_sr.quantization import source
from tools.zoo import command_line, other_quantizers, templates


class Goal(NamedTuple):
    """A figure of a packaged file and its limit."""

    label: str
    limit: float
    form: str  # of a figure, for str.format


GOALS = {
    "drop_y": Goal("drop Y, dB", 0.05, ".3f"),
    "drop_rgb": Goal("drop RGB, dB", 0.08, ".3f"),
    "flat": Goal("flat colours, levels", flat_colours.LIMIT, "d"),
    "plain_rgb": Goal("plain TensorFlow, drop RGB, dB", 0.15, ".3f"),
}


def measure(name: str, data: str | Path) -> dict[str, float]:
    """Returns the figures of GOALS for a packaged network.

    Args:
        name: of the entry.
        data: folder of the HR images for the PSNR.

    Raises:
        UserError: there is no such entry, or no usable image.
    """
    trained, uint8 = (mobile_sr.load(model) for model in (name, f"{name}:uint8"))
    psnr = {
        (key, space): evaluate.evaluate(model, data, space, ssim=False)["mean"]["psnr"]
        for key, model in (("trained", trained), ("uint8", uint8))
        for space in ("y", "rgb")
    }
    network = source.open_own(name, None)
    options = network.extension.options(network.extension.max_value)
    samples = network.samples(other_quantizers.crops(network.scale))
    plain = other_quantizers.runner(other_quantizers.tensorflow(other_quantizers.packaged(name), samples), options=options)
    images = other_quantizers.pairs(data, network.scale)
    return {
        "drop_y": psnr["trained", "y"] - psnr["uint8", "y"],
        "drop_rgb": psnr["trained", "rgb"] - psnr["uint8", "rgb"],
        "flat": flat_colours.measure(uint8, network.scale)["flat"],
        "plain_rgb": psnr["trained", "rgb"] - other_quantizers.psnr(plain, images, network.scale)["rgb"],
    }


def missed(figures: dict[str, float]) -> list[str]:
    """Returns the keys of GOALS whose limit a network's figures exceed."""
    return [key for key, goal in GOALS.items() if figures[key] > goal.limit]


def row(name: str, figures: dict[str, float]) -> list[str]:
    """Returns the cells of a network; the last one lists the goals that it misses."""
    cells = [f"{figures[key]:{goal.form}}" for key, goal in GOALS.items()]
    return [name, *cells, "; ".join(GOALS[key].label.partition(",")[0] for key in missed(figures)) or "none"]


def check(names: Sequence[str], data: str | Path) -> bool:
    """Prints the table of the named entries, by default all, and returns whether they reach all goals.

    Raises:
        UserError: as `measure`.
    """
    names = names or zoo.names()
    for name in names:
        zoo.resolve(name)
    header = ["uint8 file", *(f"{goal.label} (at most {goal.limit:g})" for goal in GOALS.values()), "missed"]
    print(templates.table(header, []), flush=True)
    reached = True
    for name in names:
        figures = measure(name, data)
        print(f"| {' | '.join(row(name, figures))} |", flush=True)
        reached = reached and not missed(figures)
    return reached


def main() -> None:
    """Command line of this module."""
    parser = command_line.Parser("goals", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries of the zoo (default: all)")
    parser.add_argument("--data", required=True, help="folder of HR images, such as Set5")
    args = parser.parse_args()
    if not parser.run(check, args.names, args.data):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
