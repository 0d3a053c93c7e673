"""HTML templates and style sheets of the reports: data files of this package, in the syntax of string.Template."""

from __future__ import annotations

import functools
import importlib.resources
import string


@functools.cache
def read(name: str) -> str:
    """Returns the text of a data file of this package, without the line break at its end."""
    return importlib.resources.files("mobile_sr.evaluation").joinpath(name).read_text(encoding="utf-8").removesuffix("\n")


def fill(name: str, **values: str) -> str:
    """Returns a template with its $names replaced.

    Args:
        name: file name, such as 'report.html'.
        values: HTML by name; inserted as it is, so escape text first (`converters.printable.html_text`).
    Raises: KeyError when a value is missing.
    """
    return string.Template(read(name)).substitute(values)
