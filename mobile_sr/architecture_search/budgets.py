"""Parser of cost budgets with a unit: the option --budget of `search` and `route`."""

from __future__ import annotations

import re
from collections.abc import Container

from mobile_sr.errors import UserError

HD = 1280 * 720  # output pixels for which multiply-adds and activations are given, as in the papers' tables
_UNITS = {"": 1.0, "ms": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "%": 0.01}


def parse(text: str, units: Container[str], example: str) -> tuple[float, bool]:
    """Parse a number with a unit: '60G' is (60e9, False), '30%' is (0.3, True).

    Args:
        text: the number with its unit.
        units: the valid units, of 'K', 'M', 'G', 'ms', '%' and '' (no unit).
        example: the expected form, for the error message.

    Returns:
        (value, whether it is a share).

    Raises:
        UserError: for any other text.
    """
    match = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ms|[KMG%]?)", text)
    if not match or match[2] not in units:
        raise UserError(f"--budget {text}: expected {example}")
    return float(match[1]) * _UNITS[match[2]], match[2] == "%"
