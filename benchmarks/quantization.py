"""What each way to quantize costs: `python benchmarks/quantization.py DATA > docs/quantization.md` (about ten minutes).

DATA holds Set5 and DIV2K_valid_crop256. Everything on the page is measured anew, on the zoo's networks.
"""

import functools
import itertools
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mobile_sr import calibration, evaluate, litert, metrics, models, upscaler, weights, zoo
from mobile_sr.converters import equalize, rounding, to_tflite
from mobile_sr.converters.quiet import quiet

SETS = ("DIV2K_valid_crop256", "Set5")
CHOSEN = {"strength": equalize.STRENGTH, "center": True, "round": True}


class Bench:
    """One network of the zoo, the sets at its scale and its float scores."""

    def __init__(self, name, data):
        self.model, self.config = weights.load_model(zoo.FOLDER / f"{name}.npz")
        scale = self.config["scale"]
        self.pairs = {s: list(evaluate.each_pair(data / s, scale, [])) for s in SETS}
        self.images, _ = calibration.calibration_set(None, scale)
        self.float = self.scores(self.convert("float32", strength=0, center=False, round=False))

    def convert(self, precision="uint8", *, images=None, strength, center, round, per_tensor=False):
        """The bytes of a .tflite."""
        images = images or self.images
        model = models.build(self.config)
        model.set_weights(equalize.equalize(self.model, images, strength, center)[0])
        arrays = rounding.round_weights(model, images, per_tensor) if round else model.get_weights()
        build = functools.partial(models.build_for_export, self.config)
        return to_tflite.convert(build, arrays, precision, clipped=True, calibration=images, per_tensor=per_tensor)

    def scores(self, data):
        """Mean PSNR in Y and RGB of every set."""
        run, scale, means = litert.TFLiteModel(data).run, self.config["scale"], []
        for pairs in self.pairs.values():
            found = []
            for _, hr, lr, gray in pairs:
                sr = upscaler.to_uint8(run(lr))
                found.append([metrics.psnr(sr, hr, space, scale, gray) for space in ("y", "rgb")])
            means += list(np.mean(found, axis=0))
        return np.array(means)

    def row(self, label, **arguments):
        """Print one row of a table: the drops."""
        drops = self.float - self.scores(self.convert(**arguments))
        print(f"| {label} | " + " | ".join(f"{drop:.3f}" for drop in drops) + " |", flush=True)


def header(first):
    print(f"\n| {first} | DIV2K Y | DIV2K RGB | Set5 Y | Set5 RGB |\n|---|---|---|---|---|")


def methods(bench):
    """What each method gives, alone and together."""
    header("XLSR x3, uint8")
    plain = {"strength": 0, "center": False, "round": False}
    bench.row("plain (TensorFlow's own)", **plain)
    bench.row("rounding by the inputs", **{**plain, "round": True})
    for strength in (0.5, 1.0):
        bench.row(f"scaled, strength {strength}", **{**plain, "strength": strength})
    bench.row("centred", **{**plain, "center": True})
    bench.row("centred and scaled, 1.0", **{**plain, "center": True, "strength": 1.0})
    for strength in (0.5, 0.75, 1.0):
        bench.row(f"centred, scaled {strength}, rounding by the inputs", center=True, strength=strength, round=True)


def modes(bench):
    """The other precisions and per-tensor weights."""
    header("XLSR x3")
    for precision in ("float16", "dynamic", "int16", "uint8"):
        bench.row(f"{precision}, plain", precision=precision, strength=0, center=False, round=False)
    bench.row("int16, all methods", precision="int16", **CHOSEN)
    bench.row("uint8, all methods (the default)", **CHOSEN)
    bench.row("uint8 per tensor, plain", strength=0, center=False, round=False, per_tensor=True)
    for strength in (0, 0.25, 0.5, 1.0):
        arguments = {**CHOSEN, "strength": strength, "per_tensor": True}
        bench.row(f"uint8 per tensor, centred, scaled {strength}, rounding by the inputs", **arguments)


def calibration_study(bench):
    """How the calibration images matter to the default."""
    header("XLSR x3, uint8, all methods; calibrated on")
    crops = calibration.COUNT
    natural, exchanged, flat = bench.images[:crops], bench.images[crops : 2 * crops], bench.images[2 * crops :]
    whole = [lr[None].astype(np.float32) / 255 for lr in calibration._lr_images(None, 3, np.random.default_rng(0))]
    levels = itertools.product((0.0, 1.0), repeat=3)
    solid = [np.broadcast_to(np.array(level, np.float32), flat[0].shape).copy() for level in levels]
    for count in (4, 8, 16):
        bench.row(
            f"{count} crops, the same in other colours, black, white",
            images=natural[:count] + exchanged[:count] + flat,
            **CHOSEN,
        )
    bench.row(f"{crops} crops, the same in other colours, black, white (the default)", **CHOSEN)
    bench.row(f"{crops} crops, black, white", images=natural + flat, **CHOSEN)
    bench.row(f"{crops} crops, the eight corners of the colour cube", images=natural + solid, **CHOSEN)
    bench.row(f"the {len(whole)} whole images, black, white", images=whole + flat, **CHOSEN)


