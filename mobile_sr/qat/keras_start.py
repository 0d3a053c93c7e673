"""The network that a quantization-aware training in Keras starts from, and its preparation."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models
from mobile_sr.converters.quantization import keras_sync
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path, temporary_folder
from mobile_sr.inference import keras_archive, model_files, model_io, weights
from mobile_sr.qat import keras_ranges
from mobile_sr.quantization import calibration
from mobile_sr.quantization import source as sources

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.models.train_time.quantized_network import QuantizedNetwork


@dataclasses.dataclass
class Start:
    """The network that a training starts from.

    Attributes:
        model: the network, whose variables are trained.
        file: its file.
        name: base name of files.
        scale: scale factor.
        config: configuration of a network of mobile_sr.models; None for a foreign .keras file.
        io: value ranges and channel order.
        options: options of a foreign file, as in {"range": "255"}.
        is_changed: whether the weights differ from those of the file: batch normalization was folded, or channels were mixed.
    """

    model: keras.Model
    file: Path
    name: str
    scale: int
    config: dict[str, Any] | None
    io: model_io.ModelIO
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_changed: bool = False

    @property
    def suffix(self) -> str:
        """Suffix of the network's files."""
        return ".npz" if self.config is not None else ".keras"

    def save(self, path: Path, meta: Mapping[str, Any]) -> None:
        """Write the network to `path`, which ends in `suffix`."""
        if self.config is not None:
            weights.save_model(path, self.model, self.config, {**meta, "recipe": "qat"})
        else:
            with atomic_path(path) as temporary:
                self.model.save(temporary)

    def source(self, file: Path | None = None) -> sources.Source:
        """Return the network as `export` opens it, from its file or another one that `save` wrote."""
        if self.config is not None:
            return sources.open_own(file or self.file, None)
        return sources.open_foreign(file or self.file, None, self.options)


def load(model: str | Path) -> Start:
    """Load a network: zoo name, .npz model file, run folder or .keras file.

    Raises:
        UserError: it cannot be trained.
    """
    name, options = model_files.split(model)
    if Path(name).suffix.lower() == ".keras":
        file = model_files.find(name)
        archive = keras_archive.KerasArchive(file, options)
        keras_model = archive._model
        if not hasattr(keras_model, "_nodes_by_depth"):
            keras_model = getattr(keras_model, "_functional", None)  # of a Sequential model
        if not hasattr(keras_model, "_nodes_by_depth"):
            raise UserError(f"{model}: qat needs a functional or sequential network, not a subclass of keras.Model")
        if archive.fixed:
            raise UserError(f"{model}: its input size is fixed; qat needs a network for inputs of any height and width")
        folded = _fold(model, keras_model)
        return Start(folded, file, file.stem, archive.scale, None, archive.io, options, folded is not keras_model)
    file, base = model_files.trained(model)
    check_outputs(model, file)
    with quiet():
        keras_model, config = weights.load_model(file)
    folded = _fold(model, keras_model)
    if folded is not keras_model:  # only networks from outside have it
        from mobile_sr.models import custom

        fields = (config[key] for key in ("scale", "receptive_field", "smallest_side"))
        config = {**config, "graph": custom.describe(folded, *fields)["graph"]}
        arrays = folded.get_weights()
        folded = models.build(config)
        folded.set_weights(arrays)
    return Start(folded, file, base, config["scale"], config, model_io.ModelIO(), is_changed=folded is not keras_model)


def check_outputs(model: str | Path, file: Path) -> None:
    """Raises UserError if the network of an .npz file, opened as `model`, has further outputs beside the SR output."""
    config = weights.read_arrays(file)[1].get("config", {})
    if models.has_depth(config):
        instead = f"mobile-sr train --init {model} --set activation_bits=8, then mobile-sr export"
        raise UserError(f"{model}: qat does not support networks with depth masks; use {instead}")
    if models.exits(config):
        raise UserError(f"{model}: has exits; qat trains one at a time: give one of the files NAME_exitK.npz in its run folder")


def _fold(name: str | Path, model: keras.Model) -> keras.Model:
    """The network without batch normalization. Raises UserError where that is impossible."""
    from mobile_sr.models.train_time import batch_norm

    try:
        return batch_norm.fold(model)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None


def mix(start: Start, crops: Sequence[np.ndarray]) -> None:
    """Mix the network's channels in place, as `export`'s method `mix`, where its variables can have the mixed weights.

    Args:
        start: the network.
        crops: calibration images, [1, H, W, 3] float32 in 0..1.
    """
    source = _present(start)
    with contextlib.suppress(ValueError):  # the converter merged weights
        if keras_sync.mix(start.model, source.data, source.samples(crops), source.model):
            start.is_changed = True


def prepare(start: Start, crops: Sequence[np.ndarray], strength: float, per_tensor: bool, rounded: bool = True) -> str | None:
    """Give the network the weights of `export`'s uint8 file before its method `fit`. Works in place.

    Args:
        start: the network.
        crops: calibration images, [1, H, W, 3] float32 in 0..1.
        strength: of the equalization; 0 only centres the channels.
        per_tensor: one scale per kernel instead of one per output channel.
        rounded: whether to round the weights by GPTQ, or only to equalize them.

    Returns:
        None, or how the weights differ from those of the file.
    """
    source = _present(start)
    try:
        settings = (strength, per_tensor, source.model, rounded)
        exact = keras_sync.prepare(start.model, source.data, source.samples(crops), *settings)
    except ValueError as error:  # the converter merged weights
        return f"as trained, because {error}"
    return None if exact else "without changes that the network cannot have, such as biases that differ between phases"


def clip_ranges(start: Start, net: QuantizedNetwork, crops: Sequence[np.ndarray]) -> None:
    """Give a fake-quantized network the activation ranges of `export`'s uint8 file of the same weights.

    Args:
        start: the network.
        net: its fake-quantized form, with measured ranges.
        crops: a set of calibration.calibration_set.
    """
    source = _saved(start)
    samples = source.samples(crops)
    sample = source.samples([crops[0][:, : keras_ranges.SAMPLE_SIDE, : keras_ranges.SAMPLE_SIDE]])[0]
    keras_ranges.clip(net, source.data, sample, samples[: calibration.PHOTOGRAPHS], samples[calibration.PHOTOGRAPHS :])


def _present(start: Start) -> sources.Source:
    """The network with its present weights before the training, from its own file where it still has those."""
    return _saved(start) if start.is_changed else start.source()


def _saved(start: Start) -> sources.Source:
    """The network with its present weights as a source of `export`."""
    with temporary_folder("mobile_sr_qat.") as folder:
        file = folder / f"{start.name}{start.suffix}"
        start.save(file, {})
        return start.source(file)
