"""Limits from both sides. test_run_files.py has the configurations of run folders."""

import json
import zipfile

import pytest

from mobile_sr.converters.formats import keras_limits
from mobile_sr.inference import limits


def check(**config):
    limits.check_config(config, {"channels": 64, "blocks": 8})


def test_sizes_reach_4096():
    check(channels=4096, blocks=1)
    with pytest.raises(ValueError, match="channels is 4097"):
        check(channels=4097, blocks=1)
    check(inner={"d": [4096, -4096]})
    with pytest.raises(ValueError, match="the value -4097"):
        check(inner={"d": [-4097]})


def test_weights_reach_2_to_the_28():
    """9 * 1,024^2 a block."""
    check(channels=1024, blocks=28)
    with pytest.raises(ValueError, match="1024 channels in 29 blocks, more than 268,435,456 weights"):
        check(channels=1024, blocks=29)


def test_values_reach_100000():
    """The configuration itself and its list are two."""
    check(gates=[0] * 99_999)
    with pytest.raises(ValueError, match="more than 100,000 values"):
        check(gates=[0] * 100_000)


def test_keras_archives(tmp_path):
    file = tmp_path / "a.keras"

    def write(*filters):
        layers = [{"config": {"filters": count, "kernel_size": [4, 4]}} for count in filters]
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("config.json", json.dumps(layers))

    write(4096, 4093)  # (3 + 4,093) * 4,096 * 4^2, just 2^28
    keras_limits.check_keras(file, file.stat().st_size)
    write(4096, 4094)
    with pytest.raises(ValueError, match="more than 268,435,456 weights"):
        keras_limits.check_keras(file, file.stat().st_size)
    with pytest.raises(ValueError, match="it would unpack to .* bytes; the limit is 10"):
        keras_limits.check_keras(file, 10)
