"""Serve a page that runs .tflite files in a browser: on this machine, or with --bind on any phone of the local network.

The page times models on the browser's CPU, GPU and NPU. Results that it sends are stored in OUT: browser.json, and report.html
with the benchmarks of --include beside them. The page must have been built (`make web`).

Example: mobile-sr serve --model deploy/x3_uint8.tflite --out browser_results
         mobile-sr serve --bind 0.0.0.0 --include phone.json   # on the local network, by HTTPS
         mobile-sr serve --device auto                         # on a phone connected by USB
"""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_sr.benchmarking import adb

HELP = "serve a page that measures .tflite files in any browser"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr serve`."""
    parser.add_argument(
        "--model",
        action="append",
        help="a .tflite file[@KEY=VALUE,...] or a packaged one: xlsr_x3:uint8; repeatable (default: all packaged ones)",
    )
    parser.add_argument("--out", default="browser_results", help="folder for results (default browser_results)")
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="FILE",
        help="result of `benchmark --json`, shown in the report; repeatable",
    )
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="IP address to serve on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8765, help="port (default 8765; 0: any free one)")
    parser.add_argument("--http", action="store_true", help="plain HTTP with --bind: CPU only, one thread")
    parser.add_argument("--device", metavar="SERIAL", help="also serve to this phone over USB; auto: the only one connected")
    parser.add_argument("--page", metavar="DIR", help="folder of the built page (default: web_demo/dist of the checkout)")


def run(args: argparse.Namespace) -> None:
    """Run the command until it is interrupted."""
    import sys

    from mobile_sr.benchmarking import adb
    from mobile_sr.converters.quiet import print_line
    from mobile_sr.devices import names
    from mobile_sr.errors import UserError
    from mobile_sr.serving import catalog, certificate, link, server, site, store

    address = link.check_address(args.bind)
    if args.http and link.is_local(address):
        raise UserError("--http needs --bind: on this machine alone, plain HTTP is used anyway")
    if args.device and not link.is_local(address):
        raise UserError("--device needs no --bind: the phone opens the page through the USB cable")
    if names.is_virtual(args.device):
        raise UserError(f"--device {args.device}: has no browser; `mobile-sr benchmark` runs files on virtual devices")
    phone = adb.Adb(args.device) if args.device else None
    others = [report for file in args.include for report in store.reports_of(file)]
    content = site.build(args.page, args.model or catalog.packaged())
    results = store.Store(args.out, others)
    shown, context, fingerprint = link.reachable(address), None, None
    if not args.http and not link.is_local(address):
        context, fingerprint = certificate.server_context({address, shown})

    def tell(report: dict[str, Any], count: int) -> None:
        device, rows = report["environment"]["device"], len(report["results"])
        print_line(f"{rows} run(s) from {device}; {count} result(s) in {results.folder / store.FILE}")

    token = link.new_token()
    with server.PageServer((address, args.port), token, content, results, context, tell) as page:
        if phone:
            _adb_reverse(phone, f"tcp:{page.port}", f"tcp:{page.port}")
            shown = "localhost"
        url = link.link("https" if context else "http", shown, page.port, token)
        print_line(url)
        if sys.stdout.isatty():
            code = link.qr_code(url)
            print_line("pip install 'mobile-sr[serve]' adds a QR code") if code is None else print(code)
        if fingerprint:
            print_line(f"The browser warns of the certificate, made for this run. Its SHA-256: {fingerprint}")
        print_line(f"report: {results.folder / store.PAGE}; interrupt (Ctrl-C) to stop")
        sys.stdout.flush()
        try:
            page.serve_forever()
        except KeyboardInterrupt:
            print_line(f"stopped; {len(results.reports)} result(s) in {results.folder / store.FILE}")
        finally:
            if phone:
                with contextlib.suppress(UserError):  # the phone may have been disconnected
                    _adb_reverse(phone, "--remove", f"tcp:{page.port}")


def _adb_reverse(phone: adb.Adb, *words: str) -> None:
    """Makes a port of the phone lead to this machine, or ends that. Raises UserError if adb refuses."""
    from mobile_sr.benchmarking import adb
    from mobile_sr.errors import UserError

    done = phone.run("reverse", *words)
    if done.returncode:
        raise UserError(f"{phone.serial}: adb reverse failed: {adb.describe_failure(done)}")
