"""Recognizes what a network is and converts it: the entry point of the other modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mobile_sr.converters import user_code
from mobile_sr.converters.formats import (
    keras_file,
    keras_model,
    onnx_file,
    pytorch,
    saved_model,
    tf_function,
    tflite_file,
    verification,
)
from mobile_sr.converters.formats.float_model import FloatModel, FormatError
from mobile_sr.converters.tflite.passes import simplify

ACCEPTED = ".keras, .h5, .onnx, .pt2, .tflite, a SavedModel folder, or module.py:function"


def to_float_tflite(source: Any, *, size: tuple[int, int] | None = None) -> FloatModel:
    """Convert any network from one image to one larger image to a float32 .tflite.

    The result is simplified (converters/tflite/passes/simplify.py) and compared with the original by running both.

    Args:
        source: a path of a .keras, .h5, .onnx, .pt2 or .tflite file or of a SavedModel folder; 'path/to/module.py:function',
            a function without arguments that returns one of these, a Keras model or a torch.nn.Module; or such a model
            itself. Python code runs only if it is named in this way.
        size: (height, width) of a fixed input; None keeps the network's own, which may be dynamic.

    Returns:
        The .tflite and what was changed. Its ends are [1, H, W, C] in the value range of the original.

    Raises:
        FormatError: the source is missing, unknown or damaged, has an unsupported operator, or the result differs from it.
    """
    if size is not None and min(size) < 1:
        raise FormatError(f"--height {size[0]} --width {size[1]}: both must be at least 1")
    model = _convert(source, size)
    model.data, notes = simplify.simplify(model.data)
    model.notes += notes
    return verification.verify(model)


def _convert(source: Any, size: tuple[int, int] | None, name: str | None = None) -> FloatModel:
    """Convert a source; `name` is given for what a user's function returns."""
    if keras_model.is_keras_model(source):
        return keras_model.convert(source, name or str(getattr(source, "name", "model")), size)
    if pytorch.is_module(source):
        return pytorch.convert(source, name or type(source).__name__.lower(), size)
    if not isinstance(source, (str, os.PathLike)):
        raise FormatError(
            f"{name or 'source'}: is a {type(source).__name__}; expected a Keras model, a torch.nn.Module or a path"
        )
    path = Path(source)
    named = None if path.exists() else user_code.split(str(source))
    if named is not None and name is None:
        if user_code.mentions(named[0], "keras", "tensorflow"):
            tf_function.start_quietly()
        return _convert(_built(str(source)), size, f"{named[0].stem}_{named[1]}")
    if not path.exists():
        raise FormatError(f"{path}: no such file; accepted are {ACCEPTED}")
    return _convert_file(path, name or path.stem, size)


def _built(reference: str) -> Any:
    """What a function of the user's file returns."""
    try:
        build = user_code.load(reference)
        with user_code.reported(reference):
            return build()
    except user_code.UserCodeError as error:
        raise FormatError(str(error)) from error


def _convert_file(path: Path, name: str, size: tuple[int, int] | None) -> FloatModel:
    if path.is_dir():
        if saved_model.is_saved_model(path):
            return saved_model.convert(path, name, size)
        raise FormatError(f"{path}: not a SavedModel folder (saved_model.pb is missing)")
    suffix = path.suffix.lower()
    if suffix in (".keras", ".h5", ".hdf5"):
        tf_function.require_tensorflow(str(path))
        model = keras_file.read_archive(path) if suffix == ".keras" else keras_file.read_h5(path)
        return keras_model.convert(model, name, size)
    if suffix == ".onnx":
        return onnx_file.convert(path, name, size)
    if suffix == ".pt2":
        module, own = pytorch.load_program(path)
        return pytorch.convert(module, name, size or own)
    if suffix == ".tflite":
        return tflite_file.convert(path, name, size)
    help_ = "; PyTorch weights have no network: give a module.py:function that loads them" if suffix in (".pt", ".pth") else ""
    if suffix == ".py":
        help_ = f"; name the function that returns the network: {path}:function"
    raise FormatError(f"{path}: unknown format '{suffix}'{help_ or f'; accepted are {ACCEPTED}'}")
