"""Operators that delegates refuse, and grouped convolutions in a form that they support."""

import numpy as np
import pytest

from mobile_sr.converters.tflite import delegates, flatbuffer, grouped_conv
from mobile_sr.inference import litert, upscaler
from tools import delegate_operators


def graph(*ops):
    """A Graph of operators given as (name, version, [shape or (shape, dtype, constant)])."""
    tensors, made = [], []
    for name, version, inputs in ops:
        indices = []
        for given in inputs:
            shape, dtype, constant = given if isinstance(given, tuple) else (given, "float32", False)
            indices.append(len(tensors))
            tensors.append(flatbuffer.Tensor("t", dtype, shape, [], [], constant))
        made.append(flatbuffer.Op(name, indices, [], False, version))
    return flatbuffer.Graph(tensors, made, [], [])


IMAGE = [1, 8, 8, 16]
INT8 = (IMAGE, "int8", False)
SIZE = ([2], "int32", True)


@pytest.mark.parametrize(
    ("op", "gpu", "nnapi"),
    [
        (("CONV_2D", 3, [INT8, ([16, 3, 3, 16], "int8", True), ([16], "int32", True)]), "", ""),
        (("CONV_2D", 6, [INT8, ([16, 3, 3, 4], "int8", True), ([16], "int32", True)]), "", "version 6"),
        (("CONV_2D", 1, [IMAGE, ([16, 3, 3, 16], "float32", True)]), "", "without bias"),
        (("LEAKY_RELU", 1, [IMAGE]), "", ""),
        (("LEAKY_RELU", 2, [INT8]), "", "its form for int8 (version 2)"),
        (("GELU", 1, [IMAGE]), "", "not supported"),
        (("MIRROR_PAD", 1, [IMAGE, SIZE]), "", "not supported"),
        (("RESIZE_BILINEAR", 3, [IMAGE, SIZE]), "", ""),
        (("RESIZE_BILINEAR", 3, [IMAGE, ([2], "int32", False)]), "--height and --width", "--height and --width"),
        (("RESHAPE", 1, [[1, 2, 3, 4, 5], ([5], "int32", True)]), "5 dimensions", "5 dimensions"),
        (("RSQRT", 1, [INT8]), "", "not in int8"),
        (("GATHER", 2, [IMAGE, ([3, 9], "int32", False)]), "more than one dimension", ""),
        (("SCATTER_ND", 1, [IMAGE]), "not supported", "not supported"),
    ],
)
def test_rules(op, gpu, nnapi):
    refusals = delegates.refused(graph(op))
    for delegate, expected in (("gpu", gpu), ("nnapi", nnapi)):
        text = delegates.describe(refusals[delegate])
        assert bool(text) == bool(expected)
        assert expected in text


VERSIONS = {  # lowest and highest version that NNAPI supports from Android 11 on: nnapi_delegate.cc
    "RESHAPE PRELU HARD_SWISH ELU SUM DIV": (1, 1),
    "ADD MUL PAD CONCATENATION AVERAGE_POOL_2D MAX_POOL_2D SPACE_TO_DEPTH": (1, 2),
    "RELU RELU6 LOGISTIC TANH SLICE TRANSPOSE MEAN STRIDED_SLICE QUANTIZE DEQUANTIZE DEPTH_TO_SPACE": (1, 2),
    "GATHER SOFTMAX PACK SPLIT_V": (2, 2),
    "SUB MAXIMUM MINIMUM DEPTHWISE_CONV_2D RESIZE_BILINEAR": (1, 3),
    "SPLIT": (3, 3),
    "CONV_2D FULLY_CONNECTED": (1, 5),
}


@pytest.mark.parametrize("names", VERSIONS)
def test_versions_that_nnapi_supports(names):
    (low, high), constant = VERSIONS[names], (IMAGE, "float32", True)
    for name in names.split():
        supported = [v for v in range(1, 8) if not delegates.refused(graph((name, v, [IMAGE, constant, constant])))["nnapi"]]
        assert supported == list(range(low, high + 1)), name


def test_counts_and_names(run_here):
    refusals = delegates.refused(graph(("GELU", 1, [IMAGE]), ("GELU", 1, [IMAGE]), ("RELU", 1, [IMAGE])))
    assert {name for name, refused in refusals.items() if not refused} == {
        "gpu",
        "qualcomm",
        "mediatek",
        "samsung",
        "google",
        "intel",
    }
    assert refusals["nnapi"] == [{"op": "GELU", "count": 2, "reason": "not supported"}]
    done = run_here("inspect", "--model", "xlsr_x3:uint8")
    assert "GPU delegate, by its rules: supports every operator" in done.stdout
    assert "NNAPI delegate (legacy), by its rules: rejects 11 CONV_2D (not in its form for int8 (version 6))" in done.stdout
    assert "Qualcomm NPU plugin, by its rules: rejects 15 operators (dynamic size; export with --height and" in done.stdout


