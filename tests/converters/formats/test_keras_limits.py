"""Limits of .keras archives, from both sides."""

import json
import zipfile

import pytest

from mobile_sr.converters.formats import keras_limits


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
