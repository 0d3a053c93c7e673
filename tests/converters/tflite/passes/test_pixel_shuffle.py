"""Shuffles are recognized by what they do to the number of each value."""

import pytest

from mobile_sr.converters.tflite.passes.pixel_shuffle import TO_NHWC, Shuffle, depth_to_space_order, recognize


def test_order_of_channels():
    """CRD has channel c * 4 + dy * 2 + dx, TensorFlow (dy * 2 + dx) * C + c."""
    assert depth_to_space_order(8, 2) == (0, 4, 1, 5, 2, 6, 3, 7)


CRD = [("reshape", (1, 2, 2, 2, 3, 5)), ("transpose", (0, 1, 4, 2, 5, 3)), ("reshape", (1, 2, 6, 10))]
DCR = [("reshape", (1, 2, 2, 2, 3, 5)), ("transpose", (0, 3, 4, 1, 5, 2)), ("reshape", (1, 2, 6, 10))]
NHWC = [("reshape", (1, 3, 5, 2, 2, 2)), ("transpose", (0, 1, 3, 2, 4, 5)), ("reshape", (1, 6, 10, 2))]
# Two transpositions of rank 4 instead of one of rank 6, as litert-torch writes them.
SPLIT = [("reshape", (2, 2, 2, 15)), ("transpose", (0, 1, 3, 2)), ("reshape", (2, 2, 3, 10)), ("transpose", (0, 2, 1, 3))]


@pytest.mark.parametrize(
    ("source", "steps", "expected"),
    [
        ((1, 8, 3, 5), CRD, Shuffle("depth_to_space", 2, (0, 4, 1, 5, 2, 6, 3, 7), "NCHW", "NCHW", 8)),
        ((1, 8, 3, 5), DCR, Shuffle("depth_to_space", 2, tuple(range(8)), "NCHW", "NCHW", 8)),
        ((1, 3, 5, 8), NHWC, Shuffle("depth_to_space", 2, tuple(range(8)), "NHWC", "NHWC", 8)),
        (
            (1, 8, 3, 5),
            [*SPLIT, ("reshape", (1, 2, 6, 10)), ("transpose", TO_NHWC)],
            Shuffle("depth_to_space", 2, (0, 4, 1, 5, 2, 6, 3, 7), "NCHW", "NHWC", 8),
        ),
        (
            (1, 3, 4, 6),
            [("reshape", (1, 3, 2, 2, 3, 2)), ("transpose", (0, 1, 3, 5, 2, 4)), ("reshape", (1, 12, 2, 3))],
            Shuffle("space_to_depth", 2, (0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11), "NCHW", "NCHW", 3),
        ),
        (
            (1, 4, 3, 5),
            [("reshape", (1, 2, 2, 3, 5)), ("transpose", (0, 2, 1, 3, 4)), ("reshape", (1, 4, 3, 5))],
            Shuffle("channels", 1, (0, 2, 1, 3), "NCHW", "NCHW", 4),
        ),
        (
            (1, 2, 3, 5),
            [("reshape", (1, 2, 1, 3, 5)), ("broadcast", (1, 2, 2, 3, 5)), ("reshape", (1, 4, 3, 5))],
            Shuffle("channels", 1, (0, 0, 1, 1), "NCHW", "NCHW", 2),
        ),
        ((1, 4, 6, 3), [("reshape", (4, 3, 2, 3)), ("transpose", (0, 2, 1, 3)), ("reshape", (1, 4, 6, 3))], None),
        ((2, 4, 6, 3), [("reshape", (2, 4, 6, 3))], None),
    ],
)
def test_recognized(source, steps, expected):
    assert recognize(source, steps) == expected


def test_keeps_order():
    assert Shuffle("space_to_depth", 2, tuple(range(12)), inputs=3).keeps_order
    assert not Shuffle("channels", 1, (0, 1), inputs=3).keeps_order
