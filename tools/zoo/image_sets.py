"""The sets of training images of the packaged networks, and the licences of weights that were trained on them.

image_sets.json lists the sets, the one with the most conditions first. A run records the SHA-256 of its images, LR and HR; a
set has one for each scale and each way to make LR images. So the licence of an entry follows from the runs that made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mobile_sr import zoo
from mobile_sr.errors import UserError

_FILE = Path(__file__).with_name("image_sets.json")


class ImageSet(NamedTuple):
    """A set of training images.

    Attributes:
        name: short name.
        images: what they are and how many, for a sentence.
        product: whether weights that were trained on them may be used in products.
        licence: of such weights, a sentence.
        sha256: hashes that runs recorded for it.
    """

    name: str
    images: str
    product: bool
    licence: str
    sha256: list[str]


def read() -> list[ImageSet]:
    """Returns all sets, the one with the most conditions first."""
    return [ImageSet(**entry) for entry in json.loads(_FILE.read_text())]


def of_training(stages: Iterable[Mapping[str, Any]], start: Mapping[str, Any] | None) -> ImageSet:
    """Returns the set with the most conditions among those of an entry's training.

    Args:
        stages: the stages of its card.
        start: the entry of the zoo whose weights were the start, with its "name"; None for random weights.

    Raises:
        UserError: the images of a stage are of no listed set.
    """
    found, hashes = read(), {stage["data"]["sha256"]: stage["recipe"]["name"] for stage in stages}
    while start:  # an entry may itself have started from another one
        before = zoo.card(start["name"])["training"]
        hashes |= {stage["data"]["sha256"]: start["name"] for stage in before["stages"]}
        start = before["start"]
    known = {digest for each in found for digest in each.sha256}
    for digest, name in hashes.items():
        if digest not in known:
            raise UserError(f"{name}: images of unknown licence (SHA-256 {digest[:12]}...); add their set to {_FILE.name}")
    return next(each for each in found if hashes.keys() & set(each.sha256))
