"""FGNAS architecture files: JSON with one line per block and a SHA-256 of the architecture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256, write_text
from mobile_sr.inference import model_files, weights
from mobile_sr.training import run_folder_checks

if TYPE_CHECKING:
    from mobile_sr.training.recipes import Recipe

PARTS = ("head", "blocks", "tail")
_FORMAT = "mobile-sr FGNAS architecture 1"


def parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture {"head", "blocks", "tail"} of a network configuration of models/nas/fgnas.py."""
    return {part: config[part] for part in PARTS}


def digest(architecture: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of an architecture. Other fields of its file do not change it."""
    return sha256(json.dumps({part: architecture[part] for part in PARTS}, sort_keys=True).encode())


def write(path: str | Path, architecture: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write an architecture file atomically.

    Args:
        path: the file.
        architecture: {"head", "blocks", "tail"}.
        about: further JSON-able fields of the file.
    """
    head = {"format": _FORMAT, "sha256": digest(architecture), **about, "head": architecture["head"]}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    blocks = ",\n".join(f"    {json.dumps(block)}" for block in architecture["blocks"])
    lines += ['  "blocks": [', blocks, "  ],", f'  "tail": {json.dumps(architecture["tail"])}']
    write_text(path, "{\n" + "\n".join(line for line in lines if line) + "\n}\n")


def read(path: str | Path) -> dict[str, Any]:
    """Read the architecture of a file made by `write`.

    Raises:
        UserError: when the file is not an architecture file, or is damaged or edited.
    """
    from mobile_sr.models.nas import fgnas

    content = read_json(path)
    if content.get("format") != _FORMAT:
        raise UserError(f"{path}: not an architecture file of `mobile-sr search`")
    try:
        architecture = parts(content)
        fgnas.check(**architecture)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: invalid architecture ({error})") from None
    if content.get("sha256") != digest(architecture):
        raise UserError(f"{path}: the architecture does not match its sha256; its own is {digest(architecture)}")
    return architecture


def of_model(model: str | Path) -> dict[str, Any]:
    """Return the architecture of a model.

    Args:
        model: model file, run folder or zoo name with a network of models/nas/fgnas.py.

    Raises:
        UserError: when it contains another network, or as `model_files.trained`.
    """
    file, _ = model_files.trained(model)
    config = weights.read_arrays(file)[1].get("config")
    if not isinstance(config, dict) or config.get("network") != "fgnas" or not all(part in config for part in PARTS):
        raise UserError(f"{model}: does not contain an FGNAS network")
    return parts(config)


def of_run(out: str | Path) -> dict[str, Any]:
    """Return the architecture that a run folder trains.

    Raises:
        UserError: when it trains another network, or as `run_folder_checks.read_config`.
    """
    network = run_folder_checks.read_config(Path(out) / "config.json")["recipe"]["network"]
    if not all(part in network for part in PARTS):
        raise UserError(f"{out}: does not train an FGNAS network")
    return parts(network)


def for_recipe(
    recipe: Recipe, out: str | Path, init: str | Path | None = None, file: str | Path | None = None, resume: bool = False
) -> dict[str, Any]:
    """Return the network arguments that a training adds to its recipe: an architecture for FGNAS recipes, {} for others.

    Args:
        recipe: the recipe.
        out: the run folder.
        init: the model that the training starts from.
        file: an architecture file; it comes before the others.
        resume: whether the run in `out` continues.

    Raises:
        UserError: when an FGNAS recipe has no architecture, another recipe has one, or the recipe is a search.
    """
    network = recipe.network["network"]
    if network == "fgnas_supernet":
        raise UserError(f"--recipe {recipe.name}: is a search; use `mobile-sr search`")
    if network != "fgnas":
        if file:
            raise UserError(f"--architecture: recipe {recipe.name} is not an FGNAS recipe; leave it out")
        return {}
    if file:
        return read(file)
    if resume:
        return of_run(out)
    if not init:
        raise UserError(f"--recipe {recipe.name}: give the result of a search, by --init SEARCH or --architecture FILE")
    return of_model(init)
