"""FGNAS: the supernet's equations, costs, and the compact network extracted from it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobile_sr import models
from mobile_sr.architecture_search import compaction, reopening
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import keras_sync
from mobile_sr.evaluation import compare
from mobile_sr.inference import weights
from mobile_sr.inference.upscaler import load
from mobile_sr.models.nas import fgnas, fgnas_costs, fgnas_supernet
from mobile_sr.quantization import export
from mobile_sr.training import recipes

MULTIPLY_ADDS = fgnas_costs.Cost("multiply_adds")
KINDS = (("relu", "prelu", "tanh"), ("relu",), ("prelu", "tanh"), ("relu", "tanh"), ("relu", "prelu"))


def supernet(seed=0, share=None, **arguments):
    """Returns (model, configuration) of a small supernet with random weights; gates are open with the probability `share`."""
    config = {"network": "fgnas_supernet", "scale": 2, "blocks": 3, "channels": 6, "output_activation": "linear", **arguments}
    keras.utils.set_random_seed(seed)
    model, rng = models.build(config), np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.endswith("psi") and share is not None:
            variable.assign((rng.random(variable.shape) < share).astype(np.float32))
        elif variable.path.endswith(("bias", "alpha")):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model, config


def random_image(seed=0):
    return np.random.default_rng(seed).random((2, 9, 11, 3)).astype(np.float32)


def gradient(function, value):
    value = tf.constant(value, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(value)
        result = function(value)
    return tape.gradient(result, value).numpy()


def sigmoid_slope(psi):
    s = 1 / (1 + np.exp(-psi))
    return s * (1 - s)


def test_a_gate_is_a_step_forward_and_a_sigmoid_backward():
    """Eq. 1; exactly 0 and 1 forward, 0.5 closed."""
    psi = np.array([-3.0, 0.2, 0.5, 0.5001, 1.7, 30.0], np.float32)
    assert fgnas_supernet.straight_through(tf.constant(psi)).numpy().tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(gradient(fgnas_supernet.straight_through, psi), sigmoid_slope(psi), rtol=1e-5)


def test_channels_are_counted_by_the_union_forward_and_the_sum_backward():
    """Eq. 4."""
    gates = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], np.float32)
    assert fgnas_supernet.alive(tf.constant(gates)).numpy().tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(gradient(fgnas_supernet.alive, gates), np.ones((4, 3)))


@pytest.mark.slow
def test_the_papers_supernet_has_1290688_multiply_adds_per_lr_pixel():
    model = models.build({"network": "fgnas_supernet", "scale": 2})
    assert MULTIPLY_ADDS.total(fgnas_supernet.operators(model, full=True)) == 1_290_688
    assert round(1_290_688 * 640 * 360 / 1e9, 1) == 297.4
    for size, blocks in (("s", 16), ("m", 32), ("l", 64)):
        paper = recipes.load(f"fgnas_{size}_x2")
        assert (paper.network["blocks"], paper.network["channels"], paper.batch, paper.patch) == (blocks, 64, 16, 96)
    assert recipes.load("fgnas_s_x2").network["weight"] == pytest.approx(1e-9 * 1_290_688 * 96**2 / 255)


def test_all_gates_start_open():
    model, _ = supernet(blocks=1)
    full, now = (float(MULTIPLY_ADDS.total(fgnas_supernet.operators(model, full=full))) for full in (True, False))
    assert full == now


def test_the_regulariser_has_the_gradient_of_equation_3():
    """d R / d psi for the gates of one block and for those joined by skips (Sec. 3.2.4), computed by hand."""
    model, _ = supernet(blocks=1, channels=4)
    block = fgnas_supernet.searchable_blocks(model)[0]
    rng = np.random.default_rng(1)
    for gate in (*block.gates().values(), model.get_layer("head").gate, model.get_layer("tail").gate):
        gate.stored.assign(rng.uniform(-0.5, 1.5, gate.shape))
    stored = {name: gate.stored for name, gate in block.gates().items()}
    stored |= {name: model.get_layer(name).gate.stored for name in ("head", "tail")}
    with tf.GradientTape() as tape:
        total = MULTIPLY_ADDS.total(fgnas_supernet.operators(model))
    names = ("pointwise", "activation", "residual", "head", "tail")
    got = dict(zip(names, tape.gradient(total, [stored[name].value for name in names]), strict=True))
    psi = {name: np.asarray(variable) for name, variable in stored.items()}
    opened = {name: (values > 0.5).any(axis=-1).sum() for name, values in psi.items()}
    trunk = ((psi["head"] > 0.5) | (psi["residual"] > 0.5)).sum()
    last = 9 * 12  # for each channel of the body or of the head
    slopes = {
        "pointwise": opened["head"] + 9 * opened["activation"],
        "activation": 9 * opened["pointwise"] + 9 * opened["residual"],
        "residual": 9 * opened["activation"] + 9 * opened["tail"],
        "head": 27 + opened["pointwise"] + 9 * opened["tail"] + last,
        "tail": 9 * trunk + last,
    }
    for name, slope in slopes.items():
        np.testing.assert_allclose(got[name], sigmoid_slope(psi[name]) * slope, rtol=1e-4, err_msg=name)


def test_the_loss_gets_lambda_times_the_share_that_is_left():
    """Eq. 2, the cost as a share of the full supernet's."""
    model, _ = supernet(share=0.6, weight=0.25)
    model(random_image())
    left, full = (float(MULTIPLY_ADDS.total(fgnas_supernet.operators(model, full=full))) for full in (False, True))
    assert 0 < left < full
    np.testing.assert_allclose(model.losses, [0.25 * left / full], rtol=1e-6)


