"""PSNR cost of quantization methods: `python benchmarks/quantization.py DATA > docs/measurements/quantization.md`.

DATA contains Set5 and DIV2K_valid_crop256. Every run measures everything on the page again, with the networks of the zoo and
those trained by quantization_nets.py.
"""

import itertools
import math
import sys
from pathlib import Path
from unittest import mock

import hybrid_precision
import merged_linear
import numpy as np
import one_partition
import prelu_forms
import quantization_peers
from quantization_bench import CHOSEN, PLAIN, UNCLIPPED, UNFITTED, UNMIXED, Bench

from mobile_sr import zoo
from mobile_sr.converters.quantization import activation_ranges
from mobile_sr.converters.quiet import quiet
from mobile_sr.quantization import calibration

XLSR = [name for name in zoo.names() if name.startswith("xlsr")]


def header(first):
    print(f"\n| {first} | DIV2K Y | DIV2K RGB | Set5 Y | Set5 RGB |\n|---|---|---|---|---|")


def methods(bench):
    """Prints the effect of each method, alone and combined."""
    header("XLSR x3, uint8")
    bench.row("plain (TensorFlow's own)", **PLAIN)
    bench.row("rounding by the inputs", **{**PLAIN, "round": True})
    for strength in (0.5, 1.0):
        bench.row(f"scaled, strength {strength}", **{**PLAIN, "strength": strength})
    bench.row("centred", **{**PLAIN, "center": True})
    bench.row("centred and scaled, 1.0", **{**PLAIN, "center": True, "strength": 1.0})
    for strength in (0.5, 0.75, 1.0):
        bench.row(f"centred, scaled {strength}, rounding by the inputs", **{**UNCLIPPED, "strength": strength})
    bench.row("centred, scaled 1.0, rounding by the inputs, clipped", **UNFITTED)
    bench.row("centred, scaled 1.0, rounding by the inputs, clipped, fitted", **UNMIXED)
    bench.row("mixed, centred, scaled 1.0, rounding by the inputs, clipped, fitted (the default)", **CHOSEN)


def modes(bench):
    """Prints the other precisions and per-tensor weights."""
    header("XLSR x3")
    for precision in ("float16", "dynamic", "int16", "uint8"):
        bench.row(f"{precision}, plain", precision=precision, **PLAIN)
    bench.row("int16, all methods", precision="int16", **CHOSEN)
    bench.row("uint8, all methods (the default)", **CHOSEN)
    bench.row("uint8 per tensor, plain", per_tensor=True, **PLAIN)
    for strength in (0, 0.25, 0.5, 1.0):
        arguments = {**UNFITTED, "strength": strength, "per_tensor": True}
        bench.row(f"uint8 per tensor, centred, scaled {strength}, rounding by the inputs", **arguments)


def calibration_study(bench):
    """Prints the effect of the calibration images on equalization and rounding."""
    header("XLSR x3, uint8, neither clipped nor fitted; calibrated on")
    crops = calibration.COUNT
    natural, exchanged, flat = bench.images[:crops], bench.images[crops : 2 * crops], bench.images[2 * crops :]
    whole = [lr[None].astype(np.float32) / 255 for lr in calibration._lr_images(None, 3, np.random.default_rng(0))]
    levels = itertools.product((0.0, 1.0), repeat=3)
    solid = [np.broadcast_to(np.array(level, np.float32), flat[0].shape).copy() for level in levels]
    for count in (4, 8, 16):
        bench.row(
            f"{count} crops, the same in other colours, black, white",
            images=natural[:count] + exchanged[:count] + flat,
            **UNCLIPPED,
        )
    bench.row(f"{crops} crops, the same in other colours, black, white (the default)", **UNCLIPPED)
    bench.row(f"{crops} crops, black, white", images=natural + flat, **UNCLIPPED)
    bench.row(f"{crops} crops, the eight corners of the colour cube", images=natural + solid, **UNCLIPPED)
    bench.row(f"the {len(whole)} whole images, black, white", images=whole + flat, **UNCLIPPED)


def tanh_study(data):
    """Prints the effect of clipping the input range of tanh."""
    header("range of the input of tanh")
    bench = Bench(Path(__file__).parent / "quantization_nets" / "espcn_x3.npz", data)
    same = math.atanh(-255 / 256), math.atanh(253 / 256)  # half a step of 1/128 before its ends
    for low, high in (
        (-math.inf, math.inf),
        same,
        *((-end, end * 127 / 128) for end in (2.8, -activation_ranges.TANH[0], 2.3)),
    ):
        with mock.patch.object(activation_ranges, "TANH", (low, high)):
            bench.row("as measured" if low == -math.inf else f"{low:.2f}..{high:.2f}", **UNFITTED)


