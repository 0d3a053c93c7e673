"""UserError names options on the command line and arguments in Python."""

import pytest

from mobile_sr.errors import UserError, did_you_mean


@pytest.mark.parametrize(
    ("written", "in_python"),
    [
        ("--max-colour-error -1: must be at least 0", "max_colour_error -1: must be at least 0"),
        ("--set patch=48: patch must be even", "patch=48: patch must be even"),
        ("--set select=uint8: needs --backend tensorflow", "select=uint8: needs backend tensorflow"),
        ("x: a folder; `mobile-sr export --model x` makes one", "x: a folder; `mobile-sr export --model x` makes one"),
        ("a--b.png: no image", "a--b.png: no image"),
        ("net.npz: from 3 -- 5", "net.npz: from 3 -- 5"),
    ],
)
def test_arguments_for_options(monkeypatch, written, in_python):
    assert str(UserError(written)) == written
    monkeypatch.setattr(UserError, "names_options", False)
    assert str(UserError(written)) == in_python


def test_it_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_the_command_line_prints_options(run_cli, tmp_path):
    done = run_cli("export", "--model", "xlsr_x3", "--out", tmp_path / "out", "--height", 0, "--width", 4)
    assert done.returncode == 2
    assert "--height 0" in done.stderr


def test_close_names():
    assert did_you_mean("XLSR_x33", ["xlsr_x3", "abpn_x3"]) == "; did you mean xlsr_x3?"
    assert did_you_mean("nothing", ["xlsr_x3"]) == ""
