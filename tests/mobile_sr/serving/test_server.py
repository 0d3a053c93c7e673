"""The server: what it sends, what it refuses, and that nothing from the network ends it."""

import concurrent.futures
import contextlib
import http.client
import json
import socket
import ssl
import threading

import pytest

from mobile_sr.errors import UserError
from mobile_sr.serving import certificate, link, posted, server, site, store
from tests.mobile_sr.serving import examples

TOKEN = "secret-token"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder as `make web` makes it, without the packages of Node.js."""
    folder = tmp_path_factory.mktemp("dist")
    for name in (*site.NEEDED, "models.json", "wasm/run.wasm", "models/0.tflite"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.fixture(scope="module")
def content(built):
    return site.build(built, ["xlsr_x3:uint8"])


@contextlib.contextmanager
def running(content, folder, context=None):
    with server.PageServer(("127.0.0.1", 0), TOKEN, content, store.Store(folder), context) as page:
        thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield page
        finally:
            page.shutdown()
            thread.join()


@pytest.fixture
def page(content, tmp_path, capfd):
    """A running server; afterwards nothing may have been printed, such as a traceback."""
    with running(content, tmp_path / "out") as found:
        yield found
    assert capfd.readouterr() == ("", "")


def ask(page, method, path, body=None, **headers):
    """(status, text) of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


def post(page, body, token=TOKEN, **headers):
    return ask(page, "POST", f"/{token}/results", body, **{"Content_Type": "application/json", **headers})


def test_it_serves_the_page_the_models_and_the_report(page, content):
    assert ask(page, "GET", f"/{TOKEN}/") == (200, "content of index.html")
    assert ask(page, "GET", f"/{TOKEN}/page.js?x=1") == (200, "content of page.js")
    assert ask(page, "HEAD", f"/{TOKEN}/wasm/run.wasm") == (200, "")
    assert json.loads(ask(page, "GET", f"/{TOKEN}/models.json")[1])["models"][0]["name"] == "xlsr_x3:uint8"
    assert ask(page, "GET", f"/{TOKEN}/models/0.tflite")[1] != "content of models/0.tflite"  # that of the page's folder
    assert "No results yet" in ask(page, "GET", f"/{TOKEN}/report.html")[1]


def test_a_result_is_stored_and_shown(page):
    assert post(page, json.dumps(examples.report())) == (200, '{"reports": 1}')
    assert page.store.reports == [examples.report()]
    assert "browser, Pixel 8" in ask(page, "GET", f"/{TOKEN}/report.html")[1]


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/secret/page.js", "/secret-token2/", f"/%2e/{TOKEN}/", f"/x/{TOKEN}/", f"/{TOKEN}x/"]
)
def test_nothing_without_the_token(page, path):
    assert ask(page, "GET", path) == (403, "wrong link; open the one that mobile-sr serve printed\n")
    assert post(page, json.dumps(examples.report()), token="wrong")[0] == 403
    assert page.store.reports == []


@pytest.mark.parametrize(
    "path", ["../out/browser.json", "..%2f..%2fetc/passwd", "/etc/passwd", "wasm", "wasm/../page.js", "page.js%00", "page.js/"]
)
def test_there_is_nothing_but_the_listed_files(page, path):
    assert ask(page, "GET", f"/{TOKEN}/{path}") == (404, "there is no such file\n")
    assert ask(page, "POST", f"/{TOKEN}/{path}", "{}")[0] == 404


def test_refused_posts(page):
    good = json.dumps(examples.report())
    assert post(page, b"x" * (posted.MAX_BYTES + 1)) == (413, "more than 1,048,576 bytes\n")
    assert post(page, "", Content_Length="-5")[0] == 411
    assert post(page, good, Transfer_Encoding="chunked")[0] == 411
    assert post(page, good, Content_Type="text/plain") == (415, "a result is application/json\n")
    assert post(page, good[:-10]) == (400, "not JSON\n")
    assert post(page, "{}") == (400, "report: 'format' is missing\n")
    assert ask(page, "PUT", f"/{TOKEN}/results", good)[0] == 501
    assert page.store.reports == []


