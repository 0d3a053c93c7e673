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


def test_the_legend_shows_the_mean_and_the_shares():
    """Columns as high as the shares, a mark at half of the colour bar, and labels on wide images only."""
    image, depth = np.zeros((40, 80, 3), np.uint8), np.full((20, 40, 1), 2, np.float32)
    shown = depth_map.overlay(image, depth, 4, [1.0, 0.5, 0.0, 0.0])
    assert shown.shape == (40 + 2 + 4 + 2 + 16, 80, 3)
    assert (shown[42:46, 40] == (0, 160, 255)).all()
    blue = (shown[48:] == (50, 100, 160)).all(axis=2).sum(axis=0)
    assert [blue[column] for column in (5, 25, 45, 65)] == [16, 8, 0, 0]
    wide = depth_map.overlay(np.zeros((40, 320, 3), np.uint8), np.full((20, 160, 1), 2, np.float32), 4, [1.0] * 4)
    assert wide.shape[0] == shown.shape[0] + 2 * 16
    assert (wide[46:62] < 100).any()
