"""What a training minimises: the pixels' error, and where the recipe says so Y's, the spectrum's, a contrast or a teacher's."""

import functools

import numpy as np
from keras import ops

from mobile_sr.imaging.metrics import BT601_Y
from mobile_sr.imaging.resize import axis_matrix


def of(recipe):
    """The Keras loss of a recipe: f(y_true, y_pred) of [N, H, W, 3] images in 0..1, [N, H, W, 6] y_true with a teacher.

    The teacher's picture stands in channels 3 to 5 and counts by the same measure as the true one, times teacher_weight.
    """
    kinds = {"charbonnier": charbonnier(recipe.charbonnier_eps), "l2": squared, "psnr": log_squared(recipe.psnr_eps)}
    pixels = kinds[recipe.loss]
    contrast = contrastive(recipe.network["scale"])

    def loss(y_true, y_pred):
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


def charbonnier(eps):
    """sqrt(x^2 + eps^2) (Ayazoglu 2021, Eq. 3), averaged over everything."""

    def loss(y_true, y_pred):
        return ops.mean(ops.sqrt(ops.square(y_pred - y_true) + eps**2))

    return loss


def squared(y_true, y_pred):
    """The mean squared error, which PSNR measures (EFDN's and RLFN's last stages, Li et al., CVPRW 2022)."""
    return ops.mean(ops.square(y_pred - y_true))


def log_squared(eps):
    """log(MSE + eps^2) of each picture, averaged: but for eps, sign and unit the mean PSNR (Chen et al., ECCV 2022, use it).

    Under the squared error, pictures that are hard decide; here every one counts by its share. eps is the RMS error, in 0..1,
    below which a picture counts less and less, so that flat patches do not take over.
    """

    def loss(y_true, y_pred):
        error = ops.cast(y_pred, "float32") - y_true
        return ops.mean(ops.log(ops.mean(ops.square(error), axis=(1, 2, 3)) + eps**2))

    return loss


def luminance(images):
    """[N, H, W, 1]: Y of RGB [N, H, W, 3], as metrics.py measures it but on the scale of 0..1 and without its offset."""
    return ops.sum(ops.cast(images, "float32") * BT601_Y.astype(np.float32), axis=-1, keepdims=True)


def frequencies(y_true, y_pred):
    """The mean absolute error of each channel's orthonormal Fourier transform, real and imaginary (Cho et al., ICCV 2021)."""
    error = ops.transpose(ops.cast(y_pred - y_true, "float32"), (0, 3, 1, 2))
    real, imaginary = ops.fft2((error, ops.zeros_like(error)))
    pixels = ops.cast(ops.shape(error)[2] * ops.shape(error)[3], "float32")
    return ops.mean(ops.abs(real) + ops.abs(imaginary)) / ops.sqrt(pixels)


def contrastive(scale):
    """RLFN's loss (Kong et al., CVPRW 2022; NTIRE 2022, team ByteESR): f(y_true, y_pred), both [N, H, W, 3] of known H and W.

    How far the picture is from the true one, as a share of how far it is from the blurred one (the true one, reduced and then
    enlarged by bicubic): mean absolute differences between features, which two 3x3 convolutions of random weights make, with
    tanh between them.
    The weights are drawn once for all (He's variance, 16 channels): the paper's numbers and seed are not known.
    """
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, (2 / (9 * i)) ** 0.5, (3, 3, i, 16)).astype(np.float32) for i in (3, 16))

    def features(images):
        return ops.conv(ops.tanh(ops.conv(images, first, padding="valid")), second, padding="valid")

    @functools.cache  # a backend without a graph comes here in every step
    def there_and_back(side):
        return (axis_matrix(side // scale, scale) @ axis_matrix(side, 1 / scale)).astype(np.float32)

    def blurred(images):
        rows, columns = (there_and_back(side) for side in images.shape[1:3])
        return ops.einsum("ij,njkc,lk->nilc", rows, images, columns)

    def loss(y_true, y_pred):
        true, picture = (ops.cast(images, "float32") for images in (y_true, y_pred))
        near, far = (
            ops.mean(ops.abs(features(picture) - ops.stop_gradient(features(other)))) for other in (true, blurred(true))
        )
        return near / (far + 1e-6)  # a picture without detail is its own blurred one

    return loss
