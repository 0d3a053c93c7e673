"""Checks of posted results."""

import copy
import json

import pytest

from mobile_sr.serving import posted
from tests import schema
from tests.mobile_sr.serving import examples

WRONG = (None, True, -1, 1e30, 10**400, "", "x" * 5000, "line\nbreak", "\ud800", [], [None], {}, {"a": 1}, [[]])


def rejected(value):
    with pytest.raises(posted.RejectedError) as caught:
        posted.parse(value if isinstance(value, bytes) else json.dumps(value).encode())
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


def test_a_result_is_accepted_and_fits_the_schema():
    report = examples.report(examples.ROW, examples.FAILED, examples.ROW | {"sha256": None, "against_cpu": None})
    assert posted.parse(json.dumps(report).encode()) == report
    schema.check(report)


def test_missing_and_unknown_fields_are_rejected():
    for path in ((), ("environment",), ("results", 0), ("results", 0, "latency_ms"), ("results", 0, "against_cpu")):
        fields = list(at(examples.report(), path))
        for name in fields:
            report = examples.report()
            del at(report, path)[name]
            assert f"'{name}' is missing" in rejected(report)
        report = examples.report()
        at(report, path)["extra"] = 1
        assert "unknown field 'extra'" in rejected(report)


def at(value, path):
    for key in path:
        value = value[key]
    return value


def test_wrong_values_are_rejected_as_the_schema_rejects_them():
    """Every field with every wrong value: what is accepted must also fit the schema."""
    accepted = 0
    for path in ((), ("environment",), ("results", 0), ("results", 0, "latency_ms"), ("results", 0, "against_reference")):
        for name in list(at(examples.report(), path)):
            for wrong in WRONG:
                report = examples.report()
                at(report, path)[name] = copy.deepcopy(wrong)
                try:
                    posted.parse(json.dumps(report).encode())
                except posted.RejectedError:
                    continue
                accepted += 1
                schema.check(report)
    assert 20 < accepted < 60  # null where it is allowed, empty texts and notes


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * 500 + b"]" * 500, "report: not an object"),
        (b'{"format": NaN}', "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b" " * (posted.MAX_BYTES + 1), "more than"),
    ],
)
def test_other_bytes_are_rejected(body, reason):
    assert reason in rejected(body)


def test_numbers_of_rows_and_consistency():
    assert "expected 1 to 200" in rejected(examples.report(*[examples.ROW] * 201))
    assert "results: expected" in rejected({**examples.report(), "results": []})
    assert "if, and only if" in rejected(examples.report(examples.ROW | {"error": "failed"}))
    assert "if, and only if" in rejected(examples.report(examples.FAILED | {"error": None}))
    assert "without an accelerator" in rejected(examples.report(examples.ROW | {"width": None}))
