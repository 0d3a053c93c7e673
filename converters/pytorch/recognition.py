"""Recognizes the network of a PyTorch checkpoint by the names and shapes of its arrays."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr import models
from mobile_sr.converters.pytorch import folding
from mobile_sr.converters.pytorch.architecture import MISFITS, Architecture, Config, shapes_of
from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES

_LISTED = 3  # number of keys that a message lists


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network with which the names and shapes of a checkpoint agree.

    Attributes:
        config: its configuration.
        is_published: whether its sizes are those of the published network.
    """

    config: dict[str, Any]
    is_published: bool

    @property
    def network(self) -> str:
        """Name of the network."""
        return str(self.config["network"])


@dataclasses.dataclass(frozen=True)
class _Difference:
    network: str
    config: dict[str, Any]
    missing: list[str]  # prefixes
    unknown: list[str]  # keys
    matching: int  # number of keys
    variants: tuple[Config, ...]  # as `Architecture.all_variants`

    def __str__(self) -> str:
        parts = [
            f"{len(keys)} {what} ({_list(keys)})"
            for keys, what in ((self.missing, "missing"), (self.unknown, "unknown"))
            if keys
        ]
        return ", ".join(parts)


def cleaned(state: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Prepares a state dict for `candidates`: weight normalization is folded, and a prefix of all keys is removed.

    The prefix, such as "generator.", is removed only if the keys match no network with it. Of several networks in one file,
    such as "net_g." and "loss.", the first one that matches is used.

    Returns:
        (state dict, keys that are not in it).

    Raises:
        ValueError: the parts of a normalized weight do not fit.
    """
    state = {str(key): value for key, value in state.items()}
    try:
        state = folding.weight_norm(state)
    except MISFITS as error:
        raise ValueError(f"its weight normalization cannot be folded ({error})") from None
    if candidates(state):
        return state, []
    heads = collections.Counter(key.split(".")[0] for key in state)
    for head, _ in heads.most_common():
        inside = {key.removeprefix(f"{head}."): value for key, value in state.items() if key.startswith(f"{head}.")}
        if candidates(inside):
            return inside, [key for key in state if not key.startswith(f"{head}.")]
    return state, []


def candidates(state: Mapping[str, Any], networks: Sequence[str] = ()) -> list[Candidate]:
    """Returns the networks that agree with the names and shapes of a state dict.

    Several networks can: the dilation and skips leave no trace in a state dict. Those with the published sizes come first.

    Args:
        state: {key: array}.
        networks: names to which the search is restricted; all if empty.
    """
    result = []
    for name in networks or ARCHITECTURES:
        difference = _difference(name, ARCHITECTURES[name], state)
        if difference is None or difference.missing or difference.unknown:
            continue
        defaults = models.defaults({"network": name})
        other = ("network", "scale", *ARCHITECTURES[name].forms)
        for variant in difference.variants:
            config = {**difference.config, **variant}
            is_published = all(defaults[key] in (None, value) for key, value in config.items() if key not in other)
            result.append(Candidate(config, is_published))
    return sorted(result, key=lambda candidate: not candidate.is_published)


def nearest(state: Mapping[str, Any], networks: Sequence[str] = ()) -> str:
    """Describes the network that agrees best with a state dict, for an error message; '' if none is similar."""
    every = [_difference(name, ARCHITECTURES[name], state) for name in networks or ARCHITECTURES]
    similar = [difference for difference in every if difference is not None and difference.matching]
    best = max(similar, key=lambda difference: difference.matching / (1 + len(difference.missing)), default=None)
    return f"the nearest is {best.network}, but its keys do not match: {best}" if best else ""


def _difference(name: str, architecture: Architecture, state: Mapping[str, Any]) -> _Difference | None:
    """Returns how the keys differ from those of a network of the sizes that the shapes tell; None for another network."""
    try:
        state = architecture.prepare(dict(state))
    except MISFITS:
        return None
    shapes = shapes_of(state)
    options = architecture.options(shapes)
    if options is None:
        return None
    config = {"network": name, **options}
    prefixes = set(architecture.names(models.complete(config)))
    used, unknown = set(), []
    for key in state:
        prefix = _prefix(key, prefixes)
        if prefix:
            used.add(prefix)
        elif not architecture.is_unused(key):
            unknown.append(key)
    missing, variants = sorted(prefixes - used), architecture.all_variants(shapes)
    return _Difference(name, config, missing, unknown, len(state) - len(unknown), variants)


def _prefix(key: str, prefixes: set[str]) -> str | None:
    """Returns the longest of the prefixes that a key starts with."""
    while "." in key:
        key = key.rpartition(".")[0]
        if key in prefixes:
            return key
    return None


def _list(keys: Sequence[str]) -> str:
    return ", ".join(sorted(keys)[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")
