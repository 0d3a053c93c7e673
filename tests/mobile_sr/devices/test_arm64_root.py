import os

import pytest

from mobile_sr.devices import arm64, arm64_root
from mobile_sr.errors import UserError

DEBIAN = {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}

# What the tools would do, without a network: apt "downloads" a package, dpkg unpacks a Python, pip and gcc write their files.
TOOLS = {
    "qemu-aarch64": 'if [ "$1" = --version ]; then echo "qemu-aarch64 version $VERSION"; fi',
    "apt-get": 'for a; do case $a in -oDir::Cache=*) c=${a#*=};; install) touch "$c/archives/python_arm64.deb";; esac; done',
    "dpkg": 'mkdir -p "$3/usr/bin" "$3/lib"; touch "$3/usr/bin/python3" "$3/usr/bin/python3.11"',
    "gcc": 'echo "$@" >> "$LOG"; for a; do last=$out; out=$a; done; eval "touch \\"\\${$(($# - 1))}\\""',
}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with the tools of TOOLS; returns the folder of the tools."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in TOOLS.items():
        write_tool(tools, name, script)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/bin{os.pathsep}/usr/bin")
    monkeypatch.setenv("VERSION", "7.2.22")
    monkeypatch.setenv("LOG", str(tmp_path / "gcc.log"))
    monkeypatch.setenv("MOBILE_SR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(arm64_root.platform, "freedesktop_os_release", lambda: DEBIAN)
    monkeypatch.setattr(arm64_root, "_download_wheels", lambda wheels, python, target: target.mkdir())
    return tools


def write_tool(tools, name, script):
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)


def prepare():
    lines = []
    return arm64_root.prepare(lines.append), lines


def test_a_root_is_made_once(machine, tmp_path):
    path, lines = prepare()
    assert path == arm64_root.folder()
    assert path.parent == tmp_path / "cache"
    assert os.listdir(path.parent) == [path.name]  # no temporary folder
    assert prepare() == (path, [f"{path} exists"])
    root = arm64_root.find()
    assert (root.python.name, root.counter.exists()) == ("python3.11", True)
    assert root.command("cortex-a72") == [
        str(machine / "qemu-aarch64"),
        "-L",
        str(path / "cpu/cortex-a72"),
        "-cpu",
        "cortex-a72",
    ]
    assert (path / "cpu" / "i8mm" / "usr" / "bin" / "python3.11").exists()


@pytest.mark.parametrize(("qemu", "api"), [("7.2.22", 1), ("8.2.2", 1), ("9.0.0", 2), ("10.0.3", 2)])
def test_the_plugin_is_compiled_for_the_installed_qemu(machine, monkeypatch, tmp_path, qemu, api):
    monkeypatch.setenv("VERSION", qemu)
    prepare()
    assert f"-DVERSION={api} " in (tmp_path / "gcc.log").read_text()


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("apt-get", r"apt-get cannot read the lists of arm64 packages \(is there a network\?\): E: no route"),
        ("dpkg", "cannot unpack python_arm64.deb: E: no route"),
        ("gcc", "cannot compile the instruction counter: E: no route"),
    ],
)
def test_a_failure_leaves_nothing(machine, tmp_path, tool, message):
    write_tool(machine, tool, "echo 'W: a warning' >&2; echo 'E: no route' >&2; exit 100")
    with pytest.raises(UserError, match=f"^virtual:arm64: {message}$"):
        prepare()
    assert os.listdir(tmp_path / "cache") == []


def test_a_root_whose_litert_does_not_start_is_not_kept(machine, tmp_path):
    write_tool(machine, "qemu-aarch64", f'{TOOLS["qemu-aarch64"]}\n[ "$1" = --version ] || exit 1')
    with pytest.raises(UserError, match="LiteRT for Arm does not start: no output"):
        prepare()
    assert os.listdir(tmp_path / "cache") == []


def test_other_systems_are_refused(machine, monkeypatch):
    monkeypatch.setattr(arm64_root.platform, "freedesktop_os_release", lambda: {"ID": "fedora", "PRETTY_NAME": "Fedora 43"})
    with pytest.raises(UserError, match="needs Debian or Ubuntu, this is Fedora 43"):
        prepare()


def test_a_missing_compiler(machine, monkeypatch):
    (machine / "gcc").unlink()
    monkeypatch.setenv("PATH", str(machine))
    with pytest.raises(UserError, match="gcc not found; apt-get install qemu-user gcc libc6-dev"):
        prepare()


def test_ubuntu_has_arm64_on_a_server_of_its_own(machine, monkeypatch, tmp_path):
    identity = {"ID": "ubuntu", "ID_LIKE": "debian", "UBUNTU_CODENAME": "noble"}
    monkeypatch.setattr(arm64_root.platform, "freedesktop_os_release", lambda: identity)
    write_tool(machine, "apt-get", f"{TOOLS['apt-get']}\ncp $(dirname $c)/sources.list {tmp_path} 2>/dev/null; exit 0")
    prepare()
    assert "http://ports.ubuntu.com/ubuntu-ports noble main" in (tmp_path / "sources.list").read_text()


@pytest.mark.parametrize("name", arm64_root.CPUS)
def test_cpuinfo(machine, name):
    path, _ = prepare()
    lines = (path / "cpu" / name / "proc" / "cpuinfo").read_text().splitlines()
    features = [set(line.split(":")[1].split()) for line in lines if line.startswith("Features")]
    assert len(features) == 4
    assert ("asimddp" in features[0], "i8mm" in features[0]) == {
        "cortex-a76": (True, False),
        "cortex-a72": (False, False),
        "i8mm": (True, True),
    }[name]


def test_the_module_ends_with_status_2(machine, capsys):
    write_tool(machine, "apt-get", "exit 1")
    assert arm64_root.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_python_cannot_search(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILE_SR_CACHE", f"{tmp_path}/a{os.pathsep}b")
    with pytest.raises(UserError, match="cannot import from a path with '.'; set MOBILE_SR_CACHE$"):
        prepare()


def test_a_damaged_root_names_the_way_out(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILE_SR_CACHE", str(tmp_path / "a,b"))  # QEMU's options need the comma doubled
    path, _ = prepare()
    write_tool(
        machine, "qemu-aarch64", 'case $1 in --version) echo "qemu-aarch64 version 7.2.22";; *) echo "$6" >&2; exit 1; esac'
    )
    device = arm64.Arm64Device()
    hint = f"if the Arm system is damaged, remove {path} and run make arm64"
    with pytest.raises(UserError, match=rf"file={tmp_path}/a,,b/{path.name}/counter.so,fd=\d+\); {hint}"):
        device.server()
