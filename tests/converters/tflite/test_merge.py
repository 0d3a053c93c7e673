"""Merged .tflite files: signatures, and what they store once. Files with sparse paths are in tests/mobile_sr/adadsr."""

import pytest

from mobile_sr import zoo
from mobile_sr.converters.tflite import flatbuffer, merge

SIZES = ("m", "s")


@pytest.fixture(scope="module")
def parts():
    return {size: zoo.resolve(f"chainsr_{size}_x3:uint8").read_bytes() for size in SIZES}


@pytest.mark.parametrize("has_default", [True, False])
def test_the_first_part_may_be_the_default_signature(parts, has_default):
    data = merge.merge(parts, ["sr"], has_default)
    names = flatbuffer.parse(data, "m").signatures
    assert names == [merge.DEFAULT, *SIZES] if has_default else [*SIZES]
    if not has_default:
        with pytest.raises(flatbuffer.TFLiteFileError, match="choose one of its signatures"):
            flatbuffer.parse(data)
        return
    default, first, other = (flatbuffer.parse(data, name) for name in (None, *SIZES))
    assert (default.signature, default.subgraph, first.subgraph, other.subgraph) == (merge.DEFAULT, 0, 0, 1)
    assert default.output_names == first.output_names == {first.outputs[0]: "sr"}


def test_kernels_are_counted_once(parts):
    counts = [merge.kernels(data) for data in parts.values()]
    assert counts == [14, 7]  # the first, the last and 12 or 5 between them
    assert merge.kernels(merge.merge(parts, ["sr"])) == sum(counts)
    assert merge.kernels(merge.merge({"a": parts["m"], "b": parts["m"]}, ["sr"])) == 14