@pytest.mark.parametrize(
    ("op", "refusing"),
    [
        (("DEPTH_TO_SPACE", 1, [INT8]), {"mediatek", "samsung"}),
        (("TRANSPOSE_CONV", 3, [SIZE, ([3, 9, 9, 16], "int8", True), INT8]), set()),
        (("PRELU", 1, [IMAGE]), {"samsung"}),
        (("SHAPE", 1, [IMAGE]), {"gpu", "qualcomm", "mediatek", "samsung", "google", "intel", "nnapi"}),
        (("CONV_2D", 6, [INT8, ([16, 3, 3, 4], "int8", True), ([16], "int32", True)]), {"mediatek", "nnapi"}),
    ],
)
def test_rules_of_npus(op, refusing):
    """LiteRT's lists at the commits in delegate_operators.json, and MediaTek's convolution without groups."""
    assert {name for name, refused in delegates.refused(graph(op)).items() if refused} == refusing


def test_operators_are_read_from_litert_sources():
    """Lists, cases and a table, as LiteRT has them."""
    text = (
        "constexpr LiteRtOpCode kSupportedOps[] = {\n kLiteRtOpCodeTflConv2d,\n kLiteRtOpCodeTflPadv2,\n};\nkLiteRtOpCodeTflAdd"
    )
    assert delegate_operators.operators("mediatek", text) == ["CONV_2D", "PADV2"]
    text = "case kLiteRtOpCodeTflReluN1To1:\n case kLiteRtOpCodeTflSelectV2:\n case kLiteRtOpCodeShloComposite: {"
    assert delegate_operators.operators("samsung", text) == ["RELU_N1_TO_1", "SELECT_V2"]
    text = "case kTfLiteBuiltinAdd: {\n case kTfLiteBuiltinStablehloCbrt:\n case kTfLiteBuiltinCustom:"
    assert delegate_operators.operators("gpu", text) == ["ADD"]
    with pytest.raises(SystemExit, match="it has changed"):
        delegate_operators.operators("intel", "")


@pytest.mark.parametrize("precision", ["float32", "float16", "uint8", "int8"])
def test_dense_groups_change_no_value(exported, precision, photo):
    """In 8 bits the bytes are the same. NNAPI then supports the convolutions."""
    before = (exported / f"tiny_{precision}.tflite").read_bytes()
    after = grouped_conv.make_dense(before)
    refused = [{row["op"] for row in delegates.refused(litert.parse_graph(data))["nnapi"]} for data in (before, after)]
    halves = {"DEQUANTIZE"} if precision == "float16" else set()  # NNAPI requires constants in the type of their use
    assert refused == [{"CONV_2D"} | halves, halves]
    kernels = [litert.parse_graph(data) for data in (before, after)]
    narrow, wide = ([g.tensors[op.inputs[1]].shape[-1] for op in g.ops if op.name == "CONV_2D"] for g in kernels)
    assert sorted(set(narrow)) == [3, 8, 32, 48]
    assert sorted(set(wide)) == [3, 32, 48]
    outputs = [litert.TFLiteModel(data).run(photo) for data in (before, after)]
    if precision in ("uint8", "int8"):
        assert np.array_equal(*outputs)
    else:
        np.testing.assert_allclose(*outputs, atol=1e-5 if precision == "float32" else 2e-3)


@pytest.mark.slow
def test_dense_groups_on_the_command_line(run_here, tmp_path, depth_file):
    done = run_here("export", "--model", "xlsr_x2", "--precision", "float32", "--dense-groups", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not delegates.refused(flatbuffer.load(tmp_path / "xlsr_x2_float32.tflite"))["nnapi"]
    made, packed = upscaler.load(str(tmp_path / "xlsr_x2_float32.tflite")), upscaler.load("xlsr_x2")
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert np.abs(made(image).astype(int) - packed(image)).max() <= 1
    done = run_here("export", "--model", depth_file, "--precision", "float32", "--dense-groups", "--out", tmp_path / "no")
    assert done.returncode == 2
    assert "has no grouped convolutions" in done.stderr
    assert not (tmp_path / "no").exists()
