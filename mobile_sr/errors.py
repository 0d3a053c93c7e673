"""The one exception that the command line turns into a single line and exit status 2."""

import difflib

from mobile_sr.converters.printable import printable


class UserError(ValueError):
    """Something the caller can fix: a bad file, name or option.

    The message is one line that says what was found, where, and what would help. Names in it are shown escaped, see
    `printable`.
    """

    def __str__(self):
        return printable(super().__str__())


def did_you_mean(name, known):
    """'; did you mean X?' for the known name that is closest to an unknown one, '' when none is close."""
    lower = {item.lower(): item for item in known}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.7)
    return f"; did you mean {lower[close[0]]}?" if close else ""
