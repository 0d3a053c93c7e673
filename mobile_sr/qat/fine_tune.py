"""Fine-tuning of a fake-quantized network, and its conversion. Only for the worker process (imports tfmot through net.py)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from mobile_sr.converters.quantization.quantizer import break_equal_bias
from mobile_sr.imaging.metrics import psnr
from mobile_sr.qat import quantizers
from mobile_sr.qat.net import Net
from mobile_sr.training import dataset

if TYPE_CHECKING:
    from mobile_sr.qat.settings import Settings


class FineTuning:
    """A fake-quantized network in training, with its float original as the teacher.

    Attributes:
        nodes: description of the network, see description.py.
        settings: settings of the training.
        net: the fake-quantized network.
        teacher: the float network, or None without distillation.
        best: (validation PSNR in dB, step, arrays, ranges) of the best state so far.
    """

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, np.ndarray],
        settings: Settings,
        calibration: Sequence[np.ndarray],
    ) -> None:
        """Build both networks and measure the initial ranges.

        Args:
            nodes: description of the network, see description.py.
            arrays: its arrays.
            settings: settings of the training.
            calibration: calibration images, [1, H, W, 3] float32 in 0..1.
        """
        self.nodes, self.settings = nodes, settings
        self.teacher = Net(nodes, arrays, grouped=False) if settings.distill else None
        self.net = Net(nodes, arrays, grouped=False, quantized=True, per_tensor=settings.per_tensor, ranges=settings.ranges)
        with quantizers.observing():
            for image in calibration:
                self.net.model(image, training=True)
        self.best = (float("-inf"), 0, self.net.get(), self.net.get_ranges())
        names = {v.ref(): name for name, v in self.net.variables.items()}
        self._weights = [v for v in self.net.model.trainable_variables if v.ref() in names]
        self._ranges = [v for v in self.net.model.trainable_variables if v.ref() not in names]
        rules = self.net.gradient_rules(arrays)
        self._rules = [rules.get(names[v.ref()], lambda gradient: gradient) for v in self._weights]
        self._slopes = [v for v in self._weights if names[v.ref()].endswith("/alpha")]
        self._optimizers = [tf_keras.optimizers.Adam(0.0, epsilon=1e-8, jit_compile=False) for _ in range(2)]
        for optimizer, variables in zip(self._optimizers, (self._weights, self._ranges), strict=True):
            optimizer.build(variables)
        self._step_functions: dict[bool, Callable[..., tf.Tensor]] = {}  # by whether ranges still move

    def run(self, images: dataset.TrainingImages, report: Callable[..., object]) -> None:
        """Train on a set of images.

        Args:
            images: the training images.
            report: called as report(step, loss, PSNR in dB, steps per second). Loss and speed are None before the first step,
                the PSNR is None without a validation.
        """
        s = self.settings
        train_on, held_out = dataset.split_validation(images, s.validation_images, s.validation_crop)
        validation = dataset.center_crops(images, held_out, s.validation_crop)
        report(0, None, self._validate(0, validation, images.scale), None)
        losses: list[tf.Tensor] = []
        mark = time.perf_counter()
        for step in range(s.steps):
            lr, hr = dataset.patch_batch(
                images, train_on, step, batch=s.batch, patch=s.patch, brightness_factors=s.brightness_factors, seed=s.seed
            )
            losses.append(self._step(step, lr, hr))
            if (step + 1) % s.validate_every == 0 or step + 1 == s.steps:
                loss = float(np.mean([float(v) for v in losses]))
                speed = len(losses) / max(time.perf_counter() - mark, 1e-9)
                report(step + 1, loss, self._validate(step + 1, validation, images.scale), speed)
                losses, mark = [], time.perf_counter()
            elif (step + 1) % 20 == 0:
                report(step + 1, float(losses[-1]), None, len(losses) / max(time.perf_counter() - mark, 1e-9))

    def _step(self, step: int, lr: np.ndarray, hr: np.ndarray) -> tf.Tensor:
        """Train one step and return its loss."""
        s = self.settings
        for optimizer, rate in zip(self._optimizers, (s.rate, s.range_rate), strict=True):
            optimizer.learning_rate.assign(rate * s.rate_share(step))
        moving = s.ranges == "moving" and step < s.freeze * s.steps
        if moving not in self._step_functions:  # one trace for each value, because tfmot branches on a Python bool
            training = moving or s.ranges == "learned"
            self._step_functions[moving] = tf.function(lambda lr, hr: self._train(lr, hr, training))
        return self._step_functions[moving](tf.constant(lr), tf.constant(hr))

    def _train(self, lr: tf.Tensor, hr: tf.Tensor, training: bool) -> tf.Tensor:
        s = self.settings
        target = (1 - s.distill) * hr
        if self.teacher:
            target += s.distill * tf.stop_gradient(self.teacher.model(lr, training=False))
        with tf.GradientTape() as tape:
            error = self.net.model(lr, training=training) - target
            loss = tf.reduce_mean(tf.sqrt(tf.square(error) + s.charbonnier_eps**2)) - s.charbonnier_eps
        for_weights, for_ranges = tape.gradient(loss, [self._weights, self._ranges])
        constrained = [rule(gradient) for rule, gradient in zip(self._rules, for_weights, strict=True)]
        self._optimizers[0].apply_gradients(zip(constrained, self._weights, strict=True))
        if self._ranges:
            self._optimizers[1].apply_gradients(zip(for_ranges, self._ranges, strict=True))
        for slope in self._slopes:
            slope.assign(tf.minimum(slope, 1.0))
        for limit in self._ranges:
            is_lower = limit.name.split(":")[0].endswith("_min")
            limit.assign(tf.minimum(limit, 0.0) if is_lower else tf.maximum(limit, quantizers.SMALLEST))
        return loss

    def _validate(self, step: int, validation: tuple[np.ndarray, np.ndarray], scale: int) -> float:
        """Return the fake-quantized network's mean PSNR (RGB) in dB on held-out crops, and keep its state if it is the best."""
        total = 0.0
        for lr, hr in zip(*validation, strict=True):
            sr = self._infer(tf.constant(lr[None], tf.float32) / 255).numpy()[0]
            total += psnr(np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8), hr, "rgb", scale)
        score = total / len(validation[0])
        if score > self.best[0]:
            self.best = (score, step, self.net.get(), self.net.get_ranges())
        return score

    @tf.function(reduce_retracing=True)
    def _infer(self, lr: tf.Tensor) -> tf.Tensor:
        return self.net.model(lr, training=False)


def convert(
    nodes: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
    ranges: Sequence[np.ndarray],
    per_tensor: bool,
) -> tuple[bytes, Net]:
    """Convert a fine-tuned network to uint8 .tflite.

    Args:
        nodes: description of the network, see description.py.
        arrays: its fine-tuned arrays.
        ranges: its activation ranges, as from Net.get_ranges.
        per_tensor: one scale per kernel instead of one per output channel.

    Returns:
        (bytes of the .tflite, the fake-quantized network that it was made from).
    """
    net = Net(nodes, {name: break_equal_bias(value) for name, value in arrays.items()}, quantized=True, per_tensor=per_tensor)
    net.set_ranges(ranges)
    module = tf.Module()
    module.variables_of_the_net = net.model.variables
    module.infer = tf.function(
        lambda lr: net.model(lr, training=False), input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "lr")]
    )
    with tempfile.TemporaryDirectory() as folder:  # from_keras_model also saves every layer's functions: 4x the time
        tf.saved_model.save(module, folder, signatures=module.infer)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        converter._experimental_disable_per_channel = per_tensor
        return converter.convert(), net
