"""Networks of others beside the zoo: `python -m tools.zoo.peers` counts their instructions again.

peers.json has their figures, each with its source. The weights are not part of this project. The instructions of a network
that `models` can build are those of its uint8 file with random weights, which change them by 0.2 % at most (5,833 to 5,841 for
ABPN x3). The command exports such files, counts them on virtual:arm64 and writes the counts, the parameters and the
multiply-adds into peers.json.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mobile_sr import files, models, zoo
from mobile_sr.benchmarking import virtual
from mobile_sr.devices import names
from mobile_sr.devices.device import Device
from mobile_sr.inference import weights
from mobile_sr.quantization import export
from tools.zoo import command_line, device_pages, devices, exits

FILE = Path(__file__).parent / "peers.json"
SET = "Set5"  # the only set whose float32 scores are the authors' own under our protocol, too
PRECISIONS = ("uint8", "float32")
REPEATABLE = 2e-3  # share of the instructions by which two counts of the same operators may differ


class Network(NamedTuple):
    """A network of the zoo or of others with its cost and its PSNR."""

    name: str
    own: bool
    parameters: int | None
    multiply_adds: int | None  # for a 1280x720 output
    instructions: float | None  # per LR pixel of the uint8 file on a Cortex-A76
    scores: dict[str, dict[str, float]]  # {precision: {set: PSNR in dB, Y}}
    sources: tuple[str, ...] = ()  # keys of `sources` in peers.json

    def psnr(self, precision: str) -> float | None:
        """Returns the PSNR on SET in dB, or None if it is not known."""
        return self.scores[precision].get(SET)


def sources() -> dict[str, str]:
    """Returns {key: sentences} of peers.json: where figures come from."""
    return files.read_json(FILE)["sources"]


def networks(scale: int) -> list[Network]:
    """Returns the zoo's entries of a scale, then the networks of others, both by cost; those without a count come last."""
    own = [_packaged(name) for name in zoo.names() if zoo.card(name)["config"]["scale"] == scale]
    others = [_peer(row) for row in files.read_json(FILE)["rows"] if row["scale"] == scale]
    return [*sorted(own, key=_cost), *sorted(others, key=_cost)]


def _cost(network: Network) -> float:
    return float("inf") if network.instructions is None else network.instructions


def _packaged(name: str) -> Network:
    card = zoo.card(name)
    scores = {precision: {s: card["scores"][s]["y"][precision] for s in zoo.SETS} for precision in PRECISIONS}
    return Network(name, True, card["parameters"], card["multiply_adds_720p"], device_pages.instructions(name), scores)


def _peer(row: dict[str, Any]) -> Network:
    counts = row["parameters"], row["multiply_adds_720p"], row["instructions"]
    scores = {precision: row[precision] for precision in PRECISIONS}
    cited = tuple(row[f"{precision}_source"] for precision in PRECISIONS[::-1] if row[precision])
    return Network(row["name"], False, *counts, scores, cited)


def of_exits(scale: int) -> dict[str, list[Network]]:
    """Returns {entry: its exits} of the packaged networks of a scale that have some, the exit with the fewest layers first."""
    result = {}
    for name in zoo.names():
        card = zoo.card(name)
        if exits.of(card) and card["config"]["scale"] == scale:
            counted = zip(exits.of(card), device_pages.of_exits(name), strict=True)
            result[name] = [_exit(name, each, instructions) for each, instructions in counted]
    return result


def _exit(name: str, each: dict[str, Any], instructions: float | None) -> Network:
    title = f"{name}, exit after {each['layers']} layers"
    scores = {precision: {s: each["scores"][s]["y"][precision] for s in zoo.SETS} for precision in PRECISIONS}
    return Network(title, True, None, each["multiply_adds_720p"], instructions, scores)


class Comparison(NamedTuple):
    """A network that costs at most as much as another one and reaches at least its PSNR."""

    network: Network
    precision: str  # in which the two are compared: in uint8, or in float32 if the uint8 PSNR of one is not known
    psnr: float  # of this network, in dB
    beaten: float  # of the other one


def is_robust(card: Mapping[str, Any]) -> bool:
    """Whether an entry was trained for degraded LR images. Charts leave it out: its aim is not PSNR on clean ones."""
    return bool(card["training"]["stages"][-1]["recipe"].get("degrade"))


def better(network: Network, others: list[Network]) -> list[Comparison]:
    """Returns the networks that another one is below: those compared in uint8 first, the highest PSNR first.

    A network is not below one of equal cost and PSNR. A saving of at most REPEATABLE is none.
    """
    found = []
    for other in others:
        precision = next((p for p in PRECISIONS if SET in network.scores[p] and SET in other.scores[p]), None)
        if precision is None or network.instructions is None or other.instructions is None:
            continue
        ours, theirs = network.scores[precision][SET], other.scores[precision][SET]
        gain, saving = theirs - ours, network.instructions - other.instructions
        if 0 < saving <= REPEATABLE * network.instructions:
            saving = 0.0
        if min(gain, saving) >= 0 < max(gain, saving):
            found.append(Comparison(other, precision, theirs, ours))
    return sorted(found, key=lambda one: (PRECISIONS.index(one.precision), -one.psnr, one.network.instructions))


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the (cost, PSNR) that no other point beats, by cost: the line on the charts."""
    result: list[tuple[float, float]] = []
    for cost, psnr in sorted(points, key=lambda point: (point[0], -point[1])):
        if not result or psnr > result[-1][1]:
            result.append((cost, psnr))
    return result


def count(path: Path = FILE) -> None:
    """Counts all networks that `models` can build and writes the file after each.

    Raises:
        UserError: virtual:arm64 is not installed.
    """
    device = names.find("virtual:arm64", cpu=devices.ARM[0])
    document = files.read_json(path)
    for row in document["rows"]:
        if row["config"]:
            print(f"{row['name']} x{row['scale']}", file=sys.stderr, flush=True)
            row |= _counted({**row["config"], "scale": row["scale"]}, device)
            files.write_json(path, document)


def _counted(config: dict[str, Any], device: Device) -> dict[str, Any]:
    """The counts of a network with random weights."""
    model = models.build(config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.npz"
        weights.save_model(file, model, config)
        (uint8,) = export.export(file, folder, ["uint8"], log=lambda line: None)
        (result,) = virtual.measure([uint8], device, devices.SIZE)["results"]
    return {
        "parameters": model.count_params(),
        "multiply_adds_720p": round(models.multiply_adds(model, 1280 * 720 / config["scale"] ** 2)),
        "instructions": round(result["instructions_per_lr_pixel"], 1),
    }


def main() -> None:
    """Command line of this module."""
    parser = command_line.Parser("peers", __doc__)
    parser.parse_args()
    parser.run(count)


if __name__ == "__main__":
    main()
