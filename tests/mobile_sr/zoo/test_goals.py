"""The goals of packaged uint8 files: limits, the table and the exit status."""

import sys

import pytest

from mobile_sr import zoo
from tools.zoo import goals

REACHED = {"drop_y": 0.05, "drop_rgb": 0.08, "flat": 3, "plain_rgb": 0.15}
MISSED = {"drop_y": 0.051, "drop_rgb": -0.01, "flat": 4, "plain_rgb": 1.9557}


def run(monkeypatch, *arguments):
    """The exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["goals", *arguments])
    try:
        goals.main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.slow
@pytest.mark.usefixtures("all_colours")
def test_the_figures_are_those_of_the_card(data_dir):
    card = zoo.card("espcn_x3")
    scores, plain = card["scores"]["Set5"], card["plain_quantization"]["quantized"]["Set5"]["rgb"]
    found = goals.measure("espcn_x3", data_dir / "Set5")
    for space in ("y", "rgb"):
        assert found[f"drop_{space}"] == pytest.approx(scores[space]["float32"] - scores[space]["uint8"], abs=1e-3)
    assert found["flat"] == card["colour_error"]["uint8"]["flat"]
    assert found["plain_rgb"] == pytest.approx(scores["rgb"]["float32"] - plain, abs=0.02)


def test_limits_may_be_reached():
    assert goals.missed(REACHED) == []
    assert goals.missed(MISSED) == ["drop_y", "flat", "plain_rgb"]


def test_the_table_and_the_exit_status(monkeypatch, capsys):
    figures = {"xlsr_x3": REACHED, "espcn_x3": MISSED}
    monkeypatch.setattr(goals, "measure", lambda name, data: figures[name])
    assert run(monkeypatch, "--data", "Set5", "xlsr_x3") == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["| xlsr_x3 | 0.050 | 0.080 | 3 | 0.150 | none |"]
    assert run(monkeypatch, "--data", "Set5", "xlsr_x3", "espcn_x3") == 1
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert "drop RGB, dB (at most 0.08)" in head
    assert rule.count("---") == head.count("|") - 1
    assert rows[1] == "| espcn_x3 | 0.051 | -0.010 | 4 | 1.956 | drop Y; flat colours; plain TensorFlow |"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--data", "nosuch", "xlsr_x3"], "nosuch"), (["--data", "x", "xlsr_x9"], "xlsr_x9"), (["xlsr_x3"], "--data")],
)
def test_bad_input_is_refused_in_one_line(monkeypatch, capsys, arguments, said):
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
