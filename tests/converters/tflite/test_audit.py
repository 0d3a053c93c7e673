"""Audits of exported files and of damaged ones."""

import json

import numpy as np
import pytest

from mobile_sr.converters.tflite import audit, flatbuffer
from mobile_sr.converters.tflite.flatbuffer import TFLiteFileError
from mobile_sr.imaging.images import write_image
from mobile_sr.inference import litert


def graph_of(exported, precision):
    return flatbuffer.load(exported / f"tiny_{precision}.tflite")


def failed(graph, precision, clipped=True, convolutions=11):
    checks = audit.check(graph, precision, clipped=clipped, convolutions=convolutions)
    return {c["check"] for c in checks if not c["passed"]}


@pytest.mark.parametrize("precision", ["float32", "float16", "uint8", "int8"])
def test_exported_files_pass_and_their_sidecars_record_it(exported, precision):
    assert failed(graph_of(exported, precision), precision) == set()
    sidecar = json.loads((exported / f"tiny_{precision}.json").read_text())
    assert all(c["passed"] for c in sidecar["audit"]["checks"])
    assert sidecar["precision"] == precision
    assert sidecar["config"] == {"network": "xlsr", "scale": 3, "output_activation": "clipped_relu"}
    assert sidecar["receptive_field"] == 5
    assert sidecar["size_bytes"] == (exported / f"tiny_{precision}.tflite").stat().st_size
    assert (sidecar["calibration"] is not None) == (precision in ("uint8", "int8"))


def test_the_uint8_file_consists_of_convolutions(exported):
    graph = graph_of(exported, "uint8")
    ops = audit.describe(graph, 0)["ops"]
    assert ops == {"CONCATENATION": 1, "CONV_2D": 11, "DEPTH_TO_SPACE": 1, "QUANTIZE": 2}
    first, last = audit.describe(graph, 0)["inputs"][0], audit.describe(graph, 0)["outputs"][0]
    for tensor in (first, last):
        assert tensor["dtype"] == "uint8"
        assert tensor["scale"] == pytest.approx(1 / 255, rel=1e-6)
        assert tensor["zero_point"] == 0
    assert first["shape"] == [-1, -1, -1, 3]
    assert litert.delegate_partitions((exported / "tiny_uint8.tflite").read_bytes()) == 1


def test_the_float_file_keeps_the_clip(exported):
    assert audit.describe(graph_of(exported, "float32"), 0)["ops"]["MINIMUM"] == 1


def test_a_float_file_is_not_a_uint8_file(exported):
    checks = failed(graph_of(exported, "float32"), "uint8")
    assert {"no float tensor", "uint8 in and out", "no clip op", "input scale 1/255, zero point 0"} <= checks


def test_each_defect_fails_its_check(exported):
    def broken(change):
        graph = graph_of(exported, "uint8")
        change(graph)
        return failed(graph, "uint8")

    convolution = next(k for k, op in enumerate(graph_of(exported, "uint8").ops) if op.name == "CONV_2D")

    def set_tensor(index_of, **values):
        def change(graph):
            for name, value in values.items():
                setattr(graph.tensors[index_of(graph)], name, value)

        return change

    def kernel(graph):
        return graph.ops[convolution].inputs[1]

    assert broken(lambda g: g.ops.pop(convolution)) == {"one CONV_2D per convolution"}
    assert broken(lambda g: setattr(g.ops[3], "custom", True)) == {"built-in operators only"}
    assert broken(set_tensor(kernel, scales=np.ones(1))) == {"one weight scale per output channel"}
    every = "every convolution in int8, the first and the last included"
    assert broken(set_tensor(kernel, dtype="float32")) == {"no float tensor", every}
    assert broken(lambda g: setattr(g.ops[5], "name", "DEQUANTIZE")) >= {"QUANTIZE of floats only at the ends, no DEQUANTIZE"}
    assert broken(lambda g: setattr(g.ops[-2], "name", "MINIMUM")) == {"no clip op"}
    assert broken(set_tensor(lambda g: g.outputs[0], zero_points=np.ones(1))) == {"output scale 1/255, zero point 0"}
    assert broken(set_tensor(lambda g: g.inputs[0], scales=np.array([0.0041]))) == {"input scale 1/255, zero point 0"}
    assert broken(set_tensor(lambda g: g.inputs[0], dtype="int8")) == {"uint8 in and out"}
    assert failed(graph_of(exported, "int8"), "uint8") >= {"uint8 in and out"}
    assert failed(graph_of(exported, "float32"), "float16") == {"float16 kernels"}
    assert failed(graph_of(exported, "float16"), "float32") == {"float32 throughout"}


