"""Estimated instructions of packaged files, against their counts on virtual:arm64."""

import pytest

from mobile_sr import zoo
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.evaluation import instructions, network_facts

# Counted on virtual:arm64, `mobile-sr benchmark --device virtual:arm64`, of the packaged files.
COUNTED = {
    "abpn_x3": 5841,
    "espcn_x3": 3833,
    "fgnas_x2": 11809,
    "fgnas_x3": 13215,
    "fsrcnn_x3": 5285,
    "xlsr_x2": 3985,
    "xlsr_x3": 4480,
    "xlsr_x4": 4987,
}


def estimate(name, signature=None):
    data = (zoo.FOLDER / f"{name}.tflite").read_bytes()
    return instructions.estimate(data, flatbuffer.parse(data, signature))


@pytest.mark.parametrize("name", COUNTED)
def test_the_sum_is_close_to_the_count_of_the_whole_file(name):
    record = estimate(f"{name}_uint8")
    assert record["per_lr_pixel"] == pytest.approx(COUNTED[name], rel=0.015)
    assert record["without_figure"] == {}
    assert sum(row["per_lr_pixel"] for row in record["operators"]) == pytest.approx(record["per_lr_pixel"])


def test_no_estimate_of_float_files_and_of_paths_that_depend_on_the_image():
    assert estimate("xlsr_x3_float32") is None
    data = next(zoo.FOLDER.glob("adaedsr*sparse_uint8.tflite")).read_bytes()
    assert instructions.estimate(data, flatbuffer.parse(data, "sparse")) is None


def test_a_file_at_the_side_of_its_patches():
    of_zoo = instructions.of_patch(zoo.FOLDER / "xlsr_x3_uint8.tflite", instructions.SIZE[0])
    assert of_zoo == pytest.approx(estimate("xlsr_x3_uint8")["per_lr_pixel"])
    assert instructions.of_patch(zoo.FOLDER / "xlsr_x3_float32.tflite", 32) is None


def test_inspect_prints_them(run_here):
    done = run_here("inspect", "--model", "xlsr_x3:uint8")
    assert done.returncode == 0
    assert "     1        82  DEPTH_TO_SPACE\n" in done.stdout
    assert "4,471 instructions per LR pixel on an Arm Cortex-A76, estimated" in done.stdout
    facts = network_facts.inspect("xlsr_x3:uint8")["arm64"]
    assert round(facts["by_operator"]["DEPTH_TO_SPACE"]) == 82


def test_operators_without_a_figure_are_named():
    record = {"per_lr_pixel": 1234.5, "without_figure": {"GATHER": 2}}
    assert instructions.describe(record) == (
        "1,234 instructions per LR pixel on an Arm Cortex-A76, estimated; without 2 GATHER"
    )
