"""Exports and measures every network of the efficient-SR zoo, for docs/measurements/zoo.md.

`python benchmarks/zoo.py DATA WEIGHTS OUT > docs/measurements/zoo.md`

DATA contains Set5, Set14 and B100. WEIGHTS/NAME is the output of import-weights for the published weights of a network, if
there are any. OUT receives the files and a JSON for each network. Existing results are not computed again: an interrupted run
continues. PSNR is in Y. Times are CPU ms at 256x256, one thread, medians of interleaved rounds. The operators that delegates
refuse are those of files with a fixed size. These files and those of untrained networks are quantized without equalization and
GPTQ and calibrated on small images: neither changes an operator.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mobile_sr import models
from mobile_sr.benchmarking import benchmark
from mobile_sr.challenge import scoreboard
from mobile_sr.converters.tflite import delegates
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.files import make_folder, read_json, write_json
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.inference import upscaler
from mobile_sr.quantization import export
from mobile_sr.zoo import SETS

PRECISIONS = ("float32", "uint8")
RUNS = 12
FIXED = (32, 32)  # LR (H, W) of the files with a fixed size; larger ones take long to calibrate
SOURCE = "https://github.com/ofsoundof/NTIRE2022_ESR/tree/044c9300a60595a11c4a921d335f5694187c17d0/model_zoo"
FILES = {  # names in the folder SOURCE
    "imdn": "imdn_baseline.pth",
    "rfdn": "rfdn_baseline.pth",
    "rlfn": "team04_rlfn.pth",
    "fmen": "team03_fmen.pth",
    "efdn": "team05_efdn.pt",
    "bsrn": "team18_bsrn.pth",
    "mobilesr": "team20_mobilesr.pth",
    "arfdn": "team14_arfdn.pth",
    "imdn_plus": "team39_imdn_plus.pth",
    "pruned_rfdn": "team40_rfdn_pruned.pth",
}


def made(model, out, precision, **options):
    """Exports a file. Returns (path, None), or (None, message) if its audit fails."""
    try:
        return export.export(model, out, [precision], log=lambda line: None, **options)[0], None
    except export.AuditError as error:
        return None, str(error)


def scores(file, data):
    """Returns the mean PSNR of each set."""
    return [evaluate.evaluate(upscaler.load(file), data / name, ssim=False)["mean"]["psnr"] for name in SETS]


def small_images(folder):
    """Writes crops of 128x128 pixels into a folder and returns it."""
    make_folder(folder)
    for name, image in sample_images.images(sample_images.CALIBRATION):
        write_image(folder / f"{name}.png", image[:128, :128])
    return folder


def measure(entrant, data, out, small):
    """Returns a row: {"name", "network", precision: {"psnr", "file", "facts", "refused", "failed"}}.

    Args:
        entrant: the network.
        data: folder of the image sets.
        out: folder for the files.
        small: folder of small images for calibration.
    """
    print(entrant.name, file=sys.stderr)
    model = entrant.model or scoreboard.untrained(entrant, out)
    quick = {"methods": (), "calibration": small}
    row = {"name": entrant.name, "network": entrant.config["network"]}
    for precision in PRECISIONS:
        file, failed = made(model, out / entrant.name, precision, **({} if entrant.model else quick))
        row[precision] = {"file": file and str(file), "failed": failed, "facts": None, "refused": None, "psnr": None}
        if file:
            fixed, _ = made(model, out / "fixed" / entrant.name, precision, size=FIXED, **quick)
            row[precision] |= {"facts": compare.inspect(file), "refused": compare.inspect(fixed)["refused"]}
        if file and entrant.model:
            row[precision]["psnr"] = scores(file, data)
    return row


def remembered(entrant, data, out, small):
    """Returns the row of `measure`, read from OUT if it exists there."""
    path = out / f"{entrant.name}.json"
    if not path.exists():
        write_json(path, measure(entrant, data, out, small))
    return read_json(path)


def table(rows, data):
    """Returns the Markdown table of PSNR, sizes and times."""
    files = [row[p]["file"] for row in rows for p in PRECISIONS if row[p]["file"]]
    timed = {r["model"]: r for r in benchmark.benchmark(files, scoreboard.SIZE, 1, RUNS)["results"]}
    heading = f"| network | {' | '.join(SETS)} | KiB | partitions | float, ms | uint8, ms |"
    lines = [heading, "|---" * (len(SETS) + 5) + "|"]
    for row in rows:
        both = [row[p] for p in PRECISIONS]
        cells = [f"`{row['name']}`"]
        for k in range(len(SETS)):
            a, b = (one["psnr"] and one["psnr"][k] for one in both)
            both_there = a is not None and b is not None
            shown = f"{a:.2f} -> {b:.2f} ({a - b:.2f})" if both_there else "untrained" if a is None else f"{a:.2f}"
            cells.append(shown)
        sizes = [file_size(one) for one in both]
        cells.append(" -> ".join(sizes))
        cells.append(" / ".join(str(one["facts"]["partitions"]) if one["facts"] else "-" for one in both))
        for one in both:
            times = timed.get(one["file"])
            cells.append(f"{times['cpu_ms']['p50']:.0f}" if times else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def file_size(one):
    """Returns the size of a file in KiB as text."""
    return f"{one['facts']['size_bytes'] / 1024:.0f}" if one["facts"] else "none"


def refusals(rows):
    """Returns the Markdown table of the operators that delegates refuse and of failed exports."""
    lines = ["| network | file | GPU delegate refuses | NNAPI delegate refuses |", "|---|---|---|---|"]
    for row in rows:
        for precision in PRECISIONS:
            one = row[precision]
            if one["failed"]:
                lines.append(f"| `{row['name']}` | {precision} | no file: {one['failed']} | |")
                continue
            refused = [delegates.describe(one["refused"][key]) or "nothing" for key in ("gpu", "nnapi")]
            lines.append(f"| `{row['name']}` | {precision} | {' | '.join(refused)} |")
    return "\n".join(lines)


def main(data, folder, out):
    """Prints the page."""
    small = small_images(out / "small")
    board = scoreboard.entrants([*models.NTIRE_2022, *models.PEERS, "xlsr_x4"], folder)
    rows = [remembered(entrant, data, out, small) for entrant in board]
    print(HEAD)
    print(table(rows, data))
    print(BETWEEN)
    print(refusals(rows))
    print(VARIANTS)
    for row in rows:
        if row["name"] in FILES:
            print(f"| `{row['name']}` | `{FILES[row['name']]}` |")


HEAD = """# Efficient SR networks in uint8