def test_half_precision_keeps_the_cost_whole():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half, config = supernet(share=0.7)
    finally:
        keras.config.set_dtype_policy("float32")
    whole, _ = supernet(share=0.7)
    whole.set_weights(half.get_weights())
    assert half.get_layer("block1").compute_dtype == "bfloat16"
    np.testing.assert_allclose(half(random_image()), whole(random_image()), atol=0.1)
    assert half.losses[0].dtype == "float32"
    np.testing.assert_allclose(half.losses[0], whole.losses[0], rtol=1e-6)


def test_activations_are_gated_and_divided_by_three():
    layer = fgnas_supernet.MixedActivations(3, fgnas_supernet.ACTIVATIONS)
    layer.build((None, None, None, 3))
    layer.gate.stored.assign([[1, 0, 0], [0, 1, 0], [1, 1, 1]])
    x = np.array([-2.0, -2.0, -2.0, 1.5, 1.5, 1.5], np.float32).reshape(1, 1, 2, 3)
    bent = np.tanh(x[0, 0, :, 2])
    expected = [[0, -0.5, 0 - 0.5 + bent[0]], [1.5, 1.5, 3 + bent[1]]]
    np.testing.assert_allclose(np.asarray(layer(x))[0, 0], np.array(expected) / 3, rtol=1e-6)


@pytest.mark.parametrize("closed", ["pointwise", "activation", "residual"])
def test_a_block_without_open_channels_in_a_layer_adds_exactly_nothing(closed):
    model, _ = supernet(blocks=1)
    block = fgnas_supernet.searchable_blocks(model)[0]
    gate = block.gates()[closed]
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 6)).astype(np.float32)
    assert np.abs(np.asarray(block(x)) - x).max() > 0.01
    gate.stored.assign(np.zeros(gate.shape))
    np.testing.assert_array_equal(np.asarray(block(x)), x)


