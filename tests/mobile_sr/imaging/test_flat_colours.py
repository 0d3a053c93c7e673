import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import upscaler
from mobile_sr.quantization import export

pytestmark = pytest.mark.usefixtures("all_colours")


def nearest(image):
    return image.repeat(2, axis=0).repeat(2, axis=1)


def test_a_network_that_keeps_colours_has_no_error():
    found = flat_colours.measure(lambda image: imresize(image, 2), 2)
    assert (found["flat"], found["ramps"]) == (0, 0)


def test_the_worst_colour_and_its_output():
    def no_pure_red(image):
        sr = nearest(image)
        sr[(sr == (255, 0, 0)).all(axis=2)] = (236, 12, 24)
        return sr

    found = flat_colours.measure(no_pure_red, 2)
    assert (found["flat"], found["colour"], found["becomes"]) == (24, "255, 0, 0", "236, 12, 24")
    assert "(255, 0, 0) becomes (236, 12, 24)" in flat_colours.describe(found)
    # Compared with itself, as an export is compared with its float network, it has no error.
    assert flat_colours.measure(no_pure_red, 2, reference=no_pure_red)["flat"] == 0


def test_the_border_does_not_count_but_the_inner_half_does():
    def spoil(image, rows):
        sr = nearest(image)
        sr[rows] //= 2
        return sr

    assert flat_colours.measure(lambda image: spoil(image, slice(0, 24)), 2)["flat"] == 0
    assert flat_colours.measure(lambda image: spoil(image, slice(24, 26)), 2)["flat"] == 128


def test_a_large_fixed_size_is_measured_on_two_charts_with_the_same_colours():
    size, seen = (240, 300), []

    def upscale(image):
        seen.append(image.shape)
        sr = nearest(image)
        sr[(sr == (0, 255, 128)).all(axis=2)] = (0, 250, 128)
        return sr

    found = flat_colours.measure(upscale, 2, size)
    assert seen == [(*size, 3)] * 2
    assert (found["flat"], found["colour"]) == (5, "0, 255, 128")
    names = {name for _, areas in flat_colours.probes(size) for name, *_ in areas}
    assert names == {name for _, areas in flat_colours.probes() for name, *_ in areas}


def test_ramps_run_from_black_over_each_saturated_colour_to_white():
    ramps = flat_colours.ramps(2, 256)
    assert sorted(ramps) == sorted(
        ["K-R", "K-G", "K-B", "K-RG", "K-RB", "K-GB", "K-RGB", *(["R-W", "G-W", "B-W", "RG-W", "RB-W", "GB-W"])]
    )
    np.testing.assert_array_equal(ramps["K-RB"][0, [0, 100, 255]], [(0, 0, 0), (100, 0, 100), (255, 0, 255)])
    np.testing.assert_array_equal(ramps["G-W"][1, [0, 100, 255]], [(0, 255, 0), (100, 255, 100), (255, 255, 255)])


def test_training_patches_are_flat_or_ramps_whose_lr_is_the_hr_seen_coarsely():
    rng, flat, saturated = np.random.default_rng(0), 0, 0
    for _ in range(200):
        lr, hr = flat_colours.patch(rng, 12, 12, 3)
        assert lr.shape == (12, 12, 3)
        assert hr.shape == (36, 36, 3)
        assert hr.min() >= 0
        assert hr.max() <= 255
        np.testing.assert_allclose(hr.reshape(12, 3, 12, 3, 3).mean(axis=(1, 3)), lr, atol=1)
        flat += bool((hr == hr[0, 0]).all())
        saturated += bool(np.isin(lr, (0, 255)).all())
    assert 70 < flat < 130
    assert saturated > 10  # corners of the cube


def test_half_of_the_training_patches_are_flat_and_three_tenths_of_their_channels_0_or_255():
    rng = np.random.default_rng(1)
    patches = [flat_colours.patch(rng, 2, 3, 1)[0] for _ in range(4000)]
    flat = np.array([patch[0, 0] for patch in patches if (patch == patch[0, 0]).all()])
    assert len(flat) / len(patches) == pytest.approx(0.5, abs=0.02)
    assert [np.mean(flat == level) for level in (0, 255)] == pytest.approx([0.3, 0.3], abs=0.02)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("adaedsr") else ()) for name in zoo.names()]
)
def test_packaged_files_keep_27_flat_colours_within_3_levels(name):
    for variant in zoo.VARIANTS:
        model = upscaler.load(f"{name}:{variant}")
        found = flat_colours.measure(model, model.scale)
        assert found["flat"] <= flat_colours.LIMIT == 3, flat_colours.describe(found)
        assert found == zoo.card(name)["colour_error"][variant]


def test_export_refuses_ranges_too_narrow_for_saturated_colours(tmp_path, monkeypatch):
    from mobile_sr.quantization import calibration

    everything = calibration.calibration_set

    def narrow(*args):
        images, record = everything(*args)
        return images[: record["crops"]], record  # the images used before flat colours and ramps were added

    monkeypatch.setattr(calibration, "calibration_set", narrow)
    with pytest.raises(export.AuditError, match=r"flat colours within 16 levels of Keras \(found \d+; --max"):
        export.export("xlsr_x3", tmp_path, ["uint8"], log=lambda line: None)
    assert list(tmp_path.iterdir()) == []
