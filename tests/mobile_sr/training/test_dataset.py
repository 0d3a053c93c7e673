import os

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.imaging.resize import downscale, imresize, modcrop
from mobile_sr.training import dataset
from tests.conftest import make_image


def test_cache_decodes_once_and_notices_change(tmp_path, image_folder, monkeypatch):
    images = dataset.TrainingImages(image_folder, 3, tmp_path)
    np.testing.assert_array_equal(images.lr[2], downscale(read_image(image_folder / "p2.png"), 3))
    assert images.hr[2].shape == tuple(3 * side for side in images.lr[2].shape[:2]) + (3,)
    reads = []
    monkeypatch.setattr(dataset, "read_pair", lambda *a: reads.append(a))
    again = dataset.TrainingImages(image_folder, 3, tmp_path)
    assert (reads, again.sha256, again.names) == ([], images.sha256, images.names)


def test_bad_and_duplicate_files_are_left_out(tmp_path, capsys):
    folder = tmp_path / "in"
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        write_image(folder / name, make_image(60, 60, seed))
    (folder / "broken.png").write_bytes(b"no image")
    images = dataset.TrainingImages(folder, 2, tmp_path / "cache")
    assert images.names == ["a.png", "c.png"]
    said = capsys.readouterr().err
    assert "b.png is the same image as a.png" in said
    assert "broken.png" in said
    for file in folder.glob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match="no usable training image"):
        dataset.TrainingImages(folder, 2, tmp_path / "cache2")
    assert not list((tmp_path / "cache2").rglob("*.*"))


def test_a_folder_of_links_is_one_training_set(tmp_path):
    """As in docs/guide/training.md; the names say which folder an image is from, and a common image counts once."""
    for name, seed in (("public_domain/a", 1), ("public_domain/b", 2), ("cc_by/a", 3), ("cc_by/sub/same", 2)):
        write_image(tmp_path / f"{name}.png", make_image(40, 40, seed))
    (tmp_path / "train").mkdir()
    for tier in ("public_domain", "cc_by"):
        (tmp_path / "train" / tier).symlink_to(tmp_path / tier)
    images = dataset.TrainingImages(tmp_path / "train", 2, tmp_path / "cache")
    assert images.names == ["cc_by/a.png", "cc_by/sub/same.png", "public_domain/a.png"]
    (tmp_path / "train" / "cc_by").unlink()
    assert dataset.TrainingImages(tmp_path / "train", 2, tmp_path / "cache").names == [
        "public_domain/a.png",
        "public_domain/b.png",
    ]


def test_small_images_are_padded(tmp_path):
    write_image(tmp_path / "in" / "a.png", make_image(40, 90))
    images = dataset.TrainingImages(tmp_path / "in", 3, tmp_path / "cache", smallest=32)
    assert images.lr[0].shape == (32, 32, 3)
    assert images.hr[0].shape == (96, 96, 3)
    np.testing.assert_array_equal(images.lr[0][13:26], images.lr[0][12::-1])  # reflected


def test_downscaled_copies_belong_to_their_originals(tmp_path, image_folder):
    plain = dataset.TrainingImages(image_folder, 3, tmp_path)
    images = dataset.TrainingImages(image_folder, 3, tmp_path, smallest=16, downscale_factors=(0.75, 0.1))
    assert images.originals == [i for i in range(0, 12, 2) for _ in (0, 1)]  # downscaled by 0.1, no image contains a patch
    assert images.names[::2] == images.names[1::2] == plain.names
    assert images.sha256 != plain.sha256
    shrunk = modcrop(imresize(plain.hr[2], 0.75), 3)
    np.testing.assert_array_equal(images.hr[5], shrunk)
    np.testing.assert_array_equal(images.lr[5], downscale(shrunk, 3))
    train, held_out = dataset.split_validation(images, 2, 24)
    assert [images.names[i] for i in held_out] == [plain.names[i] for i in dataset.split_validation(plain, 2, 24)[1]]
    assert {images.names[i] for i in train}.isdisjoint(images.names[i] for i in held_out)
    assert len(train) == 8


def mixed_whites(kind, count=4000):
    """`dataset.mix_batch` of alternately white and black HR patches of 8x8 pixels at scale 2: (patches, mixed patches)."""
    hr = np.zeros((count, 8, 8, 3), np.float32)
    hr[::2] = 1
    return hr, dataset.mix_batch(hr[:, ::2, ::2], hr, kind, np.random.default_rng(0))[1]


