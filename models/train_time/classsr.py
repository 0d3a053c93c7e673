"""Several networks of one scale and a patch classifier as one model, to train them jointly (ClassSR, Kong et al., CVPR 2021).

In training, a patch's output is the sum of the networks' outputs, weighted by the classifier's probabilities, so that the
gradient reaches all of them (Sec. 3.2). What is deployed runs one network per patch: mobile_sr/routing/.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mobile_sr import models
from mobile_sr.models import patch_classifier

CLASSIFIER = "classifier"  # name of the sub-model; the networks are net0, net1, ...


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    nets: Sequence[Mapping[str, Any]] = (),
    files: Sequence[str] = (),
    patch: int = 32,
    classifier_steps: int = 0,
    class_weight: float = 5e-4,
    balance_weight: float = 3e-3,
) -> keras.Model:
    """The joint model as a functional Keras model.

    Args:
        scale, output_activation: for recipes; the networks have their own.
        nets: configurations of two or more networks of one scale, the cheapest first.
        files: where their weights come from, for the training.
        patch: side of a patch in LR pixels, a multiple of patch_classifier.STRIDE.
        classifier_steps: training steps in which the networks stay as they are.
        class_weight, balance_weight: for the training, see mobile_sr/routing/joint_training.py.

    Returns:
        keras.Model: [N, H * patch, W * patch, 3] float32 RGB in 0..1 -> [SR output, probabilities [N, H, W, len(nets)]].

    Raises:
        ValueError: there are fewer than two networks, or as patch_classifier.build.
    """
    if len(nets) < 2:
        raise ValueError(f"two or more networks are needed, got {len(nets)}")
    lr = keras.Input((None, None, 3), name="lr")
    outputs = []
    for index, config in enumerate(nets):
        with keras.name_scope(f"net{index}"):  # the names of their variables are different, too
            net = models.build(config)
        outputs.append(keras.Model(net.input, net.output, name=f"net{index}")(lr))
    with keras.name_scope(CLASSIFIER):
        classifier = patch_classifier.build(len(nets), patch)
    logits = keras.Model(classifier.input, classifier.output, name=CLASSIFIER)(lr)
    probabilities = keras.layers.Softmax(dtype="float32", name="classes")(logits)
    outputs = Frozen(classifier_steps, name="frozen")(outputs)
    weights = keras.layers.UpSampling2D(patch * scale, dtype="float32", name="weights")(probabilities)
    return keras.Model(lr, [ProbabilitySum(dtype="float32", name="sr")([weights, *outputs]), probabilities], name="classsr")


@keras.saving.register_keras_serializable("mobile_sr")
class Frozen(keras.layers.Layer):
    """Passes tensors on, but no gradient in the first training steps."""

    def __init__(self, steps: int, **options: Any) -> None:
        """Starts at step 0.

        Args:
            steps: steps without a gradient.
            options: of keras.layers.Layer.
        """
        super().__init__(**options)
        self.steps = steps

    def build(self, shapes: Any) -> None:
        """Makes the counter, which a checkpoint has, too."""
        self.done = self.add_weight(
            shape=(), dtype="float32", initializer="zeros", trainable=False, autocast=False, name="done"
        )

    def call(self, tensors: Sequence[Any], training: bool = False) -> list[Any]:
        """Returns the tensors."""
        if not training:
            return list(tensors)
        is_open = self.done >= self.steps
        self.done.assign(self.done + 1)
        return [ops.where(is_open, x, ops.stop_gradient(x)) for x in tensors]

    def compute_output_shape(self, shapes: Any) -> Any:
        """The shapes of the inputs."""
        return shapes

    def get_config(self) -> dict[str, Any]:
        """As of keras.layers.Layer."""
        return {**super().get_config(), "steps": self.steps}


@keras.saving.register_keras_serializable("mobile_sr")
class ProbabilitySum(keras.layers.Layer):
    """The sum of images [N, H, W, 3], each multiplied by one channel of the first input, [N, H, W, images]."""

    def call(self, tensors: Sequence[Any]) -> Any:
        """Returns the sum."""
        weights, *images = tensors
        return sum(weights[..., k : k + 1] * image for k, image in enumerate(images))

    def compute_output_shape(self, shapes: Any) -> Any:
        """The shape of one image."""
        return shapes[1]