@pytest.mark.parametrize("closed", ["pointwise", "activation", "residual"])
def test_a_vanished_block_takes_no_time(closed):
    model, _ = supernet(blocks=2)
    left = [operator for operator in fgnas_supernet.operators(model, executed=True) if operator[2] > 0]
    gate = fgnas_supernet.searchable_blocks(model)[1].gates()[closed]
    gate.stored.assign(np.zeros(gate.shape))
    now = [operator for operator in fgnas_supernet.operators(model, executed=True) if operator[1] > 0 and operator[2] > 0]
    assert len(left) - len(now) == 6  # three convolutions, PReLU that includes ReLU, tanh, addition


@pytest.mark.parametrize("seed", [0, 1, 2, 3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (7, *range(8, 16)))])
def test_the_compact_network_is_the_gated_supernet(seed):
    """Random gates: empty layers and vanished blocks, all activation sets and searches, every form of merging."""
    search = ("both", "both", "channels", "activations")[seed % 4]
    arguments = {"activations": KINDS[seed % 5], "search": search, "pointwise": seed % 3 > 0}
    model, config = supernet(seed, share=(0.35, 0.5, 0.7)[seed % 3], **arguments)
    if seed % 2:
        vanished = model.get_layer("block2").activation.gate.stored
        vanished.assign(np.zeros(vanished.shape))
    compact, arrays = compaction.compact(model, config)
    expected = np.asarray(model(random_image()))
    for merge in fgnas.MERGES:
        small = models.build(compact, merge=merge)
        compaction.set_weights(small, arrays)
        np.testing.assert_allclose(np.asarray(small(random_image())), expected, atol=1e-5)
    counted, left = float(MULTIPLY_ADDS.total(fgnas_supernet.operators(model))), models.multiply_adds(small, 1)
    assert counted >= left
    parameters = fgnas_costs.Cost("parameters")
    assert (None in compact["blocks"]) == bool(seed % 2)
    if None not in compact["blocks"]:
        assert counted == left
        assert float(parameters.total(fgnas_supernet.operators(model))) == small.count_params()
        carried_out = float(MULTIPLY_ADDS.total(fgnas_supernet.operators(model, executed=True)))
        assert carried_out == fgnas.executed_multiply_adds(models.build(compact), 1) >= left


def test_vanished_blocks_and_an_empty_body_leave_the_compact_network():
    model, config = supernet(share=1.0)
    second = fgnas_supernet.searchable_blocks(model)[1].gates()["activation"]
    second.stored.assign(np.zeros(second.shape))
    compact, _ = compaction.compact(model, config)
    assert [block is None for block in compact["blocks"]] == [False, True, False]
    model.get_layer("tail").gate.stored.assign(np.zeros((6, 1)))
    compact, arrays = compaction.compact(model, config)
    assert compact["blocks"] == [None] * 3
    small = models.build(compact)
    compaction.set_weights(small, arrays)
    np.testing.assert_allclose(np.asarray(small(random_image())), np.asarray(model(random_image())), atol=1e-5)
    model.get_layer("head").gate.stored.assign(np.zeros((6, 1)))
    with pytest.raises(compaction.Collapsed, match="first convolution"):
        compaction.compact(model, config)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        pytest.param({"pointwise": False, "activations": ("relu",)}, marks=pytest.mark.slow),
        pytest.param({"search": "channels"}, marks=pytest.mark.slow),
    ],
)
def test_channels_are_restored_where_they_fit_and_the_output_stays_the_same(arguments):
    for seed in range(2):
        model, config = supernet(seed, share=0.4, gate_rate=10.0, **arguments)
        for gate in fgnas_gates(model):
            gate.stored.assign(gate.stored / 10)
        vanished = model.get_layer("block2").gates()["activation"]
        vanished.stored.assign(vanished.stored * (seed % 2))
        expected, before = np.asarray(model(random_image())), fgnas_gates(model, alive=True)
        assert reopening.reopen(model, lambda: False) == 0
        assert fgnas_gates(model, alive=True) == before
        blocks = [block["residual"] if block else None for block in compaction.compact(model, config)[0]["blocks"]]
        left = sum(block is not None for block in blocks)
        max_blocks = min(3, left + 1)  # one vanished block is reopened; a second would exceed the limit
        opened = reopening.reopen(model, lambda model=model, max_blocks=max_blocks: len(blocks_left(model)) <= max_blocks)
        assert opened == sum(fgnas_gates(model, alive=True)) - sum(before)
        compact, arrays = compaction.compact(model, config)
        assert len(blocks_left(model)) == sum(block is not None for block in compact["blocks"]) == max_blocks
        for block in compact["blocks"]:
            assert block is None or (len(block["residual"]), sum(block["mix"].values())) == (6, 6)
        small = models.build(compact)
        compaction.set_weights(small, arrays)
        np.testing.assert_allclose(np.asarray(small(random_image())), expected, atol=1e-5)


