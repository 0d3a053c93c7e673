"""Resolution of model strings to files: zoo names, paths, and options after '@'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobile_sr import zoo
from mobile_sr.converters import user_code
from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer
from mobile_sr.inference import weights

if TYPE_CHECKING:
    from mobile_sr.inference.sidecar import Sidecar


ROUTED = ".route.json"  # end of the name of a routed model (mobile_sr/routing/route.py)
CONVERTED = (".h5", ".hdf5", ".pt2")  # suffixes of files of `needs_conversion`


def split(model: str | Path) -> tuple[str, dict[str, str]]:
    """Splits 'NAME@KEY=VALUE,KEY=VALUE' into the name and its options.

    A string that is an existing path has no options, even if it contains '@'.

    Returns:
        (name, options); the options are {} without '@'.

    Raises:
        UserError: the text after '@' is not a list of options.
    """
    text = str(model)
    name, at, rest = text.rpartition("@")
    if not at or Path(text).exists():
        return text, {}
    options = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if not (name and key and equals and value):
            raise UserError(f"{text}: no such file, and '{part}' after '@' is not an option of the form KEY=VALUE")
        if key in options:
            raise UserError(f"{text}: the option '{key}' is given twice")
        options[key] = value
    return name, options


def with_option(model: str | Path, key: str, value: object) -> str:
    """Returns a model string with one more option behind '@'."""
    return f"{model}{',' if split(model)[1] else '@'}{key}={value}"


def needs_conversion(name: str) -> bool:
    """Whether a name without options is a network that runs only after its conversion (`mobile_sr/importing/foreign.py`).

    These are .h5 and .pt2 files, SavedModel folders and functions of Python files, 'module.py:function'.
    """
    path = Path(name)
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix.lower() in CONVERTED or (not path.exists() and user_code.split(name) is not None)


def find(name: str | Path) -> Path:
    """Returns the path for a name without options. Raises UserError if it is neither a file nor in the zoo."""
    path = Path(name)
    if not path.exists():
        return zoo.resolve(str(name))
    if path.is_file():
        check_not_pointer(path)
    return path


def locate(model: str | Path) -> tuple[Path, dict[str, str]]:
    """Returns (path, options) of a model string. Raises UserError as `split` and `find` do."""
    name, options = split(model)
    return find(name), options


def locate_tflite(model: str | Path) -> tuple[Path, dict[str, str]]:
    """Like `locate`, for commands that need a .tflite file.

    Raises:
        UserError: the model is of another kind; the message says what would work.
    """
    if str(model) == "bicubic":
        raise UserError("bicubic: has no file; a .tflite is needed here, such as xlsr_x3:uint8")
    name, options = split(model)
    path = Path(name) if needs_conversion(name) and not Path(name).exists() else find(name)
    kinds = {".npz": "Keras weights", ".json": "JSON", ".onnx": "an ONNX file", ".pt2": "a PyTorch program"}
    kinds |= dict.fromkeys((".keras", ".h5", ".hdf5"), "a Keras file")
    kind = "a folder" if path.is_dir() else kinds.get(path.suffix.lower())
    if user_code.split(name) and not path.exists():
        kind = "Python code"
    if path.suffix == ".npz" and path.parent == zoo.FOLDER:
        variants = " or ".join(f"{path.stem}:{variant}" for variant in reversed(zoo.VARIANTS))
        raise UserError(f"{model}: {kind}, but a .tflite is needed here; use {variants}")
    if kind:
        convert = routed_hint(model) if kind == "JSON" else f"; `mobile-sr export --model {model}` makes one"
        raise UserError(f"{model}: {kind}, but a .tflite is needed here{convert}")
    return path, options


def routed_hint(model: str | Path) -> str:
    """Returns '; ...' with what to give in place of a routed model (.route.json) where one .tflite is needed, else ''."""
    path = Path(split(model)[0])
    if not path.name.endswith(ROUTED):
        return ""
    return f"; a routed model consists of several: give one of its networks, the .tflite files in {path.parent}"


def trained(model: str | Path) -> tuple[Path, str]:
    """Locates a trained Keras model by zoo name, .npz model file or run folder.

    Returns:
        (.npz file, base name for files derived from the model).

    Raises:
        UserError: there is no such model, or the name refers to another kind of model.
    """
    path = find(model)
    file = weights.model_file(path)
    if file.suffix != ".npz":
        raise UserError(f"{model}: not a trained Keras model (.npz, run folder or zoo name)")
    return file, file.stem if path.is_file() else path.name


def own_signature(sidecar: Sidecar) -> str | None:
    """Returns the signature that runs by default according to a Sidecar: 'sparse' if the file has it, else None."""
    return "sparse" if "sparse" in sidecar.signatures else None
