import numpy as np

from mobile_sr.imaging.alpha import fill_hidden, on_white


def test_hidden_colours_are_those_of_their_visible_neighbours():
    y, x = np.mgrid[:48, :48]
    inside = (x - 24) ** 2 + (y - 24) ** 2 < 324
    image = np.zeros((48, 48, 3), np.uint8)
    image[inside] = (255, 0, 0)
    filled = fill_hidden(image, inside.astype(np.uint8) * 255)
    assert (filled == (255, 0, 0)).all()
    assert (image[0, 0] == 0).all()  # the input is not modified


def test_each_side_gets_its_own_neighbours_colour():
    image = np.zeros((6, 40, 3), np.uint8)
    image[:, :5], image[:, 35:] = 50, 200
    alpha = np.zeros((6, 40), np.uint8)
    alpha[:, :5] = alpha[:, 35:] = 1
    filled = fill_hidden(image, alpha)
    assert (filled[:, 5:15] == 50).all()
    assert (filled[:, 25:35] == 200).all()


def test_16_hidden_pixels_get_their_neighbours_colour_and_farther_ones_the_mean():
    image = np.zeros((5, 60, 3), np.uint8)
    image[:, :10], image[:, 50:] = 50, 200
    alpha = np.zeros((5, 60), np.uint8)
    alpha[:, :10] = alpha[:, 50:] = 255
    filled = fill_hidden(image, alpha)[2, :, 0]
    assert filled.tolist() == [50] * 26 + [125] * 8 + [200] * 26


def test_nothing_or_everything_hidden_changes_nothing():
    image = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    for level in (0, 255):
        assert fill_hidden(image, np.full((5, 5), level, np.uint8)) is image


def test_on_white():
    image = np.zeros((1, 3, 3), np.uint8)
    assert on_white(image, np.array([[0, 128, 255]], np.uint8))[0, :, 0].tolist() == [255, 127, 0]
