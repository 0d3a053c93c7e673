"""A server as a process of this machine's Python, which is what runs under QEMU, too."""

import gc
import os
import signal
import sys

import numpy as np
import pytest

from mobile_sr.devices import server_process
from mobile_sr.errors import UserError
from mobile_sr.inference import model_files

COMMAND = [sys.executable, "-m", server_process.MODULE]
FILE = np.frombuffer(model_files.locate_tflite("espcn_x3:uint8")[0].read_bytes(), np.uint8)


def start():
    return server_process.ServerProcess("virtual:test", COMMAND, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.fixture(scope="module")
def server():
    return start()


def test_errors_leave_the_server_usable(server):
    with pytest.raises(UserError, match=r"^virtual:test: a bad file: .*Flatbuffer"):
        server.ask("a bad file", 60, {"open": [1, 8, 8, 3], "image": 0}, [np.frombuffer(b"no model", np.uint8)])
    with pytest.raises(UserError, match=r"^virtual:test: an unknown session: 77$"):
        server.ask("an unknown session", 60, {"run": 77, "inputs": []})
    reply, _ = server.ask("a file", 60, {"open": [1, 8, 6, 3], "image": 0}, [FILE])
    inputs = {"run": reply["session"], "inputs": [0]}
    reply, (sr,) = server.ask("a file", 60, inputs, [np.zeros((1, 8, 6, 3), np.uint8)])
    assert (len(reply["outputs"]), sr.shape, sr.dtype) == (1, (1, 24, 18, 3), np.uint8)


def test_a_crash_is_one_line():
    server = start()
    os.kill(server._process.pid, signal.SIGSEGV)
    with pytest.raises(UserError, match=r"^virtual:test: a file: the process ended with signal SIGSEGV$"):
        server.ask("a file", 60, {"close": 1})
    assert server._process.returncode == -signal.SIGSEGV  # reaped
    assert not server.close.alive
    with pytest.raises(UserError, match=r"^virtual:test: a file: its process has ended; open the file again$"):
        server.ask("a file", 60, {"close": 1})


def test_a_hanging_process_is_killed():
    server = start()
    os.kill(server._process.pid, signal.SIGSTOP)
    with pytest.raises(UserError, match=r"^virtual:test: a file: no result after 1 s$"):
        server.ask("a file", 1, {"close": 1})
    assert server._process.returncode == -signal.SIGKILL


def test_it_ends_with_its_object():
    server = start()
    process = server._process
    del server
    gc.collect()
    assert process.returncode is not None


def test_a_server_that_does_not_start():
    with pytest.raises(UserError, match="nowhere/qemu does not start"):
        server_process.ServerProcess("virtual:test", ["nowhere/qemu"], {})
    with pytest.raises(UserError, match=r"the start of its server: the process ended with exit status 3 \(broken\)"):
        server_process.ServerProcess("virtual:test", ["sh", "-c", "echo broken >&2; exit 3"], {"PATH": os.environ["PATH"]})
