import json
import sys

import numpy as np
import pytest

from mobile_sr import cli
from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.tflite import truncation
from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, tensor_values
from tests import schema
from tests.mobile_sr.test_cli import one_line

STATISTICS = {"min", "mean", "p50", "p90", "p99", "std"}


def open_at(data, size, delegate=True, image=None):
    """An interpreter of a file's bytes at (H, W), holding `image`."""
    interpreter = engines.open_interpreter(data, delegate=delegate)
    engines.allocate(interpreter, "model", (1, *size, 3))
    if image is not None:
        graph = litert.parse_graph(data)
        interpreter.set_tensor(graph.inputs[0], tensor_values.encode(image, graph.tensors[graph.inputs[0]])[None])
    return interpreter


def test_json_contract(run_here, exported, tmp_path):
    models = [exported / "tiny_float32.tflite", exported / "tiny_uint8.tflite", "xlsr_x3:uint8"]
    options = [part for model in models for part in ("--model", model)]
    options += ["--height", 20, "--width", 24, "--runs", 3, "--warmup", 1, "--layers", "--json", tmp_path / "f.json"]
    result = run_here("benchmark", *options)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(found) == {"format", "where", "environment", "results"}
    assert (found["format"], found["where"]) == ("mobile-sr benchmark 1", "host")
    assert set(found["environment"]) == {
        *("cpu", "cores", "os", "python", "litert", "load_average", "date"),
        *("height", "width", "threads", "runs", "warmup", "openings", "ratio_of"),
    }
    numbers = [found["environment"][key] for key in ("height", "width", "threads", "runs", "warmup")]
    assert numbers == [20, 24, 1, 3, 1]
    assert [row["model"] for row in found["results"]] == [str(model) for model in models]
    assert found["results"][0]["ratio_to_first"] == 1
    for row in found["results"]:
        assert set(row) == {
            *("model", "sha256", "size_bytes", "threads", "latency_ms", "cpu_ms", "init_ms", "peak_memory_bytes"),
            *("requested_delegate", "effective_delegate", "delegated_nodes", "nodes", "partitions", "samples_ms"),
            *("ratio_to_first", "layers", "error", "values", "sample"),
        }
        assert set(row["latency_ms"]) == set(row["cpu_ms"]) == STATISTICS
        assert row["partitions"] == 1
        assert row["latency_ms"] == benchmark.statistics(row["samples_ms"])
        assert len(row["samples_ms"]) == 3
        assert row["threads"] == 1
        assert row["peak_memory_bytes"] > 0 or not sys.platform.startswith("linux")
        assert all(set(layer) == {"index", "op", "output", "cpu_ms_estimate"} for layer in row["layers"])
        assert row["ratio_to_first"] > 0
        assert str(row["model"]) in result.stdout
    graph = litert.parse_graph(models[1].read_bytes())
    layers = found["results"][1]["layers"]
    assert [(layer["index"], layer["op"]) for layer in layers] == [(k, op.name) for k, op in enumerate(graph.ops)]
    assert layers[-1]["output"] == graph.tensors[graph.outputs[0]].name
    schema.check(found)


def test_ratios_are_the_median_over_the_openings_of_their_fastest_rounds():
    openings = [np.array([[2.0, 1.0], [5.0, 3.0]]), np.array([[1.0], [9.0]]), np.array([[4.0, 7.0], [2.0, 8.0]])]
    np.testing.assert_allclose(benchmark.ratios_to_first(openings), [1, 3])  # of 3, 9 and 0.5


def test_every_opening_starts_from_a_closed_interpreter(exported):
    """All rounds are kept, for any number of openings."""
    model, calls = benchmark.open_model(exported / "tiny_uint8.tflite", 1), []
    original = model.close
    model.close = lambda: (calls.append("close"), original())
    assert benchmark._opening([model], np.zeros((8, 8, 3), np.uint8), 3, 0, None).shape == (2, 1, 3)
    assert calls == ["close"]
    assert benchmark._shares(20) == [4, 4, 3, 3, 3, 3]
    assert benchmark._shares(2) == [1, 1]


