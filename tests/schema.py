"""The published schema of benchmark results."""

import json

import pytest

from tests.conftest import ROOT

FILE = ROOT / "docs" / "reference" / "benchmark.schema.json"


def check(report):
    """Validate against docs/reference/benchmark.schema.json; skip visibly if the package jsonschema is not installed."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema")
    jsonschema.Draft202012Validator(json.loads(FILE.read_text())).validate(report)
