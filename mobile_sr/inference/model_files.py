"""From what a user calls a model to its file: zoo names, paths, and the options behind '@'."""

from pathlib import Path

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer
from mobile_sr.inference import weights


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
    if not path.exists():
        return zoo.resolve(str(name))
    if path.is_file():
        check_not_pointer(path)
    return path


def locate(model):
    """(path, options) of a model string. Raises: UserError as `split` and `find`."""
    name, options = split(model)
    return find(name), options


def locate_tflite(model):
    """`locate` for commands that need a .tflite. Raises: UserError for another kind of model, with what would work."""
    if str(model) == "bicubic":
        raise UserError("bicubic: has no file; a .tflite is needed here, such as xlsr_x3:uint8")
    path, options = locate(model)
    kinds = {".npz": "Keras weights", ".keras": "a Keras file", ".onnx": "an ONNX file", ".json": "JSON"}
    kind = "a folder" if path.is_dir() else kinds.get(path.suffix.lower())
    if path.suffix == ".npz" and path.parent == zoo.FOLDER:
        variants = " or ".join(f"{path.stem}:{variant}" for variant in reversed(zoo.VARIANTS))
        raise UserError(f"{model}: {kind}, but a .tflite is needed here; use {variants}")
    if kind:
        convert = f"; `mobile-sr export --model {model}` makes one" if kind in ("a folder", "Keras weights") else ""
        raise UserError(f"{model}: {kind}, but a .tflite is needed here{convert}")
    return path, options


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