def test_statistics_are_numpys():
    samples = np.random.default_rng(0).gamma(2, 10, 37)
    assert benchmark.statistics(samples) == {
        "min": samples.min(),
        "mean": samples.mean(),
        "p50": np.median(samples),
        "p90": np.percentile(samples, 90),
        "p99": np.percentile(samples, 99),
        "std": samples.std(),
    }
    assert benchmark.statistics([4.0]) == {"min": 4, "mean": 4, "p50": 4, "p90": 4, "p99": 4, "std": 0}
    assert benchmark.statistics(range(11))["p90"] == 9


def test_models_take_turns_and_each_round_starts_with_another():
    called, counted = [], []
    invokes = [lambda name=name: called.append(name) for name in "ABC"]
    wall, cpu = benchmark.interleave(invokes, runs=3, warmup=2, progress=lambda done, what: counted.append(done))
    rounds = ["".join(called[k : k + 3]) for k in range(0, 15, 3)]
    assert rounds == ["BCA", "CAB", "ABC", "BCA", "CAB"]
    assert counted == [1, 2, 3, 4, 5]
    assert wall.shape == cpu.shape == (3, 3)


def test_wall_and_cpu_time_are_in_their_places(monkeypatch):
    clock = {"wall": 0.0, "cpu": 0.0}
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(benchmark.time, "process_time", lambda: clock["cpu"])

    def work(wall, cpu):
        clock["wall"] += wall
        clock["cpu"] += cpu

    wall, cpu = benchmark.interleave([lambda: work(0.5, 0.25), lambda: work(2, 1)], runs=2, warmup=1)
    np.testing.assert_array_equal(wall, [[500, 500], [2000, 2000]])
    np.testing.assert_array_equal(cpu, [[250, 250], [1000, 1000]])


def test_residency(exported):
    """The QUANTIZE at each end of the uint8 file stays outside the delegate, the other files are delegated whole."""
    for name, expected in (("float32", (1, 14, 14)), ("float16", (1, 37, 37)), ("uint8", (1, 13, 15)), ("int8", (1, 13, 13))):
        data = (exported / f"tiny_{name}.tflite").read_bytes()
        assert litert.residency(open_at(data, (16, 16))) == expected
        assert litert.residency(open_at(data, (16, 16), delegate=False)) == (0, 0, expected[2])


def test_residency_around_an_operator_that_the_delegate_lacks():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def network(x):
        a = tf.nn.relu(x + 0.5)
        b = tf.cumsum(a * 2.0, axis=1)
        return tf.abs(b) * a - 1.0

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    data = converter.convert()
    names = [op.name for op in litert.parse_graph(data).ops]
    assert "CUMSUM" in names
    assert litert.residency(open_at(data, (8, 8))) == (2, len(names) - 1, len(names))


@pytest.mark.parametrize("precision", ["float32", "float16", "uint8"])
def test_prefixes_end_after_each_operator_and_the_last_is_the_model(exported, photo, precision):
    data = (exported / f"tiny_{precision}.tflite").read_bytes()
    graph, image = litert.parse_graph(data), photo[:20, :24]
    parts = list(truncation.prefixes(data))
    layers = [k for k, op in enumerate(graph.ops) if op.name != "DEQUANTIZE"]
    assert [index for index, _, _ in parts] == layers
    for index, op, part in parts:
        cut = litert.parse_graph(part)
        assert len(cut.ops) == index + 1
        assert set(op.outputs) <= set(cut.outputs)
        open_at(part, (20, 24), image=image).invoke()
    results = []
    for model in (data, parts[-1][2]):
        interpreter = open_at(model, (20, 24), image=image)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert results[0].shape == (1, 60, 72, 3)
    np.testing.assert_array_equal(*results)


