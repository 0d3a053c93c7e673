import xml.etree.ElementTree as ElementTree

import pytest

from mobile_sr import plots

SVG = "{http://www.w3.org/2000/svg}"


def test_points_lie_where_the_axes_say():
    series = [("a < b", [(0, 30.0, ""), (10, 32.0, "best")], True), ("peers", [(5, 31.0, "")], False)]
    root = ElementTree.fromstring(plots.plot("PSNR & cost", "G", "dB", series))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle") if float(c.get("cx")) != 570]
    (x0, y0), (x1, y1), (x2, y2) = circles
    assert x0 < x2 < x1
    assert y0 > y2 > y1  # up is more
    assert x2 == pytest.approx((x0 + x1) / 2, abs=0.1)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1)
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"PSNR & cost", "a < b", "peers", "best", "G", "dB", "31", "10"} <= set(texts)
    assert len(list(root.iter(f"{SVG}polyline"))) == 1


def test_one_point_and_none():
    ElementTree.fromstring(plots.plot("one", "x", "y", [("a", [(3, 4, "")], False)]))
    with pytest.raises(ValueError, match="nothing"):
        plots.plot("none", "x", "y", [])


def test_a_logarithmic_axis():
    points = [(2, 0, ""), (20, 1, ""), (200, 2, "")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, False)], log_x=True))
    left, middle, right = (float(c.get("cx")) for c in root.iter(f"{SVG}circle"))
    assert left < middle < right
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    ticks = {t.text: float(t.get("x")) for t in root.iter(f"{SVG}text") if t.text in ("2", "20", "50", "100")}
    assert ticks["20"] == pytest.approx(middle, abs=0.1)
    assert ticks["20"] < ticks["50"] < ticks["100"] < right


def test_a_label_gives_way_to_points_and_labels():
    """The second point would stand in the first one's label; the third one's label would leave the picture."""
    points = [(0, 0, "first"), (0.04, -0.03, "second"), (1, 1, "third")]
    root = ElementTree.fromstring(plots.plot("t", "x", "y", [("", points, False)]))
    dots = [(float(e.get("cx")), float(e.get("cy"))) for e in root.iter() if e.tag.endswith("circle")]
    boxes = {}
    for e in root.iter():
        if e.text in ("first", "second", "third"):
            left, bottom = float(e.get("x")), float(e.get("y"))
            boxes[e.text] = left, bottom - 11, left + 7 * len(e.text), bottom + 3
    for left, top, right, bottom in boxes.values():
        assert not any(left < x < right and top < y < bottom for x, y in dots)
        assert 0 < left < right <= plots._WIDTH
    first, second = boxes["first"], boxes["second"]
    assert first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]
