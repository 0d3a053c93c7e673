"""Tables 1 to 3 of AdaDSR's paper: `python benchmarks/adadsr_tables.py --data DATA [ROW=]MODEL...`.

    mobile-sr import-weights AdaEDSR_x2.pth --out imported/adaedsr_x2
    python benchmarks/adadsr_tables.py --data DATA imported/adaedsr_x2 "FAdaEDSR (16)=imported/fadaedsr16_x2"

DATA contains folders of HR images such as Set5, Set14, B100, Urban100 and Manga109. MODEL is what `import-weights` wrote, or
any EDSR, RCAN, AdaEDSR, AdaRCAN or FAdaEDSR (run folder, .npz file or zoo name). Prints for each set the means of PSNR and
SSIM in Y, the shave being the scale, and of the FLOPs as the paper counts them, beside the published values
(adadsr_tables.json) of the same row, scale and set. `--per-image` prints each image, too.

A network with a desired depth is measured at all of its blocks (Tables 1 and 2) and, at x2, at each quarter of them (Table 3).
ROW is the name of the row in the tables. By default it is the network's; the depth n that a FAdaEDSR (n) was trained for
is not in its weights. The authors ran overlapping quarters of an image; here the depth map is that of the whole image.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mobile_sr import models
from mobile_sr.adadsr import depth_counts
from mobile_sr.evaluation import evaluate
from mobile_sr.inference import model_files, upscaler, weights

PUBLISHED = Path(__file__).with_suffix(".json")
SETS = ("Set5", "Set14", "B100", "Urban100", "Manga109")
KEYS = ("psnr", "ssim", "gflops")
FORMATS = {"psnr": "{:.2f}", "ssim": "{:.4f}", "gflops": "{:.2f}"}
FULL = {"edsr": (32, 256), "rcan": (20, 64)}  # blocks and channels of the networks in Tables 1 and 2


def row_name(config):
    """Returns the name of a network's row, without a desired depth; None for sizes that are not in the paper."""
    config = models.complete(config)
    kind = {"none": "", "input": "Ada", "fixed": "FAda"}[config["depth"]] + config["network"].upper()
    blocks, channels = FULL[config["network"]]
    if config["channels"] != channels or config["depth"] == "fixed":  # FAdaEDSR's row has its depth, which we do not know
        return None
    if config["blocks"] == blocks:
        return kind
    return f"EDSR ({config['blocks']})" if kind == "EDSR" else None


def depths_of(config):
    """Returns the desired depths of the tables; (None,) for a network without one."""
    full = models.max_depth(config)
    if full is None:
        return (None,)
    return tuple(full * k / 4 for k in (1, 2, 3, 4)) if config["scale"] == 2 else (full,)


def measure(runner, config, folder, depth):
    """Returns [(name, {"psnr", "ssim", "gflops"})] of the images of a folder, in dB, and in units of 2**30."""
    rows = []
    blocks = models.complete(config)["blocks"]
    for name, hr, lr, gray in evaluate.each_pair(folder, config["scale"], []):
        active = None
        if models.has_depth(config):
            sr, depths = runner.with_depth_map(lr, depth=depth)
            active = depth_counts.active_fractions(depths, blocks)[:, 0]
        else:
            sr = runner(lr)
        scores = evaluate.score(sr, hr, "y", config["scale"], gray)
        rows.append((name, {**scores, "gflops": depth_counts.paper_count(config, lr.shape[:2], active)}))
    return rows


def published(row, scale, name):
    """Returns the entry of adadsr_tables.json, or {}."""
    entries = json.loads(PUBLISHED.read_text())["rows"]
    return next((e for e in entries if (e["row"], e["scale"], e["set"]) == (row, scale, name)), {})


def tables(models_given, data, sets, per_image):
    """Yields the lines of the table."""
    yield "| network | scale | d | set | PSNR, dB | SSIM | FLOPs, G | paper: PSNR | SSIM | FLOPs, G |"
    yield "|---" * 10 + "|"
    for given in models_given:
        row, _, name = given.rpartition("=")
        _, config = weights.load_model(model_files.trained(name)[0])
        if config["network"] not in FULL:
            raise SystemExit(f"{name}: its network is {config['network']}; the tables have EDSR, RCAN and their AdaDSR forms")
        row, runner = row or row_name(config), upscaler.load(name)
        for depth in depths_of(config):
            partial = depth is not None and depth < models.max_depth(config)
            at = f"{row} ({depth:g})" if partial and row else row
            for folder in sets:
                images = measure(runner, config, data / folder, depth)
                mean = {key: evaluate.mean_of([values for _, values in images], key) for key in KEYS}
                known = published(at, config["scale"], folder)
                first = f"| {row or name} | x{config['scale']} | {'' if depth is None else f'{depth:g}'} |"
                for image, values in images if per_image else ():
                    yield f"{first} {image} | {_cells(values)} | | | |"
                yield f"{first} {folder} | {_cells(mean)} | {_cells(known)} |"


def _cells(values):
    return " | ".join("" if values.get(key) is None else FORMATS[key].format(values[key]) for key in KEYS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="[ROW=]MODEL")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=None, help="folders of DATA (default: those of the paper that exist)")
    parser.add_argument("--per-image", action="store_true")
    args = parser.parse_args()
    existing = [name for name in SETS if (args.data / name).is_dir()]
    if not (args.sets or existing):
        parser.error(f"{args.data} has none of the folders {', '.join(SETS)}")
    for line in tables(args.models, args.data, args.sets or existing, args.per_image):
        print(line, flush=True)
