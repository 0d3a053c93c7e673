"""Android's adb: finding it, choosing a device, running its commands. What goes wrong is a UserError of one line."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from mobile_sr.errors import UserError

ANSWER_S = 60  # for a command that has little to do
COPY_S = 600  # for one that copies a file
AUTO = "auto"

_STATES = {
    "unauthorized": "unlock it and allow USB debugging for this computer; `adb kill-server` asks anew",
    "authorizing": "unlock it and allow USB debugging for this computer",
    "offline": "unplug and plug it in again, or `adb reconnect offline`",
    "no permissions": "this user may not open the USB device; see the udev rules on developer.android.com/tools/device",
}
_INSTALL = {
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": "the installed app has another signature; remove it first, with its results: "
    "adb -s {serial} uninstall {package}",
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": "the device's storage is full; make room on it",
    "INSTALL_FAILED_USER_RESTRICTED": "allow installing over USB in its developer options, and confirm it on its screen",
    "INSTALL_FAILED_OLDER_SDK": "the app needs Android 8 or newer",
    "INSTALL_FAILED_NO_MATCHING_ABIS": "the APK has no libraries for this device's processor",
}


class DeviceLost(UserError):
    """The device went away: nothing more can be run on it."""


class Adb:
    """adb for one connected device.

    Attributes:
        serial: what adb calls the device.
    """

    def __init__(self, wanted):
        """Choose a device by its serial; AUTO takes the only one. Raises: UserError when that is none that can be used."""
        self._program = find()
        listed = self._run("devices", "-l")
        if listed.returncode:
            raise UserError(f"adb devices failed: {_last_line(listed)}")
        self.serial = _choose(wanted, _devices(listed.stdout))

    def run(self, *words, timeout=ANSWER_S):
        """`adb -s SERIAL WORDS`, finished: a CompletedProcess. Raises: DeviceLost when it failed because the device is gone."""
        done = self._run("-s", self.serial, *words, timeout=timeout)
        if done.returncode:
            state = self._run("-s", self.serial, "get-state")
            if state.stdout.strip() != "device":
                raise DeviceLost(f"{self.serial}: lost on the way ({_last_line(state)}); plug it in again and start anew")
        return done

    def shell(self, *words, timeout=ANSWER_S):
        """As `run`, of a command of the device's shell, whose words arrive there as they are."""
        return self.run("shell", shlex.join(map(str, words)), timeout=timeout)

    def push(self, path, target):
        """Copy a file to the device. Raises: UserError."""
        done = self.run("push", str(path), target, timeout=COPY_S)
        if done.returncode:
            raise UserError(f"{self.serial}: {Path(path).name} cannot be copied to {target}: {_reason(done)}")

    def install(self, apk, package):
        """Install an APK, keeping the app's files. Raises: UserError with what would do."""
        done = self.run("install", "-r", str(apk), timeout=COPY_S)
        said = done.stdout + done.stderr
        found = re.search(r"Failure \[(\w+)(?:: *([^]\n]*))?", said)
        if found:
            what, detail = found[1], found[2] or found[1]
            hint = _INSTALL.get(what, detail).format(serial=self.serial, package=package)
            raise UserError(f"{self.serial}: refused to install {apk} ({what}): {hint}")
        if done.returncode:
            raise UserError(f"{self.serial}: {apk} cannot be installed: {_reason(done)}")

    def version_code(self, package):
        """The versionCode of an installed package, None when it is not installed."""
        found = re.search(r"versionCode=(\d+)", self.shell("dumpsys", "package", package).stdout)
        return int(found[1]) if found else None

    def properties(self):
        """The device's properties, a dict of strings."""
        return dict(re.findall(r"^\[(.+?)\]: \[(.*)\]\r?$", self.shell("getprop").stdout, re.MULTILINE))

    def _run(self, *words, timeout=ANSWER_S):
        options = {"capture_output": True, "text": True, "errors": "replace", "stdin": subprocess.DEVNULL}
        try:
            return subprocess.run([self._program, *words], timeout=timeout, **options)
        except subprocess.TimeoutExpired:
            raise UserError(f"adb {' '.join(words)[:60]}: no answer within {timeout} s") from None
        except OSError as error:
            raise UserError(f"{self._program}: cannot be run ({error.strerror})") from None


def find():
    """The adb program: on PATH, or in the Android SDK's platform-tools. Raises: UserError when there is none."""
    sdks = [os.environ[name] for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if os.environ.get(name)]
    for folder in (None, *(f"{sdk}/platform-tools" for sdk in sdks)):
        program = shutil.which("adb", path=folder)
        if program:
            return program
    raise UserError(
        "adb is neither on PATH nor in $ANDROID_HOME/platform-tools; install Android's platform tools (Debian: apt install adb)"
    )


def said(done):
    """What a failed command says, in one line: its errors before its output."""
    return " ".join((done.stderr.strip() or done.stdout.strip()).split()) or f"status {done.returncode}, without a word"


def _devices(listing):
    """{serial: state} of the text of `adb devices -l`."""
    lines = re.findall(r"^(\S+)\s+(no permissions|\S+)", listing.partition("List of devices attached")[2], re.MULTILINE)
    return dict(lines)


def _choose(wanted, devices):
    listed = ", ".join(f"{serial} ({state})" for serial, state in devices.items())
    if not devices:
        raise UserError("no device: connect one by USB with USB debugging switched on in its developer options")
    if wanted == AUTO:
        if len(devices) > 1:
            raise UserError(f"--device auto: {len(devices)} are connected, choose one: {listed}")
        [wanted] = devices
    if wanted not in devices:
        raise UserError(f"--device {wanted}: not connected; connected: {listed}")
    state = devices[wanted]
    if state != "device":
        raise UserError(f"{wanted}: is {state}; {_STATES.get(state, 'start Android on it and try again')}")
    return wanted


def _last_line(done):
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def _reason(done):
    text = said(done)
    return "its storage is full (No space left on device); make room on it" if "No space left on device" in text else text
