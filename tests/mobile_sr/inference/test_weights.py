import io
import os
import zipfile

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.inference import model_files, weights


def test_model_files_rebuild_the_network(model_file, tmp_path):
    model, config = weights.load_model(model_file)
    weights.save_model(tmp_path / "again.npz", model, config)
    again, again_config = weights.load_model(tmp_path / "again.npz")
    assert again_config == config
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_trained_model_is_found_with_its_name(model_file, tmp_path):
    run = tmp_path / "run.1"
    run.mkdir()
    (run / "best.npz").write_bytes(model_file.read_bytes())
    assert model_files.trained(model_file) == (model_file, "tiny")
    assert model_files.trained(run) == (run / "best.npz", "run.1")
    assert model_files.trained("xlsr_x3")[1] == "xlsr_x3"
    with pytest.raises(UserError, match="xlsr_x3:uint8: not a trained Keras model"):
        model_files.trained("xlsr_x3:uint8")


def test_damage_is_refused(model_file, tmp_path):
    whole = model_file.read_bytes()
    for name, content in {
        "empty.npz": b"",
        "cut.npz": whole[: len(whole) // 2],
        "flipped.npz": whole[:3000] + bytes([whole[3000] ^ 255]) + whole[3001:],
        "text.npz": b"not a zip",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            weights.load_model(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        weights.load_model(tmp_path / "absent.npz")


def test_foreign_archives_are_refused(tmp_path):
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="not written by mobile-sr"):
        weights.load_model(tmp_path / "foreign.npz")
    weights.write_arrays(tmp_path / "other.npz", {"a": np.zeros(3)}, {"config": {"network": "xlsr", "scale": 3}})
    with pytest.raises(UserError, match="do not fit"):
        weights.load_model(tmp_path / "other.npz")
    weights.write_arrays(tmp_path / "unknown.npz", {}, {"config": {"network": "nosuch", "scale": 3}})
    with pytest.raises(UserError, match="nosuch"):
        weights.load_model(tmp_path / "unknown.npz")


def test_what_does_not_fit_a_network_is_refused(model_file, tmp_path):
    arrays, meta = weights.read_arrays(model_file)
    for number, scale in enumerate((0, 17, 10**9, "3", 3.0, None)):
        path = tmp_path / f"scale{number}.npz"
        weights.write_arrays(path, arrays, {"config": {**meta["config"], "scale": scale}})
        with pytest.raises(UserError, match=f"scale {scale!r}"):
            weights.load_model(path)
    weights.write_arrays(tmp_path / "text.npz", {**arrays, "head/bias": arrays["head/bias"].astype(str)}, meta)
    with pytest.raises(UserError, match="first difference: head/bias"):
        weights.load_model(tmp_path / "text.npz")
    weights.write_arrays(tmp_path / "list.npz", arrays, [1])
    with pytest.raises(UserError, match="its configuration is a list"):
        weights.read_arrays(tmp_path / "list.npz")


def test_sizes_are_checked_before_memory_is_allocated(tmp_path, monkeypatch):
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"shape": (2**40,), "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("a.npy", npy.getvalue() + bytes(16))
    with pytest.raises(UserError, match=r"claim.npz: .* shape \(1099511627776,\) in"):
        weights.read_arrays(tmp_path / "claim.npz")
    monkeypatch.setattr(weights, "MAX_BYTES", 10_000)
    weights.write_arrays(tmp_path / "bomb.npz", {"a": np.zeros(10_000)}, {})
    with pytest.raises(UserError, match=r"bomb.npz: would unpack to 80,\d+ bytes"):
        weights.read_arrays(tmp_path / "bomb.npz")


def test_pickles_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "trap.npz", __json__=np.array(Trap(), dtype=object))
    with pytest.raises(UserError, match="damaged or not a model file"):
        weights.load_model(tmp_path / "trap.npz")
    assert not (tmp_path / "sprung").exists()
