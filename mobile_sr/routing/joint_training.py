"""Joint training of networks and the classifier that chooses among them, with the losses of ClassSR (Kong et al., CVPR 2021).

The model is models/train_time/classsr.py. Its weights are validated as they will be used: every patch has the output of one
network, and the price of a multiply-add (route_training.py) is such that the networks' mean cost over the validation images is
what they would cost in equal shares. Otherwise, weights that send everything to the largest network would be the best ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.errors import UserError
from mobile_sr.inference import model_files, weights

if TYPE_CHECKING:
    import keras

_LARGEST_EPS = 1e-3  # of Charbonnier's loss, 0.3 levels of 255: below the usual errors


def resolve(network: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a joint model with those of its networks, in ascending order of their cost.

    Args:
        network: configuration with the networks' `files`: zoo names, .npz files or run folders.

    Raises:
        UserError: there are fewer than two, or they cannot be routed or have another scale.
    """
    from mobile_sr.routing import networks

    files = network.get("files") or []
    if len(files) < 2:
        raise UserError(
            "classsr needs two or more trained networks, such as --set network.files=runs/small,runs/middle,runs/large"
        )
    nets = networks.find([str(file) for file in files])
    if nets[0].config["scale"] != network["scale"]:
        raise UserError(f"{nets[0].name}: its scale is {nets[0].config['scale']}, but the recipe trains x{network['scale']}")
    return {**network, "files": [net.name for net in nets], "nets": [net.config for net in nets]}


class JointTraining(extensions.Training):
    """Hooks of the training loop for joint models, see `extensions.Training`."""

    def __init__(self, recipe: Any) -> None:
        """Keeps the recipe. Raises UserError for settings that joint training does not support."""
        super().__init__(recipe)
        self._shares: np.ndarray | None = None
        network = {**models.defaults(recipe.network), **recipe.network}
        self._network, self._patch = network, network["patch"]
        for key, neutral in (("branches", "none"), ("activation_bits", 0), ("weight_bits", 0), ("flat_share", 0)):
            if getattr(recipe, key) != neutral:
                raise UserError(f"--set {key}={getattr(recipe, key)}: not supported by joint training; use {neutral}")
        if network["combine"] == "errors":
            _check_proportional(recipe)
        for key in ("patch", "validation_crop"):
            if getattr(recipe, key) % self._patch:
                raise UserError(f"--set {key}={getattr(recipe, key)}: must be a multiple of the routed patch, {self._patch}")

    def initialize(self, model: keras.Model, loaded: Collection[str], images: Callable[[], np.ndarray]) -> None:
        """Copies the weights of the trained networks."""
        for index, file in enumerate(self._network["files"]):
            if not any(path.startswith(f"net{index}/") for path in loaded):  # --init has them
                net, _ = weights.load_model(model_files.trained(file)[0])
                model.get_layer(f"net{index}").set_weights(net.get_weights())

    def losses(self, loss: Any) -> dict[str, Any]:
        """Adds `routing_loss` of the probabilities."""
        if self._network["combine"] == "errors":
            from mobile_sr.models.train_time import classsr

            loss = classsr.sum_of_errors(loss)
        return {"loss": [loss, routing_loss(self._network["class_weight"], self._network["balance_weight"])]}

    def batch(self, lr: Any, hr: Any, step: int, share: slice) -> tuple[Any, Any]:
        """Adds a target for the probabilities, which their loss does not use."""
        return lr, (hr, np.zeros((len(hr), 1), np.float32))

    def signature(self, lr: Any, hr: Any) -> tuple[Any, Any]:
        """As `batch`, for tf.TensorSpecs."""
        import tensorflow as tf

        return lr, (hr, tf.TensorSpec((self.recipe.batch, 1), tf.float32))

    @functools.cached_property
    def _costs(self) -> np.ndarray:
        return np.array([models.multiply_adds(models.build(net), 1) for net in self._network["nets"]], float)

    def all_sr(self, model: keras.Model, lr: np.ndarray, value: float | None) -> Iterator[Any]:
        """Yields the routed SR outputs of the validation images, at the mean cost of equal shares over all of them."""
        from keras import ops

        from mobile_sr.routing.budget import price

        inputs = [image[None].astype(np.float32) / 255 for image in lr]
        classifier = model.get_layer("classifier")
        logits = [ops.convert_to_numpy(classifier(x, training=False))[0].astype(np.float64) for x in inputs]
        every, costs = np.concatenate([part.reshape(-1, len(self._costs)) for part in logits]), self._costs
        paid = price(every, costs, float(costs.mean())) * costs
        self._shares = np.bincount((every - paid).argmax(1), minlength=len(costs)) / len(every)
        side = self._patch * self._network["scale"]
        for x, part in zip(inputs, logits, strict=True):
            chosen = (part - paid).argmax(2).repeat(side, 0).repeat(side, 1)[..., None]
            outputs = [model.get_layer(f"net{index}")(x, training=False)[0] for index in range(len(costs))]
            yield np.choose(chosen, [ops.convert_to_numpy(output) for output in outputs])[None]

    def status(self) -> str:
        """Returns the networks' shares of the patches of the last validation."""
        return "" if self._shares is None else "  patches " + " ".join(f"{share:.0%}" for share in self._shares)