def networks(data):
    """Prints plain and default conversion for XLSR at every scale."""
    header("uint8")
    for name in XLSR:
        bench = Bench(zoo.FOLDER / f"{name}.npz", data)
        bench.row(f"{name}, plain", **PLAIN)
        bench.row(f"{name}, all methods", **CHOSEN)


def merged(data):
    """Prints the effect of merging two linear layers of XLSR."""
    header("uint8, all methods but fitting")
    for name in XLSR:
        bench = Bench(zoo.FOLDER / f"{name}.npz", data)
        bench.row(f"{name} as it is", **UNFITTED)
        bench.model = merged_linear.merge(bench.model, bench.config)
        bench.row(f"{name} merged, plain", **PLAIN)
        bench.row(f"{name} merged", **UNFITTED)


def hybrid(bench):
    """Prints the simulated effect of 16-bit outputs in single layers."""
    header("XLSR x3, 16 bits in")
    ranges = hybrid_precision.ranges_of(bench.convert(**UNFITTED))
    model = bench.prepared_keras()
    layers = [layer.name for layer in model.layers if hasattr(layer, "kernel")][:-1]
    choices = {"no layer": (), **{name: (name,) for name in layers}}
    choices["shortcut, gblock3_mix (one tensor) and tail_mix"] = ("shortcut", "gblock3_mix", "tail_mix")
    choices["all layers"] = layers
    for label, wide in choices.items():
        bench.drops(label, bench.scores_of(hybrid_precision.runner(model, ranges, wide)))


def main(data):
    """Prints the page."""
    with quiet():
        bench = Bench(zoo.FOLDER / "xlsr_x3.npz", data)
    print(_HEAD.format(*bench.float))
    methods(bench)
    print(_METHODS)
    modes(bench)
    print(_MODES)
    calibration_study(bench)
    print(_CALIBRATION)
    tanh_study(data)
    print(_NETWORKS)
    networks(data)
    quantization_peers.tables(data)
    print(_PARTITION)
    one_partition.main()
    print(_PRELU)
    prelu_forms.main()
    print(_FORMS)
    print(_MERGED)
    merged(data)
    print(_HYBRID)
    hybrid(bench)
    print(_REST)


_HEAD = """# Quantization

Written by `python benchmarks/quantization.py DATA`. All figures are drops: the PSNR in dB of the float32 file minus
that of the file in the row, under [the protocol](../reference/protocol.md), on the 80 crops of DIV2K's validation
images, which were used for all choices, and on Set5. Files are calibrated on scikit-image's images unless the row says
otherwise. XLSR x3 in float: {:.2f} / {:.2f} dB (DIV2K, Y / RGB) and {:.2f} / {:.2f} (Set5).

## Methods

`mobile-sr export` applies these methods before TensorFlow's converter. They need no training and take seconds.

- **Mixing** (`converters/quantization/channels/channel_mixing.py`): the channels of a tensor that only convolutions write and
  read, without an activation, are replaced by combinations of them. Those which matter to the output are spread over many
  channels, so that their rounding errors average out ([below](#channel-mixing)).
- **Scaling** (`converters/quantization/channels/cross_layer_equalization.py`): each channel is scaled until it fills the range
  of its tensor, and the next kernel is divided by the scale. The exponent is the strength.
- **Centring** (the same file): a channel that only 1x1 convolutions read is shifted until its range is symmetric. Most
  of the noise came from XLSR's shortcut: its 16 channels share one range with those of the last block (`mobile-sr
  inspect --reference`).
- **Rounding by the inputs** (`converters/quantization/gptq.py`): the integers of a kernel are chosen to change the layer's
  *output* least, given the second moments of its inputs. The bias compensates the mean error.
- **Clipping** (`converters/quantization/range_clipping.py`): the range of an activation has the least squared error of rounding
  and clipping on photographs, and contains all values of flat colours and ramps. The operands of a sum get the step of the sum
  where that lowers the error: the sum is then exact.
- **Fitting** (`converters/quantization/layer_fit.py`): layer by layer, the weights get the least squared error against the
  float network's result, with the inputs that the 8-bit file computes, and are rounded again. Later layers so make up for
  the weights of earlier ones. Each flat colour and ramp counts as 1,152 positions, twice its own.
- **Spare channels** (`converters/quantization/channels/spare_channels.py`): channels that the network does not use become
  copies, shifted by half a step, of those whose rounding costs the most ([below](#spare-channels)). Not for grouped
  convolutions."""