def blocks_left(model):
    return [b for b in fgnas_supernet.searchable_blocks(model) if all(np.asarray(g.open()).any() for g in b.gates().values())]


def fgnas_gates(model, alive=False):
    """Returns the Gates of a supernet, or the number of open channels of each."""
    gates = [model.get_layer("head").gate, model.get_layer("tail").gate]
    gates += [gate for block in fgnas_supernet.searchable_blocks(model) for gate in block.gates().values()]
    return [int(np.asarray(fgnas_supernet.alive(gate.open())).sum()) for gate in gates] if alive else gates


def test_costs_of_all_kinds():
    operators = [("conv3x3", 4.0, 8.0), ("conv1x1", 8.0, 6.0), ("tanh", 6.0, 6.0)]
    assert MULTIPLY_ADDS.total(operators) == 9 * 32 + 48
    assert fgnas_costs.Cost("parameters").total(operators) == 9 * 32 + 8 + 48 + 6
    assert fgnas_costs.Cost("activations").total(operators) == 14
    table = {"grid": [0, 4, 8], "conv3x3": [[0, 0, 0], [0, 10, 20], [0, 30, 50]], "tanh": [0, 1, 3]}
    latency = fgnas_costs.Cost(table)
    assert float(latency.of("conv3x3", 4.0, 8.0)) == 20
    assert float(latency.of("conv3x3", 6.0, 6.0)) == pytest.approx((10 + 20 + 30 + 50) / 4)
    assert float(latency.of("tanh", 5.0, 5.0)) == 1.5
    assert float(latency.of("conv3x3", 4.0, 12.0)) == 30  # past the end of the grid
    np.testing.assert_allclose(gradient(lambda n: latency.of("tanh", n, n), 5.0), 1.5 / 5)
    np.testing.assert_allclose(gradient(lambda n: latency.of("conv3x3", 4.0, n), 8.0), 20 / 8)
    np.testing.assert_allclose(gradient(lambda n: latency.of("conv3x3", n, 8.0), 4.0), 20 / 4)
    assert gradient(lambda n: latency.of("conv3x3", n, 8.0), 0.0) == 0
    with pytest.raises(ValueError, match="cost must be"):
        fgnas_costs.Cost("watts")


def test_prelu_costs_time_for_all_that_passes_through_it_and_steers_its_own_gates():
    table = {"grid": [0, 6], "prelu": [0, 12], "relu": [0, 3], "tanh": [0, 1]}
    model, _ = supernet(blocks=1, activations=("relu", "prelu", "tanh"))
    gate = fgnas_supernet.searchable_blocks(model)[0].activation.gate

    def total(psi):
        gate.stored.assign(psi)
        actual = [o for o in fgnas_supernet.operators(model, executed=True) if o[0] in table]
        return fgnas_costs.Cost(table).total(actual)

    psi = np.ones((6, 3), np.float32) * [1, 0, 0]
    assert float(total(psi)) == 0  # ReLU is fused into its convolution
    psi[0, 2] = 1
    assert float(total(psi)) == pytest.approx(3 + 1 / 6)  # beside tanh it is a separate operator
    psi[:2, 1] = 1
    with tf.GradientTape() as tape:
        now = total(psi)
    assert float(now) == pytest.approx(12 + 1 / 6)
    slope = tape.gradient(now, gate.stored.value).numpy()
    np.testing.assert_array_equal(slope[:, 0], 0)
    assert (slope[:, 1] > 0).all()


