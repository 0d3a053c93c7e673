"""Limits from both sides. test_run_files.py has the configurations of run folders."""

import pytest

from mobile_sr.inference import limits


def check(**config):
    limits.check_config(config, {"channels": 64, "blocks": 8})


def test_sizes_reach_4096():
    check(channels=4096, blocks=1)
    with pytest.raises(ValueError, match="channels is 4097"):
        check(channels=4097, blocks=1)
    check(inner={"d": [4096, -4096]})
    with pytest.raises(ValueError, match="the value -4097"):
        check(inner={"d": [-4097]})


def test_weights_reach_2_to_the_28():
    """9 * 1,024^2 a block."""
    check(channels=1024, blocks=28)
    with pytest.raises(ValueError, match="1024 channels in 29 blocks, more than 268,435,456 weights"):
        check(channels=1024, blocks=29)
    limits.check_config({"layers": 28, "widths": [8, 1024]}, {})
    with pytest.raises(ValueError, match="1024 channels in 29 blocks"):
        limits.check_config({"layers": 29, "widths": [8, 1024]}, {})


def test_values_reach_100000():
    """The configuration itself and its list are two."""
    check(gates=[0] * 99_999)
    with pytest.raises(ValueError, match="more than 100,000 values"):
        check(gates=[0] * 100_000)


def test_the_networks_of_a_joint_model():
    check(nets=[{"network": "espcn", "scale": 2}])
    for bad in ({"network": "edsr", "channels": 5000}, {"network": "classsr", "nets": []}, {"network": "none"}, 3):
        with pytest.raises(ValueError, match=r"channels is 5000|nets has .*expected the configuration|unknown network"):
            check(nets=[bad])
