"""Converts a network with given methods and scores the files; shared by the parts of quantization.py."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mobile_sr import models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, keras_sync, layer_fit, quantizer, range_clipping
from mobile_sr.converters.quantization.channels import channel_mixing, cross_layer_equalization
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import litert, upscaler, weights
from mobile_sr.quantization import calibration

SETS = ("DIV2K_valid_crop256", "Set5")
STRENGTH = cross_layer_equalization.STRENGTH
CHOSEN = {"mix": True, "strength": STRENGTH, "center": True, "round": True, "clip": True, "fit": True}
UNMIXED = {**CHOSEN, "mix": False}
UNFITTED = {**UNMIXED, "fit": False}
UNCLIPPED = {**UNFITTED, "clip": False}
PLAIN = {"mix": False, "strength": 0, "center": False, "round": False, "clip": False, "fit": False}


class Bench:
    """A network, the image sets at its scale and its float scores."""

    def __init__(self, file, data):
        trained, self.config = weights.load_model(file)
        self.model = models.build_for_export(self.config)
        self.model.set_weights(trained.get_weights())
        scale = self.config["scale"]
        self.pairs = {s: list(evaluate.each_pair(data / s, scale, [])) for s in SETS}
        self.images, _ = calibration.calibration_set(None, scale)
        self.float = self.scores(self.convert("float32", **PLAIN))

    def prepared(self, *, images=None, mix, strength, center, round, per_tensor=False, clip=False, fit=False):
        """Returns the float graph with mixed, equalized and rounded weights; `clip` and `fit` change nothing."""
        graph = FloatGraph(to_tflite.float_tflite(self.model))
        if mix:
            channel_mixing.mix(graph, images or self.images)
        cross_layer_equalization.equalize(graph, images or self.images, strength, center)
        if round:
            gptq.round_weights(graph, images or self.images, per_tensor)
        return graph

    def convert(self, precision="uint8", *, images=None, clip, fit, per_tensor=False, **methods):
        """Returns the bytes of a .tflite. `clip` is for the default images: it clips extreme values of their first ones."""
        data = self.prepared(images=images, per_tensor=per_tensor, **methods).packed()
        if clip and precision in ("uint8", "int8"):
            assert images is None
            data = range_clipping.store(data, self.images[: calibration.PHOTOGRAPHS], self.images[calibration.PHOTOGRAPHS :])
        if fit and precision in ("uint8", "int8"):
            unrounded = self.prepared(images=images, **{**methods, "round": False}).packed()
            photographs = None if images else calibration.PHOTOGRAPHS
            data = layer_fit.fit(data, unrounded, images or self.images, per_tensor, photographs)
        return quantizer.convert(data, precision, images or self.images, per_tensor)

    def prepared_keras(self):
        """Returns the Keras model with equalized and rounded weights."""
        keras_sync.copy_weights(FloatGraph(to_tflite.float_tflite(self.model)), self.prepared(**CHOSEN), self.model)
        return self.model

    def scores(self, data):
        """Returns the mean PSNR in Y and RGB of every set for the bytes of a .tflite."""
        return self.scores_of(litert.TFLiteModel(data).run)

    def scores_of(self, run):
        """Returns the same for a function from [H, W, 3] uint8 to the SR output."""
        scale, means = self.config["scale"], []
        for pairs in self.pairs.values():
            psnrs = []
            for _, hr, lr, gray in pairs:
                sr = upscaler.to_uint8(run(lr))
                psnrs.append([metrics.psnr(sr, hr, space, scale, gray) for space in ("y", "rgb")])
            means += list(np.mean(psnrs, axis=0))
        return np.array(means)

    def row(self, label, **arguments):
        """Prints one row of a table: the drops of a converted file."""
        self.drops(label, self.scores(self.convert(**arguments)))

    def drops(self, label, scores):
        """Prints one row of a table: the float scores minus these scores."""
        print(f"| {label} | " + " | ".join(f"{drop:z.3f}" for drop in self.float - scores) + " |", flush=True)
