"""Training losses: pixel loss plus optional luminance, frequency, contrastive and distillation terms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from mobile_sr.errors import UserError
from mobile_sr.imaging.metrics import BT601_Y
from mobile_sr.imaging.resize import axis_matrix
from mobile_sr.training import user_code

if TYPE_CHECKING:
    from mobile_sr.training.recipes import Recipe

Tensor = Any  # a tensor of the Keras backend
Loss = Callable[[Tensor, Tensor], Tensor]  # (y_true, y_pred) -> scalar


def make_loss(recipe: Recipe) -> Loss:
    """Return the Keras loss of a recipe.

    Returns:
        f(y_true, y_pred) of [N, H, W, 3] images in 0..1. With a teacher, y_true is [N, H, W, 6]: channels 3 to 5 are the
        teacher's output. The same pixel loss compares with it, weighted by `teacher_weight`. A loss function among the
        recipe's hooks takes the place of the pixel loss.
    """
    kinds = {"charbonnier": charbonnier(recipe.charbonnier_eps), "l2": squared, "psnr": log_squared(recipe.psnr_eps)}
    pixels = of_function(recipe.hooks.loss) if recipe.hooks.loss else kinds[recipe.loss]
    contrast = contrastive(recipe.network["scale"])

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        true = y_true[..., :3]
        total = pixels(true, y_pred)
        if recipe.luminance_weight:
            total = total + recipe.luminance_weight * pixels(luminance(true), luminance(y_pred))
        if recipe.frequency_weight:
            total = total + recipe.frequency_weight * frequencies(true, y_pred)
        if recipe.contrastive_weight:
            total = total + recipe.contrastive_weight * contrast(true, y_pred)
        if recipe.teacher:
            total = total + recipe.teacher_weight * pixels(y_true[..., 3:], y_pred)
        return total

    return loss


def of_function(function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return the loss of a user's function: the mean of what it returns for float32 tensors [N, H, W, 3].

    Raises:
        UserError: when the function fails on a small random batch.
    """

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        value = user_code.call(function, *(ops.cast(images, "float32") for images in (y_true, y_pred)))
        try:
            return ops.mean(ops.cast(value, "float32"))
        except (TypeError, ValueError, AttributeError):
            raise UserError(f"loss {name} returned a {type(value).__name__}; expected a tensor") from None

    name = user_code.name_of(function)

    rng = np.random.default_rng(0)
    tensors = (ops.convert_to_tensor(rng.random((2, 24, 24, 3), np.float32)) for _ in range(2))
    value = ops.convert_to_numpy(loss(*tensors))
    if not np.isfinite(value):
        raise UserError(f"loss {name} returned {value} for random images; expected a finite number")
    return loss


def charbonnier(eps: float) -> Loss:
    """Return the Charbonnier loss: the mean of sqrt(x^2 + eps^2) over all values (Ayazoglu 2021, Eq. 3)."""

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.mean(ops.sqrt(ops.square(y_pred - y_true) + eps**2))

    return loss


def squared(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean squared error, which PSNR measures (last stages of EFDN and RLFN, Li et al., CVPRW 2022)."""
    return ops.mean(ops.square(y_pred - y_true))


def log_squared(eps: float) -> Loss:
    """Return the PSNR loss: the mean over images of log(MSE + eps^2).

    Apart from eps, sign and unit, it is the mean PSNR (used by Chen et al., ECCV 2022). The squared error is dominated by
    difficult images; here every image has the same influence.

    Args:
        eps: RMS error, in 0..1, below which the influence of an image decreases. It keeps flat patches from dominating.
    """

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        error = ops.cast(y_pred, "float32") - y_true
        return ops.mean(ops.log(ops.mean(ops.square(error), axis=(1, 2, 3)) + eps**2))

    return loss


def luminance(images: Tensor) -> Tensor:
    """Return Y [N, H, W, 1] of RGB [N, H, W, 3], as in metrics.py but scaled to 0..1 and without the offset."""
    return ops.sum(ops.cast(images, "float32") * BT601_Y.astype(np.float32), axis=-1, keepdims=True)


def frequencies(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the frequency loss (Cho et al., ICCV 2021).

    It is the mean absolute error of the real and imaginary parts of each channel's orthonormal Fourier transform.
    """
    error = ops.transpose(ops.cast(y_pred - y_true, "float32"), (0, 3, 1, 2))
    real, imaginary = ops.fft2((error, ops.zeros_like(error)))
    pixels = ops.cast(ops.shape(error)[2] * ops.shape(error)[3], "float32")
    return ops.mean(ops.abs(real) + ops.abs(imaginary)) / ops.sqrt(pixels)


def contrastive(scale: int) -> Loss:
    """Return RLFN's contrastive loss (Kong et al., CVPRW 2022; NTIRE 2022, team ByteESR).

    It is the distance between the output and the HR image, divided by the distance between the output and a blurred image.
    The blurred image is the HR image downscaled and upscaled again by bicubic. A distance is the mean absolute difference
    between features of two 3x3 convolutions with tanh between them.
    The convolutions have fixed random weights (He's variance, 16 channels), because the paper's numbers and seed are unknown.

    Args:
        scale: upscaling factor.

    Returns:
        f(y_true, y_pred), both [N, H, W, 3] with static H and W.
    """
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, (2 / (9 * i)) ** 0.5, (3, 3, i, 16)).astype(np.float32) for i in (3, 16))

    def features(images: Tensor) -> Tensor:
        return ops.conv(ops.tanh(ops.conv(images, first, padding="valid")), second, padding="valid")

    @functools.cache  # backends without a graph call this in every step
    def down_and_up(side: int) -> np.ndarray:
        return (axis_matrix(side // scale, scale) @ axis_matrix(side, 1 / scale)).astype(np.float32)

    def blurred(images: Tensor) -> Tensor:
        rows, columns = (down_and_up(side) for side in images.shape[1:3])
        return ops.einsum("ij,njkc,lk->nilc", rows, images, columns)

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        hr, sr = (ops.cast(images, "float32") for images in (y_true, y_pred))
        to_hr, to_blurred = (
            ops.mean(ops.abs(features(sr) - ops.stop_gradient(features(other)))) for other in (hr, blurred(hr))
        )
        return to_hr / (to_blurred + 1e-6)  # without detail, the image equals its blurred version

    return loss
