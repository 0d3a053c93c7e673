"""Opens the network of an export, of this project or anybody's, as a float32 .tflite with a reference to compare with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, sha256_file
from mobile_sr.imaging import luminance
from mobile_sr.importing import foreign
from mobile_sr.inference import litert, model_files, model_io, tensor_values, upscaler, weights
from mobile_sr.inference import sidecar as sidecars

if TYPE_CHECKING:
    import keras

FILES = (".keras", ".onnx", ".tflite")  # suffixes of networks from elsewhere that run as they are
_FLAT_SIDE = 24  # LR pixels of a flat calibration image

Runner = Callable[[np.ndarray], Any]  # [H, W, 3] uint8 -> [H * s, W * s, 3], uint8 or float32 in 0..1


@dataclasses.dataclass
class Source:
    """A network to export.

    Attributes:
        name: base name of the files.
        scale: scale factor.
        data: bytes of the float32 .tflite.
        reference: name of the original in reports, such as 'Keras'.
        runner: function that returns a Runner of the original for a value of the network's second input, None without one.
        extension: hooks of the network, see extensions.py.
        encode: function from a calibration image, [1, H, W, 3] float32 in 0..1, to the network's input.
        size: (height, width) of a fixed LR input, None for a dynamic size.
        config: configuration of a network of mobile_sr.models, None for another one.
        model: Keras model of such a network in its export form, None for another one.
        facts: entries of the sidecar: receptive_field, smallest_side, value_range, weights.
        notes: one line for each assumption.
        options: options with which files of a network from elsewhere are opened, see litert.TFLiteModel.
        io: value ranges and channels of the network.
        hint: how to give other value ranges and channels; None for a model string.
        extremes: further calibration samples, in the form of the network's input.
        learned_ranges: {activation of `data`: (minimum, maximum)} that `qat` learned for 8 bits; {} for a network without.
        learned_methods: methods of `export` for 8-bit files with these ranges.
    """

    name: str
    scale: int
    data: bytes
    reference: str
    runner: Callable[[float | None], Runner]
    extension: extensions.Export
    encode: Callable[[np.ndarray], np.ndarray]
    size: tuple[int, int] | None = None
    config: dict[str, Any] | None = None
    model: keras.Model | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    io: model_io.ModelIO = dataclasses.field(default_factory=model_io.ModelIO)
    hint: str | None = None
    extremes: Sequence[np.ndarray] = ()
    learned_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    learned_methods: Sequence[str] = ()

    @property
    def reference_key(self) -> str:
        """The original's name in the sidecar: 'keras' or 'original'."""
        return self.reference.split()[-1].lower()

    @property
    def run(self) -> Runner:
        """The original at the largest value of its second input."""
        return self.runner(self.extension.max_value)

    @functools.cached_property
    def levels(self) -> Callable[[np.ndarray], np.ndarray]:
        """`run` as a function from [H, W, 3] uint8 to [H * s, W * s, 3] uint8. It computes each image once."""
        return upscaler.once_per_image(self.run)

    @property
    def smallest_side(self) -> int:
        """Minimum side of an input image, in LR pixels."""
        return int(self.facts["smallest_side"])

    def samples(self, images: Sequence[np.ndarray]) -> Sequence[Any]:
        """Return calibration samples for images, [1, H, W, 3] float32 in 0..1, in the form of `quantizer.convert`."""
        encoded = [self.encode(image) for image in images] + list(self.extremes if images else ())
        return to_tflite.at_size(self.extension.samples(encoded), self.size)


def is_own(model: Any) -> bool:
    """Whether a model is a zoo name, a run folder or an .npz file: a network of mobile_sr.models."""
    if not isinstance(model, (str, Path)):
        return False
    name = model_files.split(model)[0]
    path = Path(name)
    if model_files.needs_conversion(name):
        return False
    if path.exists():
        return path.is_dir() or path.suffix.lower() == ".npz"
    return path.suffix.lower() not in FILES


def open_own(model: str | Path, size: tuple[int, int] | None) -> Source:
    """Open a network of mobile_sr.models.

    Args:
        model: zoo name, .npz model file or run folder.
        size: (height, width) of a fixed LR input, None for a dynamic size.

    Raises:
        UserError: there is no such model, or it is unusable.
        to_tflite.ConversionError: TensorFlow failed.
    """
    file, name = model_files.trained(model)
    with quiet():
        keras_model, config = weights.load_model(file)
    extensions.export(config).check_upscaler(str(model))
    source = from_keras(keras_model, config, name, size)
    source.facts["weights"] = {"file": file.name, "sha256": sha256_file(file)}
    meta = weights.read_arrays(file)[1]
    try:
        learned = (meta.get("tensor_ranges") or {}).items()
        source.learned_ranges = {str(name): (float(low), float(high)) for name, (low, high) in learned}
        source.learned_methods = tuple(str(method) for method in meta.get("export_methods") or ())
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{model}: its activation ranges are damaged; run qat again") from None
    return source


