"""UserError, the exception that the command line reports in one line with exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mobile_sr.converters.printable import printable


class UserError(ValueError):
    """An error that the caller can fix: a bad file, name or option.

    The message is one line: where the problem is, what it is and what would help. Unprintable characters are escaped, see
    `printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to an unknown one.

    Args:
        name: the unknown name.
        known: the known names; case is ignored.

    Returns:
        '; did you mean X?', or '' if no known name is similar.
    """
    lower = {item.lower(): item for item in known}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.7)
    return f"; did you mean {lower[close[0]]}?" if close else ""
