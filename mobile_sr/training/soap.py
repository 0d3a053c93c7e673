"""SOAP optimizer: Adam in the eigenbasis of Shampoo's preconditioner, for `--set optimizer=soap`.

Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025, Algorithm 3. Measured gains:
docs/measurements/training.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

EVERY = 10  # steps between two updates of the eigenbases
LARGEST = 1024  # a longer side of a kernel is not rotated, as in the paper's one-sided variant

_Tensor = Any  # a tensor or variable of the Keras backend
_Side = tuple[_Tensor, _Tensor] | None  # (running mean, eigenbasis) of one side of a kernel; None: not rotated


class Soap(keras.optimizers.Optimizer):
    """SOAP for Keras.

    A kernel [..., i, o] is treated as a matrix G [(... i), o]. The eigenbases are those of the running means of G G^T and
    G^T G. Adam's second moment is kept in these bases, the first moment outside of them. Biases, whose matrices would have
    one column, use plain Adam. The bases start as the identity. One step of orthogonal iteration (QR) updates them every
    EVERY steps.

    Args:
        learning_rate: a number or a schedule.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        shampoo_beta: decay of the running means of the matrices.
        epsilon: added to the denominator.
        name: name of the optimizer.
        **kwargs: passed to keras.optimizers.Optimizer.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 3e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        shampoo_beta: float = 0.95,
        epsilon: float = 1e-8,
        name: str = "soap",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.shampoo_beta, self.epsilon = beta_1, beta_2, shampoo_beta, epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state: two moments per variable, and a running mean and a basis per rotated side of a kernel."""
        if self.built:
            return
        super().build(variables)
        self._first = [self.add_variable_from_reference(v, "first") for v in variables]
        self._second = [self.add_variable_from_reference(v, "second") for v in variables]
        self._sides = [self._build_sides(v) for v in variables]

    def _build_sides(self, variable: keras.Variable) -> list[_Side]:
        """Return the states of the rows' side and of the columns' side; an empty list for a bias."""
        sides = _matrix_shape(variable) if len(variable.shape) > 1 else ()
        states: list[_Side] = []
        for side in sides:
            if side > LARGEST:
                states.append(None)
                continue
            mean = self.add_variable((side, side), initializer="zeros", name="mean")
            states.append((mean, self.add_variable((side, side), initializer="identity", name="basis")))
        return states

    def update_step(self, gradient: _Tensor, variable: keras.Variable, learning_rate: _Tensor) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        first, second, sides = self._first[index], self._second[index], self._sides[index]
        step = ops.cast(self.iterations + 1, "float32")
        gradient = ops.cast(gradient, "float32")
        self.assign(first, self.beta_1 * first + (1 - self.beta_1) * gradient)
        rotated = self._rotate(gradient, sides)
        self.assign(second, self.beta_2 * second + (1 - self.beta_2) * ops.square(rotated))
        mean = self._rotate(first, sides) / (1 - self.beta_1**step)
        scale = ops.sqrt(second / (1 - self.beta_2**step)) + self.epsilon
        self.assign_sub(variable, ops.cast(learning_rate, "float32") * self._rotate(mean / scale, sides, back=True))
        self._update_bases(gradient, sides)

    def _rotate(self, x: _Tensor, sides: list[_Side], back: bool = False) -> _Tensor:
        """Rotate a kernel into the eigenbases, or back."""
        if not sides:
            return x
        shape = x.shape
        rows, columns = sides
        x = ops.reshape(x, _matrix_shape(x))
        if rows:
            x = ops.matmul(rows[1] if back else ops.transpose(rows[1]), x)
        if columns:
            x = ops.matmul(x, ops.transpose(columns[1]) if back else columns[1])
        return ops.reshape(x, shape)

    def _update_bases(self, gradient: _Tensor, sides: list[_Side]) -> None:
        """Add the gradient to the running means and, every EVERY steps, update the bases from them."""
        if not sides:
            return
        gradient = ops.reshape(gradient, _matrix_shape(gradient))
        due = ops.equal((self.iterations + 1) % EVERY, 0)
        for side, matrix in zip(sides, (gradient, ops.transpose(gradient)), strict=True):
            if side:
                mean, basis = side
                new = self.shampoo_beta * mean + (1 - self.shampoo_beta) * ops.matmul(matrix, ops.transpose(matrix))
                self.assign(mean, new)
                updated = ops.cond(due, lambda m=new, b=basis: ops.qr(ops.matmul(m, b))[0], lambda b=basis: b + 0.0)
                self.assign(basis, updated)


def _matrix_shape(x: _Tensor) -> tuple[int, int]:
    return math.prod(x.shape[:-1]), x.shape[-1]
