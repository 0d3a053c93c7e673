"""The challenges' rules reproduce what was published: Table 1 of 2022, and the worked examples of the later ones."""

import math

import pytest

from mobile_sr.challenge import rules
from mobile_sr.errors import UserError

RULES = rules.find("ntire2022")


@pytest.fixture(scope="module")
def table():
    return rules.published()


@pytest.fixture(scope="module")
def ranked(table):
    return [row for row in table if row["main"] is not None]


def test_both_halves_of_the_gate_exclude_the_unranked_teams(table):
    """28.95 dB on the validation set alone would admit two more teams. RFDN and IMDN are shown for comparison."""
    out = [row["team"] for row in table if not RULES.admits(row["psnr_validation"], row["psnr_test"])]
    compared = ["AIM 2020 winner", "baseline"]
    assert [*out, *compared] == [row["team"] for row in table if row["main"] is None]
    assert len(out) == 8
    only_by_test = [row["team"] for row in table if RULES.admits(row["psnr_validation"]) and row["team"] in out]
    assert only_by_test == ["Strong Tiger", "VAP"]
    assert RULES.admits(28.95, 28.65)  # TieGuoDun Team, place 14


def test_measures_rank_as_in_table_1(ranked):
    """Values that are printed alike were ranked before they were rounded; no other rank may differ."""
    alike = {}
    for measure in rules.MEASURES:
        values = [row[measure] for row in ranked]
        for row, value, found in zip(ranked, values, rules.places(values), strict=True):
            rank = row[f"{measure}_rank"]
            assert found <= rank < found + values.count(value), (row["team"], measure)
            if found != rank:
                alike.setdefault(measure, []).append(row["team"])
    parameters = ["NKU-ESR", "Alpan Team", "Aselsan Research", "Express"]
    assert alike == {"parameters": parameters, "flops": ["Dragon"]}


def test_places_are_those_of_table_1(table, ranked):
    """Every place of all tracks. Alpan Team and MegSR both have 18 in sub-track 1: the paper prints place 9 for one and place
    10 for the other, though its other ties share a place (3 and 3, 50 and 50, 54 and 54, 63 and 63)."""
    assert all(row["complexity_sum"] == row["parameters_rank"] + row["flops_rank"] for row in ranked)
    assert all(row["overall_sum"] == sum(row[f"{measure}_rank"] for measure in rules.MEASURES) for row in ranked)
    teams = table[:43]  # without the two that were not ranked though they would enter
    found = dict(zip([row["team"] for row in teams], RULES.rank(teams), strict=True))
    assert [team for team, places in found.items() if places is None] == [row["team"] for row in teams[35:]]
    odd = {
        (row["team"], track): (found[row["team"]][track], row[track])
        for row in ranked
        for track in RULES.tracks
        if found[row["team"]][track] != row[track]
    }
    assert odd == {("Alpan Team", "complexity"): (9, 10)}
    assert found["MegSR"]["complexity"] == 9


def test_the_baseline_is_that_of_the_table(table):
    (row,) = [row for row in table if row["team"] == "baseline"]
    assert [row["psnr_validation"], row["psnr_test"]] == RULES.baseline["psnr"]
    assert {measure: row[measure] for measure in rules.MEASURES} == {m: RULES.baseline[m] for m in rules.MEASURES}


@pytest.mark.parametrize("name", ["ntire2024", "ntire2025", "ntire2026"])
def test_the_worked_example_of_the_later_challenges(name):
    """The organizers' pages compute 7.3891 for the baseline in every score."""
    later = rules.find(name)
    assert {round(score, 4) for score in later.scores(later.baseline).values()} == {7.3891}
    assert sum(later.weights.values()) == pytest.approx(1)
    assert later.admits(*later.gate_db)
    assert later.admits(*later.baseline["psnr"])
    assert not later.admits(26.90, 26.98)


def test_scores_rank():
    """Half the runtime outweighs twice the parameters; a network below the gate has no place."""
    later = rules.find("ntire2025")
    base = {key: later.baseline[key] for key in later.weights}
    rows = [base, {**base, "runtime_ms": base["runtime_ms"] / 2, "parameters": 1.5 * base["parameters"]}]
    rows.append({**base, "runtime_ms": 1.0, "psnr_validation": 26.89})
    first, second, out = later.rank(rows)
    assert first == {"main": 2, "runtime": 2, "flops": 1, "parameters": 1}
    assert second == {"main": 1, "runtime": 1, "flops": 1, "parameters": 2}
    assert out is None
    assert later.scores(rows[1])["main"] == pytest.approx(0.7 * math.e + 0.15 * math.e**2 + 0.15 * math.e**3)
    with pytest.raises(ValueError, match="sums of ranks"):
        RULES.scores(base)


def test_unknown_challenges():
    with pytest.raises(UserError, match=r"unknown challenge 'ntire2052'; use ntire2022, .* did you mean"):
        rules.find("ntire2052")
