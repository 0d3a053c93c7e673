"""The compact network that an FGNAS search found, trained from the search's weights or, at another scale, from scratch.

The architecture comes from --init (a search's run folder) or --architecture (its architecture.json). Cost: 30k steps take
15 to 30 minutes on a CPU core with AMX (--bfloat16). Result: docs/measurements/fgnas.md.

    mobile-sr train --recipe fgnas_x2 --init runs/search --data TRAIN --out runs/fgnas
"""

from mobile_sr.training.recipes import Recipe, edsr


def recipe(scale: int = 2, smoke: bool = False) -> Recipe:
    """The settings of edsr.py with 30k steps and the search's batch size."""
    r = edsr.recipe(scale, smoke)
    r.network = {"network": "fgnas", "scale": scale, "output_activation": "clipped_relu"}
    if not smoke:
        r.steps, r.batch = 30_000, 8
    return r
