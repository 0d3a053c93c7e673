"""mobile-sr import-weights: checkpoints that real PyTorch wrote (tests/data), published weights, and what is refused."""

import io
import json
import pickle
import shutil
import zipfile

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES
from mobile_sr.errors import UserError
from mobile_sr.importing import checkpoint as torch_checkpoint
from mobile_sr.importing import import_weights, truth
from mobile_sr.inference import weights
from tests.conftest import ROOT, research_data
from tests.mobile_sr.test_cli import one_line

DATA = ROOT / "tests" / "data"
REFERENCE = (research_data() or ROOT.parent / "shared" / "data").parent / "reference"
MINI = {"channels": 4, "middle": 4, "attention": 2, "blocks": 1}


def imported(tmp_path, checkpoint, net="rlfn", scale=2, sizes=MINI, **options):
    options = {"net": net, "scale": scale, "sizes": sizes, "log": lambda line: None, **options}
    file = import_weights.import_weights(checkpoint, tmp_path / "out", **options)
    return weights.load_model(file, output_activation="linear")


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("rlfn_zip.pth", 2e-6), ("rlfn_legacy.pth", 2e-6), ("rlfn_half.pth", 2e-3), ("rlfn_bfloat16.pt", 2e-2)],
)
def test_pytorch_checkpoints_give_pytorchs_output(tmp_path, name, tolerance):
    """Zip and legacy, wrapped and with a prefix, parameters, half and bfloat16; the network runs in 0..1."""
    model, config = imported(tmp_path, DATA / name)
    assert config == {"network": "rlfn", "scale": 2, "output_activation": "clipped_relu", **MINI}
    truth = np.load(DATA / "rlfn_truth.npz")
    found = keras.ops.convert_to_numpy(model(truth["input"].astype(np.float32) / 255))
    assert np.ptp(truth["output"]) > 100
    assert np.abs(found - truth["output"] / 255).max() < tolerance


def test_npz_and_range(tmp_path):
    state = torch_checkpoint.read(DATA / "rlfn_zip.pth")
    np.savez(tmp_path / "state.npz", **state)
    model, _ = imported(tmp_path, tmp_path / "state.npz", value_range=1)
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[1], state["fea_conv.bias"])
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[0], state["fea_conv.weight"].transpose(2, 3, 1, 0))


def test_the_range_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    """By the sample image: in 0..1 the output is far from bicubic, in 0..255 it is near."""
    figures = [{"psnr": psnr, "bicubic_psnr": 31.0, "constant": False} for psnr in (37.3, 22.3)]  # the published range first
    monkeypatch.setattr(import_weights.model_io, "check", lambda *args: figures.pop(0))
    with pytest.raises(UserError, match="0..255, not 0..1: its PSNR is 37.3 dB .* else 22.3 dB .*give --range 255"):
        imported(tmp_path, DATA / "rlfn_zip.pth", value_range=1)
    assert not (tmp_path / "out").exists()


def test_a_poor_import_warns_with_both_figures(tmp_path, monkeypatch, capsys):
    figures = [{"psnr": psnr, "bicubic_psnr": 31.0, "constant": False} for psnr in (12.3, 13.4)]
    monkeypatch.setattr(import_weights.model_io, "check", lambda *args: figures.pop(0))
    model, _ = imported(tmp_path, DATA / "rlfn_zip.pth")
    assert "its PSNR is 12.3 dB on a sample image, bicubic 31.0 dB" in capsys.readouterr().err
    assert not figures
    truth = np.load(DATA / "rlfn_truth.npz")  # the weights are those of the range that was asked for
    found = keras.ops.convert_to_numpy(model(truth["input"].astype(np.float32) / 255))
    assert np.abs(found - truth["output"] / 255).max() < 1e-5


@pytest.mark.slow
def test_the_range_of_a_published_network_is_known(tmp_path):
    checkpoint = REFERENCE / "rfdn_x4_state.npz"
    if not checkpoint.exists():
        pytest.skip("needs the published weights")
    with pytest.raises(UserError, match="give --range 255"):
        imported(tmp_path, checkpoint, "rfdn", 4, None, value_range=1)


