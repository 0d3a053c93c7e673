"""Differentiable costs of the supernet's operators: multiply-adds (Eq. 3), parameters, activations, instructions or latency.

Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Sec. 3.2.3. Numbers of channels
are floats or scalar tensors. Costs are per LR pixel, except for parameters and latency.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from mobile_sr.models import counts
from mobile_sr.models.nas import arm64

KINDS = ("multiply_adds", "parameters", "activations", "arm64")
_TAPS = {"conv3x3": 9, "conv1x1": 1}
Number: TypeAlias = float | keras.KerasTensor
Operator: TypeAlias = tuple[str, Number, Number]  # name, input channels, output channels


class Cost:
    """One kind of cost, summed over operators.

    Args:
        kind: one of KINDS, or a latency table (mobile_sr/architecture_search/latency_table.py). 'arm64' means the table
            of arm64.py, in instructions. A latency table is {"grid": [0, c1, c2, ...] channels, "conv3x3": ms for every
            (inputs, outputs) of the grid, "conv1x1": the same, "relu", "prelu", "tanh", "add": ms for every number of
            channels}. Latency is interpolated linearly between the points of the grid and grows in proportion to the channels
            past its end. Its gradient with respect to a number of channels is the time divided by the number: measured times
            rise in steps, and within a step the true slope would make channels free.
    Raises: ValueError for another kind.
    """

    def __init__(self, kind: str | Mapping[str, Any]) -> None:
        if not isinstance(kind, dict) and kind not in KINDS:
            raise ValueError(f"cost must be one of {KINDS} or a latency table, got {kind!r}")
        self.kind = kind
        table = arm64.search_table() if kind == "arm64" else kind
        self.executed = isinstance(table, dict)  # as for fgnas_supernet.operators
        if isinstance(table, dict):
            self._table = {name: np.asarray(value, np.float32) for name, value in table.items() if isinstance(value, list)}

    def total(self, operators: Iterable[Operator]) -> Number:
        """Sum over (operator, input channels, output channels)."""
        return sum(self.of(*operator) for operator in operators)

    def of(self, operator: str, inputs: Number, outputs: Number) -> Number:
        """Cost of one operator: 'conv3x3', 'conv1x1', 'relu', 'prelu', 'tanh', 'add' or 'depth_to_space'.

        Raises: ValueError for 'prelu' and 'tanh' if the cost is 'arm64', which has no figures for them.
        """
        if self.kind == "arm64" and operator not in self._table:
            raise ValueError(f"cost arm64 has no figures for {operator}; search relu alone")
        if self.executed:
            return self._latency(operator, inputs, outputs) if operator in self._table else 0.0
        if operator not in _TAPS:
            return inputs if (operator, self.kind) == ("prelu", "parameters") else 0.0
        if self.kind == "activations":
            return outputs
        products = counts.convolution(_TAPS[operator], inputs, outputs)
        return products + outputs if self.kind == "parameters" else products

    def _latency(self, operator: str, inputs: Number, outputs: Number) -> keras.KerasTensor:
        time: Any = self._table[operator]
        channels = (outputs,) if time.ndim == 1 else (inputs, outputs)
        last = float(self._table["grid"][-1])
        for count in channels:
            time = ops.tensordot(self._hats(ops.minimum(count, last)), time, axes=1) * ops.maximum(count / last, 1.0)
        total = time = ops.stop_gradient(time)
        for count in channels:
            count = ops.convert_to_tensor(count, "float32")
            now = ops.stop_gradient(count)
            total = total + time * (count - now) / ops.maximum(now, 1.0)
        return total

    def _hats(self, count: Number) -> keras.KerasTensor:
        """[grid]: weights of the grid's points in the linear interpolation at a number of channels."""
        grid = self._table["grid"]
        gaps = np.diff(grid)
        before, after = np.concatenate([[1], gaps]).astype(np.float32), np.concatenate([gaps, [1]]).astype(np.float32)
        rise, fall = 1 + (count - grid) / before, 1 - (count - grid) / after
        return ops.clip(ops.minimum(rise, fall), 0.0, 1.0)
