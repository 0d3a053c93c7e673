"""Progress of a quantization-aware training."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mobile_sr.files import write_text


class History:
    """The training's progress: lines on standard error, rows in history.csv."""

    def __init__(self, path: Path, steps: int, rows: Iterable[Sequence[Any]] = ()) -> None:
        """Start or continue a history.

        Args:
            path: history.csv.
            steps: number of steps of the training.
            rows: (step, loss or '', PSNR in dB) of an earlier part of the training.
        """
        self.path, self.steps = path, steps
        self.rows: list[tuple[int, float | str, float]] = [(step, loss, psnr) for step, loss, psnr in rows]
        self.best = max((psnr for _, _, psnr in self.rows), default=float("-inf"))
        self._tty = sys.stderr.isatty()

    def add(self, event: dict[str, Any]) -> None:
        """Show and record an event: {"step", "loss", "psnr", "steps_per_s"}; without a "psnr" it is only shown."""
        step, loss, psnr, speed = (event[key] for key in ("step", "loss", "psnr", "steps_per_s"))
        text = f"step {step}/{self.steps}"
        if loss is not None:
            left = int((self.steps - step) / max(speed, 1e-9))
            text += f"  loss {loss:.6f}  {speed:.1f} steps/s  left {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        if psnr is None:
            if self._tty:
                print(text.ljust(100), end="\r", file=sys.stderr, flush=True)
            return
        self.best = max(self.best, psnr)
        text += f"  validation {psnr:.3f} dB (best {self.best:.3f})"
        print(text.ljust(100) if self._tty else text, file=sys.stderr, flush=True)
        self.rows.append((step, "" if loss is None else round(loss, 8), round(psnr, 4)))
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("step", "loss", "validation_psnr_rgb"))
        writer.writerows(self.rows)
        write_text(self.path, table.getvalue())