def test_the_command_refuses(tmp_path, run_here):
    evil_zip(tmp_path / "evil.pth")
    one_line(
        run_here("import-weights", "--net", "rlfn", "--out", tmp_path / "net", "--checkpoint", tmp_path / "evil.pth"),
        "evil.pth",
    )
    one_line(run_here("import-weights", "--net", "rlfn", "--out", tmp_path, "--checkpoint", "x", "--set", "blocks"), "NAME=N")
    assert not (tmp_path / "net").exists()


@pytest.mark.slow
def test_the_command(tmp_path, run_here):
    sizes = [part for name, value in MINI.items() for part in ("--set", f"{name}={value}")]
    command = ["import-weights", "--net", "rlfn", "--scale", 2, "--out", tmp_path / "net", *sizes, "--checkpoint"]
    refused = run_here(*command, DATA / "rlfn_note.pth")
    one_line(refused, "rlfn_note.pth", "1 unknown (note)")
    assert not (tmp_path / "net").exists()
    assert run_here(*command, DATA / "rlfn_zip.pth").returncode == 0
    assert [file.name for file in (tmp_path / "net").iterdir()] == ["best.npz"]


class Evil:
    def __reduce__(self):
        import os

        return os.system, (f"touch {DATA / 'was_run'}",)


def evil_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"params": Evil()}, 2))


def evil_legacy(path):
    start = (DATA / "rlfn_legacy.pth").read_bytes()
    path.write_bytes(start[: start.index(b"\x80\x02", 2)] + pickle.dumps(Evil(), 2))


def builtin_attribute(path):
    """An attribute of an allowed object, which a list of forbidden names would miss."""
    path.write_bytes(b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93)R.")


def cut(path):
    whole = (DATA / "rlfn_zip.pth").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def cut_legacy(path):
    path.write_bytes((DATA / "rlfn_legacy.pth").read_bytes()[:-40])


def changed(**changes):
    def write(path):
        state = {**torch_checkpoint.read(DATA / "rlfn_zip.pth")}
        for key, function in changes.items():
            state[key.replace("__", ".")] = function(state[key.replace("__", ".")])
        with open(path, "wb") as file:
            np.savez(file, **state)

    return write


def legacy_module(path):
    """As torch.save(network) before PyTorch 1.6: the class comes as ('module', class, source file, source)."""
    start = (DATA / "rlfn_legacy.pth").read_bytes()
    body = b"\x80\x02(U\x06moduleU\x04RLFNU\x07rlfn.pyU\x04codetQ."
    path.write_bytes(start[: _third_pickle(start)] + body)


def _third_pickle(data):
    """Where the fourth pickle of a legacy checkpoint begins, after its magic number, protocol and system."""
    file = io.BytesIO(data)
    for _ in range(3):
        pickle.load(file)
    return file.tell()


