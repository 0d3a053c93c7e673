"""Storing results, and the report that shows them beside others."""

import json

import pytest

from mobile_sr.errors import UserError
from mobile_sr.serving import device_report, store
from tests import schema
from tests.mobile_sr.serving import examples


def test_results_are_kept_and_continued(tmp_path):
    first = store.Store(tmp_path / "out")
    assert "No results yet" in (tmp_path / "out" / "report.html").read_text()
    assert [first.add(examples.report()), first.add(examples.report(examples.FAILED))] == [1, 2]
    again = store.Store(tmp_path / "out")
    assert again.add(examples.report()) == 3
    written = json.loads((tmp_path / "out" / "browser.json").read_text())
    schema.check(written)
    assert written["reports"] == again.reports
    assert len(again.reports) == 3


def test_the_report_has_all_places_beside_each_other(tmp_path):
    results = store.Store(tmp_path, [examples.HOST, examples.VIRTUAL])
    fallen_back = examples.ROW | {"effective_accelerator": "cpu", "threads": 4, "against_cpu": None, "notes": ["GPU: <lost>"]}
    results.add(examples.report(examples.ROW, fallen_back, examples.FAILED, device="<i>Pixel</i>"))
    page = results.page().decode()
    browser = "xlsr_x3:uint8|browser, &lt;i&gt;Pixel&lt;/i&gt;"
    assert cells(page) == [
        "xlsr_x3:uint8|host: Some CPU|cpu, 1 thread(s)|640x360|1.5|-|33.5|35.2|-|-|-|-|30.0|111111111111",
        "xlsr_x3:uint8|virtual:arm64 (cortex-a76, qemu)|15 of 15 operators|64x64|-|-|-|-|4480|-|0|-|-|111111111111",
        f"{browser}|GPU|128x96|60.5|17.0|2.5|2.9|-|92.50|1|30.66|17.0|000000000000",
        f"{browser}|CPU, 4 thread(s) (asked for gpu)|128x96|60.5|17.0|2.5|2.9|-|-|-|30.66|17.0|000000000000",
        f"{browser}|failed: the operator is not supported|-|-|-|-|-|-|-|-|-|-|000000000000",
    ]
    assert "<li>GPU: &lt;lost&gt;</li>" in page
    assert "<i>" not in page


def cells(page):
    """The rows of the table, with | between their cells."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [
        row.removeprefix("<td>").removesuffix("</td>")
        for row in body.removeprefix("<tr>").removesuffix("</tr>").split("</tr><tr>")
    ]
    return [row.replace("</td><td>", "|") for row in rows]


@pytest.mark.parametrize(("limit", "value"), [("MAX_REPORTS", 1), ("MAX_BYTES", 3000)])
def test_what_is_stored_is_limited(tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(store, limit, value)
    results = store.Store(tmp_path)
    results.add(examples.report())
    with pytest.raises(store.FullError, match="1 results are stored"):
        results.add(examples.report())
    assert len(results.reports) == 1


@pytest.mark.parametrize("text", ["{}", '{"format": "mobile-sr benchmark 1", "reports": [{}]}', "[]", "x"])
def test_files_that_are_no_results(tmp_path, text):
    (tmp_path / "browser.json").write_text(text)
    with pytest.raises(UserError, match=r"browser\.json: not a"):
        store.Store(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_places():
    app = {"where": "device", "environment": {"manufacturer": "Google", "device": "Pixel 8"}}
    assert device_report.place(app) == "device: Google Pixel 8"
