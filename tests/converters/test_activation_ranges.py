"""Calibration: the ranges that 8-bit files take their scales from."""

import math

import numpy as np
import pytest

from mobile_sr.converters import activation_ranges, to_tflite
from mobile_sr.converters.tflite import flatbuffer

SHAPES = ((1, 24, 20, 3), (1, 24, 20, 3), (1, 17, 31, 3))


def samples():
    rng = np.random.default_rng(1)
    return [rng.uniform(0, 1, shape).astype(np.float32) for shape in SHAPES]


def network(**_):
    """A residual block with attention: additions and products overwrite their inputs where an interpreter lets them."""
    import keras

    keras.utils.set_random_seed(0)
    conv = {"kernel_size": 3, "padding": "same", "kernel_initializer": "random_normal"}
    x = image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, activation="relu", name="head", **conv)(x)
    y = keras.layers.Conv2D(8, name="body", **conv)(x)
    y = y * keras.ops.sigmoid(keras.layers.Conv2D(8, name="mask", **conv)(y) - 0.1)
    return keras.Model(image, keras.layers.Conv2D(3, name="tail", **conv)(x + y))


def float_file():
    return to_tflite.convert(network, network().get_weights(), "float32", clipped=False)


def written(data):
    """{tensor: (least, most)} of a file."""
    from ai_edge_litert import schema_py_generated as schema

    tensors = schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0].tensors
    fields = {place: tensor.quantization for place, tensor in enumerate(tensors)}
    return {place: (q.min[0], q.max[0]) for place, q in fields.items() if q is not None and q.min is not None}


def preserved(data):
    """The same of an interpreter that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    run = Interpreter(model_content=data, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)
    constant = [tensor.constant for tensor in flatbuffer.parse(data).tensors]
    limits = {}
    for image in samples():
        run.resize_tensor_input(run.get_input_details()[0]["index"], image.shape)
        run.allocate_tensors()
        run.set_tensor(run.get_input_details()[0]["index"], image)
        run.invoke()
        for place in (k for k, fixed in enumerate(constant) if not fixed):
            values = run.get_tensor(place)
            least, most = limits.get(place, (0, 0))
            limits[place] = min(least, values.min()), max(most, values.max())
    return limits


@pytest.mark.parametrize("at_once", [2**30, 1])
def test_every_activation_has_the_range_of_its_own_values(at_once, monkeypatch):
    monkeypatch.setattr(activation_ranges, "_MAX_RUN_BYTES", at_once)
    data = float_file()
    found, wanted = written(activation_ranges.with_ranges(data, [[image] for image in samples()])), preserved(data)
    assert set(found) == set(wanted)
    for place, limits in wanted.items():
        np.testing.assert_allclose(found[place], limits, rtol=1e-4, atol=1e-5)


def test_the_converter_uses_them():
    """Its own calibration reads an operator's inputs after it ran, when their memory may hold its result."""
    import keras

    model = network()
    data = to_tflite.convert(network, model.get_weights(), "int8", clipped=False, calibration=samples())
    graph = flatbuffer.parse(data)
    (added,) = (op for op in graph.ops if op.name == "ADD")
    parts = keras.Model(model.input, [model.get_layer(name).output for name in ("head", "body", "mask")])
    values = [parts.predict_on_batch(image) for image in samples()]
    head, body, mask = (np.concatenate([v.ravel() for v in part]) for part in zip(*values, strict=True))
    residual = body / (1 + np.exp(0.1 - mask))
    for tensor, values in zip(added.inputs, (head, residual), strict=True):
        wanted = (max(0, values.max()) - min(0, values.min())) / 255
        np.testing.assert_allclose(graph.tensors[tensor].scales, [wanted], rtol=1e-3)


def test_what_was_always_0_has_the_range_of_what_it_comes_from():
    import keras

    image = keras.Input((None, None, 3))
    doubled = image * 2.0
    model = keras.Model(image, doubled + keras.layers.ReLU(name="dead")(image - 1.5) * doubled)
    data = to_tflite.convert(lambda: model, [], "float32", clipped=False)
    found = written(activation_ranges.with_ranges(data, [[image] for image in samples()]))
    names = {op.name: op.outputs[0] for op in flatbuffer.parse(data).ops}
    most = max(image.max() for image in samples())
    np.testing.assert_allclose(found[names["MUL"]], (0, 2 * most), rtol=1e-5)
    assert 0 not in {least - most for least, most in found.values()}


def test_what_only_tanh_reads_has_a_range_in_which_tanh_bends():
    import keras

    image = keras.Input((None, None, 3))
    read_by_both = image * 9.0
    model = keras.Model(
        image, keras.ops.tanh(image * 10.0 - 5.0) + keras.ops.tanh(image * 0.5) + keras.ops.tanh(read_by_both) * read_by_both
    )
    data = to_tflite.convert(lambda: model, [], "float32", clipped=False)
    found = written(activation_ranges.with_ranges(data, [[image] for image in samples()]))
    ops = flatbuffer.parse(data).ops
    given = sorted(found[op.inputs[0]] for op in ops if op.name == "TANH")
    most = max(image.max() for image in samples())
    assert len(given) == 3
    np.testing.assert_allclose(given[0], (-math.atanh(126 / 128), math.atanh(126 / 128) * 127 / 128), rtol=1e-6)  # not -5..5
    np.testing.assert_allclose(given[1], (0, most / 2), rtol=1e-5)
    np.testing.assert_allclose(given[2], (0, most * 9), rtol=1e-5)
