import numpy as np

from mobile_sr.evaluation import contact_sheet


def test_crops_are_enlarged_twice_beside_each_other():
    left, right = np.full((6, 8, 3), 50, np.uint8), np.full((8, 8, 3), 90, np.uint8)
    sheet = contact_sheet.draw([("photo", [("a", left), ("b", right)])])
    assert sheet.shape == (10 + 16 + 2 * 18 + 10, 10 + 2 * (16 + 10), 3)
    np.testing.assert_array_equal(sheet[28:40, 10:26], np.full((12, 16, 3), 50))
    np.testing.assert_array_equal(sheet[28:44, 36:52], np.full((16, 16, 3), 90))


def test_long_captions_are_shortened():
    crop = np.zeros((40, 40, 3), np.uint8)
    sheet = contact_sheet.draw([("n" * 500, [("a long caption of a model\n" * 9, crop)])])
    assert sheet.shape[1] == 100
    assert (sheet[-26:, 90:] == 255).all()  # nothing is drawn right of the crop
