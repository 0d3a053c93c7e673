"""The supernet of plain chains: the plain network of its open gates, costs, and the end of the search for gates."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobile_sr import models
from mobile_sr.architecture_search import compaction, plain_compaction
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.models.nas import fgnas_plain_supernet as plain

ARM64, MULTIPLY_ADDS = fgnas_costs.Cost("arm64"), fgnas_costs.Cost("multiply_adds")
CONFIG = {"network": "fgnas_plain_supernet", "scale": 2, "layers": 4, "channels": 12, "step": 4, "output_activation": "linear"}


@functools.cache
def built(bits, rate):
    """A supernet, built once, and its weights, with random biases."""
    keras.utils.set_random_seed(0)
    model, rng = models.build({**CONFIG, "activation_bits": bits, "gate_rate": rate}), np.random.default_rng(0)
    return model, [rng.normal(0, 0.1, v.shape) if v.path.endswith("bias") else v.numpy() for v in model.variables]


def supernet(widths, layers, bits=0, rate=1.0):
    """Returns the supernet with psi as given: `widths` of the head and the first layers, `layers` of the layers."""
    model, start = built(bits, rate)
    model.set_weights(start)
    chain = plain.chain(model)
    for gate, values in zip([*chain.width_gates, *chain.layer_gates], [*widths, *([z] for z in layers)], strict=True):
        gate.stored.assign(np.array(values, np.float32)[:, None] / rate)
    return model


def image():
    return np.random.default_rng(0).random((1, 7, 9, 3)).astype(np.float32)


CASES = {  # open gates of 4 channels of head and layers 1 to 3, open layers, channels of the plain network
    "all": ([[1, 1, 1]] * 4, [1] * 4, (12, [12, 12, 12, 12])),
    "the last layer has the head's channels": ([[1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0]], [1] * 4, (8, [4, 12, 4, 8])),
    "a vanished last layer": ([[1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0]], [1, 1, 1, 0], (8, [4, 12, 8])),
    "a layer without channels": ([[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], [1] * 4, (8, [4, 4, 8])),
    "one layer": ([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]], [0, 1, 0, 0], (4, [4])),
    "no layer": ([[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], [0] * 4, (8, [])),
}


@pytest.mark.parametrize("case", CASES)
def test_the_plain_network_has_the_function_and_the_cost_of_the_open_gates(case):
    widths, layers, (head, kept) = CASES[case]
    model = supernet(widths, layers)
    config, arrays = plain_compaction.compact(model, CONFIG)
    assert config == {
        "network": "chainsr",
        "scale": 2,
        "output_activation": "linear",
        "channels": head,
        "layers": len(kept),
        "widths": kept,
    }
    small = models.build(config)
    compaction.set_weights(small, arrays)
    expected = np.asarray(model(image()))
    assert expected.std() > 0.01
    np.testing.assert_allclose(np.asarray(small(image())), expected, atol=1e-6)
    assert float(plain.total(model, MULTIPLY_ADDS)) == models.multiply_adds(small, 1)
    assert float(plain.total(model, ARM64)) == pytest.approx(plain.of_widths([head, *kept], 12, ARM64), rel=1e-6)


def test_a_head_without_channels_has_collapsed():
    with pytest.raises(compaction.Collapsed, match="the first convolution has no open channel"):
        plain_compaction.compact(supernet([[0, 0, 0]] + [[1, 1, 1]] * 3, [1] * 4), CONFIG)


def test_golden_instructions():
    """ChainSR's sizes s and m at x3 (models/chainsr.py); the full supernet of the recipe; 8 channels of the head alone."""
    for layers, expected in ((5, 2180), (12, 4040)):
        assert round(plain.of_widths([16] * (layers + 1), 27, ARM64), -1) == expected
    assert float(plain.of_widths([32] * 17, 27, ARM64)) == pytest.approx(15_357, abs=1)
    assert float(plain.of_widths([8], 27, ARM64)) == pytest.approx(667.5, abs=0.1)