def from_keras(
    keras_model: keras.Model, config: dict[str, Any], name: str = "model", size: tuple[int, int] | None = None
) -> Source:
    """Return the Source of a Keras model of mobile_sr.models.

    Args:
        keras_model: the network, as it was trained.
        config: its configuration.
        name: base name of files.
        size: (height, width) of a fixed LR input, None for a dynamic size.

    Raises:
        UserError: TFLite has no operators for the network.
        to_tflite.ConversionError: TensorFlow failed.
    """
    if reason := models.not_convertible(config):
        raise UserError(
            f"{name}: {config['network']} cannot become a .tflite: {reason}; run and evaluate it as it is, in float"
        )
    with quiet():
        exported = models.build_for_export(config)
        exported.set_weights(keras_model.get_weights())
    extension = extensions.export(config)
    run = upscaler.keras_runner(keras_model)
    return Source(
        name=name,
        scale=config["scale"],
        data=to_tflite.float_tflite(exported, size),
        reference="Keras",
        runner=lambda value: extension.at(run, value),
        extension=extension,
        encode=lambda image: image,
        size=size,
        config=config,
        model=exported,
        facts={
            "network": config["network"],
            "config": config,
            "receptive_field": models.receptive_field(config),
            "smallest_side": models.smallest_side(config),
            "value_range": [0, 1],
            "layout": "nhwc",
            "channels": 3,
            "order": "rgb",
        },
    )


def open_foreign(model: Any, size: tuple[int, int] | None, options: Mapping[str, Any] | None = None) -> Source:
    """Open a network from elsewhere, see converters/formats.

    Args:
        model: path of a file or a SavedModel folder, 'module.py:function', a Keras model or a torch.nn.Module; a file may have
            options as in 'net.tflite@range=255'.
        size: (height, width) of a fixed LR input, None for the network's own.
        options: the same options for any model, as in {"range": 255}.

    Raises:
        UserError: the network is unusable or cannot be converted, or an option is given twice.
    """
    is_string = isinstance(model, (str, Path))
    given = {key: str(value) for key, value in (options or {}).items()}
    if is_string:
        model, own = model_files.split(model)
        if twice := sorted(own.keys() & given.keys()):
            raise UserError(f"{model}: the option '{twice[0]}' is given twice")
        given |= own
        if hint := model_files.routed_hint(model):
            raise UserError(f"{model}: exported already{hint}")
    converted = foreign.convert(model, size)
    opened = foreign.open_as_file(converted.data, converted.name, given)
    notes = list(converted.notes)
    field = foreign.reach(converted, opened, notes)
    value_range = _value_range(opened, notes)
    ranges = {"range_in": str(opened.io.range_in), "range_out": str(opened.io.range_out), "order": opened.io.order}
    return Source(
        name=converted.name,
        scale=opened.scale,
        data=converted.data,
        reference="the original",
        runner=lambda value: opened.run,
        extension=extensions.Export({}),
        encode=lambda image: opened.encode(np.round(image[0] * 255).astype(np.uint8)),
        size=converted.size,
        facts={
            "network": None,
            "config": None,
            "receptive_field": field,
            "smallest_side": 1,
            **value_range,
            "layout": str(opened.io.layout),
            "channels": opened.io.layout.channels,
            "order": opened.io.order,
            "source": {"origin": converted.origin, "notes": notes, "sha256": sha256(converted.data)},
        },
        notes=notes,
        options=ranges,
        io=opened.io,
        hint=None if is_string else "override with options={'range': 1, 255 or -1, 'order': " + _orders(opened) + "}",
        extremes=_extremes(opened),
    )


def _value_range(opened: litert.TFLiteModel, notes: list[str]) -> dict[str, list[int]]:
    """The sidecar's value_range; {} and a note if both ends differ, which it does not record."""
    if opened.io.range_in == opened.io.range_out:
        return {"value_range": list(tensor_values.RANGES[opened.io.range_in])}
    notes.append(
        f"values in {model_io.range_text(opened.io.range_in)}, out {model_io.range_text(opened.io.range_out)}: use the float "
        f"files with @range_in={opened.io.range_in},range_out={opened.io.range_out}"
    )
    return {}


def _extremes(opened: litert.TFLiteModel) -> list[np.ndarray]:
    """The lowest and highest input of a network of Y in 16..235, which no image has: its 8-bit input then is Y itself."""
    if opened.io.order != luminance.STUDIO:
        return []
    shape = opened.layout.input_shape((_FLAT_SIDE, _FLAT_SIDE))
    return [np.full(shape, value, np.float32) for value in tensor_values.RANGES[opened.io.range_in]]


def _orders(opened: litert.TFLiteModel) -> str:
    return " or ".join(f"'{order}'" for order in sidecars.ORDERS[opened.layout.channels])
