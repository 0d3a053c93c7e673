"""Packaged, trained networks: NAME.npz (Keras weights), NAME[_sparse]_{float32,uint8}.tflite with sidecars, NAME.json."""

import json
from pathlib import Path

from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import read_json, sha256_file

FOLDER = Path(__file__).parent
VARIANTS = ("float32", "uint8")
SETS = ("Set5", "Set14", "B100")  # that every entry is scored on


def names():
    """The entries, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.npz"))


def entry(name):
    """The card of an entry: network, parameters, multiply-adds, scores, training. Raises: UserError when unknown."""
    resolve(name)
    return json.loads((FOLDER / f"{name}.json").read_text())


def check_weights(file):
    """Raises: UserError when a packaged .npz is not the one that its .tflite files were exported from. Others pass."""
    if file.parent != FOLDER or file.suffix != ".npz":
        return
    digest = sha256_file(file)
    for variant in VARIANTS:
        sidecar = resolve(f"{file.stem}:{variant}").with_suffix(".json")
        said = read_json(sidecar).get("weights") if sidecar.exists() else None
        if isinstance(said, dict) and said.get("sha256") != digest:
            raise UserError(f"{file}: damaged or replaced (its SHA-256 is not what {sidecar.name} says); reinstall mobile-sr")


def steps_done(stage):
    """How many steps a stage of an entry's training took, in words."""
    done, whole = stage["steps"], stage["recipe"]["steps"]
    return f"{done:,} steps" if done == whole else f"{done:,} of {whole:,} steps"


def resolve(model):
    """The packaged file of 'name' (Keras weights) or 'name:variant' (.tflite). Raises: UserError when there is none."""
    name, _, variant = model.partition(":")
    if name == "bicubic":
        raise UserError(f"{model}: has no file; name a model of the zoo ({', '.join(names())}), a model file or a run folder")
    if name not in names():
        hint = did_you_mean(name, [*names(), "bicubic"]) if "/" not in name else ""
        raise UserError(
            f"{model}: neither a file nor a zoo name; the zoo has {', '.join(names()) or 'nothing'} and bicubic{hint}"
        )
    if not variant:
        return FOLDER / f"{name}.npz"
    if variant not in VARIANTS:
        known = " or ".join(f"{name}:{v}" for v in VARIANTS)
        raise UserError(f"{model}: unknown variant '{variant}'; use {known}{did_you_mean(variant, VARIANTS)}")
    files = [FOLDER / f"{name}{path}_{variant}.tflite" for path in ("", "_sparse")]  # as export names them
    return next((file for file in files if file.exists()), files[0])
