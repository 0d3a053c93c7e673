"""Plain chains compared for docs/measurements/fgnas.md: `benchmarks/plain_table.py DATA RUN...`.

DATA contains Set5, Set14 and B100; RUN is a run folder or a zoo name with a ChainSR. Instructions are estimated from the uint8
file. PSNR is in Y, float32 and uint8; for the validation images of the training it is in RGB, float32.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.evaluation import evaluate, instructions
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export
from mobile_sr.zoo import SETS


def main(data, runs):
    """Prints the table."""
    columns = ["network", "head and layers", "parameters", "instructions", "validation", *SETS, *(f"uint8 {s}" for s in SETS)]
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|", flush=True)
    for run in runs:
        file, name = model_files.trained(run)
        model, config = weights.load_model(file)
        widths = config.get("widths") or [config["channels"]] * config["layers"]
        validation = weights.read_arrays(file)[1]["validation_psnr_rgb"]
        with tempfile.TemporaryDirectory() as out:
            (uint8,) = export.export(run, out, ["uint8"], log=lambda line: None)
            scores = [mean_psnr(which, data / s) for which in (run, uint8) for s in SETS]
            estimate = instructions.estimate(uint8.read_bytes(), flatbuffer.load(uint8))
        cells = [name, f"{config['channels']}, {'-'.join(map(str, widths))}", f"{model.count_params():,}"]
        cells += [f"{estimate['per_lr_pixel']:,.0f}", *(f"{score:.3f}" for score in (validation, *scores))]
        print(f"| {' | '.join(cells)} |", flush=True)


def mean_psnr(model, folder):
    """Mean PSNR in dB on a folder of images."""
    return evaluate.evaluate(upscaler.load(model), folder, ssim=False)["mean"]["psnr"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
