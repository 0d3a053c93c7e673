"""Virtual devices that need nothing: they run files on this machine."""

import numpy as np

from mobile_sr.devices import names
from mobile_sr.devices.device import Residency
from mobile_sr.inference import litert


class FakeSession:
    """Runs a file on this machine, one level brighter."""

    residency = Residency(3, 2, {"DEPTH_TO_SPACE 2": "not in the list"}, None)

    def __init__(self, device, data, shape):
        self.device, self.model, self.shape = device, litert.TFLiteModel(data), shape
        device.opened.append(shape)

    def run(self, inputs):
        (index, values) = next(iter(inputs.items()))
        assert (index, values.shape, values.dtype) == (self.model._graph_io.image, self.shape, np.uint8)
        self.model.prepare(values.shape[1:3])
        self.model._engine.set(index, values)
        self.model.invoke()
        sr = self.model._graph_io.sr
        return {sr: np.minimum(self.model.tensor(sr), 254) + np.uint8(1)}

    def facts(self):
        return {"cycles": 7}

    def close(self):
        self.device.closed.append(self.shape)


class FakeDevice:
    name, label, runs = "virtual:fake", "virtual:fake (a test)", True

    def __init__(self, soc=None):
        self.opened, self.closed = [], []

    def open(self, data, name, shape):
        return FakeSession(self, data, shape)


class Compiler(FakeDevice):
    runs = False


def register(monkeypatch):
    """Makes the devices virtual:fake and virtual:compiler known."""
    monkeypatch.setitem(names.DEVICES, "virtual:fake", (__name__, "FakeDevice", "soc"))
    monkeypatch.setitem(names.DEVICES, "virtual:compiler", (__name__, "Compiler", None))
