"""Make a zoo entry from a training run: `python -m mobile_sr.zoo.pack RUN --name xlsr_x3 --data DIR [--training TEXT]`.

DIR holds Set5, Set14 and B100. Writes NAME.npz, NAME_float32.tflite, NAME_uint8.tflite with sidecars, NAME.json (the card)
and NAME_log.csv into this folder. For maintainers: the entry's figures come from here and from nowhere else.
"""

import argparse
import json
from pathlib import Path

from mobile_sr import evaluate, export, files, metrics, models, training, upscaler, weights, zoo

SETS = ("Set5", "Set14", "B100")


def pack(run, name, data, training_note):
    """Write the entry; returns its card."""
    run, folder = Path(run), zoo.FOLDER
    training.require_keras(name)
    model, config = weights.load_model(run / "best.npz")
    meta = weights.read_arrays(run / "best.npz")[1]
    settings = files.read_json(run / "config.json")
    weights.save_model(folder / f"{name}.npz", model, config, {key: meta[key] for key in ("step", "validation_psnr_rgb")})
    export.export(folder / f"{name}.npz", folder, list(zoo.VARIANTS))
    files.write_bytes(folder / f"{name}_log.csv", (run / "history.csv").read_bytes())
    card = {
        "name": name,
        "config": config,
        "parameters": model.count_params(),
        "multiply_adds_720p": models.multiply_adds(model, 1280 * 720 // config["scale"] ** 2),
        "protocol": metrics.protocol(config["scale"], "y"),
        "scores": {s: _scores(name, Path(data) / s) for s in SETS if (Path(data) / s).is_dir()},
        "training": {
            "note": training_note,
            "recipe": settings["recipe"],
            "data": settings["data"],
            "versions": settings["versions"],
            "best_step": meta["step"],
            "validation_psnr_rgb": meta["validation_psnr_rgb"],
            "log": f"{name}_log.csv",
        },
        "licence": "Weights trained on research-only images: for research and evaluation; see README, Licence.",
    }
    files.write_json(folder / f"{name}.json", card)
    return card


def _scores(name, folder):
    """{"y": {variant: mean PSNR}, "rgb": ..., "ssim_y": ...} of both packaged files."""
    result = {"y": {}, "rgb": {}, "ssim_y": {}}
    for variant in zoo.VARIANTS:
        model = upscaler.load(f"{name}:{variant}")
        for space in ("y", "rgb"):
            mean = evaluate.evaluate(model, folder, space)["mean"]
            result[space][variant] = round(mean["psnr"], 4)
            if space == "y":
                result["ssim_y"][variant] = round(mean["ssim"], 5)
    return result


def main():
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--training", default="", help="one sentence on the training images")
    args = parser.parse_args()
    print(json.dumps(pack(args.run, args.name, args.data, args.training)["scores"], indent=2))


if __name__ == "__main__":
    main()
