"""Training of networks with AdaDSR's adapter: the depth loss, random desired depths and mean depths of a validation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobile_sr import extensions, models

if TYPE_CHECKING:
    import keras


class DepthRecipe(Protocol):
    """The part of a Recipe that this module uses."""

    network: dict[str, Any]
    batch: int
    seed: int
    fixed_depth: float
    depth_weight: float
    depth_hinge: str
    depth_price: float


class DepthTraining(extensions.Training):
    """Hooks of the training loop for networks with depth maps, see `extensions.Training`.

    Attributes:
        max_depth: the number of blocks; None for a network without a desired depth.
    """

    recipe: DepthRecipe

    def __init__(self, recipe: DepthRecipe) -> None:
        """Keeps the recipe."""
        super().__init__(recipe)
        self.max_depth = models.max_depth(recipe.network)
        self._depths: dict[float | None, list[float]] = {}

    def initialize(self, model: keras.Model, loaded: Collection[str], images: Callable[[], np.ndarray]) -> None:
        """Sets the mean depth of a new adapter: the recipe's fixed depth, or half of the desired range."""
        from mobile_sr.models import adadsr

        if "adapter5/kernel" not in loaded:
            lr = images().astype(np.float32) / 255
            adadsr.start_at(model, lr, self.recipe.fixed_depth or (self.max_depth or 0) / 2)

    def losses(self, loss: Any) -> dict[str, Any]:
        """Adds `depth_loss` with the recipe's weights."""
        r = self.recipe
        depth = functools.partial(depth_loss, weight=r.depth_weight, price=r.depth_price, whole_batch=r.depth_hinge == "batch")
        return {"loss": [loss, depth]}

    def batch(self, lr: Any, hr: Any, step: int, share: slice) -> tuple[Any, Any]:
        """Adds the step's desired depths to the targets, and to the inputs if the network has one.

        With a hinge on the whole batch, the target of a patch of one colour is 0: it needs no block at any desired depth.
        """
        desired = desired_depths(self.recipe, self.max_depth, step)[share]
        flat = np.ptp(lr, axis=(1, 2)).max(axis=-1, keepdims=True) == 0 if self.recipe.depth_hinge == "batch" else False
        return self._with_depth(lr, hr, desired, np.where(flat, np.float32(0), desired))

    def signature(self, lr: Any, hr: Any) -> tuple[Any, Any]:
        """As `batch`, for tf.TensorSpecs."""
        import tensorflow as tf

        depth = tf.TensorSpec((self.recipe.batch, 1), tf.float32)
        return self._with_depth(lr, hr, depth, depth)

    def _with_depth(self, lr: Any, hr: Any, desired: Any, target: Any) -> tuple[Any, Any]:
        return lr if self.max_depth is None else (lr, desired), (hr, target)

    def start_validation(self) -> Sequence[float | None]:
        """Returns a quarter, half, three quarters and all of the blocks for a network with a desired depth."""
        self._depths = {}
        return (None,) if self.max_depth is None else tuple(np.arange(1, 5) * self.max_depth / 4)

    def sr(self, model: keras.Model, lr: np.ndarray, value: float | None) -> Any:
        """Returns the SR output and remembers the mean depth."""
        from keras import ops

        sr, depth_map = model(lr if value is None else [lr, np.full((1, 1), value, np.float32)], training=False)
        self._depths.setdefault(value, []).append(float(ops.mean(depth_map)))
        return sr

    @property
    def depths(self) -> dict[float | None, float]:
        """Mean depths on the validation images, in blocks, for each desired depth."""
        return {desired: float(np.mean(values)) for desired, values in self._depths.items()}

    def status(self) -> str:
        """Returns the mean depths as text."""
        depths = self.depths.items()
        return "".join(f"  depth {depth:.2f}" + ("" if desired is None else f" for {desired:g}") for desired, depth in depths)


def depth_loss(desired: Any, depth_map: Any, *, weight: float, price: float, whole_batch: bool) -> Any:
    """Returns the weighted hinge plus the price of all depth: weight * hinge + price * mean depth.

    The hinge is 0 below the desired depth, so only the price makes the adapter save blocks there that gain nothing.

    Args:
        desired: [N, 1] desired depths in blocks.
        depth_map: [N, H, W, M] depth maps in blocks.
        weight: of the hinge, per block.
        price: per block.
        whole_batch: `batch_hinge` in place of `depth_hinge`.
    """
    from keras import ops

    loss = weight * (batch_hinge if whole_batch else depth_hinge)(desired, depth_map)
    return loss + price * ops.mean(ops.cast(depth_map, "float32")) if price else loss


def depth_hinge(desired: Any, depth_map: Any) -> Any:
    """Returns AdaDSR's depth loss (Liu et al. 2020, Sec. 3.4).

    It is max(0, mean depth - desired depth), averaged over images and depth maps. Arguments as for `depth_loss`.
    """
    from keras import ops

    return ops.mean(ops.relu(_excess(desired, depth_map)))


def batch_hinge(desired: Any, depth_map: Any) -> Any:
    """Returns the depth loss on means over the whole batch, so that smooth images can leave their blocks to detailed ones.

    It is max(0, mean excess of the images), averaged over depth maps, plus the `depth_hinge` of the images whose desired depth
    is 0, averaged over these: others cannot make up for their excess. Arguments as for `depth_loss`.
    """
    from keras import ops

    excess = _excess(desired, depth_map)
    is_flat = ops.cast(ops.equal(desired, 0), "float32")
    own = ops.sum(is_flat * ops.mean(ops.relu(excess), axis=1, keepdims=True)) / ops.maximum(ops.sum(is_flat), 1.0)
    return ops.mean(ops.relu(ops.mean(excess, axis=0))) + own


def _excess(desired: Any, depth_map: Any) -> Any:
    """Mean depth minus desired depth of each image and depth map, [N, M]."""
    from keras import ops

    return ops.mean(ops.cast(depth_map, "float32"), axis=(1, 2)) - ops.cast(desired, "float32")


def desired_depths(recipe: DepthRecipe, max_depth: int | None, step: int) -> np.ndarray:
    """Returns the desired depth of each image of a step, [batch, 1] float32, in blocks.

    With a hinge on the whole batch, all images of a step have the same desired depth: means over images with different ones
    would let the images with a small desired depth use the blocks of the others.

    Args:
        recipe: the recipe.
        max_depth: the network's number of blocks: the depths are uniform in 0..max_depth (Liu et al. 2020, Sec. 3.4). None for
            a network without a desired depth: all depths are the recipe's fixed depth.
        step: number of the step, from 0.
    """
    if max_depth is None:
        return np.full((recipe.batch, 1), recipe.fixed_depth, np.float32)
    draws = 1 if recipe.depth_hinge == "batch" else recipe.batch
    depths = np.random.default_rng([recipe.seed, step, 1]).uniform(0, max_depth, (draws, 1)).astype(np.float32)
    return np.repeat(depths, recipe.batch // draws, axis=0)


def at_full_depth(model: keras.Model, network: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the SR output of a network with depth maps at its full depth, as `extensions.teacher`."""
    max_depth = models.max_depth(network)

    def sr(lr: np.ndarray) -> np.ndarray:
        inputs = lr if max_depth is None else [lr, np.full((len(lr), 1), max_depth, np.float32)]
        result: np.ndarray = model.predict_on_batch(inputs)[0]
        return result

    return sr
