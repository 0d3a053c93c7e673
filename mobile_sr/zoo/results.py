"""Writes docs/results.md from the zoo's cards: `python -m mobile_sr.zoo.results > docs/results.md`."""

import csv

from mobile_sr import zoo

# Y, float, (Set5, Set14, B100); training data and steps as the paper states them.
PAPER = {"xlsr_x3": ("Ayazoglu, CVPRW 2021, Table 4; DIV2K 1-792, 500k steps", (33.42, 29.73, 28.55))}


def main():
    """Print the page."""
    print(_HEAD)
    for name in zoo.names():
        card = zoo.entry(name)
        training = card["training"]
        scale = card["config"]["scale"]
        print(f"\n## {name}\n")
        cost = f"{card['parameters']:,} parameters, {card['multiply_adds_720p'] / 1e9:.3f}G multiply-adds"
        print(f"{cost} for a 1280x720 output.\n")
        print("| | " + " | ".join(f"{s} Y | {s} RGB" for s in card["scores"]) + " |")
        print("|---" * (1 + 2 * len(card["scores"])) + "|")
        for variant in zoo.VARIANTS:
            cells = (f"{s[space][variant]:.2f}" for s in card["scores"].values() for space in ("y", "rgb"))
            print(f"| {variant} .tflite | " + " | ".join(cells) + " |")
        drops = (s[space]["float32"] - s[space]["uint8"] for s in card["scores"].values() for space in ("y", "rgb"))
        print("| drop | " + " | ".join(f"{d:.3f}" for d in drops) + " |")
        if name in PAPER:
            source, row = PAPER[name]
            print(f"| paper, float ({source}) | " + " | ".join(f"{value:.2f} | " for value in row) + "|")
        ssim = ", ".join(f"{s} {v['ssim_y']['float32']:.4f} -> {v['ssim_y']['uint8']:.4f}" for s, v in card["scores"].items())
        print(f"\nSSIM (Y), float32 -> uint8: {ssim}.\n")
        print(f"Training: {training['note']}")
        recipes = ", then ".join(f"`{s['recipe']['name']}` ({s['recipe']['steps']:,} steps)" for s in training["stages"])
        print(f"Recipe: {recipes}; best at step {training['best_step']:,}.\n")
        _curve(zoo.FOLDER / training["log"], scale)


def _curve(log, scale):
    """About twelve points of the training log."""
    rows = list(csv.DictReader(log.open()))
    every = max(1, len(rows) // 10)
    picked = [row for k, row in enumerate(rows, 1) if k in (1, len(rows)) or k % every == 0]
    print(f"Validation PSNR over steps (RGB, x{scale}, held-out training images):\n")
    print("| steps | " + " | ".join(f"{int(r['step']):,}" for r in picked) + " |")
    print("|---" * (len(picked) + 1) + "|")
    print("| dB | " + " | ".join(f"{float(r['validation_psnr_rgb']):.3f}" for r in picked) + " |")


_HEAD = """# Results

Written by `python -m mobile_sr.zoo.results` from the zoo's cards, which `python -m mobile_sr.zoo.pack` measured. PSNR in dB
under the protocol of [protocol.md](protocol.md). The uint8 files are export's default ([quantization.md](quantization.md)):
equalized, rounded by the inputs, calibrated on scikit-image's pictures, not trained; uint8 in and out. Validation images were
held out of the training images; test sets chose nothing. Two thirds of the training images are BSDS500's, the source of
B100 too (no image is in both): that favours the B100 columns."""


if __name__ == "__main__":
    main()
