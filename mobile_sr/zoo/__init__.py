"""Packaged trained networks: NAME.npz (Keras weights), NAME[_sparse]_{float32,uint8}.tflite with sidecars, NAME.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import read_json, sha256_file

FOLDER = Path(__file__).parent
VARIANTS = ("float32", "uint8")
SETS = ("Set5", "Set14", "B100")  # test sets that every network is scored on


def names() -> list[str]:
    """List the names of the packaged networks, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.npz"))


def card(name: str) -> dict[str, Any]:
    """Read the card of a packaged network: architecture, parameters, multiply-adds, scores and training.

    Raises:
        UserError: there is no such network.
    """
    resolve(name)
    return json.loads((FOLDER / f"{name}.json").read_text())


def check_weights(file: Path) -> None:
    """Check that a packaged .npz is the one that its .tflite files were exported from; other files pass.

    Raises:
        UserError: the SHA-256 in a sidecar is a different one.
    """
    if file.parent != FOLDER or file.suffix != ".npz":
        return
    digest = sha256_file(file)
    for variant in VARIANTS:
        sidecar = resolve(f"{file.stem}:{variant}").with_suffix(".json")
        weights = read_json(sidecar).get("weights") if sidecar.exists() else None
        if isinstance(weights, dict) and weights.get("sha256") != digest:
            raise UserError(f"{file}: damaged or replaced (its SHA-256 differs from {sidecar.name}); reinstall mobile-sr")


def steps_done(stage: Mapping[str, Any]) -> str:
    """Format the number of training steps of a stage in an entry's card, such as '1,000 of 2,000 steps'."""
    done, total = stage["steps"], stage["recipe"]["steps"]
    return f"{done:,} steps" if done == total else f"{done:,} of {total:,} steps"


def resolve(model: str) -> Path:
    """Find the packaged file of 'name' (Keras weights) or 'name:variant' (.tflite).

    Raises:
        UserError: there is no such network or variant.
    """
    name, _, variant = model.partition(":")
    if name == "bicubic":
        raise UserError(f"{model}: has no file; use a zoo name ({', '.join(names())}), a model file or a run folder")
    if name not in names():
        hint = did_you_mean(name, [*names(), "bicubic"]) if "/" not in name else ""
        raise UserError(
            f"{model}: not a file or a zoo name; the zoo has {', '.join(names()) or 'no networks'} and bicubic{hint}"
        )
    if not variant:
        return FOLDER / f"{name}.npz"
    if variant not in VARIANTS:
        known = " or ".join(f"{name}:{v}" for v in VARIANTS)
        raise UserError(f"{model}: unknown variant '{variant}'; use {known}{did_you_mean(variant, VARIANTS)}")
    files = [FOLDER / f"{name}{path}_{variant}.tflite" for path in ("", "_sparse")]  # as export names them
    return next((file for file in files if file.exists()), files[0])
