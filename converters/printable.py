"""Makes untrusted text (file names, messages of other libraries) safe to show on a terminal, in Markdown and in HTML."""

import html
import re


def printable(text: object) -> str:
    """Return `text` on one line, with line breaks, control and invisible characters escaped, such as \\n and \\x1b.

    Bytes of a file name that are not UTF-8 become \\xff. Text that is already escaped does not change.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python represents a byte that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def html_text(text: object) -> str:
    """Return `text`, made printable, for an HTML element or a quoted attribute."""
    return html.escape(printable(text))


def markdown_text(text: object) -> str:
    """Return `text`, made printable, for a Markdown paragraph, list or table cell."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(printable(text), quote=False))
