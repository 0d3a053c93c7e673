"""Files that are compiled for the NPU of a chip, on a phone that fake_adb.py stands in for."""

import pytest

from mobile_sr import zoo
from mobile_sr.benchmarking import device_files
from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.inference.tensor_layout import TensorLayout
from tests import compiled_file, schema
from tests.mobile_sr.benchmarking.test_android import SERIAL, bench, clean, phone, program, refused  # noqa: F401  # fixtures


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """XLSR, compiled for 24x20 (width x height)."""
    path = tmp_path_factory.mktemp("compiled") / "xlsr_SM8650.tflite"
    path.write_bytes(compiled_file.compiled(zoo.resolve("xlsr_x3:uint8").read_bytes(), "SM8650", (20, 24)))
    return path


def test_a_compiled_file_is_opened_without_the_interpreter(compiled):
    file = device_files.open_file(compiled, 1)
    assert (file.name, file.fixed, file.layout) == ("xlsr_SM8650.tflite", (20, 24), TensorLayout())
    assert device_files.delegates_of(file, ["cpu", "npu"]) == ["npu"]
    ordinary = device_files.open_file("xlsr_x3:uint8", 1)
    assert device_files.delegates_of(ordinary, ["cpu", "npu", "gpu"]) == ["cpu", "gpu"]
    with pytest.raises(UserError, match="--delegates npu runs files of `mobile-sr export --target snapdragon --soc CHIP`"):
        device_files.delegates_of(ordinary, ["npu"])


def test_each_file_on_its_delegates(phone, bench, compiled):  # noqa: F811
    status, out, lines, written = bench(models=("xlsr_x3:uint8", compiled), delegates="cpu,npu")
    assert (status, lines) == (0, [])
    rows = [report["results"][0] for report in written["reports"]]
    assert [(row["requested_delegate"], row["effective_delegate"]) for row in rows] == [("cpu", "cpu"), ("npu", "npu")]
    assert rows[1]["sha256"] == sha256_file(compiled)
    schema.check(written)
    clean(phone)


def test_what_this_machine_cannot_run(phone, bench, compiled):  # noqa: F811
    refused(bench(models=[compiled], delegates="npu", host=True), "xlsr_SM8650.tflite: compiled for an NPU", "give --no-host")
    refused(bench(models=[compiled]), "xlsr_SM8650.tflite: compiled for an NPU; use --delegates npu")
    assert phone.read()["commands"] == []
