"""Published and measured scores of bicubic upscaling, as Markdown: `python benchmarks/bicubic_table.py DATA > table.md`."""

import sys
from pathlib import Path

from mobile_sr import load
from mobile_sr.evaluation import evaluate

# Y, shave = scale; e.g. Kim et al., CVPR 2016 (VDSR), Lim et al., CVPRW 2017 (EDSR).
PUBLISHED = {
    "Set5": {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)},
    "Set14": {2: (30.24, 0.8688), 3: (27.55, 0.7742), 4: (26.00, 0.7027)},
    "B100": {2: (29.56, 0.8431), 3: (27.21, 0.7385), 4: (25.96, 0.6675)},
}


def main(data):
    """Prints one row per set and scale."""
    print("| set | scale | published PSNR / SSIM | measured | difference |\n|---|---|---|---|---|")
    for name, rows in PUBLISHED.items():
        for scale, (psnr, ssim) in rows.items():
            mean = evaluate.evaluate(load("bicubic", scale), Path(data) / name)["mean"]
            differences = f"{mean['psnr'] - psnr:+.3f} / {mean['ssim'] - ssim:+.4f}"
            print(f"| {name} | x{scale} | {psnr:.2f} / {ssim:.4f} | {mean['psnr']:.3f} / {mean['ssim']:.4f} | {differences} |")


if __name__ == "__main__":
    main(sys.argv[1])
