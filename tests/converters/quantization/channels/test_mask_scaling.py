"""Masks of an attention use the levels of the 8-bit sigmoid, and the network stays nearly the same."""

import numpy as np
import pytest

from mobile_sr.converters.quantization.channels import mask_scaling
from tests.converters.quantization.small_graphs import Builder, images, run


def attention(bias, case=""):
    """A graph whose features have masks of a 1x1 convolution with this bias [4], and the tensor of the masks."""
    builder = Builder()
    features = builder.conv(0, 3, 4, layer="features")
    kernel = np.full((4, 1, 1, 3), 0.3, np.float32)
    options = {"strideH": 1, "strideW": 1, "layer": "expand"}
    logits = builder.op("CONV_2D", [0, kernel, np.asarray(bias, np.float32)], **options)
    mask = builder.op("LOGISTIC", [logits], layer="mask")
    product = builder.op("MUL", [features, mask], layer="product")
    total = builder.op("ADD", [product, features]) if case == "sum with the features" else product
    result = builder.conv(total, 4, 3, 3, layer="tail")
    graph = builder.finished(result, product) if case == "product is an output" else builder.finished(result)
    return graph, mask


def test_small_masks_get_levels_and_the_output_stays():
    """Masks of 0.001, 0.01 and 0.1 become larger than 0.1. One that has all its levels stays as it is."""
    graph, mask = attention([-7.4, -5, -2.7, 1])
    before = [run(graph, image)[0] for image in images()]
    record = mask_scaling.scale_masks(graph, images())
    assert list(record) == ["expand"]
    values: list[np.ndarray] = []
    graph.visit([mask], images(), lambda _, array: values.append(array.copy()))
    assert (np.max(values, axis=(0, 1, 2, 3)) > 0.09).all()
    for image, expected in zip(images(), before, strict=True):
        error = np.abs(run(graph, image)[0] - expected).max()
        assert 0 < error < 0.003 * np.ptp(expected)


def test_the_8_bit_mask_is_closer():
    """b * round(sigmoid(g * z + d)) has a tenth of the error of round(sigmoid(z)) for masks below a few steps."""
    z = np.random.default_rng(0).normal(-6, 0.5, (2000, 1))
    factor, slope, shift = mask_scaling._fit(z, one_factor=False)
    mask = 1 / (1 + np.exp(-z))
    plain = np.round(mask * 256) / 256
    scaled = factor * np.round(256 / (1 + np.exp(-(slope * z + shift)))) / 256
    assert np.square(scaled - mask).mean() < 0.01 * np.square(plain - mask).mean()


def test_masks_that_fill_the_levels_stay():
    assert mask_scaling._fit(np.linspace(-6, 6, 500)[:, None], one_factor=True) == (1, 1, 0)


@pytest.mark.parametrize("case", ["product is an output", "fixed kernel", "sum with the features"])
def test_other_masks_stay(case):
    graph, mask = attention([-7, -7, -7, -7], case)
    expand = next(op for op in graph.ops if graph.tensor_name(op.outputs[0]).startswith("net/expand"))
    fixed = [expand.inputs[1]] if case == "fixed kernel" else []
    before = run(graph, images()[0])
    assert mask_scaling.scale_masks(graph, images(), fixed) == {}
    np.testing.assert_array_equal(run(graph, images()[0])[0], before[0])
