"""Escaping of untrusted text for terminals, HTML and Markdown."""

import pytest

from mobile_sr.converters import printable
from mobile_sr.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name é 日本.png", "plain name é 日本.png"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("not UTF-8 \udcff\udc80", r"not UTF-8 \xff\x80"),
        ("right to left \u202egnp", r"right to left \u202egnp"),
        ("\u2028", r"\u2028"),
    ],
)
def test_one_line(text, expected):
    assert printable.printable(text) == expected
    assert printable.printable(expected) == expected
    assert str(UserError(text)) == expected
    expected.encode()


def test_html():
    assert printable.html_text('<script>"\n') == r"&lt;script&gt;&quot;\n"


def test_markdown():
    text = printable.markdown_text("a|b`c`<script>*[x](y)\n# heading")
    assert text == r"a\|b\`c\`&lt;script&gt;\*\[x\](y)\\n# heading"
