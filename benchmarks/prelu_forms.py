"""Cost of a PReLU in 8 bits by the operators that implement it: `python benchmarks/prelu_forms.py`.

Measures a 3x3 convolution to 56 channels, the PReLU and a 1x1 convolution to 12, at 360x640, int8, one thread: partitions and
median CPU ms of 9 interleaved runs.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from mobile_sr.benchmarking.benchmark import cpu_ms
from mobile_sr.converters import to_tflite
from mobile_sr.inference import litert

CHANNELS = 56


class Form(keras.layers.Layer):
    """One implementation of a PReLU."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def forms():
    """Returns {name: layer}."""
    alpha = np.random.default_rng(0).random(CHANNELS).astype(np.float32) / 2
    prelu = keras.layers.PReLU(shared_axes=[1, 2])
    prelu.build((None, None, None, CHANNELS))
    prelu.set_weights([alpha.reshape(1, 1, CHANNELS)])
    return {
        "ReLU, for comparison": Form(tf.nn.relu),
        "PRELU": prelu,
        "MAXIMUM(x, alpha x), 0 <= alpha <= 1": Form(lambda x: tf.maximum(x, x * alpha)),
        "alpha x + relu((1 - alpha) x)": Form(lambda x: x * alpha + tf.nn.relu(x * (1 - alpha))),
        "x + relu((alpha - 1) x)": Form(lambda x: x + tf.nn.relu(x * (alpha - 1))),
    }


def convert(layer, images):
    """Returns the bytes of the int8 .tflite."""
    keras.utils.set_random_seed(0)
    x = lr = keras.Input((360, 640, 3), batch_size=1)
    x = keras.layers.Conv2D(12, 1)(layer(keras.layers.Conv2D(CHANNELS, 3, padding="same")(x)))
    model = keras.Model(lr, x)
    return to_tflite.convert(model, "int8", calibration=images)


def main():
    """Prints the table."""
    images = [np.random.default_rng(k).random((1, 360, 640, 3)).astype(np.float32) for k in range(2)]
    files = {name: convert(layer, images) for name, layer in forms().items()}
    times = dict(zip(files, cpu_ms(files.values(), 9), strict=True))
    print("| form | XNNPACK partitions | CPU ms |\n|---|---|---|")
    for name, data in files.items():
        print(f"| {name} | {litert.delegate_partitions(data)} | {times[name]:.1f} |")


if __name__ == "__main__":
    main()
