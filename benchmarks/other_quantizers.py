"""Quantization of our float files by other tools: `python benchmarks/other_quantizers.py DATA [NAME...]` (15 minutes).

DATA contains Set5. Writes docs/measurements/other_quantizers.md: the drop of packaged networks under the post-training
quantization of TensorFlow and of ONNX Runtime, with the weights that `export --float-weights` offers. With names, prints
the rows of these networks.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tools.zoo, which is not installed

from mobile_sr import zoo
from mobile_sr.files import write_text
from mobile_sr.quantization import preparation, source
from tools.zoo import other_quantizers

NAMES = (
    *("xlsr_x2", "xlsr_x3", "xlsr_x4", "espcn_x3", "abpn_x3", "fsrcnn_x3", "fgnas_x3", "adaedsr_b8_x2"),
    *("chainsr_m_x2", "chainsr_l_x2", "chainsr_m_x3", "chainsr_m_x4"),
)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "measurements" / "other_quantizers.md"
COLUMNS = ("Y", "RGB", "flat", "ramps")


def rows(name, set5):
    """The table rows of a network: one for each choice of weights, and our own uint8 file, whose figures are on its card."""
    network = source.open_own(name, None)
    scale = network.scale
    crops, images = other_quantizers.crops(scale), other_quantizers.pairs(set5, scale)
    options = network.extension.options(network.extension.max_value)
    trained = other_quantizers.measure(other_quantizers.runner(network.data, options=options), images, scale)
    for weights in preparation.FLOAT_WEIGHTS:
        data = other_quantizers.packaged(name) if weights == "steered" else other_quantizers.exported(name, weights)
        cells = []
        for tool in (None, "TensorFlow", "ONNX Runtime"):
            if tool == "ONNX Runtime" and network.extension.max_value is not None:
                cells += ["", ""]  # converted to ONNX, the network would have two inputs
                continue
            run = quantized(tool, data, network.samples(crops), options)
            found = other_quantizers.measure(run, images, scale)
            cells.append(" / ".join(f"{trained[space] - found[space]:z.3f}" for space in ("y", "rgb")))
            if tool:
                cells.append(f"{found['flat']} / {found['ramps']}")
        yield f"| {name} | {weights} | {' | '.join(cells)} |"
    card = zoo.card(name)
    drops = " / ".join(f"{trained[space] - card['scores']['Set5'][space]['uint8']:.3f}" for space in ("y", "rgb"))
    colours = " / ".join(str(card["colour_error"]["uint8"][key]) for key in ("flat", "ramps"))
    yield f"| {name} | (our uint8 file) |  | {drops} | {colours} |  |  |"


def quantized(tool, data, samples, options):
    """A function from LR to SR images for a float file, quantized by a tool; None for the file itself."""
    if tool is None:
        return other_quantizers.runner(data, options=options)
    if tool == "TensorFlow":
        return other_quantizers.runner(other_quantizers.tensorflow(data, samples), options=options)
    return other_quantizers.runner(other_quantizers.onnx_runtime(data, samples), "onnx")


def main(data, names):
    """Measures the networks and writes the page; with names, prints their rows only."""
    found = []
    for name in names or NAMES:
        for row in rows(name, data / "Set5"):
            print(row, flush=True)
            found.append(row)
    if not names:
        write_text(PAGE, "\n".join([_HEAD.strip(), *found, "", _REST.strip(), ""]))


_HEAD = """
# Quantization by other tools

Written by `python benchmarks/other_quantizers.py DATA`. Float files of `mobile-sr export --float-weights`, quantized to
8 bits by another tool without any method of this project:

- TensorFlow's post-training quantization, as `tf.lite.TFLiteConverter` runs it: uint8 input and output, int8 weights
  per channel;
- ONNX Runtime's static quantization of the ONNX file: QDQ form, uint8 activations, int8 weights per channel.

