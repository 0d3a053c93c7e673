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
