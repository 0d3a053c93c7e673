"""Export the packaged XLSR x3, measure the drop from float32 to uint8 and write the report. Needs no data.

Example: mobile-sr demo --out demo_out
"""

from __future__ import annotations

import argparse

HELP = "export, measure and report with packaged weights and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr demo`."""
    parser.add_argument("--out", default="demo_out", metavar="DIR", help="folder for the files (default demo_out)")
    parser.add_argument("--model", default="xlsr_x3", help="zoo name (default xlsr_x3)")


def run(args: argparse.Namespace) -> None:
    """Export float32 and uint8, compare both on the images of scikit-image, print the table and the path of the report."""
    from pathlib import Path

    from mobile_sr.evaluation import compare, report
    from mobile_sr.imaging import metrics, sample_images
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import export

    photos = sample_images.images(sample_images.EVALUATION)
    out = Path(args.out)
    reference_file, model_file = export.export(args.model, out, ["float32", "uint8"])
    result, crops = compare.compare(upscaler.load(reference_file), upscaler.load(model_file), photos)
    page = report.write(out / "report", result, crops)
    print(f"\n{'image':<20} {'bicubic':>8} {'float32':>8} {'uint8':>8} {'drop':>7}   (dB)")
    means = {f"{key}_psnr": result[key]["psnr"] for key in ("bicubic", "reference", "model")}
    for row in [*result["images"], {"name": f"mean of {len(photos)}", **means, "drop_db": result["drop_db"]}]:
        values = "".join(f" {report.number(row[k]):>8}" for k in ("bicubic_psnr", "reference_psnr", "model_psnr"))
        print(f"{row['name']:<20}{values} {report.number(row['drop_db'], 3):>7}")
    print(f"{metrics.describe(result['protocol'])}\n")
    for path in (reference_file, model_file):
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(f"report: {page.resolve()}")
