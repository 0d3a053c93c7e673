"""PSNR and multiply-adds of a routed model and of its networks: `python benchmarks/routed.py ROUTE.json FOLDER...`.

ROUTE.json is a routing sidecar, each FOLDER an image set such as Set5. Prints the table of docs/measurements/routing.md: PSNR
in Y, and multiply-adds per LR pixel as a fraction of the largest network's. "As chosen" assembles the output of each patch's
network and counts only those networks, as ClassSR does. The other rows are the routed model's output and all the work that it
does.
"""

import sys
from pathlib import Path

import numpy as np

from mobile_sr import load
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics

OVERLAPS = (None, 8, 4)  # LR pixels; None is the receptive field, exact


def measure(model, folder):
    """Returns [(name, mean PSNR in Y, fraction of the largest network's multiply-adds, fractions of patches)] on a set."""
    scores, tallies = {}, [model.new_tally() for _ in range(1 + len(OVERLAPS))]
    for _, hr, lr, gray in evaluate.each_pair(folder, model.scale, []):
        outputs = {Path(net.name).stem: net(lr) for net in model.nets}
        chosen = model.choose(lr)
        side = model.patch * model.scale
        where = chosen.repeat(side, 0).repeat(side, 1)[: hr.shape[0], : hr.shape[1], None]
        tallies[0].add_image(chosen, lr.shape[:2], model.patch)
        outputs["routed, as chosen"] = np.choose(where, list(outputs.values()))
        for overlap, model.tally in zip(OVERLAPS, tallies[1:], strict=True):
            model.overlap = overlap
            kind = "exact" if overlap is None else f"overlap {overlap}"
            outputs[f"routed, {kind}"] = model(lr)
        for name, sr in outputs.items():
            scores.setdefault(name, []).append(metrics.psnr(sr, hr, "y", model.scale, gray))
    totals = [tally.summary()["multiply_adds"] for tally in tallies]
    counts = [*model.net_costs, totals[0]["chosen"], *(total["done"] for total in totals[1:])]
    shares = tallies[0].summary()["patches"].values()
    return [
        (name, float(np.mean(scores[name])), count / model.net_costs[-1], shares if "chosen" in name else ())
        for name, count in zip(scores, counts, strict=True)
    ]


def main(sidecar, folders):
    """Prints the table."""
    model = load(sidecar)
    print("| images | network | PSNR, dB | multiply-adds | patches |\n|---|---|---|---|---|")
    for folder in folders:
        for name, psnr, count, shares in measure(model, folder):
            patches = " ".join(f"{share:.0%}" for share in shares)
            print(f"| {folder.name} | {name} | {psnr:.3f} | {count:.1%} | {patches} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
