"""The rules of the NTIRE challenges on efficient super-resolution, and the published table of 2022.

rules.json has the rules, each with its source. The challenge of 2022 ranks by sums of ranks. Those from 2024 on rank by scores:
exp(2 * measure / the baseline's measure) for each measure, and a weighted sum of the three for the main track.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from mobile_sr.errors import UserError, did_you_mean

MEASURES = {"runtime_ms": 1.0, "parameters": 1e6, "flops": 1e9, "activations": 1e6, "memory": 1e6}  # units of the printed table

COMPARED = ("AIM 2020 winner", "baseline")  # rows of `published` that the report shows for comparison, without a rank


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules of a challenge.

    Attributes:
        name: its name, such as 'ntire2022'.
        title: in words.
        source: where the rules are published.
        sets: names of the validation and the test set.
        gate_db: minimum PSNR on these two sets in dB; RGB, 4 pixels cut from each border. A network needs both.
        device: where the organizers measure the runtime.
        baseline: {"name", "network": our network, "psnr": on both sets, and its measures}.
        tracks: {track: the measures that it ranks by}.
        weights: {measure: weight of its score in the main track}; None for a challenge that ranks by sums of ranks.
    """

    name: str
    title: str
    source: str
    sets: Sequence[str]
    gate_db: Sequence[float]
    device: str
    baseline: Mapping[str, Any]
    tracks: Mapping[str, Sequence[str]]
    weights: Mapping[str, float] | None

    def admits(self, validation: float | None, test: float | None = None) -> bool:
        """Whether a network enters the ranking; a PSNR in dB that is None is not asked for."""
        pairs = zip((validation, test), self.gate_db, strict=True)
        return all(psnr is None or psnr >= gate for psnr, gate in pairs)

    def scores(self, row: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> dict[str, float]:
        """Returns the score of each measure, and that of the main track as "main".

        Args:
            row: the measures of a network: runtime in ms, parameters, FLOPs.
            baseline: the measures of the baseline on the same device; by default the published ones.

        Raises:
            ValueError: the challenge has no scores.
        """
        if self.weights is None:
            raise ValueError(f"{self.name} ranks by sums of ranks")
        own = self.baseline if baseline is None else baseline
        scores = {measure: math.exp(2 * row[measure] / own[measure]) for measure in self.weights}
        return scores | {"main": sum(weight * scores[measure] for measure, weight in self.weights.items())}

    def rank(self, rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any] | None = None) -> list[dict[str, int] | None]:
        """Ranks networks in every track.

        Args:
            rows: {"psnr_validation", "psnr_test": in dB or None, and the measures of the tracks}. A rank of a measure that is
                known exactly, "runtime_ms_rank" and so on, replaces that of the value, which may be rounded.
            baseline: as for `scores`.

        Returns:
            {track: place} for each row, None for those that do not enter.
        """
        entered = [row for row in rows if self.admits(row.get("psnr_validation"), row.get("psnr_test"))]
        if self.weights is None:
            ranks = {m: _ranks(entered, m) for m in {m for of in self.tracks.values() for m in of}}
            found = {track: standings([ranks[m] for m in of]) for track, of in self.tracks.items()}
        else:
            scores = [self.scores(row, baseline) for row in entered]
            keys = {track: of[0] if len(of) == 1 else "main" for track, of in self.tracks.items()}
            found = {track: places([score[key] for score in scores]) for track, key in keys.items()}
        index = {id(row): k for k, row in enumerate(entered)}
        return [{track: found[track][index[id(row)]] for track in self.tracks} if id(row) in index else None for row in rows]


@functools.cache
def table() -> Mapping[str, Rules]:
    """Returns the rules of all challenges by name."""
    text = (resources.files("mobile_sr.challenge") / "rules.json").read_text(encoding="utf-8")
    return {name: Rules(name=name, **row) for name, row in json.loads(text).items()}


def find(name: str) -> Rules:
    """Returns the rules of a challenge. Raises UserError for an unknown name."""
    if name not in table():
        raise UserError(f"unknown challenge '{name}'; use {', '.join(table())}{did_you_mean(name, table())}")
    return table()[name]


def published() -> list[dict[str, Any]]:
    """Returns Table 1 of the report of 2022, 43 teams and two networks for comparison.

    Returns:
        {"team", "psnr_validation", "psnr_test": in dB, "runtime_ms": on a Titan Xp, "parameters", "flops", "activations",
        "memory": bytes, "convolutions"}; of the 35 ranked teams also the printed ranks, "runtime_ms_rank" and so on, the sums
        "complexity_sum" and "overall_sum", and the places "main", "complexity" and "overall", else None.
    """
    text = (resources.files("mobile_sr.challenge") / "ntire2022_table1.csv").read_text(encoding="utf-8")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        row: dict[str, Any] = {"team": line.pop("team")}
        for key, value in line.items():
            number = None if value == "" else float(value) if "." in value else int(value)
            row[key] = round(number * MEASURES[key], 2) if number is not None and key in MEASURES else number
        rows.append(row)
    return rows


def places(values: Sequence[float]) -> list[int]:
    """Returns the rank of each value, 1 for the smallest. Equal values share the better rank, and the next one is skipped."""
    return [1 + sum(other < value for other in values) for value in values]


def standings(ranks: Sequence[Sequence[float]]) -> list[int]:
    """Returns the places by the sums of ranks, [measures][networks] -> [networks] (the challenge's ranking statistic)."""
    return places([sum(of_one) for of_one in zip(*ranks, strict=True)])


def _ranks(rows: Sequence[Mapping[str, Any]], measure: str) -> list[int]:
    own = places([row[measure] for row in rows])
    known = [row.get(f"{measure}_rank") for row in rows]
    return [own[k] if rank is None else rank for k, rank in enumerate(known)]