Written by `python benchmarks/zoo.py DATA WEIGHTS OUT`: x4, float32 and uint8 .tflite of the ten networks of the NTIRE
2022 challenge in `models/`, of three older or smaller networks and of the zoo's XLSR. PSNR in dB (Y,
[protocol](../reference/protocol.md)), float32 -> uint8 (drop); *untrained*: no weights were available; there is no
PSNR, and size and time are those of random weights. CPU time at 256x256, one thread. [scoreboard.md](scoreboard.md) has
the challenge's measures and ranks.
"""
BETWEEN = """
## What delegates refuse

By the rules of TensorFlow Lite's GPU and NNAPI delegates (`converters/tflite/delegates.py`; Android 11 and later), for
files of a fixed size; not measured on a phone. `mobile-sr inspect` lists the same for any file. A refused operator runs
on the CPU and splits the graph.
"""
VARIANTS = f"""
Alternatives with better delegate support:

- Grouped convolutions (XLSR): `export --dense-groups`: the same output bytes for 2.0 times the multiply-adds of XLSR
  x3.
- Dynamic sizes: `export --height --width`; otherwise the resizing to the image (ESA) is refused.
- MobileSR: none. Its windows are tensors of six dimensions.
- `abpn`, `edsr`, and `xlsr` with `--dense-groups` have neither pooled attention nor LeakyReLU, and both delegates run
  them as a whole.

## The published weights

They are not part of this project. Their owners publish them in [model_zoo/]({SOURCE}) of the challenge's repository;
the link refers to the commit that was used. `import-weights` stores the SHA-256 of the checkpoint in the model file
(`imported`).

| network | file |
|---|---|"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