def test_mixup_weights_are_beta_1_2():
    """Half of the samples are mixed, half of those with the other colour; variance of the weights: 1 / (4 * (2 * 1.2 + 1))."""
    hr, new = mixed_whites("mixup")
    levels = new[:, 0, 0, 0][(new != hr).any(axis=(1, 2, 3))]
    assert len(levels) / len(hr) == pytest.approx(0.25, abs=0.015)
    assert levels.mean() == pytest.approx(0.5, abs=0.02)
    assert levels.var() == pytest.approx(1 / 13.6, abs=0.003)


def test_cutmix_replaces_a_quarter_of_the_area_at_any_position():
    hr, new = mixed_whites("cutmix")
    changed = (new != hr)[..., 0]
    assert changed.any(axis=(1, 2)).mean() == pytest.approx(0.25, abs=0.015)
    assert set(changed.sum(axis=(1, 2))) == {0, 16}
    assert len(np.unique(changed, axis=0)) == 1 + 3 * 3  # unchanged, and every position


def test_batches_are_a_function_of_seed_and_step(tmp_path, image_folder):
    images = dataset.TrainingImages(image_folder, 3, tmp_path)
    options = {"batch": 8, "patch": 16, "brightness_factors": (1.0, 0.7, 0.5), "seed": 4}
    first = dataset.patch_batch(images, range(6), 10, **options)
    for a, b in zip(first, dataset.patch_batch(images, range(6), 10, **options), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], dataset.patch_batch(images, range(6), 11, **options)[0])
    lr, hr = first
    assert lr.shape == (8, 16, 16, 3)
    assert hr.shape == (8, 48, 48, 3)
    assert lr.dtype == hr.dtype == np.float32
    assert 0 <= hr.min() <= hr.max() <= 1


def test_lr_and_hr_patches_match(tmp_path, image_folder):
    """Downscaled HR patches are the LR patches except at the crop's border, for every crop, orientation and brightness."""
    images = dataset.TrainingImages(image_folder, 3, tmp_path)
    turns = set()
    for step in range(6):
        options = {"batch": 8, "patch": 16, "brightness_factors": (1.0, 0.7, 0.5), "seed": 0}
        lr, hr = dataset.patch_batch(images, range(6), step, **options)
        box = hr.reshape(8, 16, 3, 16, 3, 3).mean(axis=(2, 4))
        assert np.abs(box - lr)[:, 2:-2, 2:-2].mean() < 0.02
        turns |= {round(float(v), 1) for v in hr.max(axis=(1, 2, 3))}
    assert len(turns) > 2  # brightness_factors vary


def test_all_eight_transforms_occur(tmp_path):
    hr = np.zeros((24, 24, 3), np.uint8)
    hr[:12, :12] = [255, 0, 0]
    hr[:12, 12:] = [0, 255, 0]
    hr[12:, :12] = [0, 0, 255]
    write_image(tmp_path / "in" / "a.png", hr)
    images = dataset.TrainingImages(tmp_path / "in", 2, tmp_path / "cache")
    _, patches = dataset.patch_batch(images, [0], 0, batch=200, patch=12, brightness_factors=(1.0,), seed=0)
    corners = {tuple(np.round(p[[2, 2, -3, -3], [2, -3, 2, -3]]).astype(int).ravel()) for p in patches}
    assert len(corners) == 8


def test_validation_images_are_held_out(tmp_path, image_folder):
    images = dataset.TrainingImages(image_folder, 3, tmp_path)
    train, held_out = dataset.split_validation(images, 2, 24)
    assert len(train) == 4
    assert set(train).isdisjoint(held_out)
    lr, hr = dataset.center_crops(images, held_out, 24)
    assert (lr.shape, hr.shape) == ((2, 24, 24, 3), (2, 72, 72, 3))
    assert dataset.split_validation(images, 24, 24) == (train, held_out)  # of six images a quarter at most
    with pytest.raises(UserError, match="0 of 6 .* validation needs 2"):
        dataset.split_validation(images, 24, 96)


def test_leftovers_of_killed_processes_are_removed(image_folder, tmp_path):
    """Leftovers under another key, from when the folder's files were different, are removed, too."""
    dead, living = tmp_path / ("0" * 24), tmp_path / ("1" * 24)
    for place in (dead, living):
        place.mkdir()
        (place / "hr.bin").write_bytes(b"whole, but no index.json")
    (dead / ".lr.abcd1234.tmp.bin").write_bytes(b"half")
    os.utime(dead / "hr.bin", (0, 0))
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "hr.bin").write_bytes(b"")
    with atomic_path(living / "lr.bin") as temporary:
        temporary.write_bytes(b"being written")
        images = dataset.TrainingImages(image_folder, 2, tmp_path)
        assert temporary.read_bytes() == b"being written"
    assert len(images) == 6
    assert sorted(path.name for path in living.iterdir()) == ["hr.bin", "lr.bin"]
    assert not list(dead.iterdir())
    assert (foreign / "hr.bin").exists()
