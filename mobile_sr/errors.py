"""The one exception that the command line turns into a single line and exit status 2."""


class UserError(Exception):
    """Something the caller can mend: a bad file, name or option.

    The message is one line that says what was found, where, and what would do.
    """
