"""From what a user calls a model to its file: zoo names, paths, and the options behind '@'."""

from pathlib import Path

from mobile_sr import weights, zoo
from mobile_sr.errors import UserError


def split(model):
    """(name, options) of 'NAME@KEY=VALUE,KEY=VALUE'; the options are a dict of strings, {} without '@'.

    A path that exists is a name as a whole, whatever it holds. Raises: UserError when what follows '@' is no such list.
    """
    text = str(model)
    name, at, rest = text.rpartition("@")
    if not at or Path(text).exists():
        return text, {}
    options = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if not (name and key and equals and value):
            raise UserError(f"{text}: no such file, and '{part}' behind '@' is no option of the form KEY=VALUE")
        if key in options:
            raise UserError(f"{text}: the option '{key}' is given twice")
        options[key] = value
    return name, options


def find(name):
    """The path that a name without options stands for. Raises: UserError when it is neither a file nor in the zoo."""
    path = Path(name)
    return path if path.exists() else zoo.resolve(str(name))


def locate(model):
    """(path, options) of a model string. Raises: UserError as `split` and `find`."""
    name, options = split(model)
    return find(name), options


def trained(model):
    """(.npz file, name for what is made from it) of a trained Keras model: zoo name, .npz model file or run folder.

    Raises: UserError when there is none, or the name stands for another kind of model.
    """
    path = find(model)
    file = weights.model_file(path)
    if file.suffix != ".npz":
        raise UserError(f"{model}: not a trained Keras model (.npz, run folder or zoo name)")
    return file, file.stem if path.is_file() else path.name


def own_signature(sidecar):
    """The signature that runs unless an option says otherwise, by a file's Sidecar: its sparse path, None where it has none."""
    return "sparse" if "sparse" in sidecar.signatures else None
