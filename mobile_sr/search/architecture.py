"""Files that hold an FGNAS architecture: readable JSON, one line for each block, with a hash over the architecture alone."""

import json
from pathlib import Path

from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256, write_text
from mobile_sr.inference import model_files, weights
from mobile_sr.training import run_folder_checks

PARTS = ("head", "blocks", "tail")
_FORMAT = "mobile-sr FGNAS architecture 1"


def parts(config):
    """The architecture {"head", "blocks", "tail"} of a network configuration of models/nas/fgnas.py."""
    return {part: config[part] for part in PARTS}


def digest(architecture):
    """Hex SHA-256 that names an architecture, whatever else its file says."""
    return sha256(json.dumps({part: architecture[part] for part in PARTS}, sort_keys=True).encode())


def write(path, architecture, about):
    """Write an architecture atomically; `about` is a dict of what is known of it."""
    head = {"format": _FORMAT, "sha256": digest(architecture), **about, "head": architecture["head"]}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    blocks = ",\n".join(f"    {json.dumps(block)}" for block in architecture["blocks"])
    lines += ['  "blocks": [', blocks, "  ],", f'  "tail": {json.dumps(architecture["tail"])}']
    write_text(path, "{\n" + "\n".join(line for line in lines if line) + "\n}\n")


def read(path):
    """The architecture of a file made by `write`. Raises: UserError when it is none, damaged or edited."""
    from mobile_sr.models.nas import fgnas

    found = read_json(path)
    if found.get("format") != _FORMAT:
        raise UserError(f"{path}: not an architecture file of `mobile-sr search`")
    try:
        architecture = parts(found)
        fgnas.check(**architecture)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: no usable architecture ({error})") from None
    if found.get("sha256") != digest(architecture):
        raise UserError(f"{path}: its architecture is not the one that its sha256 names; its own is {digest(architecture)}")
    return architecture


def of_model(model):
    """The architecture of a model file, run folder or zoo name with a network of models/nas/fgnas.py. Raises: UserError."""
    file, _ = model_files.trained(model)
    config = weights.read_arrays(file)[1].get("config")
    if not isinstance(config, dict) or config.get("network") != "fgnas" or not all(part in config for part in PARTS):
        raise UserError(f"{model}: holds no FGNAS network, whose architecture could be taken")
    return parts(config)


def of_run(out):
    """The architecture that a run folder trains. Raises: UserError."""
    network = run_folder_checks.read_config(Path(out) / "config.json")["recipe"]["network"]
    if not all(part in network for part in PARTS):
        raise UserError(f"{out}: trains no FGNAS network")
    return parts(network)
