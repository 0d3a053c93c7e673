"""Architecture files of a search: JSON with one line per block and a SHA-256 of the architecture.

There are two kinds: FGNAS networks of blocks (models/nas/fgnas.py) and plain chains (models/chainsr.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256, write_text
from mobile_sr.inference import model_files, weights
from mobile_sr.training import run_folder_checks

if TYPE_CHECKING:
    from mobile_sr.training.recipes import Recipe

PARTS = {"fgnas": ("head", "blocks", "tail"), "chainsr": ("channels", "layers", "widths")}  # network: arguments of its build()
_FORMATS = {"fgnas": "mobile-sr FGNAS architecture 1", "chainsr": "mobile-sr plain architecture 1"}
_NAMES = {"fgnas": "an FGNAS network", "chainsr": "a ChainSR"}


def parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture in the configuration of an FGNAS network or a ChainSR, as in PARTS.

    Raises:
        KeyError: when the configuration has no architecture of its own.
    """
    return {part: config[part] for part in PARTS[config["network"]]}


def network_of(architecture: Mapping[str, Any]) -> str:
    """Return the network of an architecture, a key of PARTS."""
    return "chainsr" if "widths" in architecture else "fgnas"


def digest(architecture: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of an architecture. Other fields of its file do not change it."""
    kept = {part: architecture[part] for part in PARTS[network_of(architecture)]}
    return sha256(json.dumps(kept, sort_keys=True).encode())


def write(path: str | Path, architecture: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write an architecture file atomically.

    Args:
        path: the file.
        architecture: as returned by `parts`.
        about: further JSON-able fields of the file.
    """
    network = network_of(architecture)
    fields = {"format": _FORMATS[network], "sha256": digest(architecture), **about}
    if network == "chainsr":
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in {**fields, **architecture}.items()]
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
        return
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in {**fields, "head": architecture["head"]}.items()]
    blocks = ",\n".join(f"    {json.dumps(block)}" for block in architecture["blocks"])
    lines += ['  "blocks": [', blocks, "  ],", f'  "tail": {json.dumps(architecture["tail"])}']
    write_text(path, "{\n" + "\n".join(line for line in lines if line) + "\n}\n")


def read(path: str | Path) -> dict[str, Any]:
    """Read the architecture of a file made by `write`.

    Raises:
        UserError: when the file is not an architecture file, or is damaged or edited.
    """
    from mobile_sr.models import chainsr
    from mobile_sr.models.nas import fgnas

    content = read_json(path)
    network = next((network for network, name in _FORMATS.items() if content.get("format") == name), None)
    if network is None:
        raise UserError(f"{path}: not an architecture file of `mobile-sr search`")
    try:
        architecture = {part: content[part] for part in PARTS[network]}
        checks: dict[str, Callable[..., None]] = {"fgnas": fgnas.check, "chainsr": chainsr.check_widths}
        checks[network](**architecture)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: invalid architecture ({error})") from None
    if content.get("sha256") != digest(architecture):
        raise UserError(f"{path}: the architecture does not match its sha256; its own is {digest(architecture)}")
    return architecture


def of_model(model: str | Path, network: str = "fgnas") -> dict[str, Any]:
    """Return the architecture of a model.

    Args:
        model: model file, run folder or zoo name with a network of this kind.
        network: a key of PARTS.

    Raises:
        UserError: when it contains another network, or as `model_files.trained`.
    """
    file, _ = model_files.trained(model)
    config = weights.read_arrays(file)[1].get("config")
    if not isinstance(config, dict) or config.get("network") != network or (found := _complete(config)) is None:
        raise UserError(f"{model}: does not contain {_NAMES[network]}")
    return found


def of_run(out: str | Path, network: str = "fgnas") -> dict[str, Any]:
    """Return the architecture that a run folder trains.

    Args:
        out: the run folder.
        network: a key of PARTS.

    Raises:
        UserError: when it trains another network, or as `run_folder_checks.read_config`.
    """
    config = run_folder_checks.read_config(Path(out) / "config.json")["recipe"]["network"]
    if config.get("network") != network or (found := _complete(config)) is None:
        raise UserError(f"{out}: does not train {_NAMES[network]}")
    return found


def _complete(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The architecture of a configuration, None if it has none. A ChainSR without `widths` is uniform."""
    try:
        return parts({"widths": [], **config})
    except KeyError:
        return None


def for_recipe(
    recipe: Recipe, out: str | Path, init: str | Path | None = None, file: str | Path | None = None, resume: bool = False
) -> dict[str, Any]:
    """Return the network arguments that a training adds to its recipe: an architecture, or {} where the recipe has its own.

    Args:
        recipe: the recipe.
        out: the run folder.
        init: the model that the training starts from.
        file: an architecture file; it comes before the others.
        resume: whether the run in `out` continues.

    Raises:
        UserError: when a recipe for searched networks has no architecture, another recipe or one for another kind of network
            has one, or the recipe is a search.
    """
    network = recipe.network["network"]
    if network in models.SUPERNETS:
        raise UserError(f"--recipe {recipe.name}: is a search; use `mobile-sr search`")
    if network not in PARTS or (network == "chainsr" and "layers" in recipe.network):
        if file:
            if network == "chainsr":
                scale = recipe.network["scale"]
                raise UserError(f"--architecture: {recipe.name} has layers of its own; use --recipe chainsr_x{scale}")
            raise UserError(f"--architecture: recipe {recipe.name} is not an FGNAS recipe; leave it out")
        return {}
    if file:
        result = read(file)
        if network_of(result) != network:
            kind, scale = network_of(result), recipe.network["scale"]
            raise UserError(f"{file}: contains the architecture of {_NAMES[kind]}; use --recipe {kind}_x{scale}")
        return result
    if resume:
        return of_run(out, network)
    if not init:
        raise UserError(f"--recipe {recipe.name}: give the result of a search, by --init SEARCH or --architecture FILE")
    return of_model(init, network)
