"""The HTML reports in a headless Chromium: no console message, no missing image, the right numbers."""

import html
import json
import re
import shutil
import subprocess

import pytest

from mobile_sr import load
from mobile_sr.evaluation import compare, report
from mobile_sr.quantization import layer_report, quantization_debugger

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on the PATH")

# Said by the page itself once everything is loaded; it is not in the file, but put into a copy.
_PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images], charts = [...document.querySelectorAll("svg")];
  const missing = images.filter(image => !image.complete || !image.naturalWidth).length;
  const flat = charts.filter(chart => chart.getBoundingClientRect().height < 50).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  const body = document.querySelector("tbody"), names = () => [...body.rows].map(row => row.cells[0].textContent);
  const click = k => (document.querySelectorAll("table.sortable th button")[k].click(), names());
  const use = (field, value) => { field.value = value; field.dispatchEvent(new Event("input")); };
  const [range, search] = ["range", "search"].map(kind => document.querySelector(`input[type=${kind}]`));
  if (search) {
    document.body.dataset.sorted = JSON.stringify([click(4), click(4), click(0)]);
    use(range, 250);
    use(search, names()[1]);
    const cut = document.querySelector(".pair").style.getPropertyValue("--cut");
    document.body.dataset.used = JSON.stringify({cut, rows: [...body.rows].filter(row => row.checkVisibility()).length});
  }
  document.body.dataset.probe = JSON.stringify({images: images.length, missing, charts: charts.length, flat, wide});
})</script></body>"""


@pytest.fixture
def used():
    """What the probe saw when it used the controls of the last page: the rows by drop, both ways, and by name; and the rest."""
    return {}


@pytest.fixture
def browse(tmp_path, used):
    """Open the page at a path: (its text as the browser shows it, console lines, what the probe says)."""

    def open_page(path):
        copy = tmp_path / "probed.html"
        copy.write_text(path.read_text().replace("</body>", _PROBE))
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
        quiet = ("--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}")
        logging = ("--enable-logging=stderr", "--v=0", "--window-size=1200,1600", "--dump-dom")
        command = [BROWSER, *options, *quiet, *logging, copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
        assert done.returncode == 0, done.stderr
        console = [line for line in done.stderr.splitlines() if re.search(r":CONSOLE[:(]", line)]
        probe = re.search(r'data-probe="([^"]*)"', done.stdout)
        assert probe, f"the page did not load: {done.stderr}"
        self_test = dict(re.findall(r'data-(sorted|used)="([^"]*)"', done.stdout))
        used.update({key: json.loads(html.unescape(value)) for key, value in self_test.items()})
        body = re.sub(r"<style>.*?</style>|<script>.*?</script>", " ", done.stdout, flags=re.DOTALL)
        shown = html.unescape(re.sub(r"<[^>]+>", " ", body))
        return re.sub(r"\s+", " ", shown), console, json.loads(html.unescape(probe[1]))

    return open_page


@pytest.fixture(scope="module")
def written(exported, image_folder, tmp_path_factory):
    """A folder with report.html, layers.html and their JSON files."""
    out = tmp_path_factory.mktemp("pages")
    files = exported / "tiny_float32.tflite", exported / "tiny_uint8.tflite"
    found = quantization_debugger.locate(*files, image_folder)
    layer_report.write(out, found)
    result, crops = compare.compare(*map(load, files), image_folder)
    result["location"] = found
    report.write(out, result, crops, (layer_report.section(found), layer_report.markdown(found)))
    return out


def test_the_compare_report(browse, used, written):
    shown, console, probe = browse(written / "report.html")
    assert console == []
    found = json.loads((written / "report.json").read_text())
    shown_images = (4 + 5) * min(compare.WORST, len(found["images"])) + 2  # whole, crops, the two of the slider
    assert probe == {"images": shown_images, "missing": 0, "charts": 2, "flat": 0, "wide": False}
    names = [row["name"] for row in found["images"]]
    by_drop = [row["name"] for row in sorted(found["images"], key=lambda row: -row["drop_db"])]
    assert used["sorted"] == [by_drop, by_drop[::-1], names]
    assert used["used"] == {"cut": "25%", "rows": 1}
    assert f"{found['model']['gain_db']:+.2f} dB over bicubic" in shown
    assert f"{round(found['drop_db'], 3) + 0.0:.3f} dB PSNR lost" in shown
    for row in found["images"]:
        figures = [f"{row[key]:.2f}" for key in ("bicubic_psnr", "reference_psnr", "model_psnr")]
        assert " ".join([row["name"], *figures, f"{round(row['drop_db'], 3) + 0.0:.3f}"]) in shown
    assert_layers(shown, found["location"])


def test_the_compare_report_of_a_network_with_depths(browse, depth_file, photo, tmp_path):
    found, crops = compare.compare(load("bicubic", 2), load(depth_file), [("photo", photo)])
    shown, console, probe = browse(report.write(tmp_path / "report", found, crops))
    assert console == []
    assert probe == {"images": 4 + 6 + 2, "missing": 0, "charts": 0, "flat": 0, "wide": False}
    depth = found["images"][0]["depth"]
    assert f"depth: mean {depth['mean']:.2f}, desired 3.00" in shown
    assert "0 3 blocks" in shown  # the legend's ends


def test_the_layer_report(browse, written):
    shown, console, probe = browse(written / "layers.html")
    assert console == []
    assert probe == {"images": 0, "missing": 0, "charts": 2, "flat": 0, "wide": False}
    assert_layers(shown, json.loads((written / "layers.json").read_text()))


def assert_layers(shown, found):
    for row in found["layers"]:
        assert f"{row['name']} {row['op']} " in shown
        if row["share"] and row["own_sqnr_db"] < 100:
            assert f"{row['own_sqnr_db']:.1f}" in shown
            assert f"{row['picture_noise_rms']:.3f} {row['share']:.1%}" in shown
        if row["suggestion"]:
            assert row["suggestion"] in shown
    for part in found["split"]["parts"]:
        assert f"{part['what']} {part['psnr']:.3f} {layer_report.report.number(part['drop_db'], 3)}" in shown


def test_a_console_message_and_a_missing_image_would_be_seen(browse, tmp_path):
    page = tmp_path / "broken.html"
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    page.write_text(
        f'<!doctype html><html><body><img src="{pixel}"><img src="data:image/png;base64,AAAA"><img src="nowhere.png">'
        '<script>console.error("said"); nothing.there</script></body></html>'
    )
    _, console, probe = browse(page)
    assert any('"said"' in line for line in console)
    assert any("nothing is not defined" in line for line in console)
    assert (probe["images"], probe["missing"]) == (3, 2)
