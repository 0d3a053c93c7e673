"""A file of unknown origin runs in a child process first, which may crash."""

import os
import shutil
import time

import pytest

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare
from mobile_sr.inference import litert, trial


@pytest.fixture
def unknown(tmp_path, exported, monkeypatch):
    """A .tflite without a sidecar that has not been tried yet."""
    monkeypatch.delenv(trial._PASSED, raising=False)
    return shutil.copy(exported / "tiny_float32.tflite", tmp_path)


@pytest.fixture
def attempts(monkeypatch):
    found, attempt = [], trial.attempt

    def counted(*arguments):
        found.append(arguments)
        return attempt(*arguments)

    monkeypatch.setattr(trial, "attempt", counted)
    return found


def test_once_per_file_and_process(unknown, attempts):
    for _ in range(2):
        load(unknown)
    compare.inspect(unknown)
    assert len(attempts) == 1
    assert os.environ[trial._PASSED].count(",") == 0


def test_files_of_this_program_need_no_trial(exported, attempts):
    load(exported / "tiny_uint8.tflite")
    compare.inspect(exported / "tiny_uint8.tflite")
    litert.TFLiteModel((exported / "tiny_uint8.tflite").read_bytes())
    assert attempts == []


def test_a_crash_and_a_hang_are_reported_in_one_line(unknown, monkeypatch):
    monkeypatch.setattr(trial, "COMMAND", ("python3", "-c", "import os; os.abort()"))
    for use in (load, compare.inspect):
        with pytest.raises(UserError, match=r"tiny_float32.tflite: the runtime crashed on it \(signal SIGABRT\)"):
            use(unknown)
    monkeypatch.setattr(trial, "COMMAND", ("python3", "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(trial, "LIMIT_S", 0.5)
    began = time.monotonic()
    with pytest.raises(UserError, match="did not finish a first run within 0.5 s"):
        load(unknown)
    assert time.monotonic() - began < 20