def test_a_post_without_end_is_not_read_for_ever(page, monkeypatch):
    monkeypatch.setattr(server, "MAX_DISCARDED", 1000)
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        connection.sendall(f"POST /{TOKEN}/results HTTP/1.1\r\nContent-Length: {'9' * 30}\r\n\r\n{'x' * 1000}".encode())
        assert b"413" in connection.recv(1000)


def test_a_broken_connection_and_garbage_do_no_harm(page):
    unfinished = f"POST /{TOKEN}/results HTTP/1.1\r\nContent-Length: 9\r\n".encode()
    garbage = b"\x16\x03\x01 not HTTP\r\n\r\n"
    for data in (b"", garbage, b"GET /" + b"x" * 70_000, "GET /ü/ HTTP/1.1\r\n\r\n".encode(), unfinished):
        with socket.create_connection(("127.0.0.1", page.port)) as connection:
            connection.sendall(data)
    incomplete = f"POST /{TOKEN}/results HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{{".encode()
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        connection.sendall(incomplete)
        connection.shutdown(socket.SHUT_WR)
        assert b"the result is incomplete" in connection.makefile("rb").read()
    assert ask(page, "GET", f"/{TOKEN}/")[0] == 200


def test_a_hundred_requests_at_once(page):
    """While another connection sends nothing."""
    good, wrong = json.dumps(examples.report()), json.dumps(examples.report(examples.ROW | {"extra": 1}))
    requests = [lambda: post(page, good), lambda: ask(page, "GET", f"/{TOKEN}/wasm/run.wasm"), lambda: post(page, wrong)] * 34
    with socket.create_connection(("127.0.0.1", page.port)), concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda request: request()[0], requests))
    assert answers == [200, 200, 400] * 34
    assert len(page.store.reports) == 34
    assert len(store.Store(page.store.folder).reports) == 34


def test_connections_above_the_limit_are_closed(content, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    with running(content, tmp_path) as page, socket.create_connection(("127.0.0.1", page.port)) as first:
        first.sendall(b"GET ")
        with socket.create_connection(("127.0.0.1", page.port), timeout=20) as second:
            assert second.recv(1) == b""


def test_https(content, tmp_path, capfd):
    pytest.importorskip("cryptography", reason="needs the package cryptography")
    context, fingerprint = certificate.server_context({"127.0.0.1"})
    assert len(fingerprint.split(":")) == 32
    with running(content, tmp_path, context) as page:
        with socket.create_connection(("127.0.0.1", page.port)) as silent:  # it must not delay others
            silent.sendall(b"GET / HTTP/1.0\r\n\r\n")  # plain HTTP
            trusted = ssl.create_default_context()
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", page.port, timeout=20, context=trusted)
            connection.request("GET", f"/{TOKEN}/")
            assert connection.getresponse().read() == b"content of index.html"
            shown = connection.sock.getpeercert(binary_form=True)
            connection.close()
        import hashlib

        assert hashlib.sha256(shown).hexdigest().upper() == fingerprint.replace(":", "")
    assert capfd.readouterr() == ("", "")


def test_addresses_that_cannot_be_bound(content, tmp_path):
    results = store.Store(tmp_path)
    with pytest.raises(UserError, match="cannot listen on 192.0.2.1"):
        server.PageServer(("192.0.2.1", 0), TOKEN, content, results)
    with pytest.raises(UserError, match="--port 70000"):
        server.PageServer(("127.0.0.1", 70000), TOKEN, content, results)


def test_links():
    assert link.link("https", "192.0.2.7", 8765, "abc") == "https://192.0.2.7:8765/abc/"
    assert link.link("http", "::1", 80, "abc") == "http://[::1]:80/abc/"
    assert link.reachable("127.0.0.1") == "127.0.0.1"
    assert link.reachable("0.0.0.0") != "0.0.0.0"
    assert [link.is_local(address) for address in ("127.0.0.1", "::1", "0.0.0.0", "192.0.2.7")] == [True, True, False, False]
    with pytest.raises(UserError, match="--bind lan: not an IP address"):
        link.check_address("lan")
    assert len({link.new_token() for _ in range(50)}) == 50
    assert "▄" in (link.qr_code("http://localhost") or "▄")


def test_the_page_must_be_built(tmp_path):
    with pytest.raises(UserError, match="index.html is missing; `make web`"):
        site.build(tmp_path, [])
