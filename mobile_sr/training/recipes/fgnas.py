"""FGNAS after its search: the compact network, trained on from the search's weights, or anew for another scale.

The architecture comes from --init (a search's run folder) or --architecture (its architecture.json). Cost: 30k steps take 15
to 30 minutes on a CPU core with AMX (--bfloat16). Result: docs/measurements/fgnas.md.

    mobile-sr train --recipe fgnas_x2 --init runs/search --data TRAIN --out runs/fgnas
"""

from mobile_sr.training.recipes import edsr


def recipe(scale=2, smoke=False):
    """edsr.py's settings but for the steps; the search's batch."""
    r = edsr.recipe(scale, smoke)
    r.network = {"network": "fgnas", "scale": scale, "output_activation": "clipped_relu"}
    if not smoke:
        r.steps, r.batch = 30_000, 8
    return r
