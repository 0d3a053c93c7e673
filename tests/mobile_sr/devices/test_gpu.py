"""virtual:gpu. Tests that need a Vulkan driver are skipped without one."""

import types

import pytest

from mobile_sr.benchmarking import virtual
from mobile_sr.devices import gpu
from mobile_sr.errors import UserError
from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_files
from tests import schema


@pytest.fixture(scope="module")
def device():
    try:
        return gpu.GpuDevice()
    except UserError as error:
        pytest.skip(str(error))


def test_float_and_integer_files(device):
    report = virtual.measure(["xlsr_x3:uint8", "xlsr_x3:float32"], device, (48, 40))
    schema.check(report)
    integer, real = report["results"]
    assert integer["against_host"]["max_difference"] <= 2
    assert integer["against_host"]["differing_fraction"] < 0.02
    assert real["against_host"]["max_difference"] < 1e-4
    assert integer["residency"]["taken"] == integer["residency"]["nodes"] == 15
    assert "instructions" in integer
    assert (integer["instructions"], integer["figures"]) == (None, {})
    assert report["environment"]["label"].startswith("virtual:gpu (")


def test_one_signature_of_several(device):
    (row,) = virtual.measure(["adaedsr_b8_x2:uint8@signature=dense"], device, (16, 20))["results"]
    assert row["residency"]["taken"] == row["residency"]["nodes"] == 67
    assert row["against_host"]["max_difference"] <= 4


def test_a_file_with_a_dynamic_graph_is_refused(device):
    path, options = model_files.locate_tflite("adaedsr_b8_x2:float32")
    model = litert.TFLiteModel(path, 1, {**options, "signature": "sparse"}, device)
    with pytest.raises(UserError, match=r"^virtual:gpu: .*adaedsr_b8_x2.*only supports static-sized tensors") as error:
        model.run(generated(32, 32))
    assert "\n" not in str(error.value)


def test_a_file_that_runs_in_part_is_refused():
    """A server that answers so; without a driver."""
    requests = []

    def ask(what, limit_s, request, arrays=()):
        requests.append(next(iter(request)))
        return {"session": 1, "accelerated": False}, []

    close = types.SimpleNamespace(alive=True)
    server = types.SimpleNamespace(ask=ask, printed=lambda: ["ERROR: GATHER is not supported"], close=close)
    message = r"net with input shape .*: the GPU does not run all of its operators \(GATHER is not supported\)"
    with pytest.raises(UserError, match=message):
        gpu.GpuSession(server, gpu._PROBE.read_bytes(), "net", (1, 8, 8, 3))
    assert requests == ["open", "close"]


def test_no_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "DRIVERS", (str(tmp_path),))
    monkeypatch.setattr(gpu, "SWIFTSHADER", ())
    for name in gpu.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"no Vulkan driver that LiteRT accepts; .* apt-get install chromium libvulkan1$"):
        gpu.GpuDevice()


def test_the_users_driver_is_not_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "SWIFTSHADER", (tmp_path / "another.json",))
    (tmp_path / "another.json").write_text("{}")
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "mine.json"))
    (environment,) = gpu._environments()
    assert environment["VK_DRIVER_FILES"] == str(tmp_path / "mine.json")
    monkeypatch.delenv("VK_DRIVER_FILES")
    monkeypatch.setattr(gpu, "DRIVERS", (str(tmp_path),))
    own, software = gpu._environments()
    assert "VK_DRIVER_FILES" not in own
    assert {software[name] for name in gpu.CHOSEN} == {str(tmp_path / "another.json")}


@pytest.mark.parametrize(
    ("line", "adapter"),
    [
        ("adapterType=CPU / Software", "SwiftShader Device (Subzero), software on this machine's CPU"),
        ("adapterType=Discrete GPU", "this machine's GPU: SwiftShader Device (Subzero)"),
    ],
)
def test_adapter(line, adapter):
    start = "I0000 00:00:1 2 environment.cc:532] Selected adapter: SwiftShader Device (Subzero), arch=x, vendor=y, "
    assert gpu._adapter(["INFO: else", start + line]) == adapter
    assert gpu._adapter([]) == "an unnamed Vulkan adapter"


def test_reason():
    lines = [
        "WARNING: Logging before InitGoogle() is written to STDERR",
        "WARNING: [npu_registry.cc:34] NPU accelerator could not be loaded",
        "E0000 00:00:1795965835.209650   26824 delegate_webgpu.cc:736] Failed to get or create an environment",
    ]
    assert gpu._reason(lines) == " (Failed to get or create an environment)"
    assert gpu._reason(lines[:2]) == ""
    more = ["ERROR: Following operations are not supported by GPU delegate:", "WHILE: Operation is not supported."]
    assert gpu._reason(more) == f" ({more[0].removeprefix('ERROR: ')} {more[1]})"
