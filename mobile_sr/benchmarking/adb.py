"""Interface to Android's adb: locates it, selects a device and runs commands. Failures are one-line UserErrors."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from mobile_sr.errors import UserError

ANSWER_S = 60  # timeout of a short command
COPY_S = 600  # timeout of a command that copies a file
AUTO = "auto"

_STATES = {
    "unauthorized": "unlock it and allow USB debugging for this computer; `adb kill-server` makes it ask again",
    "authorizing": "unlock it and allow USB debugging for this computer",
    "offline": "disconnect and reconnect it, or run `adb reconnect offline`",
    "no permissions": "this user may not open the USB device; see the udev rules on developer.android.com/tools/device",
}
_INSTALL = {
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": "the installed app has another signature; uninstall it first, "
    "which deletes its results: adb -s {serial} uninstall {package}",
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": "the device's storage is full; free some space",
    "INSTALL_FAILED_USER_RESTRICTED": "allow installation over USB in its developer options and confirm it on its screen",
    "INSTALL_FAILED_OLDER_SDK": "the app requires Android 8 or newer",
    "INSTALL_FAILED_NO_MATCHING_ABIS": "the APK has no libraries for this device's processor",
}


class DeviceLost(UserError):
    """Raised when the device is disconnected; nothing more can run on it."""


class Adb:
    """adb for one connected device.

    Attributes:
        serial: serial number of the device, as adb shows it.
    """

    def __init__(self, serial: str) -> None:
        """Selects a device.

        Args:
            serial: serial number of the device; AUTO selects the only one.

        Raises:
            UserError: there is no such device, or it is not usable.
        """
        self._program = find()
        listed = self._run("devices", "-l")
        if listed.returncode:
            raise UserError(f"adb devices failed: {_last_line(listed)}")
        self.serial = _choose(serial, _devices(listed.stdout))

    def run(self, *words: str, timeout: float = ANSWER_S) -> subprocess.CompletedProcess[str]:
        """Runs `adb -s SERIAL WORDS` and returns the finished process.

        Raises:
            DeviceLost: the command failed because the device is disconnected.
            UserError: adb did not answer within `timeout` seconds.
        """
        done = self._run("-s", self.serial, *words, timeout=timeout)
        if done.returncode:
            state = self._run("-s", self.serial, "get-state")
            if state.stdout.strip() != "device":
                raise DeviceLost(f"{self.serial}: device disconnected ({_last_line(state)}); reconnect it and retry")
        return done

    def shell(self, *words: object, timeout: float = ANSWER_S) -> subprocess.CompletedProcess[str]:
        """Like `run`, for a command of the device's shell. The words are quoted for that shell."""
        return self.run("shell", shlex.join(map(str, words)), timeout=timeout)

    def push(self, path: str | Path, target: str) -> None:
        """Copies a file to the device. Raises UserError if that fails."""
        done = self.run("push", str(path), target, timeout=COPY_S)
        if done.returncode:
            raise UserError(f"{self.serial}: {Path(path).name} cannot be copied to {target}: {_reason(done)}")

    def install(self, apk: str | Path, package: str) -> None:
        """Installs an APK and keeps the app's files. Raises UserError with a hint if that fails."""
        done = self.run("install", "-r", str(apk), timeout=COPY_S)
        failure = re.search(r"Failure \[(\w+)(?:: *([^]\n]*))?", done.stdout + done.stderr)
        if failure:
            what, detail = failure[1], failure[2] or failure[1]
            hint = _INSTALL.get(what, detail).format(serial=self.serial, package=package)
            raise UserError(f"{self.serial}: refused to install {apk} ({what}): {hint}")
        if done.returncode:
            raise UserError(f"{self.serial}: {apk} cannot be installed: {_reason(done)}")

    def version_code(self, package: str) -> int | None:
        """Returns the versionCode of an installed package; None if it is not installed."""
        match = re.search(r"versionCode=(\d+)", self.shell("dumpsys", "package", package).stdout)
        return int(match[1]) if match else None

    def properties(self) -> dict[str, str]:
        """Returns the device's properties."""
        return dict(re.findall(r"^\[(.+?)\]: \[(.*)\]\r?$", self.shell("getprop").stdout, re.MULTILINE))

    def _run(self, *words: str, timeout: float = ANSWER_S) -> subprocess.CompletedProcess[str]:
        command = [self._program, *words]
        try:
            return subprocess.run(
                command, timeout=timeout, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"adb {' '.join(words)[:60]}: no answer within {timeout} s") from None
        except OSError as error:
            raise UserError(f"{self._program}: cannot be run ({error.strerror})") from None


def find() -> str:
    """Returns the adb program on PATH or in the Android SDK's platform-tools. Raises UserError if there is none."""
    sdks = [os.environ[name] for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if os.environ.get(name)]
    for folder in (None, *(f"{sdk}/platform-tools" for sdk in sdks)):
        program = shutil.which("adb", path=folder)
        if program:
            return program
    raise UserError(
        "adb is neither on PATH nor in $ANDROID_HOME/platform-tools; install Android's platform tools (Debian: apt install adb)"
    )


def describe_failure(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the output of a failed command in one line: standard error, else standard output."""
    return " ".join((done.stderr.strip() or done.stdout.strip()).split()) or f"exit status {done.returncode} without output"


def _devices(listing: str) -> dict[str, str]:
    """Parses the output of `adb devices -l` as {serial: state}."""
    lines = re.findall(r"^(\S+)\s+(no permissions|\S+)", listing.partition("List of devices attached")[2], re.MULTILINE)
    return dict(lines)


def _choose(serial: str, devices: dict[str, str]) -> str:
    listed = ", ".join(f"{serial} ({state})" for serial, state in devices.items())
    if not devices:
        raise UserError("no device: connect one by USB and enable USB debugging in its developer options")
    if serial == AUTO:
        if len(devices) > 1:
            raise UserError(f"--device auto: {len(devices)} devices are connected; choose one: {listed}")
        [serial] = devices
    if serial not in devices:
        raise UserError(f"--device {serial}: not connected; connected: {listed}")
    state = devices[serial]
    if state != "device":
        raise UserError(f"{serial}: its state is {state}; {_STATES.get(state, 'start Android on it and retry')}")
    return serial


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    text = describe_failure(done)
    return "its storage is full (No space left on device); free some space" if "No space left on device" in text else text
