"""The folder with the Arm system that `virtual:arm64` runs: Debian's or Ubuntu's arm64 Python, LiteRT and NumPy for Arm.

`make arm64` (or `python -m mobile_sr.devices.arm64_root`) prepares it in the cache folder. That needs the network, but no
administrator rights: apt-get downloads the packages into a folder of its own, and dpkg unpacks them there.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mobile_sr import files
from mobile_sr.errors import UserError

QEMU = "qemu-aarch64"
COMMAND = "make arm64 (or python -m mobile_sr.devices.arm64_root)"  # what messages name
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")  # with everything that they depend on
WHEELS = ("ai-edge-litert", "numpy")  # in the versions that are installed here
PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
COUNTER = Path(__file__).with_name("arm64_counter.c")
LIMIT_S = 900  # for one download
CORES = 4  # in /proc/cpuinfo
FORMAT = 1  # of the root; a change of what `prepare` makes needs another number

_OLD = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_DOT_PRODUCT = f"{_OLD} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclasses.dataclass(frozen=True)
class Cpu:
    """A CPU that QEMU emulates.

    Attributes:
        title: its name in labels.
        qemu: argument of QEMU's -cpu.
        part: part number in /proc/cpuinfo.
        features: features in /proc/cpuinfo; LiteRT chooses its kernels by them.
    """

    title: str
    qemu: str
    part: str
    features: str


CPUS = {
    "cortex-a76": Cpu("Cortex-A76, with the dot product", "cortex-a76", "0xd0b", _DOT_PRODUCT),
    "cortex-a72": Cpu("Cortex-A72, without the dot product", "cortex-a72", "0xd08", _OLD),
    # LiteRT crashes at start with SVE under QEMU, so the newest integer instructions come without it.
    "i8mm": Cpu("Armv8.6 with i8mm", "max,sve=off,sme=off", "0xd0b", f"{_DOT_PRODUCT} i8mm bf16"),
}


@dataclasses.dataclass(frozen=True)
class Root:
    """A prepared root.

    Attributes:
        folder: its path.
        qemu: path of qemu-aarch64.
        python: path of its Python.
        packages: folder of LiteRT and NumPy for Arm.
        counter: the compiled plugin.
        litert: version of LiteRT.
    """

    folder: Path
    qemu: str
    python: Path
    packages: Path
    counter: Path
    litert: str

    def command(self, cpu: str) -> list[str]:
        """Returns QEMU and its options for a key of CPUS, without a program."""
        return _emulate(self.qemu, self.folder, cpu)


def _emulate(qemu: str, root: Path, cpu: str) -> list[str]:
    return [qemu, "-L", str(root / "cpu" / cpu), "-cpu", CPUS[cpu].qemu]


def folder() -> Path:
    """Returns the root's folder. Its name depends on the versions of WHEELS, FORMAT and the plugin.

    Raises:
        UserError: the cache folder's path cannot be among Python's search paths.
    """
    cache = files.cache_folder()
    if os.pathsep in str(cache):
        raise UserError(f"virtual:arm64: {cache}: Python cannot import from a path with '{os.pathsep}'; set MOBILE_SR_CACHE")
    versions = "-".join(importlib.metadata.version(name) for name in WHEELS)
    return cache / f"arm64-{versions}-{FORMAT}-{files.sha256(COUNTER.read_bytes())[:8]}"


def find() -> Root:
    """Returns the prepared root.

    Raises:
        UserError: qemu-user is not installed, or the root is not prepared; the line names the command.
    """
    qemu, path = _qemu(), folder()
    if not path.is_dir():
        raise UserError(f"virtual:arm64: no Arm system for LiteRT {importlib.metadata.version(WHEELS[0])}; run {COMMAND} once")
    litert = importlib.metadata.version(WHEELS[0])
    return Root(path, qemu, _python(path), path / "packages", path / "counter.so", litert)


def qemu_version() -> str:
    """Returns the version of qemu-aarch64, such as '7.2.22'. Raises UserError if it is not installed or prints none."""
    text = _run([_qemu(), "--version"], "qemu-aarch64 does not start", 60)
    match = re.search(r"version (\d+(?:\.\d+)+)", text)
    if not match:
        raise UserError(f"virtual:arm64: {QEMU} --version does not print a version")
    return match[1]


def _qemu() -> str:
    path = shutil.which(QEMU)
    if path is None:
        raise UserError("virtual:arm64: needs QEMU; on Debian or Ubuntu: apt-get install qemu-user gcc")
    return path


def prepare(log: Callable[[str], object] = print) -> Path:
    """Makes the root, unless it exists.

    Args:
        log: called with one line per step.

    Returns:
        Its folder.

    Raises:
        UserError: not Debian or Ubuntu, a tool is missing, or a download failed. Nothing is left of a root that is not whole.
    """
    path = folder()
    if path.is_dir():
        log(f"{path} exists")
        return path
    identity = _check_system()
    api = 1 if int(qemu_version().split(".")[0]) < 9 else 2
    files.make_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".arm64-", dir=path.parent) as temporary:
        root = Path(temporary) / "root"
        root.mkdir()
        log("arm64 packages: download")
        for package in _download_packages(Path(temporary) / "apt", identity):
            _run(["dpkg", "-x", str(package), str(root)], f"cannot unpack {package.name}", 300)
        log("LiteRT and NumPy for Arm: download")
        _download_wheels(Path(temporary) / "wheels", _python(root), root / "packages")
        log("counter: compile")
        command = ["gcc", f"-DVERSION={api}", "-O2", "-shared", "-fPIC", "-o", str(root / "counter.so"), str(COUNTER)]
        _run(command, "cannot compile the instruction counter", 300)
        for name, cpu in CPUS.items():
            _make_view(root, name, cpu)
        log("LiteRT for Arm: first start")  # which also compiles its Python modules: later starts take a tenth of the time
        start = [*_emulate(_qemu(), root, next(iter(CPUS))), "-E", f"PYTHONPATH={root / 'packages'}", str(_python(root))]
        _run([*start, "-S", "-c", "import ai_edge_litert.interpreter"], "LiteRT for Arm does not start")
        try:
            root.rename(path)
        except OSError:
            if not path.is_dir():  # another process was faster
                raise
    log(f"{path}: ready")
    return path


def _check_system() -> dict[str, str]:
    """Returns the distribution's os-release. Raises UserError if the system cannot make a root."""
    try:
        identity = platform.freedesktop_os_release()
    except OSError:
        identity = {}
    if not {"debian", "ubuntu"} & {identity.get("ID", ""), *identity.get("ID_LIKE", "").split()}:
        raise UserError(f"virtual:arm64: needs Debian or Ubuntu, this is {identity.get('PRETTY_NAME', platform.system())}")
    missing = [tool for tool in (QEMU, "gcc", "apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"virtual:arm64: {', '.join(missing)} not found; apt-get install qemu-user gcc libc6-dev")
    return identity


def _download_packages(state: Path, identity: dict[str, str]) -> list[Path]:
    """Downloads PACKAGES and their dependencies with an apt configuration for arm64 only. Returns the .deb files."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "root",  # else apt, run by root, must not read the folder
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
    }
    if "ubuntu" in (identity.get("ID"), *identity.get("ID_LIKE", "").split()):  # arm64 is on a server of its own
        name = identity.get("UBUNTU_CODENAME") or identity.get("VERSION_CODENAME", "")
        suites = [f"{name}{suffix}" for suffix in ("", "-updates", "-security")]
        key = "[signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg]"
        lines = [f"deb {key} http://ports.ubuntu.com/ubuntu-ports {suite} main universe\n" for suite in suites]
        (state / "sources.list").write_text("".join(lines))
        settings |= {"Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "-"}
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in settings.items())]
    _run([*apt, "update"], "apt-get cannot read the lists of arm64 packages (is there a network?)")
    install = [*apt, "install", "--download-only", "--no-install-recommends", "-y", *PACKAGES]
    _run(install, "apt-get cannot download the arm64 packages (is there a network?)")
    return sorted((state / "cache" / "archives").glob("*.deb"))


def _download_wheels(wheels: Path, python: Path, target: Path) -> None:
    """Downloads the aarch64 wheels of WHEELS for a Python of the root and unpacks them."""
    version = python.name.removeprefix("python")
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    names = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    options = [*platforms, "--python-version", version, "--only-binary=:all:", "--no-deps", "--dest", str(wheels)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    _run([*pip, *options, *names], f"pip cannot download {' and '.join(names)} for Python {version} on Arm")
    for wheel in wheels.glob("*.whl"):
        shutil.unpack_archive(wheel, target, "zip")


def _make_view(root: Path, name: str, cpu: Cpu) -> None:
    """Makes cpu/NAME in a root: links to everything in it, and a /proc/cpuinfo.

    QEMU opens files of its -L folder in place of the machine's. LiteRT reads /proc/cpuinfo and crashes on that of an x86 CPU.
    """
    view = root / "cpu" / name
    (view / "proc").mkdir(parents=True)
    for part in ("lib", "lib64", "usr", "etc"):
        if (root / part).exists():
            (view / part).symlink_to(Path("..", "..", part))
    lines = ["Features\t: " + cpu.features, "CPU implementer\t: 0x41", "CPU architecture: 8", "CPU variant\t: 0x1"]
    lines += [f"CPU part\t: {cpu.part}", "CPU revision\t: 0", ""]
    blocks = [[f"processor\t: {core}", "BogoMIPS\t: 52.00", *lines] for core in range(CORES)]
    (view / "proc" / "cpuinfo").write_text("\n".join(line for block in blocks for line in block) + "\n")


def _python(root: Path) -> Path:
    """Returns the root's Python interpreter. Raises UserError if it has none."""
    found = sorted(path for path in (root / "usr" / "bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    if not found:
        raise UserError(f"{root}: has no Python; remove the folder and run {COMMAND}")
    return found[-1]


def _run(command: Sequence[str], failure: str, limit_s: float = LIMIT_S) -> str:
    """Returns the output of a command. Raises UserError with its last line if it fails or takes too long."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"virtual:arm64: {failure}: not finished after {limit_s:.0f} s") from None
    except OSError as error:
        raise UserError(f"virtual:arm64: {failure}: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if re.match(r"(E:|ERROR:|.*error:)", line)), lines[-1] if lines else "no output")
        raise UserError(f"virtual:arm64: {failure}: {reason}")
    return done.stdout


def main() -> int:
    """Prepares the root. Returns the exit status."""
    UserError.names_options = True
    try:
        prepare()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