These are some of the packaged networks; the [card](../reference/cards) of each has its drop under TensorFlow. Both tools
are calibrated on 100 random crops of 48x48 LR pixels of scikit-image's images, without flat or saturated colours. A drop
is the PSNR in dB (Y / RGB) of the trained float network minus that of the file, on Set5 under
[the protocol](../reference/protocol.md). "Colours" are the largest errors in levels of 255 on 27 flat colours / on ramps.

| network | float weights | drop in float | TensorFlow: drop | colours | ONNX Runtime: drop | colours |
|---|---|---|---|---|---|---|
"""

_REST = """
- **Steered weights** (`converters/quantization/steering.py`), those of the packaged float32 files, keep most of the
  gain of our own files in a tool with symmetric weights per output channel. Each weight is in the rounding cell of the
  integer that our uint8 file has, so the tool finds these integers. Within their cells, the weights of an output
  together have enough freedom that the float network's results hardly change. The rest of the loss is that of the
  activations, which are calibrated by the tool.
- **Graphics** differ more than photographs, because the integers are fitted on photographs: on saturated text and lines
  one pixel wide, the steered `chainsr_m_x3` differs from the network by 2.3 levels RMS, its uint8 file by 8.5. With ten
  times the ridge in the fit (`layer_fit.py`) it would be 1.4 levels, and the drop under TensorFlow 0.062 instead of
  0.053 dB (RGB); with GPTQ's integers, without the fit, 1.0 levels and 0.100 dB, but then `chainsr_m_x2`, `chainsr_l_x2`
  and `chainsr_sp_x2` lose 0.16 to 0.21 dB.
- **Equalized weights** alone are not a good start for another tool. They reduce the colour errors of networks whose
  channels differ much, but the weights then differ in size within a kernel, and rounding them to the nearest integer
  costs more. `export` equalizes float files only beside an integer file, to compare them layer by layer, and writes
  trained weights otherwise.
- An earlier choice, weights *on* the integers, gave the same integers, but the float file itself lost up to 0.03 dB.
- Rounding the weights is the larger part of XLSR's loss. With int16 activations, XLSR x3 still loses 0.38 of 0.49 dB
  ([quantization.md](quantization.md#modes)).

The rounding errors of an output have a mean, because the inputs behind a ReLU have one. In `chainsr_m_x3`, TensorFlow's
nearest integers of the equalized weights cost 1.20 dB (RGB, Set5) in all. GPTQ's integers, with weights steered to them
and the same biases as before, cost 0.12 dB, and those of the uint8 file, fitted to rounded activations and with its
biases, 0.05 dB.

AdaEDSR has a second input; ONNX Runtime's quantization was not run for it.

## Training for other quantizers

Recipe option `weight_bits=8` ([training.md](../reference/training.md)) rounds the weights during training. XLSR x3
continued from the packaged weights (recipe xlsr_finetune_x3, flat_share=0.1, 16 patches of 32 pixels), PSNR in dB (Y /
RGB) on Set5 and, in brackets, the drop against the packaged float weights. Both runs were short and ended before their
schedules did. A: luminance_weight=1, peak rate 5e-5, the best weights of 1,000 of 2,000 steps. B: also
activation_bits=8, luminance_weight=4, peak rate 3e-4, the weights after 2,000 of 3,000 steps.

| weights | float | quantized by TensorFlow | flat colours |
|---|---|---|---|
| packaged, trained | 33.41 / 31.41 | 33.23 / 30.93 (0.18 / 0.48) | 13 |
| packaged, on the integers | 33.41 / 31.40 | 33.38 / 31.34 (0.03 / 0.07) | 3 |
| A | 33.40 / 31.27 | 33.31 / 31.12 (0.10 / 0.29) | 6 |
| B | 33.38 / 31.10 | 33.29 / 31.20 (0.12 / 0.22) | 43 |

Training lowers the drop, but it costs PSNR in float, and weights on the integers, like steered ones, lose less without
any training. The packaged weights therefore stay as they are. A penalty on the ranges of activations was not tried: the
activations cause the smaller part of XLSR's loss.
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
