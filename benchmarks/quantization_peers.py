"""Clipped against linear outputs (Ayazoglu, CVPRW 2021, Tables 2 and 5); a part of quantization.py.

The networks and the files of quantization-aware training come from quantization_nets.py.
"""

import numpy as np
from quantization_bench import PLAIN, UNFITTED, Bench
from quantization_nets import FOLDER, NETS, QAT_STEPS, STEPS

from mobile_sr.inference import litert, upscaler

RGB = 1  # index in Bench's scores: DIV2K, RGB, as in the paper's table


def tables(data):
    """Prints the section."""
    benches = {net: Bench(FOLDER / f"{net}.npz", data) for net in NETS}
    print(_HEAD.format(steps=STEPS, qat_steps=QAT_STEPS))
    print(
        "| network, output | weights | float | plain PTQ | all methods but fitting | QAT | made from |\n"
        "|---|---|---|---|---|---|---|"
    )
    for net, bench in benches.items():
        for per_tensor in (False, True):
            print(_row(net, bench, per_tensor), flush=True)
    print(_READINGS)
    print("| change | " + " | ".join(map(title, NETS)) + " |\n" + "|---" * (len(NETS) + 1) + "|")
    files = {net: bench.convert(**PLAIN) for net, bench in benches.items()}
    for label, read in _READERS.items():
        drops = [(bench.float - bench.scores_of(_reader(files[net], read)))[RGB] for net, bench in benches.items()]
        print(f"| {label} | " + " | ".join(f"{drop:.2f}" for drop in drops) + " |", flush=True)
    for label, images in _calibrations(benches[NETS[0]]).items():
        drops = [bench.float - bench.scores(bench.convert(images=images, **PLAIN)) for bench in benches.values()]
        print(f"| {label} | " + " | ".join(f"{drop[RGB]:.2f}" for drop in drops) + " |", flush=True)
    print(_FOUND)


def title(net):
    """Returns the title of a network: 'FSRCNN, linear' for 'fsrcnn_linear_x3'."""
    name = net.split("_")[0].upper()
    return f"{name}, {'linear' if 'linear' in net else 'clipped'}"


def _row(net, bench, per_tensor):
    methods = {**UNFITTED, "strength": 0} if per_tensor else UNFITTED  # as export does
    qat = f"{net}_qat_per_tensor" if per_tensor else f"{net}_qat"
    files = (
        bench.convert(per_tensor=per_tensor, **PLAIN),
        bench.convert(per_tensor=per_tensor, **methods),
        (FOLDER / f"{qat}.tflite").read_bytes(),
    )
    cells = [f"{score:.2f} ({bench.float[RGB] - score:.3f})" for score in (bench.scores(data)[RGB] for data in files)]
    folder = f"../benchmarks/{FOLDER.name}"
    links = f"[weights]({folder}/{net}.npz), [log]({folder}/{net}.csv), [QAT]({folder}/{qat}.tflite), [log]({folder}/{qat}.csv)"
    kind = "per tensor" if per_tensor else "per channel"
    return f"| {title(net)} | {kind} | {bench.float[RGB]:.2f} | " + " | ".join(cells) + f" | {links} |"


def _as_pixels(raw, scale, zero_point):
    return raw


def _wrapped(raw, scale, zero_point):
    real = (raw.astype(np.float64) - zero_point) * scale
    return (np.round(real * 255).astype(np.int64) % 256).astype(np.uint8)


def _saturated(raw, scale, zero_point):
    return upscaler.to_uint8(((raw.astype(np.float32) - zero_point) * scale).astype(np.float32))


_READERS = {
    "none: values read by scale and zero point, clipped to 0..1 (our protocol)": _saturated,
    "bytes used as pixels, without scale and zero point": _as_pixels,
    "values cast to uint8 without clipping (256 becomes 0)": _wrapped,
}


def _calibrations(bench):
    """Returns {label: images} of calibration sets other than the default."""
    rng = np.random.default_rng(0)
    one = bench.images[:1]
    return {
        "plain, calibrated on one crop": one,
        "plain, calibrated on uniform noise": [rng.random((1, 96, 96, 3)).astype(np.float32) for _ in range(8)],
        "plain, calibrated on a crop in -1..2, outliers in all ranges": [one[0] * 3 - 1],
    }


def _reader(data, read):
    """Returns a function from [H, W, 3] uint8 to the SR output, with the file's output bytes interpreted by `read`."""
    model = litert.TFLiteModel(data)
    scale, zero_point = float(model.sr.scales[0]), int(model.sr.zero_points[0])

    def run(lr):
        model.set(lr)
        model.invoke()
        return read(model.tensor(model._graph_io.sr)[0], scale, zero_point)

    return run


_HEAD = """
## Clipped and linear outputs

Tables 2 and 5 of the XLSR paper on three networks at x3, all trained by us with one budget ({steps:,} steps of
`benchmarks/quantization_nets.py`, which is short: the zoo's XLSR was trained for 90,000) and fine-tuned with fake
quantization for {qat_steps:,} steps. PSNR in dB (RGB, DIV2K's validation crops) and in brackets the drop against the
float network. FSRCNN and ESPCN were trained from an earlier initialization. With it ESPCN's tanh units stayed in their
linear part, which costs PSNR but suits 8 bits ([training.md](training.md#effect-of-each-option)).
"""

_READINGS = """
Fine-tuning with fake quantization helps where a large drop remains with export's methods: on FSRCNN, where a PReLU is a
product and a sum in 8 bits, on ESPCN, and with per-tensor weights there. On XLSR the drop is smaller with export's
methods than with fine-tuning.

The paper reports drops of 5.4 to 7.7 dB for linear outputs. The drops above are far smaller. This table shows which
changes would cause such drops, in dB, for the plain files, per channel.
"""

_FOUND = """
The paper's drops (FSRCNN 7.72 dB, ESPCN 5.61, XLSR 5.39) agree within 0.3 dB with those of the linear networks when the
bytes of the output tensor are used as pixels. The range of a linear output is wider than 0..1, so its bytes are an
image of lower contrast. With a clipped output, scale and zero point are 1/255 and 0, and bytes are pixels. Read by
scale and zero point, as here, a linear output costs no more than a clipped one. Per-tensor weights, one crop or noise
as calibration set do not cause such drops either. Outliers in the calibration set do, for FSRCNN only, with both
outputs."""
