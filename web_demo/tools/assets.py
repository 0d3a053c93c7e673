"""What the page offers without a server: packaged models, models.json and sample images. Usage: assets.py DIST."""

import shutil
import sys
from pathlib import Path

from mobile_sr.files import write_json
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.serving import catalog


def write_models(folder):
    """Write models/NUMBER.tflite and models.json."""
    content, files = catalog.catalog(catalog.packaged(), served=False)
    (folder / "models").mkdir()
    for address, path in files.items():
        shutil.copy(path, folder / address)
    write_json(folder / "models.json", content)


def write_samples(folder):
    """Write samples/NAME.png, the original images, and samples.json."""
    (folder / "samples").mkdir()
    entries = []
    for name, image in sample_images.images(sample_images.EVALUATION):
        entries.append({"name": name.replace("_", " "), "file": f"samples/{name}.png"})
        write_image(folder / entries[-1]["file"], image)
    write_json(folder / "samples" / "samples.json", entries)


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
    write_samples(Path(sys.argv[1]))
