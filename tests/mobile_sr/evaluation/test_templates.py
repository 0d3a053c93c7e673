"""Data files of the reports."""

import importlib.resources

import pytest

from mobile_sr.evaluation import templates


def test_values_are_inserted_as_they_are():
    styles = {"report_css": "", "charts_css": "", "report_js": ""}
    page = templates.fill("document.html", title="$about", about="a & b", body="<p>1</p>", version="1", **styles)
    assert page.count("$about") == 2
    assert '<p class="soft">a & b</p>\n<p>1</p>\n' in page
    assert page.endswith("</html>")


def test_a_missing_value_is_refused():
    with pytest.raises(KeyError, match="about"):
        templates.fill("document.html", title="", body="", version="", report_css="", charts_css="", report_js="")


def test_style_sheets_have_no_template_fields():
    for file in importlib.resources.files("mobile_sr.evaluation").iterdir():
        if file.name.endswith(".css"):
            assert "$" not in templates.read(file.name)
