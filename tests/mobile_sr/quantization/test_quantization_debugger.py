import json

import numpy as np
import pytest

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.tflite import flatbuffer, layer_matching, partial_quantization
from mobile_sr.converters.tflite.constants import Constants
from mobile_sr.errors import UserError
from mobile_sr.inference import litert
from mobile_sr.quantization import layer_report, quantization_debugger, suggestions
from tests.converters.quantization.small_graphs import Builder

DAMAGED = "gblock2_grouped"  # a layer in the middle: everything behind it is bad, too


@pytest.fixture(scope="module")
def nets(model_file, tmp_path_factory):
    """Converted files of the tiny net: float, int8 inside, and int8 of a net with one weight times 100."""
    from mobile_sr import models
    from mobile_sr.inference import weights
    from tests.conftest import make_image

    model, config = weights.load_model(model_file)
    arrays = model.get_weights()
    rng = np.random.default_rng(0)
    # TensorFlow's converter quantizes a bias of equal values wrongly, see test_a_wrong_bias_is_reported.
    arrays = [w + rng.normal(0, 0.02, w.shape).astype(np.float32) if w.ndim == 1 else w for w in arrays]
    place = next(k for k, w in enumerate(model.weights) if DAMAGED in w.path and w.shape == (3, 3, 8, 32))
    damaged = [w.copy() for w in arrays]
    damaged[place][1, 1, 3, 5] = 100 * np.abs(damaged[place]).mean()
    calibration = [make_image(48, 48, seed=k)[None].astype(np.float32) / 255 for k in range(4)]
    calibration += [np.full((1, 48, 48, 3), level, np.float32) for level in (0, 1)]
    folder = tmp_path_factory.mktemp("nets")
    exported = models.build_for_export(config)

    def written(name, data):
        (folder / name).write_bytes(data)
        return folder / name

    exported.set_weights(arrays)
    data = to_tflite.float_tflite(exported)
    exported.set_weights(damaged)
    return {
        "float": written("float.tflite", data),
        "uint8": written("uint8.tflite", quantizer.convert(data, "uint8", calibration)),
        "damaged": written("damaged.tflite", to_tflite.convert(exported, "uint8", calibration=calibration)),
    }


@pytest.fixture(scope="module")
def images():
    from tests.conftest import make_image

    return [(f"made{k}", make_image(120, 126, seed=20 + k)) for k in range(3)]


@pytest.fixture(scope="module")
def found(nets, images):
    return quantization_debugger.locate(nets["float"], nets["uint8"], images)


@pytest.fixture(scope="module")
def matched(nets):
    """(float TFLiteModel, integer graph, Match)."""
    reference, model = litert.TFLiteModel(nets["float"]), litert.TFLiteModel(nets["uint8"])
    graph = litert.parse_graph(model.data)
    match = layer_matching.match(reference.data, litert.parse_graph(reference.data), model.data, graph)
    return reference, graph, match


def edit(source, target, change):
    """Write `target`, the .tflite `source` after change(object API model)."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    change(model)
    target.write_bytes(flatbuffer.pack(model))
    return target


def operand(model, layer, place):
    """The constant tensor at index `place` of the operator with `layer` in its result's name."""
    graph = model.subgraphs[0]
    named = [op for op in graph.operators if layer in graph.tensors[op.outputs[0]].name.decode()]
    return graph.tensors[named[0].inputs[place]]


def test_a_weight_times_100_is_named(nets, images):
    found = quantization_debugger.locate(nets["float"], nets["damaged"], images)
    worst = next(row for row in found["layers"] if row["rank"] == 1)
    assert found["worst"][0] == worst["name"] == f"{DAMAGED}_1"
    assert worst["farthest_operand"] == 1
    assert worst["farthest_weight"] == [5, 1, 1, 3]  # [1, 1, 3, 5] of Keras, as TFLite stores it
    assert worst["farthest_model"] > 20 * abs(worst["farthest_reference"])
    assert "its stored weights are not the reference's" in worst["suggestion"]
    later = found["layers"][found["layers"].index(worst) + 1 :]
    assert min(row["sqnr_db"] for row in later) < 15  # although those are not to blame
    assert "<- worst 1\n" in layer_report.text(found)


