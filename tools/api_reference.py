"""Write the API reference from signatures and docstrings: `python -m tools.api_reference docs/reference/api.md`."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mobile_sr
from mobile_sr import results
from mobile_sr.inference.upscaler import Upscaler

_HEAD = """# Python API

Written by `python -m tools.api_reference docs/reference/api.md` from the docstrings. `import mobile_sr` gives the functions
below. They raise `mobile_sr.UserError`, a `ValueError`, for everything that the caller can fix; the message names the
argument. Results are dataclasses: `to_dict()` gives plain JSON-able data, and notebooks show them as tables.
"""


def functions() -> list[str]:
    """The public functions, in the order in which they are usually needed."""
    order = ["load", "train", "search", "export", "evaluate", "compare", "benchmark", "inspect"]
    return order + sorted(set(mobile_sr.__all__) - set(order) - {"UserError"})


def classes() -> list[type]:
    """The classes of the results, and what `load` returns."""
    made = [value for value in vars(results).values() if isinstance(value, type) and value.__module__ == results.__name__]
    return [Upscaler, *made]


def _block(text: str | None) -> str:
    return f"```\n{inspect.cleandoc(text or '')}\n```"


def _signature(function: Callable[..., Any]) -> str:
    """The signature without the quotes of postponed annotations."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))


def _members(kind: type) -> list[str]:
    own = [(name, value) for name, value in vars(kind).items() if not name.startswith("_") or name == "__call__"]
    return [
        f"#### `{kind.__name__}.{name}{_signature(value)}`\n\n{_block(value.__doc__)}"
        for name, value in own
        if inspect.isfunction(value)
    ]


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD, "## Functions"]
    parts.append(
        "*Model* is a name, a path, an Upscaler or a Keras model. *Images* is a folder or file, or a sequence of arrays, PIL "
        "images or (name, image) pairs, or a mapping from names to arrays. *Progress* is a function of (count, name)."
    )
    for name in functions():
        function = getattr(mobile_sr, name)
        parts.append(f"### `mobile_sr.{name}{_signature(function)}`\n\n{_block(function.__doc__)}")
    parts.append("## Classes")
    for kind in classes():
        parts.append(f"### `{kind.__name__}`\n\n{_block(kind.__doc__)}")
        parts += _members(kind)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