def made(*ops):
    """A Graph of operators given as (name, [(dtype, shape)] of inputs, (dtype, shape) of the output)."""
    tensors, placed = [], []
    for name, inputs, output in ops:
        first = len(tensors)
        for dtype, shape in (*inputs, output):
            tensors.append(flatbuffer.Tensor("t", dtype, shape, np.ones(shape[0]), np.zeros(1), True))
        placed.append(flatbuffer.Op(name, list(range(first, len(tensors) - 1)), [len(tensors) - 1], False))
    return flatbuffer.Graph(tensors, placed, [0], [len(tensors) - 1])


@pytest.mark.parametrize(("inputs", "small"), [(31, True), (32, False)])
def test_dynamic_files_may_keep_kernels_of_less_than_1024_weights(inputs, small):
    image = ("float32", [1, 8, 8, inputs])
    graph = made(
        ("CONV_2D", [image, ("int8", [64, 3, 3, inputs])], image), ("CONV_2D", [image, ("float32", [32, 1, 1, inputs])], image)
    )
    every = "every convolution with int8 weights and float32 activations, the first and the last included"
    assert failed(graph, "dynamic", convolutions=2) == (set() if small else {every})


@pytest.mark.parametrize(("constants", "passed"), [(10**6 + 24_096, True), (10**6 + 24_097, False)])
def test_a_sparse_signature_may_add_a_fiftieth_and_4096_bytes(constants, passed):
    value = ("float32", [1, 4])
    checks = audit.check_sparse(made(("FULLY_CONNECTED", [value, value], value)), constants, 10**6, integer=False)
    assert {c["check"]: c["passed"] for c in checks}.pop("weights stored once") == passed
    assert all(c["passed"] for c in checks[:-1])


def test_damaged_files_are_refused_before_they_run(exported):
    whole = (exported / "tiny_uint8.tflite").read_bytes()
    for damaged in (b"", b"x" * 5000, whole[:8], whole[:300], whole[: len(whole) // 2], whole[:-3000]):
        with pytest.raises(TFLiteFileError):
            flatbuffer.parse(damaged)


def test_export_refuses_a_file_that_fails_its_audit(model_file, tmp_path, monkeypatch):
    from mobile_sr.quantization import export

    monkeypatch.setattr(audit, "CLIP_OPS", ("DEPTH_TO_SPACE",))
    with pytest.raises(export.AuditError, match="no clip op"):
        export.export(model_file, tmp_path / "out", ["uint8"], methods=(), log=lambda line: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_calibration_includes_0_and_1_and_is_seeded(image_folder):
    from mobile_sr.quantization.calibration import calibration_set

    images, record = calibration_set(image_folder, 3, seed=1)
    assert min(i.min() for i in images) == 0.0
    assert max(i.max() for i in images) == 1.0
    assert record["sha256"] == calibration_set(image_folder, 3, seed=1)[1]["sha256"]
    assert record["sha256"] != calibration_set(image_folder, 3, seed=2)[1]["sha256"]
    assert record["images"] == 6


def test_calibration_looks_for_detail_in_large_photos(tmp_path, monkeypatch):
    from mobile_sr.quantization import calibration

    monkeypatch.setattr(calibration, "COUNT", 20)
    plain = np.full((1200, 1200, 3), 90, np.uint8)
    plain[:600, :600] = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    write_image(tmp_path / "plain.png", plain)
    crops = calibration.calibration_set(tmp_path, 3)[0][:20]
    assert np.mean([crop.std() > 0.01 for crop in crops]) > 0.7  # with single random positions, about a third
