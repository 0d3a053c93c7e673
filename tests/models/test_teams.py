"""Table 1 of the NTIRE 2022 challenge: every network has the printed parameters, FLOPs, activations and convolutions."""

import pytest

from mobile_sr import models
from mobile_sr.challenge import rules
from mobile_sr.models.ntire2022.teams import TEAMS
from tests.conftest import ROOT

QUICK = ("bmdn", "afdn", "msdn")
PIXELS = 256**2
# What Table 1 counts and we do not: (parameters, FLOPs, activations, convolutions), because the network has been simplified
# without a change of its function.
FOLDED = {
    # The mean shifts are 1x1 convolutions of 3 channels at both ends there; here a layer and a part of the last bias.
    "resdn": (24 - 3, (9 + 9 * 16) * PIXELS, (3 + 3 * 16) * PIXELS, 2),
    "aaln": (24 - 3, (9 + 9 * 16) * PIXELS, (3 + 3 * 16) * PIXELS, 2),
    # The two layers of the attention to channels run twice there, on one pixel each.
    "lwfanet": (0, 0, 0, 2 * 10),
    # The same; and convolutions without use, lengths of the weight normalization and a factor.
    "rlcsr": (9280 + 9248 + 18464 + 165 + 6 * (192 + 80) + 160 + 3, 0, 0, 2),
    # A grouped convolution is four there.
    "imdeception": (0, 0, 0, 3 * 24),
    # The mean shifts, as above; the lengths of the weight normalization, one per output channel, and three factors.
    "mdan": (24 - 3 + 15_120 + 3, (9 + 9 * 16) * PIXELS, (3 + 3 * 16) * PIXELS, 2),
    # There: a convolution per block without use.
    "depthwise_rfdn": (4 * (9 * 12 * 12 + 12), 0, 0, 0),
    # Batch normalization: two parameters and two FLOPs per channel, and the biases that it adds to convolutions without one.
    "nasnet_bn": (2 * 2880 - (3 * 416 + 5 * 224), 2 * 2880 * PIXELS, 0, 0),
    "m_rfdn": (2 * 4160, 2 * 4160 * PIXELS, 0, 0),
    # There: weights without use (16 times two convolutions of the attention, and one of all blocks) and the lengths of the
    # weight normalization; but one 1x1 convolution per block for three uses.
    "rfesr": (16 * (72 + 584) + 4128 + 16 * 2 * 32 + 4 * 32 - 4 * 2 * 2080, 0, 0, 0),
}
# Table 1 counts more than the challenge's script in its published form, 2.022 G; see test_the_flops_of_bsrn.
NOT_BY_THE_SCRIPT = {"bsrn": {"flops"}}
# Only the report describes these, without all sizes. Their docstrings give the measures: (parameters M, FLOPs G, activations M,
# convolutions).
FROM_THE_REPORT = {"restormer": (0.505, 32.47, 501.61, 74), "vlesr": (0.335, 20.96, 403.70, 196)}


@pytest.mark.parametrize(
    "team",
    [team if team.network in QUICK else pytest.param(team, marks=pytest.mark.slow) for team in TEAMS],
    ids=lambda t: t.name,
)
def test_the_printed_measures(team):
    """At the printed precision, half a unit in the last place included."""
    actual = models.challenge_counts({"network": team.network, "scale": 4, **team.options})
    extra = FOLDED.get(team.network, (0, 0, 0, 0))
    names = ("parameters", "script_flops", "activations", "convolutions")
    counts = {name: actual[name] + more for name, more in zip(names, extra, strict=True)}
    printed = (team.parameters, team.flops, team.activations, team.convolutions)
    parameters, flops, activations, convolutions = FROM_THE_REPORT.get(team.network, printed)
    assert (parameters, flops, activations, convolutions) == pytest.approx(printed, rel=0.012)
    assert counts["convolutions"] == convolutions
    assert abs(counts["parameters"] / 1e6 - parameters) <= 0.0005 + 1e-9
    assert abs(counts["activations"] / 1e6 - activations) <= 0.005 + 1e-9
    if "flops" not in NOT_BY_THE_SCRIPT.get(team.network, ()):
        assert abs(counts["script_flops"] / 1e9 - flops) <= 0.005 + 1e-9


def test_the_teams_are_those_of_table_1():
    """By the copy of the table that the ranking uses."""
    rows = {row["team"]: row for row in rules.published()}
    for team in TEAMS:
        printed = rows[team.name]
        assert (printed["parameters"], printed["flops"]) == pytest.approx((team.parameters * 1e6, team.flops * 1e9)), team
        assert printed["activations"] == pytest.approx(team.activations * 1e6), team
        assert (printed["convolutions"], printed["psnr_validation"]) == (team.convolutions, team.psnr), team
    assert set(rows) == {team.name for team in TEAMS}
    assert len(TEAMS) == 43 + 2


def test_the_flops_of_bsrn():
    """9.50 G is the sum of all multiply-adds and one addition for each element of the convolutions' outputs, their biases."""
    actual = models.challenge_counts({"network": "bsrn", "scale": 4})
    (printed,) = [team.flops for team in TEAMS if team.network == "bsrn"]
    assert printed == round((actual["multiply_adds"] + actual["activations"]) / 1e9, 2)
    assert round(actual["script_flops"] / 1e9, 3) == 2.022


def test_every_network_of_the_challenge_has_a_team():
    assert {team.network for team in TEAMS} == {*models.NTIRE_2022, *models.TEAMS}


def test_the_page_is_that_of_the_table():
    from tools import ntire2022

    assert (ROOT / "docs" / "reference" / "ntire2022.md").read_text() == ntire2022.page()