@pytest.mark.parametrize(
    "layer", ["head_1", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gblock3_mix_1", "shortcut_1", "tail_1"))]
)
def test_a_kernel_stored_with_a_wrong_scale_is_named(nets, images, tmp_path, layer):
    def change(model):
        quantization = operand(model, f"/{layer}/", 1).quantization
        quantization.scale = np.float32(quantization.scale) * 3

    file = edit(nets["uint8"], tmp_path / "scaled.tflite", change)
    found = quantization_debugger.locate(nets["float"], file, images[:1])
    name = "clip_1" if layer == "tail_1" else layer  # TensorFlow names a convolution after the activation fused into it
    assert found["worst"][0] == name
    row = next(row for row in found["layers"] if row["name"] == name)
    assert row["weights_sqnr_db"] == pytest.approx(-20 * np.log10(2), abs=0.1)  # an error of twice the weights


def test_a_wrong_bias_is_reported(nets, images, tmp_path):
    def change(model):
        tensor = operand(model, "/tail_mix_1/", 2)
        values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<i4") + 40_000
        model.buffers[tensor.buffer].data = np.frombuffer(values.astype("<i4").tobytes(), np.uint8)

    found = quantization_debugger.locate(nets["float"], edit(nets["uint8"], tmp_path / "bias.tflite", change), images[:1])
    assert found["worst"][0] == "tail_mix_1"
    assert "its stored bias is off" in next(row["suggestion"] for row in found["layers"] if row["rank"] == 1)


def test_a_correct_file(found):
    rows = {row["name"]: row for row in found["layers"]}
    assert list(rows)[0] == "input"
    assert list(rows)[-1] == "depth_to_space"
    assert len(rows) == 14  # the image, eleven convolutions, concatenation, depth_to_space
    assert rows["input"]["sqnr_db"] > 100  # 1/255 steps hold the image exactly
    assert rows["concat_1"]["own_sqnr_db"] is None  # moving values on one grid rounds nothing
    assert rows["shortcut_1"]["shares_range_with"] == ["gblock3_mix_1"]
    for row in rows.values():
        assert row["own_sqnr_db"] is None or row["own_sqnr_db"] > 20, row
        if row["own_by_weights_db"] is not None:
            assert row["sqnr_db"] < row["own_sqnr_db"] + 1
            assert row["own_sqnr_db"] < min(row["own_by_weights_db"], row["own_by_rounding_db"]) + 0.5
            assert 30 < row["weights_sqnr_db"] < 60
            assert row["bias_error_steps"] < 0.1
            assert 0 < row["channel_range_used"] <= row["range_used"] <= 1
    assert sum(row["share"] or 0 for row in rows.values()) == pytest.approx(1)
    assert found["worst"]
    assert all(rows[name]["suggestion"] for name in found["worst"])
    assert [name for name in rows if rows[name]["of_output"]] == ["clip_1"]


def test_the_parts_explain_the_whole(found):
    drops = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert drops["model"] == pytest.approx(drops["simulated"], abs=0.01 + 0.05 * abs(drops["model"]))
    assert abs(drops["output"]) < 0.002  # the same 1/255 steps to which the measure rounds
    assert drops["model"] > max(drops["weights"], drops["activations"]) - 0.01
    assert drops["activations"] > 0


def test_weights_on_the_grid_cost_nothing(nets, matched, images, tmp_path):
    reference, _, match = matched
    on_grid = tmp_path / "on_grid.tflite"
    on_grid.write_bytes(partial_quantization.simulate(reference.data, match, weights=range(len(match.layers))))
    found = quantization_debugger.locate(on_grid, nets["uint8"], images)
    drops = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert drops["weights"] == pytest.approx(0, abs=1e-6)
    assert drops["activations"] == pytest.approx(drops["model"], abs=0.02)
    assert all(row["own_by_weights_db"] > 100 for row in found["layers"] if row["own_by_weights_db"] is not None)


def test_nothing_chosen_changes_nothing(matched, photo):
    reference, _, match = matched
    same = reference.with_graph(partial_quantization.simulate(reference.data, match), "same")
    np.testing.assert_array_equal(same.run(photo), reference.run(photo))


def test_a_rounding_puts_values_on_the_grid(matched, photo):
    reference, _, match = matched
    number = next(k for k, layer in enumerate(match.layers) if layer.of_output)
    scale = match.layers[number].quant_params[0]
    rounded = reference.with_graph(partial_quantization.simulate(reference.data, match, grids={number}), "rounded").run(photo)
    plain = reference.run(photo)
    steps = rounded / np.float32(scale)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert 0.4 < np.abs(rounded - plain).max() / scale <= 0.5001


def test_damage_to_weights_in_the_simulation_is_that_layers_alone(matched, photo):
    reference, _, match = matched
    data, copies = partial_quantization.with_quantized_copies(reference.data, match)
    both = reference.with_graph(data, "both")
    both.run(photo)
    for number, tensor in copies.items():
        layer = match.layers[number]
        assert layer.weights
        error = both.tensor(tensor) - both.tensor(layer.float)
        assert 0 < np.mean(error**2) < 0.01 * np.mean(both.tensor(layer.float) ** 2)


def test_constants_are_read_as_the_runtime_reads_them(nets, matched):
    _, graph, match = matched
    constants = Constants(nets["uint8"].read_bytes(), graph)
    for op in (op for op in graph.ops if op.name == "CONV_2D"):
        kernel, bias = op.inputs[1:3]
        scales = graph.tensors[kernel].scales
        np.testing.assert_allclose(
            constants.real(kernel), constants.stored(kernel) * scales[:, None, None, None].astype(np.float64), rtol=1e-12
        )
        told = constants.real(bias)
        graph.tensors[bias].scales, kept = np.empty(0), graph.tensors[bias].scales
        try:  # as old converters wrote it
            np.testing.assert_allclose(constants.operand(op, 2), told, rtol=1e-6)
        finally:
            graph.tensors[bias].scales = kept


def test_damaged_layers_are_ranked_before_noisy_ones():
    def row(name, share, own, weights):
        numbers = {"own_by_weights_db": own, "own_by_rounding_db": 60.0, "bias_error_steps": 0.0, "weight_scales": "per tensor"}
        where = {"farthest_operand": 1, "farthest_weight": [0], "farthest_model": 9.0, "farthest_reference": 0.1}
        return {"name": name, "share": share, "own_sqnr_db": own, "weights_sqnr_db": weights, **numbers, **where}

    rows = [
        row("loud", 0.6, 30.0, 40.0),
        row("behind", 0.2, 3.0, 40.0),  # its grid was made for the damaged net
        row("hidden", 0.0, 50.0, -20.0),  # a wrong weight before a ReLU that is off
        row("unimportant", 0.001, 5.0, 40.0),
        {"name": "moved", "share": None, "own_sqnr_db": None, "weights_sqnr_db": None},
    ]
    assert suggestions.rank(rows) == ["hidden", "behind", "loud"]
    assert [entry["rank"] for entry in rows] == [3, 2, 1, None, None]


def test_suggestions_follow_from_the_numbers():
    row = {
        "own_sqnr_db": 30.0,
        "weights_sqnr_db": 40.0,
        "bias_error_steps": 0.01,
        "own_by_weights_db": 45.0,
        "own_by_rounding_db": 32.0,
        "weight_scales": "per tensor",
        "saturation_share_of_rounding": 0.0,
        "saturated_low": 0.0,
        "saturated_high": 0.02,
        "of_output": False,
        "shares_range_with": [],
        "range_used": 1.0,
        "range_of_most": 0.9,
        "channel_range_used": 0.9,
        "dtype": "int8",
    }
    expected = (
        ({}, "16-bit activations, or quantization-aware training"),
        ({"dtype": "int16"}, "in 16 bits"),
        ({"range_of_most": 0.2}, "outliers"),
        ({"channel_range_used": 0.2, "range_of_most": 0.2}, "equalization across layers"),
        ({"range_used": 0.3, "shares_range_with": ["b"]}, "shares with b"),
        ({"of_output": True}, "rounding of the output image"),
        ({"saturation_share_of_rounding": 0.8}, "2.00% of its values saturate"),
        ({"own_by_weights_db": 30.0}, "one scale per channel"),
        ({"own_by_weights_db": 30.0, "weight_scales": "per channel"}, "AdaRound"),
        ({"bias_error_steps": 6.0, "own_by_weights_db": 20.0}, "its stored bias is off by up to 6.0 quantization steps"),
        ({"bias_error_steps": 6.0}, "16-bit activations"),  # a correction that does its work
    )
    for change, words in expected:
        assert words in suggestions.suggest({**row, **change}), change


def test_what_does_not_fit_is_refused(nets, images, tmp_path, model_file):
    def change(model):  # the third convolution reads what the second one reads
        convolutions = [op for op in model.subgraphs[0].operators if len(op.inputs) == 3]
        convolutions[2].inputs = [convolutions[1].inputs[0], *convolutions[2].inputs[1:]]

    wired = edit(nets["uint8"], tmp_path / "wired.tflite", change)
    for reference, model, words in (
        (nets["uint8"], nets["uint8"], "the reference is not float"),
        (nets["float"], nets["float"], "the model is not quantized"),
        ("xlsr_x2:float32", nets["uint8"], "not the same network"),
        (nets["float"], wired, "is wired differently"),
        (model_file, nets["uint8"], "a .tflite is needed here"),
    ):
        with pytest.raises(UserError, match=words):
            quantization_debugger.locate(reference, model, images)


def test_operators_that_become_others_in_8_bits_are_matched(tmp_path, images):
    """Normalizations contain NEG and SQUARE, which the quantizer replaces by products."""
    builder = Builder((1, -1, -1, 3))
    x = builder.conv(0, 3, 3, 3)
    x = builder.conv(builder.op("ADD", [builder.op("NEG", [x]), builder.op("SQUARE", [x])]), 3, 12)
    graph = builder.finished(builder.op("DEPTH_TO_SPACE", [x], blockSize=2))
    samples = [hr[None, :48, :48].astype(np.float32) / 255 for _, hr in images]
    (tmp_path / "float.tflite").write_bytes(graph.packed())
    (tmp_path / "int8.tflite").write_bytes(quantizer.convert(graph.packed(), "int8", samples))
    found = quantization_debugger.locate(tmp_path / "float.tflite", tmp_path / "int8.tflite", images[:1])
    assert [row["op"] for row in found["layers"]] == ["INPUT", "CONV_2D", "MUL", "MUL", "ADD", "CONV_2D", "DEPTH_TO_SPACE"]
    assert all(row["sqnr_db"] > 15 for row in found["layers"])


def test_float16_and_int8_files_are_matched_too(exported, images):
    found = quantization_debugger.locate(exported / "tiny_float16.tflite", exported / "tiny_int8.tflite", images[:1])
    assert len(found["layers"]) == 14
    drops = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert drops["model"] == pytest.approx(drops["simulated"], abs=0.05)


def test_the_command(nets, image_folder, tmp_path, run_here):
    done = run_here(
        *("inspect", "--model", nets["damaged"], "--reference", nets["float"], "--data", image_folder, "--space", "rgb"),
        *("--crops", 2, "--json", tmp_path / "found.json", "--report", tmp_path / "report"),
    )
    assert done.returncode == 0, done.stderr
    assert f"1. {DAMAGED}_1 (" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == json.loads((tmp_path / "report" / "layers.json").read_text())
    assert found["worst"][0] == f"{DAMAGED}_1"
    assert found["split"]["images"] == 6
    assert found["crops"]["count"] == 2
    assert found["protocol"]["space"] == "RGB"
    for name in ("layers.html", "layers.md"):
        assert f"{DAMAGED}_1" in (tmp_path / "report" / name).read_text()


def test_compare_shows_the_layers_with_its_option(nets, image_folder, tmp_path, run_here):
    files = "--reference", nets["float"], "--model", nets["uint8"], "--data", image_folder
    done = run_here("compare", *files, "--layers", "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["location"]["worst"][0] in done.stdout
    whole = next(part for part in written["location"]["split"]["parts"] if part["part"] == "model")
    assert whole["drop_db"] == pytest.approx(written["drop_db"])  # two ways to one number
    assert "<h2>Worst layers</h2>" in (tmp_path / "report" / "report.html").read_text()
    assert "## Where the error comes from" in (tmp_path / "report" / "report.md").read_text()


def test_bad_calls_are_reported_in_one_line(nets, image_folder, tmp_path, run_here):
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (("--reference", nets["uint8"], "--data", image_folder), "the reference is not float"),
        (("--reference", nets["float"], "--data", tmp_path / "empty"), "empty"),
        (("--report", tmp_path / "r"), "--report needs --reference"),
    ):
        done = run_here("inspect", "--model", nets["uint8"], *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
    done = run_here(
        "compare", "--reference", "bicubic", "--scale", 3, "--model", nets["uint8"], "--data", image_folder, "--layers"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "a .tflite is needed here" in done.stderr
