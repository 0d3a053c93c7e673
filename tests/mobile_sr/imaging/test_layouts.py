import numpy as np
import pytest

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging.images import write_image
from mobile_sr.imaging.layouts import find_pairs
from mobile_sr.imaging.pairs import read_pair
from mobile_sr.imaging.resize import downscale
from tests.conftest import make_image


def write_set(folder, hr_name, lr_name, scales, count=2):
    """Images of 48x48 as folder/hr_name, and their LR images as folder/lr_name; {k} and {s} in the names are replaced."""
    for k in range(count):
        hr = make_image(48, 48, seed=k)
        for s in scales:
            write_image(folder / hr_name.format(k=k, s=s), hr)
            write_image(folder / lr_name.format(k=k, s=s), downscale(hr, s))


@pytest.fixture
def div2k(tmp_path):
    """A root in DIV2K's layout with two training pairs and one validation pair at x2."""
    for part, names in (("train", ("0001", "0002")), ("valid", ("0801",))):
        for name in names:
            hr = make_image(60, 80, seed=int(name))
            write_image(tmp_path / f"DIV2K_{part}_HR" / f"{name}.png", hr)
            write_image(tmp_path / f"DIV2K_{part}_LR_bicubic" / "X2" / f"{name}x2.png", downscale(hr, 2))
    return tmp_path


def test_div2k_layout(div2k):
    train = find_pairs(div2k, 2, part="train")
    assert [(name, lr.name) for name, _, lr in train] == [("0001.png", "0001x2.png"), ("0002.png", "0002x2.png")]
    assert [name for name, _, _ in find_pairs(div2k, 2, part="valid")] == ["0801.png"]
    assert [lr.name for _, _, lr in find_pairs(div2k / "DIV2K_valid_HR", 2)] == ["0801x2.png"]
    assert [lr for _, _, lr in find_pairs(div2k, 3, part="train")] == [None, None]  # no LR of that scale: made
    with pytest.raises(UserError, match="several HR folders"):
        find_pairs(div2k, 2)


def test_hr_folder_and_plain_folder(tmp_path, image_folder):
    assert len(find_pairs(image_folder, 3)) == 6
    hr = make_image(30, 33)
    write_image(tmp_path / "Set" / "HR" / "a.png", hr)
    assert find_pairs(tmp_path / "Set", 3) == [("a.png", tmp_path / "Set" / "HR" / "a.png", None)]
    write_image(tmp_path / "Set" / "LR" / "X3" / "a.png", downscale(hr, 3))
    assert find_pairs(tmp_path / "Set" / "HR", 3) == find_pairs(tmp_path / "Set", 3)
    assert find_pairs(tmp_path / "Set", 3)[0][2] == tmp_path / "Set" / "LR" / "X3" / "a.png"


def test_mismatches_are_named(div2k):
    lr_folder = div2k / "DIV2K_train_LR_bicubic" / "X2"
    write_image(lr_folder / "0002x2.png", make_image(20, 20))
    with pytest.raises(UserError, match="0002x2.png: 20x20 is not 1/2"):
        read_pair(*find_pairs(div2k, 2, "train")[1][1:], 2)
    (lr_folder / "0002x2.png").rename(lr_folder / "other.png")
    with pytest.raises(UserError, match=r"no LR image for 0002.png"):
        find_pairs(div2k, 2, "train")
    (lr_folder / "other.png").unlink()
    with pytest.raises(UserError, match="1 LR images for 2 HR"):
        find_pairs(div2k, 2, "train")


