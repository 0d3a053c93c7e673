"""What Python's LiteRT makes of the models and images, for the tests. Usage: expected.py ASSETS TEST_MODELS OUT."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mobile_sr import litert, metrics
from mobile_sr.images import read_image

IMAGES = ("astronaut", "chelsea", "coffee")


DEPTH = "1.5"


def main(assets, test_models, out):
    """Write each model's raw output for each image, the PSNR of uint8 ones, and an image too large for the tests' heap."""
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted((assets / "models").glob("*.tflite")):
        model = litert.TFLiteModel(file.read_bytes())
        for name in IMAGES:
            picture = model.run(read_image(assets / "samples" / f"{name}.png"))
            np.ascontiguousarray(picture).tofile(out / f"{file.stem}_{name}.raw")
            if picture.dtype == np.uint8:
                original = read_image(assets / "samples" / f"{name}_hr.png")
                found = metrics.psnr(picture, original, "rgb", model.scale)
                (out / f"{file.stem}_{name}.psnr").write_text(repr(float(found)))
    image = read_image(assets / "samples" / "chelsea.png")
    for file in sorted(test_models.glob("*.tflite")):
        options = {"signature": "dense", "desired_depth": DEPTH} if file.stem.startswith("ada") else None
        np.ascontiguousarray(litert.TFLiteModel(file, options=options).run(image)).tofile(out / f"{file.stem}_chelsea.raw")
    Image.new("1", (13200, 13200)).save(out / "huge.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
