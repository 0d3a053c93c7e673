import signal
import subprocess
import sys

import pytest

from mobile_sr import files
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path, write_bytes

WRITER = """
import sys, time
from mobile_sr.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer():
    """Start a process that holds a path half written until its standard input ends."""
    started = []

    def start(path):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_tidies_up(writer, tmp_path):
    target = tmp_path / "a.b.json"
    target.write_bytes(b"old")
    for _ in range(2):
        process = writer(target)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2  # the second writer removed what the first had left
    write_bytes(target, b"new")
    assert names(tmp_path) == ["a.b.json"]
    assert target.read_bytes() == b"new"


def test_a_living_writer_keeps_its_file(writer, tmp_path):
    target = tmp_path / "a.bin"
    process = writer(target)
    write_bytes(target, b"meanwhile")
    assert target.read_bytes() == b"meanwhile"
    assert len(names(tmp_path)) == 2
    process.communicate()
    assert process.returncode == 0
    assert target.read_bytes() == b"half"
    with atomic_path(target) as outer:  # and so within one process
        outer.write_bytes(b"outer")
        write_bytes(target, b"inner")
        assert target.read_bytes() == b"inner"
    assert target.read_bytes() == b"outer"
    assert names(tmp_path) == ["a.bin"]


def test_only_leftovers_of_the_same_target_are_removed(tmp_path):
    others = [
        ".a.json",
        ".a.12345678.tmp",
        ".a.12345678.tmp.txt",
        ".ab.12345678.tmp.json",
        ".a.b.12345678.tmp.json",
        "a.tmp.json",
    ]
    for name in [*others, ".a.12345678.tmp.json"]:
        (tmp_path / name).write_bytes(b"")
    write_bytes(tmp_path / "a.json", b"{}")
    assert names(tmp_path) == sorted([*others, "a.json"])


def fail_to_write(path):
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("oops")


def test_a_failed_writer_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="oops"):
        fail_to_write(tmp_path / "sub" / "a.json")
    assert names(tmp_path / "sub") == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write there"):
        write_bytes(tmp_path / "file" / "a.json", b"")


def test_results_are_as_readable_as_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_UMASK", 0o027)
    write_bytes(tmp_path / "a.json", b"{}")
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