@pytest.mark.parametrize("kinds", [KINDS[0], pytest.param(KINDS[4], marks=pytest.mark.slow)])
def test_equalization_keeps_the_compact_network(kinds):
    model, config = supernet(5, share=0.7, activations=kinds)
    compact, arrays = compaction.compact(model, config)
    small, other = models.build(compact), models.build(compact)
    compaction.set_weights(small, arrays)
    images = [random_image(seed)[:1] for seed in range(3)]
    compaction.set_weights(other, arrays)
    record = keras_sync.equalize(other, images, 1.0)
    assert any(name.endswith("conv2") for name in record)
    expected = np.asarray(small(images[0]))
    np.testing.assert_allclose(np.asarray(other(images[0])), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("merge", ["zeros", *(pytest.param(m, marks=pytest.mark.slow) for m in fgnas.MERGES[1:])])
def test_the_tflite_has_builtin_operators_only_and_the_same_output(merge, tmp_path):
    model, config = supernet(1, share=0.7)
    compact, arrays = compaction.compact(model, config)
    small = models.build(compact, merge=merge)
    compaction.set_weights(small, arrays)
    data = to_tflite.float_tflite(small)
    (tmp_path / "net.tflite").write_bytes(data)
    image = (random_image()[0] * 255).astype(np.uint8)
    runner = load(tmp_path / "net.tflite", scale=2)
    sr = np.clip(np.asarray(small(image[None].astype(np.float32) / 255))[0], 0, 1) * 255
    assert np.abs(runner(image).astype(float) - sr).max() < 0.51


@pytest.mark.parametrize("mix", [{"relu": 4, "tanh": 4}, pytest.param({"relu+tanh": 4, "tanh": 2}, marks=pytest.mark.slow)])
def test_relu_without_prelu_beside_tanh_stays_delegated_in_8_bits(mix, tmp_path):
    """XNNPACK does not run a separate RELU in 8 bits, and the audit refuses it."""
    blocks = [{"pointwise": None, "mix": mix, "residual": [0, 2]}]
    config = {"network": "fgnas", "scale": 2, "head": 4, "blocks": blocks, "tail": [1]}
    model = models.build(config)
    weights.save_model(tmp_path / "net.npz", model, config)
    (path,) = export.export(tmp_path / "net.npz", tmp_path / "out", ["uint8"], methods=(), log=lambda line: None)
    assert compare.inspect(path)["partitions"] == 1


def test_lone_relu_is_relu():
    x = np.float32([-3, -0.0, 1e-3, 2.7])
    np.testing.assert_array_equal(np.asarray(fgnas.lone_relu(x)), np.maximum(x, 0))


def test_a_uniform_network_is_edsrs_block():
    config = {"network": "fgnas", "scale": 3, **fgnas.uniform(2, 16)}
    model = models.build(config)
    assert models.multiply_adds(model, 1) == 27 * 16 + 5 * 9 * 16 * 16 + 9 * 16 * 27
    assert models.receptive_field(config) == 7
    assert tuple(model(np.zeros((1, 5, 7, 3), np.float32)).shape) == (1, 15, 21, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": 0}, "head"),
        ({"tail": []}, "tail"),
        ({"tail": [0, 5]}, "tail must be ascending channel indices"),
        ({"blocks": [{"pointwise": 2, "mix": {"sine": 3}, "residual": [0]}]}, "block 1: mix"),
        ({"blocks": [{"pointwise": 2, "mix": {"relu": 3}, "residual": [1, 0]}]}, "block 1: residual"),
    ],
)
def test_invalid_architectures_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        models.build({"network": "fgnas", **fgnas.uniform(1, 4), **change})
