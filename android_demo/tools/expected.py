"""What Python's LiteRT makes of the app's models and images, for the tests. Usage: expected.py ASSETS OUT."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mobile_sr import litert
from mobile_sr.images import read_image

IMAGES = ("astronaut", "chelsea", "coffee")


def main(assets, out):
    """Write the raw output of each model for each image, and an image that is too large for the tests' heap."""
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted((assets / "models").glob("*.tflite")):
        model = litert.TFLiteModel(file.read_bytes())
        for name in IMAGES:
            np.ascontiguousarray(model.run(read_image(assets / "images" / f"{name}.png"))).tofile(out / f"{file.stem}_{name}.raw")
    Image.new("1", (16000, 16000)).save(out / "huge.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
