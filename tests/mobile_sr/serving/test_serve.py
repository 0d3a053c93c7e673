"""The command."""

import json
import re
import subprocess

import pytest

from mobile_sr.benchmarking import adb
from mobile_sr.serving import link, server
from tests.mobile_sr.serving import examples
from tests.mobile_sr.serving.test_server import built  # noqa: F401 a fixture


@pytest.fixture
def serve(run_here, built, tmp_path, monkeypatch):  # noqa: F811
    """Run the command, which is interrupted as soon as it answers requests and has stored one result."""

    def answer(page):
        page.on_result(examples.report(), page.store.add(examples.report()))
        raise KeyboardInterrupt

    monkeypatch.setattr(server.PageServer, "serve_forever", answer)
    arguments = ("--page", built, "--model", "xlsr_x3:uint8", "--out", tmp_path / "out")
    return lambda *more, port=0: run_here("serve", *arguments, "--port", port, *more)


def test_it_prints_the_link_and_stores_results(serve, tmp_path):
    (tmp_path / "host.json").write_text(json.dumps(examples.HOST))
    done = serve("--include", tmp_path / "host.json")
    assert (done.returncode, done.stderr) == (0, "")
    first, *others = done.stdout.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{12}/", first)
    out = tmp_path / "out"
    assert others == [
        f"report: {out}/report.html; interrupt (Ctrl-C) to stop",
        f"1 run(s) from Pixel 8; 1 result(s) in {out}/browser.json",
        f"stopped; 1 result(s) in {out}/browser.json",
    ]
    page = (out / "report.html").read_text()
    assert "host: Some CPU" in page
    assert "browser, Pixel 8" in page


def test_it_serves_the_network_by_https(serve, monkeypatch):
    pytest.importorskip("cryptography", reason="needs the package cryptography")
    monkeypatch.setattr(link, "reachable", lambda address: "127.0.0.1")
    done = serve("--bind", "0.0.0.0")
    assert done.stdout.startswith("https://127.0.0.1:")
    assert "SHA-256: " in done.stdout
    assert serve("--bind", "0.0.0.0", "--http").stdout.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("status", [0, 1])
def test_a_phone_on_a_cable(serve, monkeypatch, status):
    """Its localhost leads here while the command runs."""
    commands = []

    class Phone:
        def __init__(self, serial):
            self.serial = f"{serial}, the only one"

        def run(self, *words):
            commands.append(words)
            return subprocess.CompletedProcess(words, status, "", "more than one emulator\n")

    monkeypatch.setattr(adb, "Adb", Phone)
    done = serve("--device", "auto")
    port = commands[0][-1]
    assert commands[0] == ("reverse", port, port)
    if status:
        message = "mobile-sr serve: auto, the only one: adb reverse failed: more than one emulator\n"
        assert (done.returncode, done.stderr) == (2, message)
    else:
        assert done.stdout.startswith(f"http://localhost:{port.removeprefix('tcp:')}/")
        assert commands[1:] == [("reverse", "--remove", port)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bind", "lan"), "--bind lan: not an IP address"),
        (("--http",), "--http needs --bind"),
        (("--bind", "0.0.0.0", "--device", "auto"), "--device needs no --bind"),
        (("--device", "virtual:arm64"), "--device virtual:arm64: has no browser"),
        (("--include", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--model", "adaedsr_b8_x2:uint8"), "the browser page runs networks with one input"),
    ],
)
def test_refusals(serve, options, message):
    done = serve(*options)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert message in line


def test_a_port_out_of_range(serve):
    assert "--port 70000: must be from 0 to 65535" in serve(port=70000).stderr