def test_the_cost_pulls_at_layers_and_groups():
    """The gradient at a layer's gate is its cost; at a group of channels, the cost of both convolutions by the channels."""
    model = supernet([[1, 1, 1]] * 4, [1, 1, 0, 1])
    chain = plain.chain(model)
    with tf.GradientTape() as tape:
        total = plain.total(model, MULTIPLY_ADDS)
    gates = [chain.layer_gates[0], chain.layer_gates[2], chain.width_gates[1]]
    one, vanished, group = (np.asarray(g).ravel() for g in tape.gradient(total, [gate.stored.value for gate in gates]))
    one_slope, closed_slope = (s * (1 - s) for s in (1 / (1 + np.exp(-psi)) for psi in (1.0, 0.0)))
    assert one == pytest.approx(9 * 12 * 12 * one_slope)
    assert vanished == pytest.approx(9 * 12 * 12 * closed_slope)
    assert group == pytest.approx([4 * 9 * (12 + 12) * one_slope] * 3)


def test_rounding_ignores_the_weights_of_closed_inputs():
    """Without them, the outputs have the 8-bit steps of the open weights."""
    widths, layers = [[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], [1] * 4
    exact = np.asarray(supernet(widths, layers)(image()))
    model = supernet(widths, layers, bits=8)
    before = np.asarray(model(image()))
    assert 1e-4 < np.abs(before - exact).max() < 0.1
    kernel = plain.chain(model).convs[0][0]
    changed = np.array(kernel)
    changed[:, :, 4:8] = 50
    kernel.assign(changed)
    np.testing.assert_array_equal(np.asarray(model(image())), before)


def test_reopening_adds_layers_as_the_identity_and_then_groups_by_psi():
    model = supernet([[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 0.4, 0.3]], [1, 0.2, 0.4, 1])
    before = np.asarray(model(image()))
    budget = [float(plain.total(model, MULTIPLY_ADDS)) + 9 * 12 * 12]  # a layer of 12, and nothing else

    def fits():
        return float(plain.total(model, MULTIPLY_ADDS)) <= budget[0]

    assert plain_compaction.reopen(model, fits) == 3  # layer 3 (0.4 before 0.2), and its channels 4 to 11
    assert plain_compaction.alive(model) == "8 | 12-.-12-8"
    np.testing.assert_allclose(np.asarray(model(image())), before, atol=1e-6)
    model = supernet([[1, 0.1, 1], [1, 1, 1], [1, 1, 1], [1, 0.4, 0.3]], [1, 0.2, 1, 1])
    budget[0] = float(plain.total(model, MULTIPLY_ADDS)) + 9 * 4 * (12 + 8)  # a group of layer 3, but no layer
    assert plain_compaction.reopen(model, fits) == 1
    assert plain_compaction.alive(model) == "8 | 12-.-8-8"
    assert plain_compaction.reopen(model, fits) == 0


def test_held_gates_stay():
    model = supernet([[1, 0, 1], [1, 1, 0.49], [0.51, 1, 1], [1, 0, 0]], [1, 0, 1, 1], rate=10.0)
    line = plain_compaction.alive(model)
    assert line == "8 | 8-.-4-8"
    assert not plain_compaction.is_held(model)
    plain_compaction.hold(model)
    assert plain_compaction.is_held(model)
    with tf.GradientTape() as tape:
        total = plain.total(model, ARM64)
    psi = [gate.stored.value for gate in plain.chain(model).width_gates]
    assert all(not np.asarray(gradient).any() for gradient in tape.gradient(total, psi))
    assert plain_compaction.alive(model) == line


def test_psi_stays_in_0_to_1_unless_it_is_held():
    gate = plain.chain(supernet([[1, 1, 1]] * 4, [1] * 4, rate=10.0)).width_gates[1]
    psi = gate.stored.constraint(np.array([-0.3, 0.4, 1.7, plain.HELD, -plain.HELD], np.float32) / 10) * 10
    np.testing.assert_allclose(psi, [0, 0.4, 1, plain.HELD, -plain.HELD], rtol=1e-6)


def test_channels_are_whole_groups():
    with pytest.raises(ValueError, match="channels must be a multiple of step, got 12 channels and a step of 8"):
        models.build({**CONFIG, "step": 8})
