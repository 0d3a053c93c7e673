"""PSNR against instructions: the distance from the line through other models, and the table."""

import pytest

from mobile_sr.routing import cost_curve


def points():
    line = [("a", 1000.0, 30.0, True), ("c", 4000.0, 33.0, True), ("b", 2000.0, 32.0, True)]
    compared = [("x", 3000.0, 32.75, False), ("y", 1500.0, 30.5, False), ("z", 900.0, 40.0, False), ("b2", 2000.0, 32.5, False)]
    return [cost_curve.Point(*row) for row in (*line, *compared)]


def test_the_distance_from_the_line():
    found = {point.name: point.above(points()) for point in points()}
    assert found == {"a": None, "b": None, "c": None, "x": pytest.approx(0.25), "y": -0.5, "z": None, "b2": 0.5}


def test_the_table():
    lines = cost_curve.table(points())
    assert lines[0].startswith(cost_curve.TITLE + "; ")
    assert [line.split()[0] for line in lines[1:]] == ["z", "a", "y", "b", "b2", "x", "c"]
    assert lines[3] == "y       1,500    30.500 dB  -0.500"
    assert cost_curve.table(points()[3:])[0] == cost_curve.TITLE  # without a line


def test_what_cannot_be_drawn():
    assert cost_curve.usable("n", None, 30.0, True) == cost_curve.usable("n", 1.0, float("inf"), True) == []
    assert cost_curve.usable("n", 1.0, None, True) == []
    assert cost_curve.usable("n", 1.0, 30.0, True) == [cost_curve.Point("n", 1.0, 30.0, True)]
