"""Starts a `server` process, sends it requests, and ends it when it crashes, is too slow or is not needed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.devices.server import Message, read_message, write_message
from mobile_sr.errors import UserError

START_LIMIT_S = 300
END_LIMIT_S = 20  # after the end of its output
MODULE = "mobile_sr.devices.server"


class ServerProcess:
    """A running server. It is killed with this object, and ends by itself if this process is killed."""

    def __init__(
        self, device: str, command: Sequence[str], environment: Mapping[str, str], keep_open: Sequence[int] = ()
    ) -> None:
        """Starts a server and waits until it is ready.

        Args:
            device: name of the device in messages.
            command: its command line.
            environment: its environment variables.
            keep_open: file descriptors that it inherits.

        Raises:
            UserError: it does not start.
        """
        self._device = device
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._errors, env=dict(environment), pass_fds=keep_open
            )
        except OSError as error:
            raise UserError(f"{device}: {command[0]} does not start ({error.strerror})") from None
        self._printed_before = 0
        self._lock = threading.Lock()  # one request at a time
        self.close = weakref.finalize(self, _end, self._process)
        self._receive("the start of its server", START_LIMIT_S)

    def ask(self, what: str, limit_s: float, head: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> Message:
        """Sends a request and returns the reply.

        Args:
            what: what is asked, for messages: 'xlsr_x3.tflite at 64x64'.
            limit_s: seconds after which the process is killed.
            head, arrays: the request.

        Raises:
            UserError: the server reports an error, crashed or was too slow.
        """
        with self._lock:
            if not self.close.alive:  # it ended with an earlier request
                raise UserError(f"{self._device}: {what}: its process has ended; open the file again")
            self._printed_before = os.fstat(self._errors.fileno()).st_size
            try:
                assert self._process.stdin is not None
                write_message(self._process.stdin, head, arrays)
            except OSError:  # it has ended; reading tells why
                pass
            except BaseException:  # Ctrl-C in the middle of a request
                self.close()
                raise
            return self._receive(what, limit_s)

    def printed(self) -> list[str]:
        """Returns the lines that the process printed since the last request."""
        text = os.pread(self._errors.fileno(), 1 << 20, self._printed_before).decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _receive(self, what: str, limit_s: float) -> Message:
        late, process = threading.Event(), self._process  # `kill` must not keep this object alive

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit_s, kill)
        timer.daemon = True
        timer.start()
        try:
            assert self._process.stdout is not None
            reply = read_message(self._process.stdout)
        except BaseException:  # Ctrl-C in the middle of a reply: the next one would be read wrongly
            self.close()
            raise
        finally:
            timer.cancel()
        if reply is None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # under QEMU, an end takes its time
                self._process.wait(END_LIMIT_S)
            self.close()
            reason = f"no result after {limit_s:.0f} s" if late.is_set() else self._why_ended()
            raise UserError(f"{self._device}: {what}: {reason}")
        if "error" in reply[0]:
            raise UserError(f"{self._device}: {what}: {reply[0]['error']}")
        return reply

    def _why_ended(self) -> str:
        status = self._process.returncode
        lines = [line for line in self.printed() if not line.startswith(("INFO:", "WARNING:"))]
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"the process ended with {how}" + (f" ({lines[-1]})" if lines else "")


class ServerSession:
    """A .tflite opened in a ServerProcess.

    Attributes:
        opened: the server's reply.
    """

    def __init__(
        self, server: ServerProcess, what: str, limit_s: float, shape: tuple[int, ...], image: int, data: bytes
    ) -> None:
        """Opens a file.

        Args:
            server: the process.
            what: name of the file and its size, for messages.
            limit_s: seconds to open it.
            shape: shape of the image input.
            image: tensor index of that input.
            data: bytes of the file.

        Raises:
            UserError: see `ServerProcess.ask`.
        """
        self._server, self._what, self._limit_s = server, what, limit_s
        request = {"open": list(shape), "image": image}
        self.opened, _ = server.ask(what, limit_s, request, [np.frombuffer(data, np.uint8)])

    def run(self, inputs: Mapping[int, np.ndarray], limit_s: float) -> dict[int, np.ndarray]:
        """Runs the file once, within `limit_s` seconds; see `Session.run`."""
        request = {"run": self.opened["session"], "inputs": list(inputs)}
        reply, values = self._server.ask(self._what, limit_s, request, list(inputs.values()))
        return dict(zip(reply["outputs"], values, strict=True))

    def close(self) -> None:
        """Closes the file, unless the process has ended."""
        if self._server.close.alive:
            self._server.ask(self._what, self._limit_s, {"close": self.opened["session"]})


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closes the pipes and waits until the process ends; kills it if it does not."""
    for stream in (process.stdin, process.stdout):
        if stream:
            with contextlib.suppress(OSError):  # a broken pipe
                stream.close()
    try:
        process.wait(0.5 if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def own_command(module: str, *arguments: str) -> list[str]:
    """Returns the command line that runs a module with this Python, without modules of the working directory (-P)."""
    return [sys.executable, "-P", "-m", module, *arguments]


def own_environment() -> dict[str, str]:
    """Returns the environment for `own_command`: this process's, and its search path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def python_environment(packages: Sequence[str]) -> dict[str, str]:
    """Returns the environment for another Python whose search path is `packages`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": os.pathsep.join(packages)}
