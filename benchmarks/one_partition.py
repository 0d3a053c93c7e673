"""Gain from a single XNNPACK partition: `python benchmarks/one_partition.py` (a few minutes).

Compares XLSR, FSRCNN and ESPCN x3 with random weights in uint8, 360x640, one thread: as exported by the toolkit, and as
converted from Keras's own layers (a clip before depth_to_space, PReLU, Conv2DTranspose).
CPU ms, medians of 15 interleaved runs.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools

import keras
import numpy as np
import tensorflow as tf

from mobile_sr import models
from mobile_sr.benchmarking.benchmark import cpu_ms
from mobile_sr.converters import to_tflite
from mobile_sr.inference import litert
from mobile_sr.models.layers import PReLU, SubPixelConv2DTranspose

SIZE, SCALE, RUNS = (360, 640), 3, 15


def clipped(x):
    return keras.layers.Lambda(lambda v: tf.clip_by_value(v, 0.0, 1.0))(x)


def plain(model):
    """Rebuilds a linear `model` from Keras's own layers, with a final clip; the SR output is the same."""
    outputs = {id(model.input): model.input}
    for layer in model.layers[1:]:
        sources = [outputs[id(t)] for t in (layer.input if isinstance(layer.input, list) else [layer.input])]
        x = sources if len(sources) > 1 else sources[0]
        if isinstance(layer, PReLU):
            own = keras.layers.PReLU(shared_axes=[1, 2])
            y = own(x)
            own.set_weights([w.reshape(1, 1, -1) for w in layer.get_weights()])
        elif isinstance(layer, SubPixelConv2DTranspose):
            own = keras.layers.Conv2DTranspose(layer.filters, layer.kernel_size, layer.strides, padding="same")
            y = own(x)
            own.set_weights(layer.get_weights())
            return keras.Model(model.input, clipped(y))  # includes depth_to_space
        else:
            if layer.name == "sr":
                x = clipped(x)
            y = layer(x)
        outputs[id(layer.output)] = y
    return keras.Model(model.input, y)


def tensorflow_alone(model, images):
    """Returns the bytes of a uint8 .tflite by TensorFlow's converter."""
    fixed = keras.Input((*SIZE, 3), batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def main():
    """Prints the table."""
    images = [np.random.default_rng(k).random((1, *SIZE, 3)).astype(np.float32) for k in range(2)]
    print("| uint8, x3, 360x640 | partitions, plain layers | partitions, ours | CPU ms, plain layers | CPU ms, ours | ratio |")
    print("|---|---|---|---|---|---|")
    for network in ("xlsr", "fsrcnn", "espcn"):
        keras.utils.set_random_seed(0)
        build = functools.partial(models.build_for_export, {"network": network, "scale": SCALE})
        linear = build(output_activation="linear")
        clipped = build()
        clipped.set_weights(linear.get_weights())
        own = plain(linear)
        files = (
            tensorflow_alone(own, images),
            to_tflite.convert(clipped, "uint8", size=SIZE, calibration=images),
        )
        before, after = cpu_ms(files, RUNS)
        counts = " | ".join(str(litert.delegate_partitions(data)) for data in files)
        print(f"| {network} | {counts} | {before:.0f} | {after:.0f} | {after / before:.2f} |", flush=True)


if __name__ == "__main__":
    main()
