"""The chart of an architecture."""

from xml.etree import ElementTree

from mobile_sr.architecture_search import architecture_plot


def test_bars():
    block = {"pointwise": 4, "mix": {"relu": 3, "tanh": 5}, "residual": [0, 2, 9]}
    described = {"head": 8, "blocks": [block, None], "tail": [0] * 6}
    root = ElementTree.fromstring(architecture_plot.plot(described, 16, "title"))
    bars = [(e[0].text, float(e.get("height"))) for e in root if e.tag.endswith("rect") and len(e)]
    height = 220 / 16
    assert bars == [
        (name, round(height * channels, 1))
        for name, channels in (
            ("head convolution, 8", 8),
            ("block 1 pointwise, 4", 4),
            ("block 1 relu, 3", 3),
            ("block 1 tanh, 5", 5),
            ("block 1 residual, 3", 3),
            ("after block 1 trunk, 10", 10),  # channel 9 is the last one that the block adds to
            ("tail convolution, 6", 6),
        )
    ]
    texts = [e.text for e in root if e.tag.endswith("text")]
    assert texts[:8] == ["title", "8", "head", "4", "8", "3", "10", "1"]
    assert "(2)" in texts  # a block without channels
