"""Layers for attention within windows, compared with NumPy."""

import keras
import numpy as np
import pytest

from mobile_sr.models.ntire2022 import windows


def layer_with_weights(layer, x):
    """The layer with random weights, and its output for an array."""
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return keras.ops.convert_to_numpy(layer(x))


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def rolled_and_masked(x, table, heads, side, shift):
    """Swin's attention as published: the image is rolled, and pairs of pixels from different regions get -100."""
    height, width, channels = x.shape
    depth = channels // 3 // heads
    rolled = np.roll(x, (-shift, -shift), (0, 1))
    region = np.zeros((height, width))
    for axis, length in enumerate((height, width)):
        part = np.digitize(np.arange(length), [length - side, length - shift]) if shift else np.zeros(length)
        region += (3 * part[:, None]) if axis == 0 else part
    result = np.zeros((height, width, channels // 3))
    row, column = np.divmod(np.arange(side * side), side)
    index = (row[:, None] - row + side - 1) * (2 * side - 1) + column[:, None] - column + side - 1
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = np.s_[top : top + side, left : left + side]
            pixels, regions = rolled[window].reshape(side * side, 3, heads, depth), region[window].ravel()
            outputs = []
            for head in range(heads):
                query, key, value = (pixels[:, part, head] for part in range(3))
                mask = np.where(regions[:, None] != regions, -100.0, 0.0)
                outputs.append(softmax(query @ key.T / depth**0.5 + table[index, head] + mask) @ value)
            result[window] = np.concatenate(outputs, axis=1).reshape(side, side, -1)
    return np.roll(result, (shift, shift), (0, 1))


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_is_swins(shifted):
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 12)).astype(np.float32)
    layer = windows.PositionedWindowAttention(heads=2, window=4, shifted=shifted)
    actual = layer_with_weights(layer, x)
    for image, output in zip(x, actual, strict=True):
        expected = rolled_and_masked(image, layer.get_weights()[0], 2, 4, 2 if shifted else 0)
        np.testing.assert_allclose(output, expected, atol=1e-5)
    with pytest.raises(ValueError, match="window must be even"):
        windows.PositionedWindowAttention(heads=2, window=3, shifted=True)


def test_patch_attention_compares_patches():
    """Two windows of 4x4 with four patches of 2x2 each; the last rows are padding."""
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 6)).astype(np.float32)
    actual = layer_with_weights(windows.PatchAttention(window=4, patch=2), x)
    padded = np.pad(x[0], ((0, 1), (0, 0), (0, 0)))
    for left in (0, 4):
        places = [(top, left + right) for top in (0, 2) for right in (0, 2)]
        patches = np.stack([padded[a : a + 2, b : b + 2] for a, b in places])
        query, key, value = (patches[..., 2 * k : 2 * k + 2].reshape(4, -1) for k in range(3))
        outputs = (softmax(query @ key.T) @ value).reshape(4, 2, 2, 2)
        expected = np.zeros((4, 4, 2))
        for (a, b), output in zip(places, outputs, strict=True):
            expected[a : a + 2, b - left : b - left + 2] = output
        np.testing.assert_allclose(actual[0, :, left : left + 4], expected[:3], atol=1e-5)


@pytest.mark.parametrize(("repeat_edge", "always", "mode"), [(False, False, "reflect"), (True, True, "symmetric")])
def test_mirror_padding_is_numpys(repeat_edge, always, mode):
    x = np.random.default_rng(0).normal(size=(1, 8, 5, 2)).astype(np.float32)
    layer = windows.MirrorPad(4, repeat_edge, always)
    actual = keras.ops.convert_to_numpy(layer(x))
    expected = np.pad(x, ((0, 0), (0, 4 if always else 0), (0, 3), (0, 0)), mode)
    np.testing.assert_array_equal(actual, expected)
    assert layer.compute_output_shape((None, 8, 5, 2)) == (None, *expected.shape[1:])
    back = windows.CropLike()([actual, x])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(back), x)


def test_crop_to_a_multiple_of_the_size():
    x = np.random.default_rng(0).normal(size=(1, 8, 12, 2)).astype(np.float32)
    layer = windows.CropLike(2)
    cut = layer([x, np.zeros((1, 3, 5, 7), np.float32)])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(cut), x[:, :6, :10])
    assert layer.compute_output_shape(((None, None, None, 2), (None, None, 5, 7))) == (None, None, 10, 2)
    assert windows.CropLike.from_config(layer.get_config()).scale == 2
    same = keras.ops.convert_to_tensor(x)
    assert layer.call([same, np.zeros((1, 4, 6, 7), np.float32)]) is same
