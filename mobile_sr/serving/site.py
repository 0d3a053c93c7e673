"""The files that the server offers: the built page, the models and the report. Nothing else can be asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mobile_sr.errors import UserError
from mobile_sr.files import json_text
from mobile_sr.serving import catalog

BUILT = Path(__file__).resolve().parents[2] / "web_demo" / "dist"  # in a checkout
NEEDED = ("index.html", "page.js", "worker.js", "style.css")
MODELS = "models.json"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


@dataclasses.dataclass(frozen=True)
class Site:
    """The content by address, relative to the page.

    Attributes:
        files: {address: path}.
        models: content of models.json.
    """

    files: dict[str, Path]
    models: bytes

    def read(self, address: str) -> tuple[bytes, str] | None:
        """Returns (content, its type) of an address; None if there is none. Raises OSError if a file is gone."""
        if address == MODELS:
            return self.models, _TYPES[".json"]
        path = self.files.get(address or "index.html")
        if path is None:
            return None
        return path.read_bytes(), _TYPES.get(path.suffix, "application/octet-stream")


def build(page: str | Path | None, models: Sequence[str | Path]) -> Site:
    """Collects the files of the built page and the models.

    Args:
        page: folder of the built page; None for that of this checkout.
        models: .tflite files or packaged ones.

    Raises:
        UserError: the page has not been built, or a model is unusable, see `catalog.facts`.
    """
    folder = Path(page or BUILT)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        hint = "`make web` builds it in a checkout of mobile-sr (Node.js is needed)"
        raise UserError(f"{folder}: not the built page, {missing[0]} is missing; {hint}, and --page names another folder")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in found.items() if not name.startswith("models/") and name != MODELS}
    content, model_files = catalog.catalog(models, served=True)
    return Site({**files, **model_files}, json_text(content).encode())
