"""Text from outside (file names, messages of other libraries) made safe to show on a terminal, in Markdown and in HTML."""

import html
import re


def printable(text):
    """`text` on one line: line breaks, control characters and invisible ones become escapes such as \\n and \\x1b.

    Bytes of a file name that are not UTF-8 become \\xff. Already escaped text stays as it is.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(character):
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def html_text(text):
    """`printable` text for an HTML page, in an element or a quoted attribute."""
    return html.escape(printable(text))


def markdown_text(text):
    """`printable` text for Markdown, in a paragraph, a list or a table's cell."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(printable(text), quote=False))
