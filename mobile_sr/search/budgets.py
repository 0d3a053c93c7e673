"""--budget of `search` and `route`: a number with a unit."""

import re

from mobile_sr.errors import UserError

HD = 1280 * 720  # multiply-adds and activations are told for an output of that size, as in the papers' tables
_UNITS = {"": 1.0, "ms": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "%": 0.01}


def parse(text, units, example):
    """(value, whether it is a share) of a number with one of `units`, of K, M, G, ms, % and none: '60G' is (60e9, False).

    Raises: UserError, with `example`, for anything else.
    """
    match = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ms|[KMG%]?)", text)
    if not match or match[2] not in units:
        raise UserError(f"--budget {text}: give {example}")
    return float(match[1]) * _UNITS[match[2]], match[2] == "%"
