"""Sample images that need no download: the colour pictures inside scikit-image's wheel."""

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.resize import imresize

# The large ones are halved: an HR picture of about 0.2 megapixels each keeps the demo short.
CALIBRATION = ("rocket", "immunohistochemistry", "stereo_motorcycle")
EVALUATION = ("astronaut", "chelsea", "coffee", "hubble_deep_field")


def images(names):
    """[(name, [H, W, 3] uint8)] of the named pictures. Raises: UserError when scikit-image is not installed."""
    try:
        from skimage import data
    except ImportError:
        raise UserError(
            "scikit-image, whose pictures stand in for missing image folders, is not installed: "
            "pip install 'mobile-sr[demo]', or name a folder of images"
        ) from None
    return [(name, _load(data, name)) for name in names]


def _load(data, name):
    picture = getattr(data, name)()
    picture = np.ascontiguousarray(picture[0] if isinstance(picture, tuple) else picture)[..., :3]
    while picture.shape[0] * picture.shape[1] > 500_000:
        picture = imresize(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2], 0.5)
    return picture