LAYOUTS = {
    "BasicSR": ("GTmod12/img{k}.png", "LRbicx{s}/img{k}.png"),
    "HR, LR/X3": ("HR/img{k}.png", "LR/X{s}/img{k}.png"),
    "HR, LR_bicubic/x3": ("HR/img{k}.png", "LR_bicubic/x{s}/img{k}x{s}.png"),
    "HR, LR_x3": ("HR/img{k}.png", "LR_x{s}/img{k}_x{s}.png"),
    "lower case": ("hr/img{k}.png", "lr/x{s}/img{k}.png"),
    "GT": ("GT/img{k}.png", "LR/X{s}/img{k}.png"),
    "SelfExSR": ("image_SRF_{s}/img_00{k}_SRF_{s}_HR.png", "image_SRF_{s}/img_00{k}_SRF_{s}_LR.png"),
    "one folder": ("img{k}_HR.png", "img{k}_LRx{s}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_known_layouts_use_their_lr_images(tmp_path, layout):
    write_set(tmp_path / "Set", *LAYOUTS[layout], scales=(2, 3))
    pairs = find_pairs(tmp_path / "Set", 3)
    assert len(pairs) == 2
    for k, (_, hr, lr) in enumerate(pairs):
        large, small = read_pair(hr, lr, 3)
        np.testing.assert_array_equal(large, make_image(48, 48, seed=k))
        np.testing.assert_array_equal(small, downscale(large, 3))
    hr_folder = pairs[0][1].parent
    assert find_pairs(hr_folder, 3) == pairs


def test_the_current_folder_is_recognized_by_its_name(tmp_path, monkeypatch):
    write_set(tmp_path, *LAYOUTS["BasicSR"], scales=(2,))
    monkeypatch.chdir(tmp_path / "GTmod12")
    assert [lr.resolve().parent.name for _, _, lr in find_pairs(".", 2)] == ["LRbicx2", "LRbicx2"]


def test_pairs_of_one_scale_only(tmp_path):
    write_set(tmp_path, "img{k}_HR.png", "img{k}_LR.png", scales=(2,))
    assert [(name, lr.name) for name, _, lr in find_pairs(tmp_path, 2)][0] == ("img0_HR.png", "img0_LR.png")
    write_image(tmp_path / "other.png", make_image(9, 9))
    with pytest.raises(UserError, match="other images such as other.png"):
        find_pairs(tmp_path, 2)
    (tmp_path / "other.png").unlink()
    (tmp_path / "img1_LR.png").unlink()
    with pytest.raises(UserError, match="no LR image for img1_HR.png"):
        find_pairs(tmp_path, 2)


def test_selfexsr_without_the_scale_is_refused(tmp_path):
    write_set(tmp_path, *LAYOUTS["SelfExSR"], scales=(2, 4))
    for folder in (tmp_path, tmp_path / "image_SRF_2"):
        with pytest.raises(UserError, match="not for x3"):
            find_pairs(folder, 3)


@pytest.mark.parametrize(
    ("hr_name", "lr_name"),
    [
        ("big/{k}.png", "small{s}/{k}.png"),
        ("{k}.png", "{k}x{s}.png"),
        ("{k}.png", "tiny/{k}_LR.png"),
        ("a/HR/{k}.png", "a/LR/{k}.png"),
    ],
)
def test_several_sizes_of_the_same_images_are_refused(tmp_path, hr_name, lr_name):
    write_set(tmp_path, hr_name, lr_name, scales=(2,))
    with pytest.raises(UserError, match=r"several sizes of the same images, such as .*0.png \(48x48\) and .*0.*\(24x24\)"):
        find_pairs(tmp_path, 2)


def test_copies_of_one_size_are_not_a_mixture(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        write_image(tmp_path / name, make_image(20, 20))
    assert len(find_pairs(tmp_path, 2)) == 2


@pytest.mark.parametrize("layout", ["BasicSR", "HR, LR/X3"])
def test_the_lr_folder_is_not_used_as_hr(tmp_path, layout):
    write_set(tmp_path, *LAYOUTS[layout], scales=(3,))
    with pytest.raises(UserError, match="contains the LR images; give the folder of the HR images, such as .*(GTmod12|HR)"):
        find_pairs((tmp_path / LAYOUTS[layout][1].format(k=0, s=3)).parent, 3)


def test_one_file_is_a_set_of_one(tmp_path):
    write_image(tmp_path / "a.png", make_image(30, 30))
    assert find_pairs(tmp_path / "a.png", 3) == [("a.png", tmp_path / "a.png", None)]
    assert len(evaluate.evaluate(load("bicubic", 3), tmp_path / "a.png")["images"]) == 1


def test_a_missing_set_is_refused_with_its_source(tmp_path, monkeypatch):
    monkeypatch.delenv("MOBILE_SR_DATA", raising=False)
    with pytest.raises(UserError, match=r"Set5: no such folder; .*docs/reference/protocol.md"):
        find_pairs("Set5", 3)
    (tmp_path / "Set5").mkdir()
    monkeypatch.setenv("MOBILE_SR_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"did you mean {tmp_path / 'Set5'}"):
        find_pairs("Set5", 3)
    with pytest.raises(UserError, match="no such folder"):
        find_pairs("x" * 300, 3)


def test_scale_one_needs_lr_images(tmp_path):
    hr = make_image(30, 30)
    write_image(tmp_path / "HR" / "a.png", hr)
    with pytest.raises(UserError, match="at scale 1"):
        evaluate.evaluate(load("bicubic", 1), tmp_path)
    with pytest.raises(UserError, match="at scale 1"):
        evaluate.evaluate(load("bicubic", 1), [("a", hr)])
    write_image(tmp_path / "LR" / "X1" / "a.png", hr // 2)
    assert 0 < evaluate.evaluate(load("bicubic", 1), tmp_path)["mean"]["psnr"] < 20
