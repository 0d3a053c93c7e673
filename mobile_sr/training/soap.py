"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner, for `--set optimizer=soap`.

Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025, Algorithm 3. What it gives:
docs/measurements/training.md.
"""

import math

import keras
from keras import ops

EVERY = 10  # steps from one turn of the basis to the next
LARGEST = 1024  # a longer side of a kernel keeps its own axes, as the paper's one-sided form does


class Soap(keras.optimizers.Optimizer):
    """Every kernel [..., i, o] is a matrix G [(... i), o]; running means of G G^T and G^T G have its eigenbases.

    Adam's second moment is kept in that basis, its first one outside. Biases, whose matrices would have one column, are
    Adam's. The basis starts as the plain axes and follows by one step of orthogonal iteration (QR) every EVERY steps.

    Args:
        learning_rate: a number or schedule. beta_1, beta_2: decays of the moments. shampoo_beta: of the matrices' means.
    """

    def __init__(self, learning_rate=3e-3, beta_1=0.9, beta_2=0.99, shampoo_beta=0.95, epsilon=1e-8, name="soap", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.shampoo_beta, self.epsilon = beta_1, beta_2, shampoo_beta, epsilon

    def build(self, variables):
        """Make the state: two moments for each variable, and for each side of a kernel its mean and its basis."""
        if self.built:
            return
        super().build(variables)
        self._first = [self.add_variable_from_reference(v, "first") for v in variables]
        self._second = [self.add_variable_from_reference(v, "second") for v in variables]
        self._sides = [self._build_sides(v) for v in variables]

    def _build_sides(self, variable):
        """(mean, basis) of the rows' side and of the columns'; None for a side that keeps its axes."""
        sides = _matrix_shape(variable) if len(variable.shape) > 1 else ()
        made = []
        for side in sides:
            if side > LARGEST:
                made.append(None)
                continue
            mean = self.add_variable((side, side), initializer="zeros", name="mean")
            made.append((mean, self.add_variable((side, side), initializer="identity", name="basis")))
        return made

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step."""
        index = self._get_variable_index(variable)
        first, second, sides = self._first[index], self._second[index], self._sides[index]
        step = ops.cast(self.iterations + 1, "float32")
        gradient = ops.cast(gradient, "float32")
        self.assign(first, self.beta_1 * first + (1 - self.beta_1) * gradient)
        turned = self._turn(gradient, sides)
        self.assign(second, self.beta_2 * second + (1 - self.beta_2) * ops.square(turned))
        mean = self._turn(first, sides) / (1 - self.beta_1**step)
        scale = ops.sqrt(second / (1 - self.beta_2**step)) + self.epsilon
        self.assign_sub(variable, ops.cast(learning_rate, "float32") * self._turn(mean / scale, sides, back=True))
        self._follow(gradient, sides)

    def _turn(self, x, sides, back=False):
        """A kernel in the basis, or from it back to its own axes."""
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

    def _follow(self, gradient, sides):
        """Take the gradient into the sides' means and, when it is time, their bases after them."""
        if not sides:
            return
        gradient = ops.reshape(gradient, _matrix_shape(gradient))
        due = ops.equal((self.iterations + 1) % EVERY, 0)
        for side, matrix in zip(sides, (gradient, ops.transpose(gradient)), strict=True):
            if side:
                mean, basis = side
                new = self.shampoo_beta * mean + (1 - self.shampoo_beta) * ops.matmul(matrix, ops.transpose(matrix))
                self.assign(mean, new)
                turned = ops.cond(due, lambda m=new, b=basis: ops.qr(ops.matmul(m, b))[0], lambda b=basis: b + 0.0)
                self.assign(basis, turned)


def _matrix_shape(x):
    return math.prod(x.shape[:-1]), x.shape[-1]
