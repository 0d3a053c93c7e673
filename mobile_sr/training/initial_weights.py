"""The weights that a training starts from: those of a file, as far as they fit (`train --init`)."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import extensions, models
from mobile_sr.errors import UserError
from mobile_sr.inference import model_files, weights
from mobile_sr.training import sources

if TYPE_CHECKING:
    import keras

_FIT_BATCHES = 32  # of training patches that missing last convolutions are fitted to


def load(model: keras.Model, network: Mapping[str, Any], init: str | Path, source: sources.Source) -> set[str]:
    """Copies the weights of a file into a model, and prints which of its arrays the file lacks.

    From another scale of the same network, copies all arrays whose shape does not depend on the scale. From the backbone of an
    extended network, copies all arrays but those of the extension. A smaller ChainSR is grown (models/train_time/growth.py).
    Last convolutions that are missing then are fitted to training images (models/train_time/output_fit.py).

    Args:
        model: the network, initialized from scratch. Modified in place.
        network: its configuration.
        init: model file or run folder.
        source: the training images.

    Returns:
        The paths of the arrays that were set.

    Raises:
        UserError: if the file is unusable, is of another network, or has no array of a shape that fits.
    """
    from mobile_sr.models.train_time import growth, output_fit

    start, config = weights.load_model(model_files.trained(init)[0])
    said = []
    if growth.applies(config, network):
        small, large = models.complete(config), models.complete(network)
        layers, channels = (f"from {small[key]} {key} to {large[key]}" for key in ("layers", "channels"))
        said.append(f"grown {layers}, and {channels}")
        loaded = growth.grow(start, config, model, network)
    else:
        loaded = _copy(start, config, model, network, init)
        if len(loaded) < len(model.variables):
            said.append(f"loaded {len(loaded)} of {len(model.variables)} arrays")
    if len(loaded) < len(model.variables):
        second = extensions.export(network).max_value
        further = [] if second is None else [float(second)]
        steps = range(_FIT_BATCHES)
        fitted = output_fit.fit(model, loaded, lambda: (source.batch(step, slice(None)) for step in steps), further)
        if fitted:
            said.append(f"fitted {len(fitted)} to training images")
        loaded |= fitted
    if len(loaded) < len(model.variables):
        said.append("the others are initialized from scratch")
    if said:
        print(f"{init}: {'; '.join(said)}", file=sys.stderr)
    return loaded


def _copy(
    start: keras.Model, config: Mapping[str, Any], model: keras.Model, network: Mapping[str, Any], init: str | Path
) -> set[str]:
    """Copies all arrays of equal path and shape, and returns their paths."""
    ignored = {*extensions.added(), "scale"}
    if models.CUSTOM in (network["network"], config["network"]):  # the shapes of its arrays decide
        ignored |= {"graph", "source", "receptive_field", "smallest_side"}
    for key in sorted({*network, *config} - ignored):
        if network.get(key) != config.get(key):
            have, want = (textwrap.shorten(str(value.get(key)), 60) for value in (config, network))
            raise UserError(f"{init}: its {key} is {have}, but the recipe trains {want}; use another --init or --recipe")
    arrays = {v.path: v for v in start.variables}
    matches = [v for v in model.variables if v.path in arrays and arrays[v.path].shape == v.shape]
    if not matches:
        raise UserError(f"{init}: none of its arrays fits the recipe's network; use another --init or --recipe")
    for variable in matches:
        variable.assign(arrays[variable.path])
    return {v.path for v in matches}