def test_prefixes_keep_both_branches(exported):
    """Before the concatenation, the output of the main branch and that of the shortcut are both needed."""
    parts = [litert.parse_graph(part) for _, _, part in truncation.prefixes((exported / "tiny_uint8.tflite").read_bytes())]
    concat = next(k for k, op in enumerate(parts[-1].ops) if op.name == "CONCATENATION")
    assert sorted(parts[concat - 1].outputs) == sorted(parts[-1].ops[concat].inputs)
    assert parts[concat].outputs == parts[-1].ops[concat].outputs


def test_the_input_image_is_seeded():
    assert benchmark.generated(33, 50).shape == (33, 50, 3)
    np.testing.assert_array_equal(benchmark.generated(33, 50), benchmark.generated(33, 50))
    assert (benchmark.generated(33, 50, seed=1) != benchmark.generated(33, 50)).any()


def test_a_fixed_size_decides(model_file, exported, tmp_path):
    from mobile_sr.quantization.export import export

    export(model_file, tmp_path, ["float32"], size=(12, 20), log=lambda line: None)
    fixed, dynamic = tmp_path / "tiny_float32.tflite", exported / "tiny_float32.tflite"
    for models in ([fixed], [dynamic, fixed]):
        found = benchmark.benchmark(models, runs=1, warmup=0)["environment"]
        assert (found["height"], found["width"]) == (12, 20)
    with pytest.raises(UserError, match=r"tiny_float32.tflite: supports 20x12 .* only, not 24x20 "):
        benchmark.benchmark([dynamic, fixed], size=(20, 24), runs=1)
    assert benchmark.common_size([benchmark.open_model(dynamic, 1)], None) == (360, 640)


def test_refusals(run_here, exported, tmp_path):
    uint8 = exported / "tiny_uint8.tflite"
    (tmp_path / "cut.tflite").write_bytes(uint8.read_bytes()[:9000])
    (tmp_path / "text.tflite").write_text("no model, but long enough")
    one_line(run_here("benchmark"), "--model")
    one_line(run_here("benchmark", "--model", uint8, "--runs", "0"), "--runs 0")
    one_line(run_here("benchmark", "--model", uint8, "--warmup", "-1"), "--warmup -1")
    one_line(run_here("benchmark", "--model", uint8, "--threads", "0"), "--threads 0")
    one_line(run_here("benchmark", "--model", uint8, "--height", "0", "--width", "9"), "--height 0")
    one_line(run_here("benchmark", "--model", uint8, "--height", "9"), "--width")
    one_line(run_here("benchmark", "--model", tmp_path / "cut.tflite"), "cut.tflite", "damaged")
    one_line(run_here("benchmark", "--model", tmp_path / "text.tflite"), "text.tflite", "not a .tflite")
    one_line(run_here("benchmark", "--model", tmp_path), "a folder, but a .tflite is needed")
    one_line(run_here("benchmark", "--model", "nosuch"), "nosuch", "zoo")
    one_line(run_here("benchmark", "--model", "xlsr_x3"), "xlsr_x3", "Keras", "xlsr_x3:uint8")
    one_line(
        run_here("benchmark", "--model", uint8, "--height", "40000", "--width", "40000"), "tiny_uint8.tflite", "cannot run"
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import sys; print('warning', file=sys.stderr); sys.exit('no more memory')", "status 1 (no more memory)"),
        ("pass", "exit status 0 (no output)"),
    ],
)
def test_a_failed_child_is_reported_in_one_line(exported, monkeypatch, capsys, code, reason):
    monkeypatch.setattr(benchmark, "CHILD", (sys.executable, "-S", "-c", code))
    args = cli._parse(["mobile-sr", "benchmark", "--model", str(exported / "tiny_uint8.tflite"), "--runs", "1"])
    assert cli.main(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mobile-sr benchmark: ")
    assert "tiny_uint8.tflite: the process that measured its memory" in line
    assert reason in line
