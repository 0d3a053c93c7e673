"""The preparation of the network that a training starts from."""

import types

import numpy as np
import pytest

from mobile_sr.qat import keras_start
from tests.converters.quantization.small_graphs import Builder


class Start(types.SimpleNamespace):
    """A network of one convolution that was not folded."""

    def source(self, file=None):
        builder = Builder()
        data = builder.finished(builder.conv(builder.inputs[0], 3, 4)).packed()
        return types.SimpleNamespace(data=data, samples=lambda crops: [crop * 2 for crop in crops], model="original")


@pytest.mark.parametrize(("strength", "per_tensor"), [(0.0, False), (0.5, True)])
@pytest.mark.parametrize("exact", [True, False])
def test_the_settings_reach_the_equalization(monkeypatch, strength, per_tensor, exact):
    calls = []
    monkeypatch.setattr(keras_start.keras_sync, "prepare", lambda *args: calls.append(args) or exact)
    reason = keras_start.prepare(Start(is_changed=False, model="network"), [np.float32(0.25)], strength, per_tensor, not exact)
    ((model, data, samples, *settings),) = calls
    assert (model, samples, settings) == ("network", [0.5], [strength, per_tensor, "original", not exact])
    assert data.startswith(b"TFL3", 4)
    assert (reason is None) == exact


def test_merged_weights_are_a_reason(monkeypatch):
    def prepare(*args):
        raise ValueError("kernel 'a' was merged")

    monkeypatch.setattr(keras_start.keras_sync, "prepare", prepare)
    reason = keras_start.prepare(Start(is_changed=False, model="network"), [], 0.5, False)
    assert reason == "as trained, because kernel 'a' was merged"
