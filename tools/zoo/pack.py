"""Make a zoo entry from training runs: `python -m tools.zoo.pack RUN... --name xlsr_x3 --data DIR [--training TEXT]`.

The weights are those of the last run. Before it come the stages that it started from (--init), in order: run folders, or an
entry of the zoo. The replaced entry is allowed, too; alone, its files are exported and measured again. If the first run started
from an entry of another scale, the card says so: the steps of that entry are not this network's.

DIR contains Set5, Set14 and B100, and any of _MORE_SETS. Writes NAME.npz, NAME_float32.tflite and NAME_uint8.tflite with
sidecars, NAME.json (the card) and NAME_log.csv into mobile_sr/zoo/. Another tool can quantize the float32 file: its weights
are those of `export --float-weights steered`. For maintainers: all figures of an entry are measured here.
The figures of a network with exits are those of its last one; `exits` in the card has those of each.

With --join, RUN... are entries of the zoo, the smallest first, and the new one has their networks as its exits, in one file.
"""

import csv
import io
import json
import tempfile
from pathlib import Path

from mobile_sr import backend, files, models, zoo
from mobile_sr.errors import UserError
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import model_files, weights
from mobile_sr.quantization import export
from mobile_sr.training.run_folder import read_history
from tools.zoo import command_line, exits, image_sets, other_quantizers

_MORE_SETS = ("Urban100", "Manga109", "DIV2K_valid_HR")


def pack(runs, name, data, training_note, half=False, reason="", join=False):
    """Write the entry; returns its card.

    Args:
        half: store float16 in the .npz; all files are exported from it.
        reason: one sentence on why it is packaged where others are better at its cost; "" keeps that of the replaced entry.
        join: `runs` are the names of the entries to join.

    Raises: UserError when a set is missing or a folder is not a run, before anything is written.
    """
    folder = zoo.FOLDER
    for each in zoo.SETS:
        if not (Path(data) / each).is_dir():
            raise UserError(f"{data}: has no folder {each}; --data needs {', '.join(zoo.SETS)}")
    stages, rows = _log(runs)
    start = _start(runs[-1] if join else runs[0])
    if join:
        training_note += f"The networks of {', '.join(runs)}, each trained alone, in one file."
    elif runs == [name] and not training_note:
        training_note = zoo.card(name)["training"]["note"]
    elif start:
        training_note += f" Started from {start['name']} after {start['steps']:,} steps: all arrays of equal shape."
    images = image_sets.of_training(stages, start)
    if join and len({zoo.card(each)["licence"] for each in runs}) > 1:
        raise UserError(f"{name}: {', '.join(runs)} have different licences")
    if images.images not in training_note:
        training_note = f"{images.images[0].upper()}{images.images[1:]}, LR by MATLAB bicubic. {training_note}"
    if name in zoo.names():
        reason = reason or zoo.card(name).get("reason", "")
    best, _ = model_files.trained(runs[-1])
    backend.require_keras(name)
    model, config = exits.join(runs) if join else weights.load_model(best)
    meta = weights.read_arrays(best)[1]
    kept = {key: meta[key] for key in ("step", "validation_psnr_rgb")}
    with tempfile.TemporaryDirectory() as place:  # packaged weights that differ from their sidecars would be refused
        file = Path(place) / f"{name}.npz"
        weights.save_model(file, model, config, kept, "float16" if half else "float32")
        exported = export.export(file, place, list(zoo.VARIANTS), float_weights="steered")
        colours = exits.colour_errors(name, exported, flat_colours.LIMIT)
        for made in Path(place).iterdir():
            files.write_bytes(folder / made.name, made.read_bytes())
    text = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)  # older stages have fewer
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(folder / f"{name}_log.csv", text.getvalue())
    pixels, sets = 1280 * 720 // config["scale"] ** 2, [s for s in (*zoo.SETS, *_MORE_SETS) if (Path(data) / s).is_dir()]
    scores = {s: exits.scores(name, Path(data) / s) for s in sets}
    parts = [
        {
            "layers": own.get("layers"),
            "multiply_adds_720p": models.multiply_adds(net, pixels),
            "scores": {s: scores[s][index] for s in sets},
            "colour_error": colours[index],
        }
        for index, (net, own) in enumerate(exits.networks(model, config))
    ]
    card = {
        "name": name,
        "config": config,
        "parameters": model.count_params(),
        "multiply_adds_720p": parts[-1]["multiply_adds_720p"],
        "protocol": metrics.protocol(config["scale"], "y"),
        "scores": parts[-1]["scores"],
        "colour_error": parts[-1]["colour_error"],
        **({"exits": parts} if len(parts) > 1 else {}),
        "plain_quantization": other_quantizers.entry(name, Path(data) / "Set5"),
        "training": {
            "note": training_note,
            "start": start,
            "stages": stages,
            "steps": sum(stage["steps"] for stage in stages),
            "best_step": sum(stage["steps"] for stage in stages[:-1]) + meta["step"],
            "validation_psnr_rgb": meta["validation_psnr_rgb"],
            "log": f"{name}_log.csv",
        },
        "licence": images.licence,
        "product": images.product,
        **({"reason": reason} if reason else {}),
    }
    files.write_json(folder / f"{name}.json", card)
    return card


def _start(run):
    """The {"name", "steps"} of the zoo entry that a run started from, or None."""
    if run in zoo.names():
        return zoo.card(run)["training"].get("start")
    init = files.read_json(Path(run) / "config.json")["init"]
    name = Path(init or "").stem
    if init and name not in zoo.names():
        raise UserError(f"{run}: it started from {init}, which is no entry of the zoo; give the runs before it, too")
    return {"name": name, "steps": zoo.card(name)["training"]["best_step"]} if init else None


def _log(runs):
    """The stages (recipe, data, versions, steps done) of the runs, and one history with steps counted through."""
    stages, rows, offset = [], [], 0
    for run in runs:
        if run in zoo.names():
            training = zoo.card(run)["training"]
            found, history = training["stages"], read_history(zoo.FOLDER / training["log"])
        else:
            settings = files.read_json(Path(run) / "config.json")
            history = read_history(Path(run) / "history.csv")
            done = int(history[-1]["step"])  # fewer than the recipe's if it was ended early
            found = [{key: settings[key] for key in ("recipe", "data", "versions")} | {"steps": done}]
        for row in history:
            rows.append({"recipe": found[-1]["recipe"]["name"], **row, "step": offset + int(row["step"])})
        stages += found
        offset += sum(stage["steps"] for stage in found)
    return stages, rows


def main():
    """Command line of this module."""
    parser = command_line.Parser("pack", __doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--training", default="", help="the training in a sentence or two; the images are added")
    parser.add_argument("--half", action="store_true", help="keep the weights in float16")
    parser.add_argument("--reason", default="", help="why it is packaged where others are better at its cost, one sentence")
    parser.add_argument("--join", action="store_true", help="join entries of the zoo: one file with an exit for each")
    args = parser.parse_args()
    card = parser.run(pack, args.runs, args.name, args.data, args.training, args.half, args.reason, args.join)
    print(json.dumps(card["scores"], indent=2))


if __name__ == "__main__":
    main()