def torchscript(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", pickle.dumps((), 2))
        archive.writestr("net/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81.")


def keras_file(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")


REFUSED = {
    "a whole module, legacy": (legacy_module, r"a whole network object, .*torch.save\(network.state_dict\(\)"),
    "TorchScript": (torchscript, "a TorchScript file; load it with torch.jit.load"),
    "Keras": (keras_file, "a Keras file, not a PyTorch checkpoint; every command accepts"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file"),
    ".tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), "a .tflite file, not a PyTorch"),
    "malicious, zip": (evil_zip, "system, which is not executed"),
    "malicious, legacy": (evil_legacy, "system, which is not executed"),
    "attribute": (builtin_attribute, "OrderedDict.__class__, which is not executed"),
    "truncated, zip": (cut, "damaged or cut short"),
    "truncated, legacy": (cut_legacy, "cut short|not a multiple|elements"),
    "a whole module": (
        "module.pth",
        r"torch.nn.modules.conv.Conv2d, which is not executed: a whole network object, .*state_dict\(\)",
    ),
    "no tensor": ("rlfn_note.pth", r"1 unknown \(note\)"),
    "integers": ("rlfn_long.pth", "LR_conv.bias is an array of int64"),
    "transposed": (changed(B1__esa__conv4__weight=lambda w: w.transpose(1, 0, 2, 3)), "B1.esa.conv4.weight has the shape"),
    "HWIO": (changed(fea_conv__weight=lambda w: w.transpose(2, 3, 1, 0)), "fea_conv.weight has the shape"),
    "not finite": (changed(fea_conv__bias=lambda b: b * np.inf), "fea_conv.bias contains values that are not finite"),
    "empty": (lambda path: path.write_bytes(b""), "not a usable PyTorch checkpoint"),
    "text": (lambda path: path.write_text("a text, no checkpoint\n"), "not a usable PyTorch checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(tmp_path, case):
    make, said = REFUSED[case]
    path = tmp_path / ("state.npz" if case in ("transposed", "HWIO", "not finite") else "state.pth")
    shutil.copy(DATA / make, path) if isinstance(make, str) else make(path)
    with pytest.raises(UserError, match=said) as caught:
        imported(tmp_path, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (DATA / "was_run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"net": "imdn", "sizes": {}}, r"missing \(model.0.bias, .*unknown \(B1.c1_r.bias"),
        ({"net": "chainsr", "sizes": {}}, "cannot be imported"),
        ({"scale": 3}, "upsampler.0.weight has the shape"),
        ({"sizes": {"blocks": 2}}, "18 missing"),
        ({"sizes": {"width": 2}}, "no such size; available: channels, middle"),
    ],
)
def test_another_network(tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        imported(tmp_path, DATA / "rlfn_zip.pth", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_is_not_overwritten(tmp_path):
    imported(tmp_path, DATA / "rlfn_zip.pth")
    with pytest.raises(UserError, match="already contains a model"):
        imported(tmp_path, DATA / "rlfn_zip.pth")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_reported_in_one_line(tmp_path, seed):
    """Every damaged file is reported in one line; nothing else is raised."""
    rng, said = np.random.default_rng(seed), []
    for name in ("rlfn_zip.pth", "rlfn_legacy.pth"):
        whole = np.frombuffer((DATA / name).read_bytes(), np.uint8)
        for _ in range(50):
            broken = whole.copy()
            places = rng.integers(0, min(len(whole), 4000), 3)
            broken[places] = rng.integers(0, 256, 3)
            (tmp_path / "broken.pth").write_bytes(broken.tobytes())
            try:
                torch_checkpoint.read(tmp_path / "broken.pth")
            except UserError as error:
                said.append(str(error))
    assert said
    assert not [line for line in said if "\n" in line]


# {name in the reference folder: network, sizes that differ from the published ones}.
REFERENCES = {
    **{f"{net}_x4": (net, {}) for net in ("imdn", "rfdn", "rlfn", "fmen", "efdn")},
    "06_V1": ("rfdn", {}),
    "22_RFDN40": ("rfdn", {"channels": 40, "distilled": 20, "attention": 10}),
    "26_IMDN": ("imdn", {"blocks": 7}),
    **{name: (name.partition("_")[2].lower(), {}) for name in ("10_RePAFDN", "15_AFDN", "17_FDEN", "30_SCET", "33_m_RFDN")},
    **{name: (name.partition("_")[2].lower(), {}) for name in ("34_ESAN", "36_RFESR", "43_ResDN", "44_MSDN")},
    **{"13_RFDN_Dilated": ("dilated_rfdn", {}), "25_FasterRFDN": ("faster_rfdn", {}), "28_NASNetBN": ("nasnet_bn", {})},
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in REFERENCES])
def test_published_weights_give_the_published_output(tmp_path, name):
    """Recognized without an option, and equal to the authors' code before any clip, odd sizes included."""
    checkpoint = REFERENCE / f"{name}_state.npz"
    if not checkpoint.exists():
        pytest.skip("needs the published weights and outputs: ../shared/reference, beside MOBILE_SR_DATA")
    file = import_weights.import_weights(checkpoint, tmp_path / "out", log=lambda line: None)
    model, config = weights.load_model(file, output_activation="linear")
    network, sizes = REFERENCES[name]
    assert config["network"] == network
    assert {key: config[key] for key in sizes} == sizes
    files = [REFERENCE / f"{name}.npz", *([] if name.endswith("_x4") else [REFERENCE / "inputs.npz"])]
    pairs = truth.read(files)
    assert len(pairs) == 2
    assert truth.max_error(lambda lr: keras.ops.convert_to_numpy(model(lr)), pairs) < 2e-5


def torch_zip(path, state):
    """Writes float32 and int64 arrays as the zip file that PyTorch writes for an OrderedDict of tensors."""

    def text(value):
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    def integers(values):
        return b"(" + b"".join(b"J" + int(value).to_bytes(4, "little") for value in values) + b"t"

    dictionary = b"ccollections\nOrderedDict\n)R"
    program = b"\x80\x02" + dictionary + b"("
    with zipfile.ZipFile(path, "w") as archive:
        for number, (key, array) in enumerate(state.items()):
            kind, dtype = (b"Long", "<i8") if array.dtype == np.int64 else (b"Float", "<f4")
            archive.writestr(f"state/data/{number}", array.astype(dtype).tobytes())
            storage = b"(" + text("storage") + b"ctorch\n" + kind + b"Storage\n" + text(str(number)) + text("cpu")
            storage += b"J" + array.size.to_bytes(4, "little") + b"tQ"
            strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
            sides = b"J\0\0\0\0" + integers(array.shape) + integers(strides)
            program += text(key) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + sides + b"\x89" + dictionary + b"tR"
        archive.writestr("state/data.pkl", program + b"u.")
    return path


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in REFERENCES])
def test_published_weights_are_the_same_in_a_pth_file(tmp_path, name):
    """The import sees nothing of a file but these arrays, so test_published_weights_give_the_published_output holds for it."""
    checkpoint = REFERENCE / f"{name}_state.npz"
    if not checkpoint.exists():
        pytest.skip("needs the published weights: ../shared/reference, beside MOBILE_SR_DATA")
    expected = torch_checkpoint.read(checkpoint)
    found = torch_checkpoint.read(torch_zip(tmp_path / "state.pth", expected))
    assert list(found) == list(expected)
    assert all(np.array_equal(found[key], value) and found[key].dtype == value.dtype for key, value in expected.items())


def true_output(path, scale=1.0):
    """The output that PyTorch computed for rlfn_zip.pth, as a file for --verify."""
    known = np.load(DATA / "rlfn_truth.npz")
    np.savez(path, x_a=known["input"].astype(np.uint8), output_a=known["output"] * scale, data_range=np.float32(255))
    return path


def safetensors(path, kind, header=None):
    """Writes the arrays of rlfn_zip.pth as .safetensors."""
    state = {key: value.astype("<f4") for key, value in torch_checkpoint.read(DATA / "rlfn_zip.pth").items()}
    data, entries = b"", {"__metadata__": {"format": "pt"}}
    for key, value in state.items():
        raw = (
            (value.view("<u4") >> 16).astype("<u2").tobytes()
            if kind == "BF16"
            else value.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        )
        entries[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(entries if header is None else header(entries)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_network_is_recognized(tmp_path, capsys):
    """Sizes, scale and range; --verify compares with the true output, which also decides about the range."""
    lines = []
    file = import_weights.import_weights(
        DATA / "rlfn_zip.pth", tmp_path / "out", verify=[true_output(tmp_path / "truth.npz")], log=lines.append
    )
    config = weights.read_arrays(file)[1]
    assert config["config"] == {"network": "rlfn", "scale": 2, "output_activation": "clipped_relu", **MINI}
    assert config["imported"]["value_range"] == 255
    assert config["imported"]["max_error"] < 1e-5
    assert "rlfn x2 with channels 4, middle 4, attention 2, blocks 1, images in 0..255" in lines[0]
    assert "a checkpoint has no range; chosen by true outputs: rlfn x2" in capsys.readouterr().err


def test_an_output_that_is_not_the_true_one_is_refused(tmp_path):
    wrong = true_output(tmp_path / "truth.npz", 1.01)
    with pytest.raises(UserError, match=r"its output is not the true one: the largest error is \S+ of the data range"):
        import_weights.import_weights(DATA / "rlfn_zip.pth", tmp_path / "out", verify=[wrong])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0), ("F16", 2**-11), ("BF16", 2**-7)])
def test_safetensors(tmp_path, kind, tolerance):
    found = torch_checkpoint.read(safetensors(tmp_path / "a.safetensors", kind))
    expected = torch_checkpoint.read(DATA / "rlfn_zip.pth")
    assert found.keys() == expected.keys()
    assert all(value.dtype == np.float32 for value in found.values())
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], rtol=tolerance, atol=1e-6 if tolerance else 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "F8_E4M3"}, "fea_conv.bias has the unknown type F8_E4M3"),
        ({"shape": [5]}, "fea_conv.bias has 16 bytes at .*, which does not agree"),
        ({"data_offsets": [0, 10**9]}, "fea_conv.bias has 1000000000 bytes at 0"),
        ({"data_offsets": [-4, 12]}, "fea_conv.bias has an invalid shape or offset"),
    ],
)
def test_damaged_safetensors(tmp_path, change, said):
    def header(entries):
        return {**entries, "fea_conv.bias": {**entries["fea_conv.bias"], **change}}

    with pytest.raises(UserError, match=said):
        torch_checkpoint.read(safetensors(tmp_path / "a.safetensors", "F32", header))


