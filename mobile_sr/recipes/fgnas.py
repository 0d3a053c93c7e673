"""FGNAS after its search: the compact network, trained on from the search's weights, or anew for another scale.

The architecture comes from --init (a search's run folder) or --architecture (its architecture.json). Cost: 20k steps take 10
to 20 minutes on a CPU core with AMX (--bfloat16). Result: docs/fgnas.md.

    mobile-sr train --recipe fgnas_x2 --init runs/search --data TRAIN --out runs/fgnas
"""

from mobile_sr.recipes import edsr


def recipe(scale=2, smoke=False):
    """edsr.py's settings; the search's batch."""
    r = edsr.recipe(scale, smoke)
    r.network = {"network": "fgnas", "scale": scale, "output_activation": "clipped_relu"}
    if not smoke:
        r.batch = 8
    return r
