"""The trained networks that a routed model chooses among."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mobile_sr import models
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.inference import model_files, weights


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        name: the model string.
        stem: base name of its files.
        config: its configuration.
        multiply_adds: multiply-adds per LR pixel.
        receptive_field: LR pixels to each side that an output pixel depends on.
    """

    name: str
    stem: str
    config: dict[str, Any]
    multiply_adds: float
    receptive_field: int


def find(names: Sequence[str]) -> list[Network]:
    """Opens trained networks of one scale and returns them, the cheapest first.

    Args:
        names: zoo names, .npz files or run folders.

    Raises:
        UserError: there are fewer than two, one cannot be routed, or they do not belong together.
    """
    if len(names) < 2:
        raise UserError("routing needs two or more networks; repeat --model")
    nets = []
    for name in names:
        file, stem = model_files.trained(name)
        with quiet():
            model, config = weights.load_model(file)
        if models.exits(config):
            raise UserError(f"{name}: has exits, which are routed alone; give it without other networks")
        field = models.receptive_field(config)
        if field is None or models.has_depth(config):
            what = "has AdaDSR's adapter" if models.has_depth(config) else "depends on the whole image"
            raise UserError(f"{name}: {what}; routing needs networks with a limited receptive field")
        nets.append(Network(str(name), stem, config, models.multiply_adds(model, 1), field))
    values: dict[str, tuple[list[Any], int]] = {
        "one scale": ([net.config["scale"] for net in nets], 1),
        "different file names": ([net.stem for net in nets], len(nets)),
        "different multiply-adds": ([net.multiply_adds for net in nets], len(nets)),
    }
    for what, (found, count) in values.items():
        if len(set(found)) != count:
            text = ", ".join(f"{net.name}: {value}" for net, value in zip(nets, found, strict=True))
            raise UserError(f"the networks must have {what} ({text})")
    return sorted(nets, key=lambda net: net.multiply_adds)