def networks(data):
    """Plain against default for every network of the zoo."""
    header("uint8")
    for name in zoo.names():
        bench = Bench(name, data)
        bench.row(f"{name}, plain", strength=0, center=False, round=False)
        bench.row(f"{name}, all methods", **CHOSEN)


def main(data):
    """Print the page."""
    with quiet():
        bench = Bench("xlsr_x3", data)
    print(_HEAD.format(*bench.float))
    methods(bench)
    print(_METHODS)
    modes(bench)
    print(_MODES)
    calibration_study(bench)
    print(_CALIBRATION)
    networks(data)
    print(_REST)


_HEAD = """# Quantization

Written by `python benchmarks/quantization.py DATA`. All figures are drops: the PSNR in dB of the float32 file less that of
the file in the row, under [the protocol](protocol.md), on the 80 crops of DIV2K's validation images, on which everything
was chosen, and on Set5. Files are calibrated on scikit-image's pictures unless the row says otherwise. XLSR x3 in float:
{:.2f} / {:.2f} dB (DIV2K, Y / RGB) and {:.2f} / {:.2f} (Set5).

## Methods

What `mobile-sr export` does before it hands a network to TensorFlow's converter; none of it trains, and all of it takes
seconds.

- **Scaling** (`converters/equalize.py`): each channel is scaled until it fills its tensor's range, and the scale divided
  out of the next kernel. The exponent is the strength.
- **Centring** (the same file): a channel that only 1x1 convolutions read is shifted until its range is symmetric; XLSR's
  shortcut, whose 16 channels share one range with the last block's, is where most of the noise came from (`mobile-sr
  inspect --reference`).
- **Rounding by the inputs** (`converters/rounding.py`): the integers of a kernel are chosen so that the layer's *output*
  moves least, given the second moments of what it sees; the mean error goes into the bias."""

_METHODS = """
Scaling alone trades the activations' error for the weights': at full strength kernels have inputs of unlike size, which
rounding to the nearest integer serves badly. Rounding by the inputs takes that back, and the two together are worth more
than their sum.

Training further with fake quantization ([qat.md](qat.md)) did not beat this on XLSR x3. `--methods none` is the plain
conversion.

## Modes"""

_MODES = """
`int16` keeps 16 bits between the layers: what is left there is the weights' share. XNNPACK does not take its convolutions,
so that it is slow on a CPU; it is for NPUs that have it. `dynamic` quantizes activations image by image. Per-tensor weights
lose from scaling, which makes output channels unlike, so that `--per-tensor` switches it off.

## Calibration"""

_CALIBRATION = """
Colours matter more than numbers: scikit-image's three pictures hold few saturated colours, and what lies outside the
measured ranges is cut off; exchanging the channels of the same crops mends it.

## Networks"""

_REST = """
## One partition

The default uint8 files of XLSR, FSRCNN and ESPCN run as one XNNPACK partition (tested). The clip is the output tensor's own
saturation. A transposed convolution runs as an ordinary one on its phases, and a PReLU as `alpha * x + relu((1 - alpha) *
x)`: `benchmarks/prelu_forms.py` measures the operators that a PReLU can become (3x3 convolution to 56 channels, PReLU, 1x1
convolution, int8, 360x640, one thread):

| form | XNNPACK partitions | CPU ms |
|---|---|---|
| ReLU, for comparison | 1 | 35.0 |
| PRELU | 2 | 165.4 |
| MAXIMUM(x, alpha x), 0 <= alpha <= 1 | 2 | 47.8 |
| **alpha x + relu((1 - alpha) x)** | 1 | 57.1 |

## Tried and left out

- Percentiles instead of the least and largest value: in a simulation 99.999 % gained 0.004 dB, 99.99 % lost; not
  kept.
- Merging XLSR's last 1x1 with the one behind the concatenation was not tried with these methods: alone it raised the drop.
- Not measured yet: FSRCNN and ESPCN trained under one budget with XLSR, with clipped and with linear output (Tables 2 and 5
  of the XLSR paper)."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