class JointExport(extensions.Export):
    """The export of joint models: `route` does it."""

    def check_upscaler(self, model: str) -> None:
        """Refuses them."""
        raise UserError(f"{model}: has several networks; `mobile-sr route --model {model}` makes a routed model of them")


def _check_proportional(recipe: Any) -> None:
    """Raises UserError for a loss that is not proportional to the errors, as `classsr.sum_of_errors` needs it."""
    instead = "for combine=errors the loss must be proportional to the errors"
    if recipe.hooks.loss:
        raise UserError(f"the recipe's own loss: {instead}; leave it out, or use --set network.combine=sum")
    if recipe.loss != "charbonnier":
        raise UserError(f"--set loss={recipe.loss}: {instead}; use charbonnier")
    if recipe.charbonnier_eps > _LARGEST_EPS:
        raise UserError(f"--set charbonnier_eps={recipe.charbonnier_eps:g}: {instead}; use at most {_LARGEST_EPS:g}")


def routing_loss(class_weight: float, balance_weight: float) -> Callable[[Any, Any], Any]:
    """Returns the Keras loss of the probabilities: the weighted sum of `class_loss` and `balance_loss`.

    Args:
        class_weight, balance_weight: weights beside the loss of the image.
    """

    def loss(unused: Any, probabilities: Any) -> Any:
        from keras import ops

        rows = ops.reshape(probabilities, (-1, probabilities.shape[-1]))
        return class_weight * class_loss(rows) + balance_weight * balance_loss(rows)

    return loss


def class_loss(probabilities: Any) -> Any:
    """Returns ClassSR's class loss plus a constant, from 0, all decisions sure, to M - 1, all classes equal.

    Args:
        probabilities: [n, M].
    """
    from keras import ops

    classes = probabilities.shape[-1]
    pairs = ((i, j) for i in range(classes) for j in range(i))
    return classes - 1 - sum(ops.mean(ops.abs(probabilities[:, i] - probabilities[:, j])) for i, j in pairs)


def balance_loss(probabilities: Any) -> Any:
    """Returns ClassSR's average loss, scaled, from 0, all classes as frequent, to 1, one class alone.

    Args:
        probabilities: [n, M].
    """
    from keras import ops

    classes = probabilities.shape[-1]
    return ops.sum(ops.abs(ops.mean(probabilities, axis=0) - 1 / classes)) / (2 - 2 / classes)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a trained joint model.

    Attributes:
        files: .npz files of the networks, the cheapest first.
        classifier: the classifier.
        patch: side of a patch in LR pixels.
    """

    files: Sequence[Path]
    classifier: keras.Model
    patch: int


def split(name: str, folder: Path) -> Parts | None:
    """Splits a trained joint model. Returns None for a model of another kind.

    Args:
        name: .npz file or run folder.
        folder: an empty folder for the files, which have the names of those that the networks started from.
    """
    from mobile_sr.models import patch_classifier

    file = model_files.trained(name)[0]
    if weights.read_arrays(file)[1].get("config", {}).get("network") != models.CLASSSR:
        return None
    model, config = weights.load_model(file)
    stems = [Path(str(part)).stem for part in config.get("files", ())]
    if len({*stems}) != len(config["nets"]):
        stems = [f"net{index}" for index in range(len(config["nets"]))]
    written = []
    for index, (stem, net_config) in enumerate(zip(stems, config["nets"], strict=True)):
        net = models.build(net_config)
        net.set_weights(model.get_layer(f"net{index}").get_weights())
        written.append(folder / f"{stem}.npz")
        weights.save_model(written[-1], net, net_config)
    classifier = patch_classifier.build(len(written), config["patch"])
    classifier.set_weights(model.get_layer("classifier").get_weights())
    return Parts(written, classifier, config["patch"])
