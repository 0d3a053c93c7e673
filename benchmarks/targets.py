"""Files exported for a target against the ordinary uint8 file: PSNR, bytes, operators that vela places on the Ethos-U.

python benchmarks/targets.py --data Set5 --out out
"""

import argparse
from pathlib import Path

import numpy as np

import mobile_sr
from mobile_sr.devices import ethos_u
from mobile_sr.imaging import image_folder, images, resize

MODELS = ("xlsr_x2", "xlsr_x3", "xlsr_x4", "abpn_x3", "espcn_x3", "fsrcnn_x3", "fgnas_x2", "fgnas_x3")
TARGETS = ("mediatek", "ethos-u")  # each other target has the ordinary upsampler, or that of mediatek
ACCELERATORS = ("ethos-u55-256", "ethos-u65-256", "ethos-u85-256")
SIZE = (128, 128)


def psnr(file, data):
    """Y-PSNR in dB, the mean over the images."""
    return mobile_sr.evaluate(str(file), data, ssim=False).psnr


def bytes_that_differ(file, ordinary, data):
    """(largest difference of the outputs in levels, share of the values that differ by at most one level)."""
    models = [mobile_sr.load(str(path)) for path in (file, ordinary)]
    differences = []
    for path in image_folder.list_images(data):
        lr = resize.downscale(images.read_image(path), models[0].scale)
        first, second = (model(lr).astype(int) for model in models)
        differences.append(np.abs(first - second).ravel())
    differences = np.concatenate(differences)
    return differences.max(), (differences <= 1).mean()


def main():
    """Print one row per file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of HR images")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    args = parser.parse_args()
    print("| model | target | Y-PSNR, dB | change | largest difference | within 1 level | operators |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for model in args.models:
        ordinary = mobile_sr.export(model, args.out, ["uint8"], size=SIZE)
        files = {None: ordinary.files[0]}
        files |= {target: mobile_sr.export(model, args.out, target=target, size=SIZE).files[0] for target in TARGETS}
        base = psnr(files[None].path, args.data)
        for target, file in files.items():
            value = base if target is None else psnr(file.path, args.data)
            ops = ", ".join(f"{count} {name}" for name, count in file.sidecar["ops"].items())
            largest, within = bytes_that_differ(file.path, files[None].path, args.data)
            row = f"{value:.3f} | {value - base:+.3f} | {largest} | {within:.1%} | {ops}"
            print(f"| {model} | {target or '-'} | {row} |", flush=True)
        for accelerator in ACCELERATORS:
            device = ethos_u.EthosUDevice(accelerator)
            for target in (None, "ethos-u"):
                session = device.open(files[target].path.read_bytes(), files[target].path, (1, *SIZE, 3))
                residency, cycles = session.residency, session.facts()["cycles_per_lr_pixel"]
                left = ", ".join(residency.refused) or "nothing"
                print(
                    f"{model} {target or '-'} on {accelerator}: {residency.taken} of {residency.nodes} operators, "
                    f"left: {left}; {cycles} cycles per LR pixel",
                    flush=True,
                )


if __name__ == "__main__":
    main()
