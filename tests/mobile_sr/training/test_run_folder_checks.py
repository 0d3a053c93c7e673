"""Checks of a run folder's config.json and checkpoints."""

import json
import math
import types

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.inference import limits, weights
from mobile_sr.training import run_folder_checks

RECIPE = types.SimpleNamespace(steps=40, validate_every=10)
VARIABLES = {"model": [np.zeros((3, 2)), np.zeros(4)], "optimizer": [np.zeros(())]}
META = {"step": 20, "best": 30.5, "seconds": 1.5, "history": [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.4}]}
ARRAYS = {"model/0": np.zeros((3, 2)), "model/1": np.zeros(4), "optimizer/0": np.zeros(())}


def read(path, arrays=ARRAYS, **meta):
    weights.write_arrays(path, arrays, {**META, **meta})
    return run_folder_checks.read_checkpoint(path, RECIPE, VARIABLES, ("step", "loss"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoint.npz"


def test_good_checkpoints(file):
    assert read(file)[1] == META
    assert read(file, step=0, best=float("-inf"), history=[])[1]["step"] == 0


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("step", (None, -10, 33, 50, 20.0, True, "20", [])),
        ("best", (None, "x", True, math.nan, [])),
        ("seconds", (None, -1, math.inf, "x")),
        ("history", (None, {}, [1], [{}], [{"step": 20, "loss": 1}, {"step": 10, "loss": 1}], [{"step": 1, "loss": []}])),
    ],
)
def test_damaged_checkpoints(file, key, values):
    for value in values:
        with pytest.raises(UserError, match="damaged checkpoint"):
            read(file, **{key: value})


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_arrays(file, name):
    for other in ({}, {name: np.zeros((9, 9))}, {name: np.array("x")}):
        with pytest.raises(UserError, match=f"first difference: {name}"):
            read(file, {**{key: value for key, value in ARRAYS.items() if key != name}, **other})


@pytest.mark.parametrize("change", [{"format": 2}, {"format": True}, {"recipe": None}, {"recipe": {}}, {"data": []}])
def test_configurations_of_runs(tmp_path, change):
    good = {"format": 1, "recipe": {"network": {}}, "data": {}}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(good))
    assert run_folder_checks.read_config(file) == good
    file.write_text(json.dumps({**good, **change}))
    with pytest.raises(UserError, match="config.json"):
        run_folder_checks.read_config(file)


def test_limits_of_configurations():
    defaults = {"scale": 2, "channels": 64, "blocks": 8, "output_activation": "linear"}
    limits.check_config({"channels": 256, "blocks": 32}, defaults)
    for odd in ({"channels": 60000}, {"blocks": 10**9}, {"blocks": -1}, {"scale": True}, {"channels": 1.5}, {"blocks": [8]}):
        with pytest.raises(ValueError, match="expected an integer from"):
            limits.check_config(odd, defaults)
    with pytest.raises(ValueError, match="weights"):
        limits.check_config({"channels": 4096, "blocks": 4096}, defaults)
