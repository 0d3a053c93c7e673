"""Markdown templates of the generated pages: NAME.md.template, parts with `$placeholders` (string.Template).

A part begins with a line `<!-- PART -->` and ends where the next one begins.
"""

import re
import string
import textwrap
from pathlib import Path

_WIDTH = 120
_UNWRAPPED = ("|", "#", "!", "- ")  # tables, headings, images, lists


class Page:
    """The parts of one template file."""

    def __init__(self, name):
        text = (Path(__file__).parent / f"{name}.md.template").read_text()
        _, *found = re.split(r"^<!-- (.+) -->\n", text, flags=re.MULTILINE)
        self.parts = {part: string.Template(body.strip()) for part, body in zip(found[::2], found[1::2], strict=True)}

    def fill(self, part, **values):
        """The part with its placeholders filled in. Raises: KeyError for an unknown part or a missing value."""
        return self.parts[part].substitute(values)


def table(header, rows):
    """A Markdown table. Args: header, rows: strings, one for each column."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def wrap(text):
    """The text with its paragraphs wrapped; tables, headings, images and lists stay as they are."""
    blocks = (block.strip() for block in re.split(r"\n{2,}", text))
    return "\n\n".join(block if block.startswith(_UNWRAPPED) else _paragraph(block) for block in blocks if block)


def _paragraph(text):
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