def test_a_map_of_the_user(tmp_path, capsys):
    """Other names, several arrays that become one layer, and keys to leave out."""
    state = torch_checkpoint.read(DATA / "rlfn_zip.pth")
    names = ARCHITECTURES["rlfn"].names({**models.complete({"network": "rlfn"}), **MINI})
    renamed, layers = {"loss.weight": np.zeros(3, np.float32)}, {}
    for number, (prefix, layer) in enumerate(names.items()):
        parts = (slice(0, 1), slice(1, None)) if layer == "head" else (slice(None),)
        for part, channels in enumerate(parts):
            layers[f"net.{number}.{part}"] = layer
            for end in ("weight", "bias"):
                renamed[f"net.{number}.{part}.{end}"] = state[f"{prefix}.{end}"][channels]
    np.savez(tmp_path / "state.npz", **renamed)
    options = {"network": "rlfn", "scale": 2, "range": 255, "options": MINI, "layers": layers, "unused": [r"loss\..*"]}
    (tmp_path / "map.json").write_text(json.dumps(options))
    verify = [true_output(tmp_path / "truth.npz")]
    import_weights.import_weights(
        tmp_path / "state.npz", tmp_path / "out", verify=verify, key_map=tmp_path / "map.json", log=lambda line: None
    )
    assert "unused keys: loss.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a JSON file"),
        ("[]", 'expected an object with "layers"'),
        ('{"layers": {}, "net": "rlfn"}', "unknown entry net; known: network, scale"),
        ('{"layers": {}, "scale": "2"}', "scale is a str; expected int"),
        ('{"layers": {"a": 1}}', "layers and unused keys must be strings"),
        ('{"layers": {}, "range": 2}', "range is 2; expected 1 or 255"),
        ('{"layers": {}}', 'has no "network"'),
        ('{"layers": {"a": "nosuch"}, "network": "rlfn"}', "it has no layer nosuch"),
    ],
)
def test_refused_maps(tmp_path, text, said):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(UserError, match=said):
        import_weights.import_weights(DATA / "rlfn_zip.pth", tmp_path / "out", key_map=tmp_path / "map.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"input": np.zeros((1, 4, 4, 3))}, "no array named output"),
        ({"output_a": np.zeros((1, 8, 8, 3))}, "output_a has no input_a"),
        ({"x": np.zeros((1, 4, 4, 3)), "output": np.zeros((1, 9, 8, 3))}, r"output is \(1, 9, 8, 3\) for an input of"),
    ],
)
def test_refused_true_outputs(tmp_path, arrays, said):
    np.savez(tmp_path / "truth.npz", **arrays)
    with pytest.raises(UserError, match=said):
        import_weights.import_weights(DATA / "rlfn_zip.pth", tmp_path / "out", verify=[tmp_path / "truth.npz"])


def test_an_unknown_network(tmp_path):
    np.savez(tmp_path / "state.npz", a=np.zeros((3, 3), np.float32))
    with pytest.raises(UserError, match="no known network; give --net and, for other names, --map"):
        import_weights.import_weights(tmp_path / "state.npz", tmp_path / "out")
