import os

import pytest

from mobile_sr.errors import UserError
from mobile_sr.imaging.image_folder import list_images


def test_list_images_is_sorted_and_recursive_and_reports_an_empty_folder(tmp_path, photo):
    for name in ("b/2.png", "a.PNG", "b/1.jpg", "note.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == ["a.PNG", "b/1.jpg", "b/2.png"]
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "c").symlink_to(tmp_path / "b")
    assert [p.name for p in list_images(tmp_path)] == ["a.PNG", "1.jpg", "2.png"]  # b's once, and no loop
    assert "c/2.png" in [p.relative_to(tmp_path / "linked").as_posix() for p in list_images(tmp_path / "linked")]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no image"):
        list_images(tmp_path / "none")
    with pytest.raises(UserError, match="no such folder"):
        list_images(tmp_path / "nowhere")


def test_skipped_files_are_named_in_one_line(tmp_path, capsys):
    for name in ("a.png", "photo.cr2", "drawing.svg", "noend", "notes.txt", "clip.mov", "README", ".hidden.tga", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").mkdir()
    (tmp_path / "c.png" / "d.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "e.png")
    (tmp_path / "f.png").symlink_to(tmp_path / "gone.png")
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == ["a.png", "c.png/d.png"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0] == (
        f"{tmp_path}: left out: b.png (an empty folder), drawing.svg (unknown format), e.png (a pipe, socket or device), "
        "f.png (broken link), noend (unknown format), photo.cr2 (unknown format)"
    )


def test_many_skipped_files_do_not_flood_the_terminal(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"x")
    for k in range(1000):
        (tmp_path / f"{k:04}.cr2").write_bytes(b"x")
    list_images(tmp_path)
    assert capsys.readouterr().err.strip().endswith("0007.cr2 (unknown format) and 992 more")


def test_a_folder_without_images_is_refused_with_its_contents(tmp_path):
    (tmp_path / "a.cr2").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no image.*left out: a.cr2"):
        list_images(tmp_path)
