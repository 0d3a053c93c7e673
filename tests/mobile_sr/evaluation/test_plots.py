import xml.etree.ElementTree as ElementTree

import pytest

from mobile_sr.evaluation import plots, svg

SVG = "{http://www.w3.org/2000/svg}"


def marks(root, legend=False):
    """The positions of the points' marks, or of those in the legend."""
    places = [e.get("transform")[10:-1].split() for e in root.iter(f"{SVG}path")]
    places = [tuple(map(float, place)) for place in places]
    return [place for place in places if (place[1] <= plots._TOP) == legend]


def boxes(root, labels):
    """{label: (left, top, right, bottom)} with the widths that the layout assumes."""
    found = {}
    for e in root.iter(f"{SVG}text"):
        if e.text in labels:
            width = svg.LETTER * len(e.text)
            left = float(e.get("x")) - {"start": 0, "middle": 0.5, "end": 1}[e.get("text-anchor")] * width
            bottom = float(e.get("y")) + 3
            found[e.text] = left, bottom - plots._LINE, left + width, bottom
    return found


def test_points_are_at_their_axis_values():
    series = [("a < b", [(0, 30.0, ""), (10, 32.0, "best")], True), ("peers", [(5, 31.0, "")], False)]
    root = ElementTree.fromstring(plots.plot("PSNR & cost", "G", "dB", series))
    (x0, y0), (x1, y1), (x2, y2) = marks(root)
    assert x0 < x2 < x1
    assert y0 > y2 > y1  # up is more
    assert x2 == pytest.approx((x0 + x1) / 2, abs=0.1)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1)
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"PSNR & cost", "a < b", "peers", "best", "G", "dB", "31", "10"} <= set(texts)
    assert len(list(root.iter(f"{SVG}polyline"))) == 1
    assert len(marks(root, legend=True)) == 2


def test_attributes_of_elements_are_not_overridden():
    """No style sheet overrides the title's size and weight or a label's colour; series differ in shape, for print in gray."""
    series = [("a", [(0, 1, "one")], False), ("b", [(1, 0, "two")], False)]
    root = ElementTree.fromstring(plots.plot("title", "x", "y", series))
    assert "text" not in root.find(f"{SVG}style").text
    assert root.get("font-size") == "12"
    texts = {e.text: e for e in root.iter(f"{SVG}text")}
    assert (texts["title"].get("font-size"), texts["title"].get("font-weight")) == ("16", "600")
    assert [texts[label].get("fill") for label in ("one", "two")] == list(plots._COLOURS[:2])
    assert len({e.get("d") for e in root.iter(f"{SVG}path")}) == 2
    assert len(set(plots._MARKS)) == len(plots._COLOURS)


def test_links_join_points_of_several_series():
    series = [("a", [(0, 1, "")], False), ("b", [(1, 0, "")], False)]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", series, links=[((0, 1), (1, 0))]))
    (line,) = root.iter(f"{SVG}polyline")
    assert [tuple(map(float, place.split(","))) for place in line.get("points").split()] == marks(root)


def test_one_point_and_none():
    ElementTree.fromstring(plots.plot("one", "x", "y", [("a", [(3, 4, "")], False)]))
    with pytest.raises(ValueError, match="nothing"):
        plots.plot("none", "x", "y", [])


def test_a_logarithmic_axis():
    points = [(2, 0, ""), (20, 1, ""), (200, 2, "")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, False)], log_x=True))
    left, middle, right = (x for x, _ in marks(root))
    assert left < middle < right
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    ticks = {t.text: float(t.get("x")) for t in root.iter(f"{SVG}text") if t.text in ("2", "20", "50", "100")}
    assert ticks["20"] == pytest.approx(middle, abs=0.1)
    assert ticks["20"] < ticks["50"] < ticks["100"] < right


@pytest.mark.parametrize("width", [plots.WIDE, plots.NARROW])
def test_a_label_avoids_points_and_other_labels(width):
    """The second point would overlap the first one's label; the third one's label would be cut off at the edge."""
    points = [(0, 0, "first"), (0.04, -0.03, "second"), (1, 1, "third")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, False)], width=width))
    assert root.get("viewBox").split()[2] == str(width)
    found = boxes(root, ("first", "second", "third"))
    for left, top, right, bottom in found.values():
        assert not any(left < x < right and top < y < bottom for x, y in marks(root))
        assert plots._LEFT <= left < right <= width - plots._RIGHT
        assert plots._TOP <= top < bottom <= plots._HEIGHT - plots._BOTTOM
    first, second = found["first"], found["second"]
    assert first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]


def test_a_label_is_next_to_its_own_point():
    """As in the plot of x2: to the left of its point the long label would lie under the other one."""
    points = [(0, 0, ""), (10, 1.0, "IMDN"), (11.5, 0.96, "EDSR, 16 blocks of 64"), (12.5, 0, "")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, False)]))
    dots = marks(root)
    found = boxes(root, ("IMDN", "EDSR, 16 blocks of 64"))
    for own, (left, top, right, bottom) in zip(dots[1:3], found.values(), strict=True):
        gaps = {dot: max(left - dot[0], dot[0] - right, 0) + max(top - dot[1], dot[1] - bottom, 0) for dot in dots}
        assert gaps.pop(own) < 10
        assert min(gaps.values()) > 15


def test_a_label_avoids_lines():
    points = [(0, 0, ""), (1, 0.5, "on the line"), (2, 1, "")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, True)]))
    left, top, right, bottom = boxes(root, ("on the line",))["on the line"]
    (x0, y0), _, (x1, y1) = marks(root)
    on_line = [(x0 + (x1 - x0) * k / 200, y0 + (y1 - y0) * k / 200) for k in range(201)]
    assert not any(left < x < right and top < y < bottom for x, y in on_line)