_METHODS = """
Scaling alone reduces the error of the activations but increases that of the weights: at full strength, the input
channels of a kernel differ in size, which increases the error of rounding to the nearest integer. Rounding by the
inputs removes this disadvantage, and centring and scaling halve the drop that it has on its own.

Further training with fake quantization ([qat.md](qat.md)) was not better on XLSR x3. `--methods none` is the plain
conversion. [other_quantizers.md](other_quantizers.md) has the drop of our float files under other tools.

## Modes"""

_MODES = """
`int16` keeps 16 bits between the layers: the remaining drop is that of the weights. XNNPACK does not support its
convolutions, so it is slow on a CPU; it is for NPUs that support it. `dynamic` quantizes the activations of each image.
With per-tensor weights, scaling increases the drop because it makes output channels differ in size; `--per-tensor`
therefore disables it.

## Calibration"""

_CALIBRATION = """
Colours matter more than the number of images: scikit-image's three images contain few saturated colours, and values
outside of the measured ranges are clipped. Permuting the channels of the same crops corrects this. This table was
measured before flat colours and ramps were added to the default calibration set;
[flat_colours.md](flat_colours.md) has their effect.

With `--calibration DIR`, each crop is the most detailed of eight random ones. On 30 photographs, 1,800 pixels long and
mostly sky, water and blur, this reduced the drop of an XLSR x3 on ten other photographs (Y) from 0.328 dB with single
random crops to 0.223 dB. With scikit-image's images it is 0.235 dB.

The ranges are measured by a separate pass (`converters/quantization/activation_ranges.py`): the network runs through XNNPACK
with all its activations as outputs. CPU time for these 66 images: XLSR x3 0.9 s instead of 8.9, IMDN 19 instead of 96.
TensorFlow's own pass also reads the inputs of an operator after it ran, when an addition or a product may have written
its result into their memory: a residual then gets the range of its sum with the trunk. AdaEDSR (8 blocks of 64
channels, x2) lost 0.155 dB on Set5 with TensorFlow's ranges and 0.102 dB with ours. XLSR and ESPCN have no such
operator, and their ranges are the same.

A tensor that only a tanh reads is clipped to -2.42..2.40 (a zero point of 0), where the 8-bit result is two steps above
its minimum and one below its maximum. Farther out the result hardly changes, and all other values get finer steps
(`export`; `qat` learns its ranges). The zoo's former ESPCN, with tanh inputs of up to 5 (the current one has ReLU; the
script runs that of benchmarks/quantization_nets):"""

_NETWORKS = """
The range of the second row excludes only values that give the same 8-bit result.

## Networks"""

_PARTITION = """
## One partition

The default uint8 files of XLSR, FSRCNN and ESPCN run as one XNNPACK partition (tested). The saturation of the output
tensor replaces the clip, a transposed convolution runs as an ordinary one on its phases, and a PReLU as `x +
relu((alpha - 1) * x)`. `benchmarks/one_partition.py` compares the whole networks with the same ones in Keras's own
layers, converted plainly (one thread, medians of interleaved runs):
"""

_PRELU = """
`benchmarks/prelu_forms.py` measures the operators that can replace a PReLU (3x3 convolution to 56 channels, PReLU, 1x1
convolution, int8, 360x640, one thread):
"""

_FORMS = """
The last form rounds values above 0 once, the one before it three times. With the last form, the first weights of
fsrcnn_x3 lost 0.53 instead of 0.85 dB in uint8 on Set5 (Y) and 0.29 instead of 0.52 dB on Set14. FGNAS's mixes of
activations use the form before it: fgnas_x2 loses 0.199 dB with that form and 0.227 dB with the last one, where the
outputs of channels with only a ReLU are not exactly 0."""

_MERGED = """
## Tried but not used

**Merging linear layers.** XLSR's last Gblock ends in a 1x1 convolution, which the 1x1 convolution after the
concatenation reads. In float the two can be merged into one layer, which saves 1,024 of 21.9K multiply-adds per LR
pixel. In 8 bits the merged form has two to seven times the drop, with all methods: the concatenation then contains the
output of a ReLU, which cannot be centred, besides the shortcut."""

_HYBRID = """
**Hybrid precision.** 16-bit activations in single layers, simulated (`benchmarks/hybrid_precision.py`; compare the row
"no layer" with the real file above):"""

_REST = """
Most of the drop without mixing comes from the shortcut and the layer after it. In a real file of this kind, XNNPACK, which
has only 8-bit convolutions, would run separate partitions. That costs too much time for 0.02 dB, so only `--precision
int16` is offered.

**Percentiles** instead of minimum and maximum: in a simulation 99.999 % gained 0.004 dB, and 99.99 % lost. They are not
used."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
