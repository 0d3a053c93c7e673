"""A device's runs as a matrix of files, delegates and CPU threads: which runs there are, pauses to cool down, and a CSV."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_sr.benchmarking.adb import Adb

COLUMNS: tuple[str, ...] = (
    *("where", "manufacturer", "device", "serial", "android", "litert", "model", "sha256", "requested_delegate"),
    *("effective_delegate", "signature", "threads", "width", "height", "runs", "min_ms", "p50_ms", "p90_ms", "init_ms"),
    *("memory_pss_bytes", "delegated_nodes", "nodes", "psnr_vs_cpu", "thermal", "background", "date", "error"),
)

_STATUS = re.compile(r"^\s*Thermal Status: (\d+)", re.MULTILINE)
_POLL_S = 2.0


def runs(delegates: Sequence[str], threads: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Yields the (delegate, threads) to measure. Threads concern the CPU: other delegates run with the first count only."""
    for delegate in delegates:
        for count in threads if delegate == "cpu" else threads[:1]:
            yield delegate, count


def cool_down(adb: Adb, limit: float, progress: Callable[[int], object] | None = None) -> float:
    """Waits until the device no longer throttles: until its thermal status is 0 (none).

    Args:
        adb: the device.
        limit: maximum seconds to wait; 0 returns immediately.
        progress: called with the seconds waited.

    Returns:
        The seconds waited. 0 if the device does not report a status, as before Android 10.

    Raises:
        UserError: the device was disconnected.
    """
    start = time.monotonic()
    while (waited := time.monotonic() - start) < limit:
        status = _STATUS.search(adb.shell("dumpsys", "thermalservice").stdout)
        if status is None or status[1] == "0":
            break
        if progress:
            progress(int(waited))
        time.sleep(min(_POLL_S, limit - waited))
    return waited


def to_csv(reports: Sequence[Mapping[str, Any]]) -> str:
    """Returns a device's reports as CSV with the header COLUMNS, one row for each run. Unknown values are empty.

    Args:
        reports: reports of `android.measure`, see docs/reference/benchmark.schema.json.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for report in reports:
        result = report["results"][0]
        times = result["latency_ms"] or {}
        cells = {**report["environment"], **result, "where": report["where"]}
        cells |= {f"{key}_ms": times.get(key) for key in ("min", "p50", "p90")}
        writer.writerow([cells.get(column) for column in COLUMNS])
    return text.getvalue()
