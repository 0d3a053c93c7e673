"""The one exception that the command line turns into a single line and exit status 2."""

from mobile_sr.printable import printable


class UserError(Exception):
    """Something the caller can fix: a bad file, name or option.

    The message is one line that says what was found, where, and what would help. Names in it are shown escaped, see
    `printable`.
    """

    def __str__(self):
        return printable(super().__str__())
