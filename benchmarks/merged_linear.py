"""XLSR with the 1x1 convolution of its last Gblock merged into that after the concatenation; a part of quantization.py.

The two are linear and consecutive: the merged network computes the same with 1,024 fewer multiply-adds per LR pixel.
"""

import keras
import numpy as np

from mobile_sr import models

MERGED = ("gblock3_mix", "tail_mix")


def build(config, **overrides):
    """Builds XLSR in its export form without gblock3_mix."""

    def call(layer, x, **kwargs):
        return x if layer.name == MERGED[0] else layer(x, **kwargs)

    return keras.models.clone_model(models.build_for_export(config, **overrides), call_function=call)


def merge(model, config):
    """Returns the merged network of a trained one."""
    merged = build(config)
    for layer in merged.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    (first, first_bias), (second, bias) = (model.get_layer(name).get_weights() for name in MERGED)
    channels = first.shape[-1]
    kernel = second.copy()
    kernel[0, 0, :channels] = first[0, 0].astype(np.float64) @ second[0, 0, :channels]
    merged.get_layer(MERGED[1]).set_weights([kernel, bias + first_bias @ second[0, 0, :channels]])
    return merged
