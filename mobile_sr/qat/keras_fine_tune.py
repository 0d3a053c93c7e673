"""Fine-tuning with fake quantization in Keras 3, in this process. Needs the TensorFlow backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from mobile_sr import backend
from mobile_sr.converters.quantization.channels.cross_layer_equalization import MAX_SCALE
from mobile_sr.errors import UserError
from mobile_sr.imaging.metrics import psnr
from mobile_sr.inference import tensor_values
from mobile_sr.inference.model_io import ModelIO
from mobile_sr.models.train_time.quantized_network import QuantizedNetwork
from mobile_sr.training import dataset

if TYPE_CHECKING:
    from mobile_sr.qat.settings import Settings

TYPICAL = 0.1  # RMS of the weights of networks for 0..1; variables with smaller values get smaller steps
SMALLEST_SHARE = 0.01  # of the step, for biases that are 0
NEGLIGIBLE = 1e-3  # of the RMS of a variable: values that do not show by which factor the equalization changed them

Report = Callable[[int, float | None, float | None, float | None], object]


class FineTuning:
    """A network in training with fake quantization; the float network that it started from is the teacher.

    Attributes:
        model: the network; its variables are trained.
        net: the fake-quantized network.
        step: number of steps that are done.
        best: (validation PSNR in dB, step) of the best state so far.
    """

    def __init__(
        self,
        model: keras.Model,
        teacher: Sequence[np.ndarray],
        settings: Settings,
        calibration: Sequence[np.ndarray],
        io: ModelIO | None = None,
    ) -> None:
        """Plan the quantizers and measure the ranges.

        Args:
            model: a functional Keras model.
            teacher: the weights of the float network, for model.set_weights.
            settings: settings of the training; `ranges` is 'measured' or 'learned'.
            calibration: calibration images, [1, H, W, 3] float32 in 0..1.
            io: value ranges and channel order of the network; None for 0..1 and RGB.

        Raises:
            UserError: for a layer that is not supported.
        """
        backend.correct_tensorflow()
        self.model, self.settings, self.calibration = model, settings, calibration
        self._io = io or ModelIO()
        self._in, self._out = (tensor_values.RANGES[key] for key in (self._io.range_in, self._io.range_out))
        try:
            self.net = QuantizedNetwork(model, settings.per_tensor, self._in, self._out, settings.rounded_weights)
        except ValueError as error:
            raise UserError(str(error)) from None
        self._teacher = [(v, tf.constant(value)) for v, value in zip(model.variables, teacher, strict=True)]
        self._weights = list(model.trainable_variables)
        before = {v.path: np.asarray(value) for v, value in zip(model.variables, teacher, strict=True)}
        self._shares = [tf.constant(_shares(before[v.path], v.numpy())) for v in self._weights]
        self._limits = [self.net.low, self.net.high] if settings.ranges == "learned" else []
        self._optimizers = [keras.optimizers.Adam(0.0, epsilon=1e-8) for _ in range(2)]
        for optimizer, variables in zip(self._optimizers, (self._weights, self._limits), strict=True):
            optimizer.build(variables)
        # Traced for each image size: Keras cannot trace some of its layers, such as UpSampling2D, for a dynamic one.
        self._infer = tf.function(lambda lr: self._decode(self.net(self._encode(lr))))
        self._measure = tf.function(lambda lr: self.net.measure(self._encode(lr)))
        self._train_step = tf.function(self._train)
        self.step, self.best = 0, (float("-inf"), -1)
        self.measure_ranges()
        self.begin()

    def begin(self) -> None:
        """Take the ranges of `net` and the weights as the initial state."""
        # Ranges differ in size, also by 255 between networks for 0..1 and for 0..255: their steps are shares of their width.
        self._widths = tf.constant(self.net.high.numpy() - self.net.low.numpy())
        self._best = self._values()

    def run(self, images: dataset.TrainingImages, report: Report, save: Callable[[], object]) -> None:
        """Train from `step` to the end on a set of images.

        Args:
            images: the training images.
            report: called with (step, loss, PSNR in dB, steps per second). Loss and speed are None before the first step, the
                PSNR is None without a validation.
            save: called after each validation, to write a checkpoint.

        Raises:
            UserError: when the loss is no longer finite.
        """
        s = self.settings
        train_on, held_out = dataset.split_validation(images, s.validation_images, s.validation_crop)
        validation = dataset.center_crops(images, held_out, s.validation_crop)
        if self.step == 0:
            report(0, None, self._validate(validation, images.scale), None)
            save()
        losses: list[float] = []
        mark = time.perf_counter()
        while self.step < s.steps:
            share = s.rate_share(self.step)
            for optimizer, rate in zip(self._optimizers, (s.rate, s.range_rate), strict=True):
                optimizer.learning_rate.assign(rate * share)
            lr, hr = dataset.patch_batch(
                images,
                train_on,
                self.step,
                batch=s.batch,
                patch=s.patch,
                brightness_factors=s.brightness_factors,
                seed=s.seed,
                flat_share=s.flat_share,
            )
            losses.append(float(self._train_step(tf.constant(lr), tf.constant(hr))))
            self.step += 1
            speed = len(losses) / max(time.perf_counter() - mark, 1e-9)
            if not math.isfinite(losses[-1]):
                raise UserError(f"the loss is no longer finite at step {self.step}; use a lower --rate")
            if self.step % s.validate_every == 0 or self.step == s.steps:
                if s.ranges == "measured":
                    self.measure_ranges()
                report(self.step, float(np.mean(losses)), self._validate(validation, images.scale), speed)
                save()
                losses, mark = [], time.perf_counter()
            elif self.step % 20 == 0:
                report(self.step, losses[-1], None, speed)

    def measure_ranges(self) -> None:
        """Set the activation ranges to those of the calibration images with the current weights, as an export does.

        Raises:
            UserError: when a value is not finite.
        """
        low, high = np.full(len(self.net.names), np.inf), np.full(len(self.net.names), -np.inf)
        for image in self.calibration:
            lows, highs = self._measure(tf.constant(image))
            low, high = np.minimum(low, lows.numpy()), np.maximum(high, highs.numpy())
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UserError(f"the network's values are no longer finite at step {self.step}; use a lower --rate")
        self.net.set_ranges(low, high)

    def upscale(self, lr: np.ndarray) -> np.ndarray:
        """Run the fake-quantized network: [H, W, 3] uint8 -> [H * s, W * s, 3] uint8."""
        sr = self._infer(tf.constant(lr[None], tf.float32) / 255).numpy()[0]
        return np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return {layer name: (low, high)} of the activation ranges."""
        limits = zip(self.net.low.numpy().tolist(), self.net.high.numpy().tolist(), strict=True)
        return dict(zip(self.net.names, limits, strict=True))

    def use_best(self) -> None:
        """Set the weights and ranges to the best state."""
        for variable, value in zip(self._state(), self._best, strict=True):
            variable.assign(value)

    def checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return (arrays, meta) of the whole state, for `restore`."""
        optimizers = [v for optimizer in self._optimizers for v in optimizer.variables]
        groups = {"state": self._values(), "best": self._best, "optimizer": [np.array(v.numpy()) for v in optimizers]}
        arrays = {f"{name}/{index}": value for name, values in groups.items() for index, value in enumerate(values)}
        return arrays, {"step": self.step, "best": list(self.best)}

    def restore(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Continue from a `checkpoint` of the same network and settings."""
        for index, variable in enumerate(self._state()):
            variable.assign(arrays[f"state/{index}"])
        for index, variable in enumerate(v for optimizer in self._optimizers for v in optimizer.variables):
            variable.assign(arrays[f"optimizer/{index}"])
        self._best = [arrays[f"best/{index}"] for index in range(len(self._best))]
        self.step, self.best = int(meta["step"]), (float(meta["best"][0]), int(meta["best"][1]))

    def _state(self) -> list[keras.Variable]:
        return [*self.model.variables, self.net.low, self.net.high]

    def _values(self) -> list[np.ndarray]:
        return [np.array(v.numpy()) for v in self._state()]

    def _encode(self, lr: Any) -> Any:
        """Convert images in 0..1 to the network's input."""
        low, high = self._in
        return (lr[..., ::-1] if self._io.order == "bgr" else lr) * float(high - low) + float(low)

    def _decode(self, sr: Any) -> Any:
        """Convert the network's output to images in 0..1."""
        low, high = self._out
        sr = (sr - float(low)) / float(high - low)
        return sr[..., ::-1] if self._io.order == "bgr" else sr

    def _train(self, lr: Any, hr: Any) -> Any:
        """Train one step and return its loss: Charbonnier, to the teacher's output or a mix of it with the HR image."""
        s = self.settings
        target = (1 - s.distill) * hr
        if s.distill:
            with keras.StatelessScope(self._teacher):
                sr = self._decode(self.model(self._encode(lr), training=False))
            target += s.distill * tf.clip_by_value(sr, 0.0, 1.0)
        variables = [v.value for v in (*self._weights, *self._limits)]
        with tf.GradientTape() as tape:
            error = self._decode(self.net(self._encode(lr))) - tf.stop_gradient(target)
            loss = tf.reduce_mean(tf.sqrt(tf.square(error) + s.charbonnier_eps**2)) - s.charbonnier_eps
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        count = len(self._weights)
        before = [tf.identity(v.value) for v in self._weights]
        self._optimizers[0].apply(gradients[:count], self._weights)
        for variable, old, share in zip(self._weights, before, self._shares, strict=True):
            variable.assign(old + share * (variable.value - old))
        if self._limits:
            before = [tf.identity(v.value) for v in self._limits]
            self._optimizers[1].apply(gradients[count:], self._limits)
            for variable, old in zip(self._limits, before, strict=True):
                variable.assign(old + self._widths * (variable.value - old))
            self.net.keep_limits()
        return loss

    def _validate(self, validation: tuple[np.ndarray, np.ndarray], scale: int) -> float:
        """Return the fake-quantized network's mean PSNR (RGB) in dB on held-out crops, and keep its state if it is the best."""
        score = float(np.mean([psnr(self.upscale(lr), hr, "rgb", scale) for lr, hr in zip(*validation, strict=True)]))
        if score > self.best[0]:
            self.best, self._best = (score, self.step), self._values()
        return score


def _shares(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The share of the learning rate for each value of a variable.

    Adam's steps have one size for all values. The biases of networks published for 0..255 are 255 times smaller than those of
    other variables, and an equalized kernel has values of very different size. They get the steps that the network would have
    before its equalization, which multiplies values and steps alike.

    Args:
        before: the variable before the equalization.
        now: the same after it.
    """
    size = float(np.sqrt(np.mean(np.square(before))))
    share = min(1.0, max(SMALLEST_SHARE, size / TYPICAL))
    known = np.abs(before) > NEGLIGIBLE * size
    ratios = np.abs(np.divide(now, before, out=np.ones(now.shape, np.float32), where=known))
    if known.any():
        ratios[~known] = np.median(ratios[known])
    return (share * np.clip(ratios, 1 / MAX_SCALE, MAX_SCALE)).astype(np.float32)
