import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

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


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(writer, tmp_path):
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


def test_a_running_writer_keeps_its_file(writer, tmp_path):
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


def test_a_link_is_followed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "real.json").write_bytes(b"old")
    (tmp_path / "link.json").symlink_to("sub/real.json")
    (tmp_path / "second.json").symlink_to("link.json")
    (tmp_path / "dangling.json").symlink_to("sub/new.json")
    write_bytes(tmp_path / "second.json", b"new")
    write_bytes(tmp_path / "dangling.json", b"made")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "second.json").is_symlink()
    assert names(tmp_path / "sub") == ["new.json", "real.json"]
    assert (tmp_path / "sub" / "real.json").read_bytes() == b"new"
    assert (tmp_path / "sub" / "new.json").read_bytes() == b"made"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match="circle: cannot write there"):
        write_bytes(tmp_path / "circle", b"")


def test_devices_are_written_and_stay(tmp_path):
    before = os.lstat("/dev/full")
    with pytest.raises(UserError, match="/dev/full: cannot be written .No space left on device"):
        write_bytes("/dev/full", b"data")
    write_bytes("/dev/null", b"data")
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(UserError, match="link: cannot be written"):
        write_bytes(tmp_path / "link", b"data")
    after = os.lstat("/dev/full")
    assert (after.st_ino, after.st_rdev, after.st_mode) == (before.st_ino, before.st_rdev, before.st_mode)
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(UserError, match="/dev/nosuch: cannot be written"):
        write_bytes("/dev/nosuch", b"data")
    assert not os.path.exists("/dev/nosuch")


def test_a_pipe_is_written(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.json").read_bytes()))
    reader.start()
    files.write_json(tmp_path / "pipe.json", {"a": 1})
    reader.join(10)
    assert read == [b'{\n  "a": 1\n}\n']
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe.json").st_mode)


def test_standard_output_by_its_device(tmp_path):
    """Standard output redirected to a file keeps what was printed before and after, in order."""
    code = "from mobile_sr.files import write_bytes\nprint('before')\nwrite_bytes('/dev/stdout', b'data\\n')\nprint('after')"
    for mode in ("w", "a"):
        with open(tmp_path / "out", mode) as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\ndata\nafter\n" * 2
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\ndata\nafter\n"


@pytest.mark.parametrize(
    "name", ["x" * 250 + ".json", "x" * 240, "a." + "y" * 253, "é" * 120 + ".npz", ".json", "." + "z" * 200]
)
def test_long_names(tmp_path, name):
    write_bytes(tmp_path / name, b"first")
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_bytes(b"second")
        if name.endswith((".json", ".npz")):
            assert temporary.suffix == Path(name).suffix or name == ".json"
        leftover = temporary.name
    assert (tmp_path / name).read_bytes() == b"second"
    (tmp_path / leftover).write_bytes(b"of a killed writer")
    files._temporary_names.cache_clear()  # as in another process
    write_bytes(tmp_path / name, b"third")
    assert names(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 256), b"")
    assert names(tmp_path) == []


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    listed = []
    original = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or original(folder))
    for k in range(20):
        write_bytes(tmp_path / f"{k}.png", b"")
    assert listed == [str(tmp_path)]


def test_without_locks_nothing_is_a_leftover(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".a.12345678.tmp.json").write_bytes(b"")
    with files.atomic_path(tmp_path / "a.json") as temporary:
        opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
        assert os.path.realpath(temporary) not in opened  # Windows cannot rename an open file
    files.sweep(tmp_path)
    assert names(tmp_path) == [".a.12345678.tmp.json", "a.json"]
    with files.temporary_folder("mobile_sr_test.") as folder:
        assert folder.is_dir()


def test_text_that_is_not_unicode(tmp_path):
    files.write_text(tmp_path / "a.md", "name \udcff.png")
    assert (tmp_path / "a.md").read_bytes() == rb"name \udcff.png"


def test_the_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "ours.killed").mkdir()
    (tmp_path / "ours.killed" / "job.npz").write_bytes(b"large")
    (tmp_path / "another").mkdir()
    with files.temporary_folder("ours.") as living:
        assert names(tmp_path) == sorted(["another", living.name])
        (living / "job.npz").write_bytes(b"")
        with files.temporary_folder("ours."):
            assert living.exists()
    assert names(tmp_path) == ["another"]


def test_one_writer_at_a_time(tmp_path):
    """A run folder: the second writer is refused, an empty new folder does not stay, a failed one releases it."""
    out = tmp_path / "runs" / "a"
    with files.sole_writer(out), pytest.raises(UserError, match="a: another process is writing to it; .* another --out$"):
        files.sole_writer(out).__enter__()
    assert not out.exists()
    with pytest.raises(UserError, match="no reason"), files.sole_writer(out):
        raise UserError("no reason")
    with files.sole_writer(out):
        (out / "history.csv").write_text("step")
    assert (out / "history.csv").exists()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILE_SR_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("MOBILE_SR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "mobile-sr"
