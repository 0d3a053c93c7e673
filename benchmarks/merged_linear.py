"""XLSR with its last Gblock's 1x1 convolution merged into the one behind the concatenation; a part of quantization.py.

The two are linear and follow each other: the merged network computes the same with 1,024 multiply-adds per LR pixel less.
"""

import keras
import numpy as np

from mobile_sr import models

MERGED = ("gblock3_mix", "tail_mix")


def build(config, output_activation=None):
    """XLSR in its export form without gblock3_mix."""
    overrides = {} if output_activation is None else {"output_activation": output_activation}
    whole = models.build_for_export(config, **overrides)
    found = {id(whole.input): whole.input}
    for layer in whole.layers[1:]:
        sources = [found[id(t)] for t in (layer.input if isinstance(layer.input, list) else [layer.input])]
        if layer.name == MERGED[0]:
            found[id(layer.output)] = sources[0]
        else:
            copy = type(layer).from_config(layer.get_config())
            found[id(layer.output)] = copy(sources if len(sources) > 1 else sources[0])
    return keras.Model(whole.input, found[id(whole.output)])


def merge(model, config):
    """The merged network of a trained one."""
    merged = build(config)
    for layer in merged.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.name in _names(model) else [])
    (first, first_bias), (second, bias) = (model.get_layer(name).get_weights() for name in MERGED)
    channels = first.shape[-1]
    kernel = second.copy()
    kernel[0, 0, :channels] = first[0, 0].astype(np.float64) @ second[0, 0, :channels]
    merged.get_layer(MERGED[1]).set_weights([kernel, bias + first_bias @ second[0, 0, :channels]])
    return merged


def _names(model):
    return {layer.name for layer in model.layers if layer.get_weights()}
