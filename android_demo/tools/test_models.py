"""Files that the tests need beside the packaged ones, with random weights: int8, and AdaEDSR. Usage: test_models.py OUT."""

import sys
from pathlib import Path

import numpy as np

from mobile_sr import models
from mobile_sr.inference import weights
from mobile_sr.quantization.export import export

NETWORKS = {
    "tiny": ({"network": "xlsr", "scale": 2, "output_activation": "clipped_relu"}, ["int8"]),
    "ada": ({"network": "edsr", "scale": 2, "blocks": 2, "channels": 8, "depth": "input"}, ["float32", "uint8"]),
}


def main(out):
    """Export each network into `out`; its output is spread over 0..1, and AdaEDSR's depth varies over an image."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (config, precisions) in NETWORKS.items():
        rng = np.random.default_rng(3)
        model = models.build(config)
        spread = [(1.6 / np.prod(w.shape[:-1])) ** 0.5 if w.ndim == 4 else 0 for w in model.get_weights()]
        arrays = [rng.normal(0, s, w.shape) if s else w for s, w in zip(spread, model.get_weights(), strict=True)]
        arrays[-1] = arrays[-1] + 0.5
        model.set_weights(arrays)
        weights.save_model(out / f"{name}.npz", model, config)
        export(out / f"{name}.npz", out, precisions, methods=())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
