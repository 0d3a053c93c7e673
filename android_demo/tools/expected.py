"""What Python's LiteRT makes of the models and images, for the tests. Usage: expected.py ASSETS TEST_MODELS OUT."""

import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mobile_sr.files import sha256
from mobile_sr.imaging import metrics
from mobile_sr.imaging.images import read_image
from mobile_sr.inference import litert

IMAGES = ("astronaut", "chelsea", "coffee")


DEPTHS = ("0.0", "1.5", "2.0")  # the deepest is 2


def main(assets, test_models, out):
    """Write each model's SHA-256 and output for each image, the PSNR of uint8 ones, and an image too large for their heap."""
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted((assets / "models").glob("*.tflite")):
        model = litert.TFLiteModel(file.read_bytes())
        (out / f"{file.stem}.sha256").write_text(sha256(model.data))
        for name in IMAGES:
            sr = model.run(read_image(assets / "samples" / f"{name}.png"))
            np.ascontiguousarray(sr).tofile(out / f"{file.stem}_{name}.raw")
            if sr.dtype == np.uint8:
                original = read_image(assets / "samples" / f"{name}_hr.png")
                found = metrics.psnr(sr, original, "rgb", model.scale)
                (out / f"{file.stem}_{name}.psnr").write_text(repr(float(found)))
    image = read_image(assets / "samples" / "chelsea.png")
    for file in sorted(test_models.glob("*.tflite")):
        if not file.stem.startswith("ada"):
            np.ascontiguousarray(litert.TFLiteModel(file).run(image)).tofile(out / f"{file.stem}_chelsea.raw")
            continue
        for signature, depth in itertools.product(("dense", "sparse"), DEPTHS):
            model = litert.TFLiteModel(file, options={"signature": signature, "desired_depth": depth})
            np.ascontiguousarray(model.run(image)).tofile(out / f"{file.stem}_{signature}_{depth}_chelsea.raw")
        (out / f"{file.stem}_sparse.sha256").write_text(sha256(model.data))  # of the last one, a sparse one
    Image.new("1", (13200, 13200)).save(out / "huge.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
