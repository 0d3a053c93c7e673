"""Pairs of an HR and an LR image: read from files, or the LR image made by bicubic."""

from mobile_sr.errors import UserError
from mobile_sr.imaging.images import read_image
from mobile_sr.imaging.resize import downscale, modcrop


def read_pair(hr_file, lr_file, scale):
    """HR (modcropped) and LR images of a pair; LR is made by bicubic when `lr_file` is None.

    Raises: UserError when an image is unreadable, smaller than the scale, or the two sizes do not belong together.
    """
    lr = None if lr_file is None else read_image(lr_file)
    return prepare_pair(read_image(hr_file), lr, scale, hr_file if lr_file is None else lr_file)


def prepare_pair(hr, lr, scale, name):
    """As read_pair, from arrays; `name` is what an error calls them."""
    hr = modcrop(hr, scale)
    if min(hr.shape[:2]) < scale:
        raise UserError(f"{name}: the HR image is smaller than the scale {scale}")
    if lr is None:
        return hr, downscale(hr, scale)
    if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
        sizes = f"{lr.shape[1]}x{lr.shape[0]} is not 1/{scale} of its HR image's {hr.shape[1]}x{hr.shape[0]} (after modcrop)"
        raise UserError(f"{name}: {sizes}")
    return hr, lr
