"""The HTTP server of the browser page.

Every address begins with a secret token. It offers the files of a `Site` and the report, and accepts results. Requests are
answered by one thread each.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from mobile_sr.errors import UserError
from mobile_sr.serving import posted
from mobile_sr.serving.site import Site
from mobile_sr.serving.store import PAGE, FullError, Store

TIMEOUT_S = 30.0  # a connection that sends or receives nothing for this long is closed
MAX_CONNECTIONS = 256
MAX_DISCARDED = 8 * posted.MAX_BYTES  # bytes of a refused post that are read
RESULTS = "results"  # address of posts

HEADERS = {
    # Both are needed for threads in WebAssembly.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # it would have the token
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# The report has its style in the page.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


class PageServer(ThreadingHTTPServer):
    """The server. `serve_forever` answers requests, `shutdown` from another thread and `server_close` end it.

    Attributes:
        token: the first part of every address.
        site: what it offers.
        store: where results go.
        on_result: called with (report, number of reports) for each stored result, by several threads.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        site: Site,
        store: Store,
        context: ssl.SSLContext | None = None,
        on_result: Callable[[dict[str, Any], int], object] = lambda report, count: None,
    ) -> None:
        """Opens the port.

        Args:
            address: (IP address of this machine, port); port 0 chooses a free one.
            token, site, store, on_result: see the attributes.
            context: for HTTPS; None for plain HTTP.

        Raises:
            UserError: the address is not one of this machine, or the port is not free.
        """
        self.token, self.site, self.store, self.on_result = token, site, store, on_result
        self._context = context
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        host, port = address
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except OverflowError:
            raise UserError(f"--port {port}: must be from 0 to 65535") from None
        except OSError as error:
            hint = "choose another --port, or 0 for any free one; --bind names an address of this machine"
            raise UserError(f"cannot listen on {host}, port {port} ({error.strerror}); {hint}") from None

    @property
    def port(self) -> int:
        """The port."""
        return self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts the thread of a connection, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no more threads
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers the requests of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Makes the connection secure, if asked to, and answers its requests."""
        request.settimeout(TIMEOUT_S)
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports an error of a connection in one line; interrupted and refused connections are normal."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
            print(f"mobile-sr serve: {type(error).__name__}: {error}", file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mobile-sr", ""
    timeout: ClassVar[float] = TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: addresses have the token."""

    def do_GET(self) -> None:
        """Sends a file of the site or the report."""
        address = self._address()
        if address is None:
            return
        policy = {}
        try:
            if address == PAGE:
                found: tuple[bytes, str] | None = (self.server.store.page(), "text/html; charset=utf-8")
                policy = {"Content-Security-Policy": _REPORT_POLICY}
            else:
                found = self.server.site.read(address)
        except OSError as error:
            self._refuse(500, f"a file cannot be read ({error.strerror})")
            return
        if found is None:
            self._refuse(404, "there is no such file")
            return
        self._send(200, *found, policy)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Stores a result."""
        address = self._address()
        if address is None:
            return
        if address != RESULTS:
            self._refuse(404, "results are sent to another address")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            self._refuse(411, "the length of the result is missing")
        elif len(length) > 9 or int(length) > posted.MAX_BYTES:
            self._discard(min(int(length[:9]), MAX_DISCARDED))
            self._refuse(413, f"more than {posted.MAX_BYTES:,} bytes")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(415, "a result is application/json")
        else:
            self._store(self.rfile.read(int(length)), int(length))

    def _discard(self, count: int) -> None:
        """Reads what a refused post sends: a sender that cannot finish does not see the reason."""
        while count > 0:
            read = len(self.rfile.read(min(count, 2**16)))
            count = count - read if read else 0

    def _store(self, body: bytes, length: int) -> None:
        if len(body) < length:
            self._refuse(400, "the result is incomplete")
            return
        try:
            report = posted.parse(body)
            count = self.server.store.add(report)
        except posted.RejectedError as error:
            self._refuse(400, str(error))
        except FullError as error:
            self._refuse(507, str(error))
        except UserError as error:
            self._refuse(500, str(error))
        else:
            self.server.on_result(report, count)
            self._send(200, json.dumps({"reports": count}).encode(), "application/json")

    def _address(self) -> str | None:
        """Returns the address behind the token; sends a refusal and returns None without the right token."""
        path = self.path.partition("?")[0]
        token, slash, address = path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(errors="replace"), self.server.token.encode()):
            self._refuse(403, "wrong link; open the one that mobile-sr serve printed")
            return None
        if not slash:
            self._refuse(404, "the link ends with a slash")
            return None
        return address

    def _refuse(self, status: int, reason: str) -> None:
        self.close_connection = True  # the rest of a refused post is not read
        self._send(status, f"{reason}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            self.send_response(status)
            for name, value in {**HEADERS, **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
