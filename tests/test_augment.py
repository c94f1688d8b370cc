"""What training does to a crop: always within its ranges, always the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from fer.augment import Augment

STILL = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "light": 0.0}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def views(augment: Augment, crop: Image.Image, size: int, count: int) -> list[np.ndarray]:
    return [np.asarray(augment.crop(crop, size, random(seed))) for seed in range(count)]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [32, 96])
def test_a_view_has_the_size_asked_for_and_the_crops_mode(mode, size):
    view = Augment().crop(picture((48, 48)).convert(mode), size, random())
    assert view.mode == mode and view.size == (size, size)


def test_the_same_seed_gives_the_same_view_and_another_seed_another():
    crop = picture((48, 48))
    first, again, other = (Augment().crop(crop, 48, random(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_the_crop_itself_is_not_changed():
    crop = picture((48, 48))
    before = crop.tobytes()
    Augment().crop(crop, 48, random())
    assert crop.tobytes() == before


def test_with_all_ranges_zero_only_the_mirror_is_left():
    crop = picture((48, 48))
    plain, mirrored = np.asarray(crop), np.asarray(crop)[:, ::-1]
    found = views(Augment(**STILL), crop, 48, 40)
    same = [np.array_equal(view, plain) for view in found]
    assert all(np.array_equal(view, plain if kept else mirrored) for view, kept in zip(found, same, strict=True))
    assert 10 <= sum(same) <= 30


def test_nothing_black_comes_in_from_beyond_the_border():
    crop = Image.new("L", (48, 48), 200)
    for view in views(Augment(light=0.0), crop, 48, 3000):
        assert view.min() == view.max() == 200


def centre_of_light(view: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(view > 128)
    return np.array([columns.mean(), rows.mean()]) / len(view) - 0.5


def spot(x: int, y: int, reach: int = 4) -> Image.Image:
    pixels = np.zeros((96, 96), np.uint8)
    pixels[y - reach : y + reach, x - reach : x + reach] = 255
    return Image.fromarray(pixels)


def test_shifts_stay_within_their_range_and_use_it():
    moved = np.array([centre_of_light(view) for view in views(Augment(**{**STILL, "shift": 0.1}), spot(48, 48), 96, 200)])
    assert 0.08 < np.abs(moved).max() < 0.11


def test_turns_stay_within_their_range_and_use_it():
    found = np.array([centre_of_light(view) for view in views(Augment(**{**STILL, "rotate": 12.0}), spot(80, 48), 96, 200)])
    degrees = np.degrees(np.arctan2(found[:, 1], np.abs(found[:, 0])))
    assert degrees.max() < 13 and degrees.min() > -13 and np.ptp(degrees) > 20


def test_turns_and_mirrors_keep_distances():
    places = np.array([(80, 48), (60, 70), (30, 30)])
    found = np.stack([
        [centre_of_light(view) * 96 for view in views(Augment(**{**STILL, "rotate": 12.0}), spot(*place), 96, 40)]
        for place in places.tolist()
    ])  # fmt: skip
    for one, other in ((0, 1), (1, 2), (2, 0)):
        before = np.linalg.norm(places[one] - places[other])
        np.testing.assert_allclose(np.linalg.norm(found[one] - found[other], axis=1), before, atol=1.0)


def test_zooms_stay_within_their_range_and_use_it():
    found = views(Augment(**{**STILL, "scale": 0.15}), spot(48, 48, 16), 96, 200)
    widths = [np.sqrt((view > 128).sum()) / 32 for view in found]
    assert 1 / 1.15 - 0.05 < min(widths) < 0.92 and 1.1 < max(widths) < 1 / 0.85 + 0.05


def test_light_changes_contrast_and_brightness_within_their_ranges():
    crop = Image.fromarray(np.repeat([[100, 140]], 24, axis=1).repeat(48, axis=0).astype(np.uint8))
    found = views(Augment(**{**STILL, "light": 0.3}), crop, 48, 200)
    contrasts = [np.ptp(view.astype(int)) / 40 for view in found]
    means = [view.mean() - 120 for view in found]
    assert 0.65 < min(contrasts) < 0.8 and 1.2 < max(contrasts) < 1.35
    assert -40 < min(means) < -30 and 30 < max(means) < 40


def test_erasing_hides_one_rectangle_in_some_faces():
    face, shares = torch.ones(3, 96, 96), []
    for seed in range(300):
        erased = Augment(erase=0.25).erased(face, random(seed))
        hidden = (erased == 0).all(dim=0)
        assert torch.equal((erased == 0).any(dim=0), hidden)
        shares.append(hidden.float().mean().item())
        rows, columns = hidden.any(dim=1).sum(), hidden.any(dim=0).sum()
        assert hidden.sum() == rows * columns
    hit = [share for share in shares if share]
    assert 0.15 < len(hit) / 300 < 0.35
    assert 0.01 < min(hit) < 0.05 and 0.15 < max(hit) < 0.22


def test_erasing_leaves_the_given_face_alone():
    face = torch.ones(3, 32, 32)
    erased = Augment(erase=1.0).erased(face, random())
    assert (erased == 0).any() and (face == 1).all()
    assert Augment(erase=0.0).erased(face, random()) is face
