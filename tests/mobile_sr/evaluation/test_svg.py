"""SVG elements: attributes, escaping, legends of several lines."""

from xml.etree import ElementTree

from mobile_sr.evaluation import svg


def test_elements():
    assert svg.rect(1, 2.25, 3, 4, "a<b", fill="#fff", class_="x") == (
        '<rect class="x" x="1" y="2.2" width="3" height="4" fill="#fff"><title>a&lt;b</title></rect>'
    )
    assert svg.text(5, 6.0, "a & b", text_anchor="end") == '<text x="5" y="6.0" text-anchor="end">a &amp; b</text>'


def test_a_legend_starts_a_new_line_where_a_name_would_exceed_the_width():
    names, last = svg.legend([("a" * 10, "red"), ("b" * 10, "blue")], "fill", 20, 100, right=189)
    assert last == 120  # the second name would end at 20 + 15 + 70 + 20 + 15 + 70 = 210
    second = ElementTree.fromstring(f"<svg>{names}</svg>").findall("text")[1]
    assert (second.get("x"), second.get("y")) == ("35", "120")
    assert svg.legend([("a" * 10, "red"), ("b" * 10, "blue")], "fill", 20, 100, right=210)[1] == 100


def test_a_document_is_well_formed_and_has_its_heading():
    root = ElementTree.fromstring(svg.document("a & b", 40, 30, [svg.rect(0, 0, 1, 1)]))
    assert root.get("viewBox") == "0 0 40 30"
    assert [element.text for element in root if element.tag.endswith("text")] == ["a & b"]
