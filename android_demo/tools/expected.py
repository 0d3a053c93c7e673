"""What Python's LiteRT makes of the models and images, for the tests. Usage: expected.py ASSETS TEST_MODELS OUT."""

import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import mobile_sr
from mobile_sr.files import sha256
from mobile_sr.imaging import metrics
from mobile_sr.imaging.images import read_image
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import batch, litert
from tests import icc_profiles

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
    np.ascontiguousarray(image).tofile(out / "chelsea.rgb")
    for file in sorted(test_models.glob("*.tflite")):
        if file.stem in ("operator", "compiled"):  # no network from an image, no operators for this machine
            continue
        if not file.stem.startswith("ada"):
            np.ascontiguousarray(litert.TFLiteModel(file).run(image)).tofile(out / f"{file.stem}_chelsea.raw")
            continue
        for signature, depth in itertools.product(("dense", "sparse"), DEPTHS):
            model = litert.TFLiteModel(file, options={"signature": signature, "desired_depth": depth})
            np.ascontiguousarray(model.run(image)).tofile(out / f"{file.stem}_{signature}_{depth}_chelsea.raw")
        (out / f"{file.stem}_sparse.sha256").write_text(sha256(model.data))  # of the last one, a sparse one
    write_photos(assets, out)
    Image.new("1", (13200, 13200)).save(out / "huge.png")


def write_photos(assets, out):
    """A photo with alpha, larger than a tile, and what `upscale` makes of it; photos of cameras held in all ways, in P3."""
    rng = np.random.default_rng(1)
    rgb = np.tile(read_image(assets / "samples" / "chelsea.png"), (3, 2, 1))[:230, :220]
    alpha = rng.integers(0, 256, rgb.shape[:2]).astype(np.uint8)
    alpha[40:90, 30:100] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(out / "alpha.png")
    model = mobile_sr.load(str(assets / "models" / "xlsr_x3_uint8.tflite"))
    [result] = batch.upscale_files([(out / "alpha.png", out / "alpha_sr.png")], lambda: model)
    assert result.error is None
    np.asarray(Image.open(out / "alpha_sr.png")).tofile(out / "alpha_sr.rgba")
    imresize(rgb, 3).tofile(out / "photo_bicubic.raw")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = out / f"turned_{orientation}.jpg"
        Image.fromarray(rgb).save(file, quality=95, subsampling=0, exif=exif, icc_profile=icc_profiles.rgb_profile())
        read_image(file).tofile(file.with_suffix(".raw"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
