"""Several networks of one scale and a patch classifier as one model, to train them jointly (ClassSR, Kong et al., CVPR 2021).

What is deployed runs one network per patch: mobile_sr/routing/. In training, all networks run on every patch, and the
classifier's probabilities weight them, so that the gradient reaches all of them. In the paper (Sec. 3.2), the loss is that of
the weighted sum of their outputs. A network can then have any output if the others make up the difference, and its own output
becomes worse (docs/measurements/routing.md). By default, the networks' errors are weighted instead.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mobile_sr import models
from mobile_sr.models import patch_classifier

COMBINE = ("sum", "errors")
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
    combine: str = "errors",
) -> keras.Model:
    """The joint model as a functional Keras model.

    Args:
        scale, output_activation: for recipes; the networks have their own.
        nets: configurations of two or more networks of one scale, the cheapest first.
        files: where their weights come from, for the training.
        patch: side of a patch in LR pixels, a multiple of patch_classifier.STRIDE.
        classifier_steps: training steps in which the networks stay as they are.
        class_weight, balance_weight: for the training, see mobile_sr/routing/joint_training.py.
        combine: what the probabilities weight, 'sum' for the networks' outputs, 'errors' for their errors.

    Returns:
        keras.Model: [N, H * patch, W * patch, 3] float32 RGB in 0..1 -> [SR output, probabilities [N, H, W, len(nets)]]. With
        'errors', the first output is [N, .., .., 4 * len(nets)], the weights of each pixel and then all images, for
        `sum_of_errors`.

    Raises:
        ValueError: fewer than two networks, an unknown `combine`, or as in patch_classifier.build.
    """
    if combine not in COMBINE:
        raise ValueError(f"combine must be one of {', '.join(COMBINE)}, got {combine}")
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
    join = ProbabilitySum if combine == "sum" else keras.layers.Concatenate
    return keras.Model(lr, [join(dtype="float32", name="sr")([weights, *outputs]), probabilities], name="classsr")


def sum_of_errors(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Returns the loss of the first output with combine='errors'.

    The error of each network in a pixel is multiplied by its weight there. Networks cannot cancel each other's errors.

    Args:
        loss: (true, predicted images [N, h, w, 3]) -> scalar, such as Charbonnier's: if it is proportional to the errors, the
            result is the expected loss.
    """

    def total(true: Any, outputs: Any) -> Any:
        count = outputs.shape[-1] // 4
        weights, images = outputs[..., :count], outputs[..., count:]
        errors = (images[..., 3 * k : 3 * k + 3] - true for k in range(count))
        return sum(loss(true, true + weights[..., k : k + 1] * error) for k, error in enumerate(errors))

    return total


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
