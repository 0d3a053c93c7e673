"""What a searched network's operators cost, differentiably: multiply-adds (Eq. 3), parameters, activations, measured latency.

Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Sec. 3.2.3. Counts of channels
are floats or tensors; everything is per LR pixel but parameters and latency.
"""

import numpy as np
from keras import ops

KINDS = ("multiply_adds", "parameters", "activations")
_KERNEL = {"conv3x3": 9, "conv1x1": 1}


class Cost:
    """Sums one kind of cost over operators.

    Args:
        kind: of KINDS, or a latency table (mobile_sr/search/latency_table.py): {"grid": [0, c1, c2, ...] channels,
            "conv3x3": ms for every (inputs, outputs) of the grid, "conv1x1": the same, "relu", "prelu", "tanh", "add": ms
            for every number of channels}. Between the grid's points it is linear, behind its end it grows with the
            channels. Its gradient for a count of channels is the time divided by the count: times rise in steps, and on a
            step the slope would say that channels are free.
    Raises: ValueError for another kind.
    """

    def __init__(self, kind):
        if not isinstance(kind, dict) and kind not in KINDS:
            raise ValueError(f"cost must be one of {KINDS} or a latency table, got {kind!r}")
        self.kind = kind
        self.executed = isinstance(kind, dict)  # which counts it wants, see fgnas_supernet.operators
        if isinstance(kind, dict):
            self._table = {name: np.asarray(value, np.float32) for name, value in kind.items() if isinstance(value, list)}

    def total(self, operators):
        """The sum over [(operator, input channels, output channels)]."""
        return sum(self.of(*operator) for operator in operators)

    def of(self, operator, inputs, outputs):
        """The cost of one operator."""
        if isinstance(self.kind, dict):
            return self._latency(operator, inputs, outputs)
        if operator not in _KERNEL:
            return inputs if (operator, self.kind) == ("prelu", "parameters") else 0.0
        if self.kind == "activations":
            return outputs
        products = _KERNEL[operator] * inputs * outputs
        return products + outputs if self.kind == "parameters" else products

    def _latency(self, operator, inputs, outputs):
        table = self._table[operator]
        counts = (outputs,) if table.ndim == 1 else (inputs, outputs)
        time = table
        last = float(self._table["grid"][-1])
        for count in counts:
            time = ops.tensordot(self._hats(ops.minimum(count, last)), time, axes=1) * ops.maximum(count / last, 1.0)
        total = time = ops.stop_gradient(time)
        for count in counts:
            count = ops.convert_to_tensor(count, "float32")
            now = ops.stop_gradient(count)
            total = total + time * (count - now) / ops.maximum(now, 1.0)
        return total

    def _hats(self, count):
        """[grid]: the shares with which a number of channels stands at the grid's points."""
        grid = self._table["grid"]
        gaps = np.diff(grid)
        before, after = np.concatenate([[1], gaps]).astype(np.float32), np.concatenate([gaps, [1]]).astype(np.float32)
        rise, fall = 1 + (count - grid) / before, 1 - (count - grid) / after
        return ops.clip(ops.minimum(rise, fall), 0.0, 1.0)
