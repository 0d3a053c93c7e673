"""Reads .keras and .h5 files without running code from them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.converters.formats import keras_limits
from mobile_sr.converters.formats.float_model import FormatError, first_line
from mobile_sr.converters.quiet import quiet

if TYPE_CHECKING:
    import keras

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer")


def read_archive(path: str | Path, max_bytes: int = keras_limits.MAX_BYTES) -> keras.Model:
    """Load the model of a .keras file of Keras 3.

    Args:
        path: the file.
        max_bytes: maximum unpacked size.

    Raises:
        FormatError: Keras cannot load it; the message names the kind of file if it is recognized.
    """
    try:
        keras_limits.check_keras(path, max_bytes)
        with quiet():
            import keras

            _register_own_layers()
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types for a file that it cannot load
        raise FormatError(f"{path}: not usable as a Keras model ({_kind(path) or first_line(error)})") from None


def read_h5(path: str | Path) -> keras.Model:
    """Load the model of a whole-model HDF5 file of Keras 2 or 3.

    Args:
        path: the file.

    Raises:
        FormatError: the file is damaged, has weights only, needs code or cannot be loaded.
    """
    try:
        import h5py

        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
        config = None if text is None else json.loads(text)
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: not usable as a Keras model ({first_line(error)})") from None
    if config is None:
        raise FormatError(f"{path}: has weights but no network; save the whole model with model.save('net.keras')")
    try:
        keras_limits.check_layers(config)
    except ValueError as error:
        raise FormatError(f"{path}: not usable as a Keras model ({error})") from None
    needed = sorted(_custom_classes(config) | _code_layers(config))
    if needed:
        raise FormatError(f"{path}: not usable as a Keras model ({_needs_code(needed)})")
    with quiet():
        import keras

        _register_own_layers()
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # as above; Keras 2 loads some files that Keras 3 does not
            try:
                import tf_keras

                return tf_keras.models.load_model(path, compile=False, safe_mode=True)
            except Exception:
                raise FormatError(f"{path}: not usable as a Keras model ({first_line(error)})") from None


def _register_own_layers() -> None:
    from mobile_sr.models import layers  # noqa: F401
    from mobile_sr.models.ntire2022 import blocks, mobilesr  # noqa: F401
    from mobile_sr.models.ntire2022 import layers as challenge_layers  # noqa: F401
    from mobile_sr.models.ntire2022.separable import bsrn  # noqa: F401


def _kind(path: str | Path) -> str | None:
    """Describe a file that Keras 3 does not load, with what would help; None if its kind is unknown."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return "an HDF5 file of Keras 2; load it where it was written and save it in Keras 3 or as .tflite"
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json")).get("keras_version")
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, AttributeError, zipfile.BadZipFile):
        return None
    if isinstance(version, str) and version.startswith("2."):
        return f"written by Keras {version}; load it with that version and save it as .tflite or in Keras 3"
    custom = sorted(_custom_classes(config))
    return _needs_code(custom) if custom else None


def _needs_code(classes: list[str]) -> str:
    return f"it needs the code of {', '.join(classes)}; export it to .tflite or .onnx where that code is available"


def _custom_classes(config: Any) -> set[str]:
    """Names of the classes in a Keras configuration that belong neither to Keras nor to this project."""
    if isinstance(config, list):
        return set().union(*map(_custom_classes, config))
    if not isinstance(config, dict):
        return set()
    names = set().union(*map(_custom_classes, config.values()))
    name, registered = config.get("class_name"), config.get("registered_name")
    ours = isinstance(registered, str) and registered.startswith("mobile_sr")
    if isinstance(name, str) and registered and not ours and not str(config.get("module")).startswith("keras"):
        names.add(name)
    return names


def _code_layers(config: Any) -> set[str]:
    """Names of the layers in a Keras configuration that contain code or load it from another file."""
    named = (value.get("class_name") for value in keras_limits.leaves(config) if isinstance(value, dict))
    return {name for name in named if name in _CODE}
