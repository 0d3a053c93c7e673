"""Golden pixels of the heat map. test_depth.py has the maps themselves."""

import numpy as np

from mobile_sr.adadsr import depth_map


def test_golden_pixels():
    """Red, green, blue and white, over half of the depth; gray alone, colours alone, and mixed as by default."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0, 0] = image[0, 1, 1] = image[1, 0, 2] = 255
    image[1, 1] = 255
    depth = np.full((1, 1, 2), [1, 3], np.float32)
    gray = depth_map.heat_map(image, depth, 4, opacity=0)
    assert gray[..., 0].tolist() == [[76, 150], [29, 255]]
    assert (gray == gray[..., :1]).all()
    assert (depth_map.heat_map(image, depth, 4, opacity=1) == (203, 65, 84)).all()
    assert depth_map.heat_map(image, depth, 4)[0, 0].tolist() == [159, 69, 81]
