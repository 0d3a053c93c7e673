"""From the supernet of plain chains to the plain network of its open gates, and the end of the search for gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from mobile_sr.architecture_search.compaction import Collapsed
from mobile_sr.models.nas import fgnas_plain_supernet as plain

if TYPE_CHECKING:
    import keras


def compact(model: keras.Model, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Convert a supernet with its current gates to the plain network with the same function, up to rounding.

    Args:
        model: the supernet.
        config: configuration of the supernet.

    Returns:
        The configuration for models/chainsr.py, and {variable path: array}.

    Raises:
        Collapsed: the head has no open channel.
    """
    chain = plain.chain(model)
    head, *layers = (np.repeat(_numpy(gates) > 0, chain.step).nonzero()[0] for gates in chain.open_widths())
    if not len(head):
        raise Collapsed("the first convolution has no open channel")
    arrays = {"head/kernel": _numpy(chain.head[0])[..., head], "head/bias": _numpy(chain.head[1])[head]}
    widths: list[int] = []
    before = head
    for index, (channels, z) in enumerate(zip(layers, chain.open_layers(), strict=True)):
        if not _numpy(z):
            continue
        widths.append(len(channels))
        name = f"conv{len(widths)}"
        arrays[f"{name}/kernel"] = _numpy(chain.folded(index))[:, :, before][..., channels]
        arrays[f"{name}/bias"] = _numpy(chain.convs[index][1])[channels]
        before = channels
    arrays |= {"tail/kernel": _numpy(chain.tail[0])[:, :, head], "tail/bias": _numpy(chain.tail[1])}
    kept = {key: config[key] for key in ("scale", "output_activation") if key in config}
    return {"network": "chainsr", **kept, "channels": len(head), "layers": len(widths), "widths": widths}, arrays


def alive(model: keras.Model) -> str:
    """Return the channels of the head and of every layer in one line, such as '16 | 16-8-.-16'; '.' has vanished."""
    chain = plain.chain(model)
    head, *widths = (str(int(_numpy(gates).sum()) * chain.step) for gates in chain.open_widths())
    layers = [width if _numpy(z) else "." for width, z in zip(widths, chain.open_layers(), strict=True)]
    return f"{head} | {'-'.join(layers)}"


def reopen(model: keras.Model, fits: Callable[[], bool]) -> int:
    """Open vanished layers, then groups of channels of the other layers, as long as the network fits.

    Those that closed last come first: the ones with the highest psi. A reopened layer starts as the identity, with the channels
    of the layer before it.

    Args:
        model: the supernet. Its gates and weights are changed.
        fits: function that returns whether the network of the current gates is cheap enough.

    Returns:
        The number of opened gates.
    """
    chain = plain.chain(model)
    count = 0
    vanished = [k for k, z in enumerate(chain.open_layers()) if not _numpy(z)]
    for index in sorted(vanished, key=lambda k: -_psi(chain.layer_gates[k]).max()):
        count += _open_layer(chain, index, fits)
    groups = [(gate, row) for gate in chain.width_gates for row in np.flatnonzero(~_is_open(gate))]
    for gate, row in sorted(groups, key=lambda group: -_psi(group[0])[group[1]]):
        index = chain.width_gates.index(gate) - 1
        if index < 0 or _numpy(chain.open_layers()[index]):
            count += _change([(gate, _is_open(gate) | (np.arange(len(_psi(gate))) == row))], fits)
    return count


def hold(model: keras.Model) -> None:
    """Fix all gates as they are now: training no longer moves them."""
    for gate in _gates(model):
        _set(gate, _is_open(gate))


def is_held(model: keras.Model) -> bool:
    """Return whether `hold` has fixed the gates."""
    return all((abs(_psi(gate) - 0.5) > plain.HELD / 2).all() for gate in _gates(model))


def _open_layer(chain: plain.PlainChain, index: int, fits: Callable[[], bool]) -> int:
    """Open a vanished layer as the identity, if it fits. Returns the number of opened gates."""
    channels = [gates for gates, z in zip(chain.open_widths()[1:], chain.open_layers(), strict=True)][:index]
    alive_before = [gates for gates, z in zip(channels, chain.open_layers(), strict=False) if _numpy(z)]
    before = _numpy(alive_before[-1] if alive_before else chain.open_widths()[0]) > 0
    changes = [(chain.layer_gates[index], np.array([True]))]
    if index + 1 < len(chain.width_gates):
        changes.append((chain.width_gates[index + 1], before))
    count = _change(changes, fits)
    if count:
        for variable in chain.convs[index]:
            variable.assign(ops.zeros_like(variable))
    return count


def _change(changes: list[tuple[Any, np.ndarray]], fits: Callable[[], bool]) -> int:
    """Set gates, and undo it if the network then does not fit. Returns the number of opened gates."""
    before = [_numpy(gate.stored) for gate, _ in changes]
    count = sum(int((values & ~_is_open(gate)).sum()) for gate, values in changes)
    for gate, values in changes:
        _set(gate, values)
    if fits():
        return count
    for (gate, _), stored in zip(changes, before, strict=True):
        gate.stored.assign(stored)
    return 0


def _gates(model: keras.Model) -> list[Any]:
    chain = plain.chain(model)
    return [*chain.width_gates, *chain.layer_gates]


def _set(gate: Any, values: np.ndarray) -> None:
    """Open or close the gates for good."""
    gate.stored.assign(np.where(values, 0.5 + plain.HELD, 0.5 - plain.HELD)[:, None].astype(np.float32) / gate.rate)


def _psi(gate: Any) -> np.ndarray:
    return _numpy(gate.psi)[:, 0]


def _is_open(gate: Any) -> np.ndarray:
    return _psi(gate) > 0.5


def _numpy(value: Any) -> np.ndarray:
    return ops.convert_to_numpy(value)
