"""The results that browsers sent: browser.json in a folder, and report.html with those of other benchmarks beside them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobile_sr.benchmarking.benchmark import FORMAT
from mobile_sr.errors import UserError
from mobile_sr.files import json_text, make_folder, read_json, write_text
from mobile_sr.serving import device_report

FILE, PAGE = "browser.json", "report.html"
# Kept in one folder, so that the network cannot fill the disk.
MAX_REPORTS = 1000
MAX_BYTES = 32 * 1024**2


class FullError(Exception):
    """Raised when the folder has MAX_REPORTS reports, or MAX_BYTES of them."""


def reports_of(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of `benchmark --json` or of a Store.

    Returns:
        Its reports, see docs/reference/benchmark.schema.json.

    Raises:
        UserError: it is another file.
    """
    value = read_json(path)
    reports = value.get("reports", [value])
    if value.get("format") != FORMAT or not isinstance(reports, list) or not all(map(device_report.is_report, reports)):
        raise UserError(f"{path}: not a result of `mobile-sr benchmark --json` ({FORMAT})")
    return reports


class Store:
    """Keeps results in a folder. Its methods may be called by several threads.

    Attributes:
        folder: the folder.
        reports: the reports of browsers, oldest first.
    """

    def __init__(self, folder: str | Path, others: Sequence[dict[str, Any]] = ()) -> None:
        """Opens a folder, which is created if it does not exist, and writes its report.

        Args:
            folder: where browser.json and report.html are; results that are there already are kept.
            others: reports of other benchmarks, shown beside those of browsers.

        Raises:
            UserError: the folder cannot be written, or its browser.json is not a file of results.
        """
        self.folder = make_folder(folder)
        self._lock = threading.Lock()
        self._others = list(others)
        file = self.folder / FILE
        self.reports = reports_of(file) if file.exists() else []
        self._write_page()

    def add(self, report: dict[str, Any]) -> int:
        """Stores a report that `posted.parse` accepted. Returns how many there are.

        Raises:
            FullError: there are MAX_REPORTS already, or more than MAX_BYTES with it.
            UserError: a file cannot be written.
        """
        with self._lock:
            reports = [*self.reports, report]
            text = json_text({"format": FORMAT, "reports": reports})
            if len(reports) > MAX_REPORTS or len(text) > MAX_BYTES:
                raise FullError(f"{self.folder} is full: {len(self.reports)} results are stored")
            write_text(self.folder / FILE, text)
            self.reports = reports
            self._write_page()
            return len(reports)

    def page(self) -> bytes:
        """Returns the current report.html."""
        with self._lock:
            return (self.folder / PAGE).read_bytes()

    def _write_page(self) -> None:
        write_text(self.folder / PAGE, device_report.page([*self._others, *self.reports]))
