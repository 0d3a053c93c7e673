"""Quantization of our float files by other tools: `python benchmarks/other_quantizers.py DATA`.

DATA contains Set5. Writes docs/measurements/other_quantizers.md: the drop of every packaged network under the post-training
quantization of TensorFlow and of ONNX Runtime, with the weights that `export --float-weights` offers.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for tools.zoo, which is not installed

from mobile_sr import zoo
from mobile_sr.files import write_text
from mobile_sr.quantization import export, source
from tools.zoo import other_quantizers

PAGE = ROOT / "docs" / "measurements" / "other_quantizers.md"
COLUMNS = ("Y", "RGB", "flat", "ramps")


def rows(name, set5):
    """The table rows of a network: one for each choice of weights."""
    network = source.open_own(name, None)
    scale = network.scale
    crops, images = other_quantizers.crops(scale), other_quantizers.pairs(set5, scale)
    trained = other_quantizers.measure(other_quantizers.runner(network.data), images, scale)
    for weights in export.FLOAT_WEIGHTS:
        data = float_file(name, weights)
        cells = []
        for tool in (None, "TensorFlow", "ONNX Runtime"):
            if tool == "ONNX Runtime" and network.extension.max_value is not None:
                cells += ["", ""]  # converted to ONNX, the network would have two inputs
                continue
            run = quantized(tool, data, network.samples(crops))
            found = other_quantizers.measure(run, images, scale)
            cells.append(" / ".join(f"{trained[space] - found[space]:z.3f}" for space in ("y", "rgb")))
            if tool:
                cells.append(f"{found['flat']} / {found['ramps']}")
        yield f"| {name} | {weights} | {' | '.join(cells)} |"


def float_file(name, weights):
    """The bytes of the float32 .tflite that export writes."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"float_weights": weights, "path": "dense", "log": lambda line: None}
        (path,) = export.export(name, folder, ["float32"], **arguments)
        return path.read_bytes()


def quantized(tool, data, samples):
    """A function from LR to SR images for a float file, quantized by a tool; None for the file itself."""
    if tool is None:
        return other_quantizers.runner(data)
    if tool == "TensorFlow":
        return other_quantizers.runner(other_quantizers.tensorflow(data, samples))
    return other_quantizers.runner(other_quantizers.onnx_runtime(data, samples), "onnx")


def main(data, names):
    """Measures the networks and writes the page; with names, prints their rows only."""
    found = []
    for name in names or zoo.names():
        for row in rows(name, data / "Set5"):
            print(row, flush=True)
            found.append(row)
    if not names:
        write_text(PAGE, "\n".join([_HEAD.strip(), "", *found, "", _REST.strip(), ""]))


_HEAD = """
TODO
"""

_REST = """
TODO
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
