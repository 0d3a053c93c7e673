"""Files that the tests need beside the packaged ones: int8 and AdaEDSR with random weights, a single operator, and one that
looks compiled for a chip. Usage: test_models.py OUT."""

import sys
from pathlib import Path

import numpy as np

from mobile_sr import models
from mobile_sr.architecture_search import latency_table
from mobile_sr.inference import weights
from mobile_sr.quantization.export import export
from tests import compiled_file

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
    (out / "operator.tflite").write_bytes(latency_table.operator_file("conv3x3", 7, 5, (8, 12)))
    (out / "compiled.tflite").write_bytes(compiled_file.compiled((out / "tiny_int8.tflite").read_bytes(), "SM8650"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
