"""What the app carries: exported models and sample images. Usage: assets.py OUT; writes OUT/models and OUT/samples."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.imaging.resize import imresize

MODEL, SCALE = "xlsr_x3", 3
TIMING = (360, 640)  # LR (H, W) of the image that is timed: 1080p at x3, the host benchmark's size


def export_models(folder):
    """The packaged network in uint8 and float32, and the uint8 form that NNAPI takes, by the project's own export."""
    folder.mkdir(parents=True)
    for precisions, options, ending in (("uint8,float32", (), ""), ("uint8", ("--dense-groups",), "_dense_groups")):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "mobile_sr", "export", "--model", MODEL, "--precision", precisions, *options]
            subprocess.run([*command, "--out", out], check=True)
            for file in sorted(Path(out).glob("*.tflite")):
                shutil.copy(file, folder / f"{file.stem}{ending}.tflite")
                shutil.copy(file.with_suffix(".json"), folder / f"{file.stem}{ending}.json")


def write_images(folder):
    """NAME.png and its original NAME_hr.png, and a larger one for timing that has no original."""
    folder.mkdir(parents=True)
    for name, image in sample_images.images(sample_images.EVALUATION[:3]):
        height, width = (side // SCALE * SCALE for side in image.shape[:2])
        original = image[:height, :width]
        write_image(folder / f"{name}_hr.png", original)
        write_image(folder / f"{name}.png", imresize(original, 1 / SCALE))
    [(name, image)] = sample_images.images(["rocket"])
    height, width = TIMING
    write_image(folder / f"{name}_{width}x{height}.png", image[-height:, :width])


def main(out):
    """Make the folder again; it exists only once it is complete."""
    temporary = Path(f"{out}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    export_models(temporary / "models")
    write_images(temporary / "samples")
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)


if __name__ == "__main__":
    main(sys.argv[1])
