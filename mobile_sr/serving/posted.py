"""Checks of the results that browsers send. They come from the network, so every field is checked and nothing else is kept.

The fields are those of docs/reference/benchmark.schema.json, "where": "browser".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mobile_sr.benchmarking.benchmark import FORMAT

MAX_BYTES = 1024**2  # of one post
MAX_ROWS = 200
MAX_SAMPLES = 1000
MAX_NUMBER = 1e12

Check = Callable[[Any], bool]


class RejectedError(ValueError):
    """Raised for a post that is not a result; the message is one line for whoever sent it."""


def parse(body: bytes) -> dict[str, Any]:
    """Parses and checks a posted result.

    Args:
        body: the bytes that were posted.

    Returns:
        The report: {"format", "where": "browser", "environment", "results"}.

    Raises:
        RejectedError: it is not JSON, or a field is missing, unknown or invalid.
    """
    if len(body) > MAX_BYTES:
        raise RejectedError(f"more than {MAX_BYTES:,} bytes")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except RejectedError:
        raise
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
        raise RejectedError("not JSON") from None
    _fields("report", value, _REPORT)
    _fields("environment", value["environment"], _ENVIRONMENT)
    if not 1 <= len(value["results"]) <= MAX_ROWS:
        raise RejectedError(f"results: expected 1 to {MAX_ROWS} of them")
    for number, row in enumerate(value["results"]):
        _check_row(f"results[{number}]", row)
    return value


def _check_row(where: str, row: Any) -> None:
    _fields(where, row, _ROW)
    for key, fields in _PARTS.items():
        if row[key] is not None:
            _fields(f"{where}.{key}", row[key], fields)
    failed = row["error"] is not None
    if failed != (row["latency_ms"] is None) or failed != (not row["samples_ms"]):
        raise RejectedError(f"{where}: times are given if, and only if, there is no error")
    if not failed and None in (row["effective_accelerator"], row["width"], row["height"]):
        raise RejectedError(f"{where}: a run without an accelerator or a size")


def _refuse_constant(name: str) -> NoReturn:
    raise RejectedError(f"not JSON ({name} is not a number of JSON)")


def _fields(where: str, value: Any, checks: Mapping[str, Check]) -> None:
    if not isinstance(value, dict):
        raise RejectedError(f"{where}: not an object")
    unexpected = sorted(value.keys() - checks.keys())
    if unexpected:
        raise RejectedError(f"{where}: unknown field '{unexpected[0][:40]}'")
    for name, check in checks.items():
        if name not in value:
            raise RejectedError(f"{where}: '{name}' is missing")
        if not check(value[name]):
            raise RejectedError(f"{where}: '{name}' is not valid")


def _text(longest: int) -> Check:
    return lambda x: isinstance(x, str) and len(x) <= longest and not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", x)


def _number(low: float = 0.0, high: float = MAX_NUMBER) -> Check:
    return lambda x: type(x) in (int, float) and low <= x <= high and math.isfinite(x)


def _whole(low: int, high: int) -> Check:
    return lambda x: type(x) is int and low <= x <= high


def _or_null(check: Check) -> Check:
    return lambda x: x is None or check(x)


def _one_of(*values: Any) -> Check:
    return lambda x: isinstance(x, (str, type(None))) and x in values


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", value) is not None


def _samples(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_SAMPLES and all(map(_number(), value))


def _notes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10 and all(map(_text(600), value))


_DECIBELS = _or_null(_number(-1000, 1000))
_LEVELS = _whole(0, 255)
_MS = _or_null(_number())
_REPORT: dict[str, Check] = {
    "format": _one_of(FORMAT),
    "where": _one_of("browser"),
    "environment": lambda x: isinstance(x, dict),
    "results": lambda x: isinstance(x, list),
}
_ENVIRONMENT: dict[str, Check] = {
    "device": _text(100),
    "user_agent": _text(400),
    "cores": _or_null(_whole(1, 10_000)),
    "litert": _text(100),
    "secure_context": _is_flag,
    "cross_origin_isolated": _is_flag,
    "date": _is_date,
}
_ROW: dict[str, Check] = {
    "model": _text(200),
    "sha256": _or_null(_is_digest),
    "size_bytes": _whole(0, 2**40),
    "requested_accelerator": _one_of("cpu", "gpu", "gpu_fp32", "npu"),
    "effective_accelerator": _one_of("cpu", "gpu", "npu", None),
    "fully_accelerated": _or_null(_is_flag),
    "threads": _or_null(_whole(1, 10_000)),
    "gpu": _or_null(_text(300)),
    "width": _or_null(_whole(1, 2**20)),
    "height": _or_null(_whole(1, 2**20)),
    "load_ms": _MS,
    "first_ms": _MS,
    "latency_ms": lambda x: x is None or isinstance(x, dict),
    "samples_ms": _samples,
    "memory_bytes": _or_null(_whole(0, 2**50)),
    "against_cpu": lambda x: x is None or isinstance(x, dict),
    "against_reference": lambda x: x is None or isinstance(x, dict),
    "notes": _notes,
    "error": _or_null(_text(400)),
}
_PARTS: dict[str, dict[str, Check]] = {
    "latency_ms": dict.fromkeys(("min", "mean", "p50", "p90", "p99", "std"), _number()),
    "against_cpu": {"psnr": _DECIBELS, "max_difference": _LEVELS, "differing_fraction": _number(0, 1)},
    "against_reference": {"psnr_y": _DECIBELS, "bicubic_psnr_y": _DECIBELS, "max_difference": _LEVELS},
}
