"""UserError, the exception that the command line reports in one line with exit status 2."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mobile_sr.converters.printable import printable


class UserError(ValueError):
    """An error that the caller can fix: a bad file, name or argument.

    The message is one line: where the problem is, what it is and what would help. Unprintable characters are escaped, see
    `printable`. Messages are written with the options of the command line, such as --max-drop. Python callers see the names
    of the arguments instead, unless `names_options` is set, as the command line does.
    """

    names_options = False

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if UserError.names_options else _with_arguments(text)


def _with_arguments(text: str) -> str:
    """A message with max_drop for --max-drop, and `patch=48` for --set patch=48; commands in backticks stay as they are."""
    parts = text.split("`")
    for k in range(0, len(parts), 2):
        without_set = re.sub(r"(?<![\w-])--set (?=\w)", "", parts[k])
        parts[k] = re.sub(r"(?<![\w-])--([a-z][a-z-]*)", lambda match: match[1].replace("-", "_"), without_set)
    return "`".join(parts)


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
