"""What a training minimises: the pixels' error, and where the recipe says so the spectrum's and that against a teacher."""

from keras import ops


def of(recipe):
    """The Keras loss of a recipe: f(y_true, y_pred) of [N, H, W, 3] images in 0..1, [N, H, W, 6] y_true with a teacher.

    The teacher's picture stands in channels 3 to 5 and counts by the same measure as the true one, times teacher_weight.
    """
    pixels = charbonnier(recipe.charbonnier_eps) if recipe.loss == "charbonnier" else squared

    def loss(y_true, y_pred):
        true = y_true[..., :3]
        total = pixels(true, y_pred)
        if recipe.frequency_weight:
            total = total + recipe.frequency_weight * frequencies(true, y_pred)
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


def frequencies(y_true, y_pred):
    """The mean absolute error of each channel's orthonormal Fourier transform, real and imaginary (Cho et al., ICCV 2021)."""
    error = ops.transpose(ops.cast(y_pred - y_true, "float32"), (0, 3, 1, 2))
    real, imaginary = ops.fft2((error, ops.zeros_like(error)))
    pixels = ops.cast(ops.shape(error)[2] * ops.shape(error)[3], "float32")
    return ops.mean(ops.abs(real) + ops.abs(imaginary)) / ops.sqrt(pixels)
