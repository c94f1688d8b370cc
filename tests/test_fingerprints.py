"""Near-duplicates by perceptual hash: which pictures count as the same."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from label_workspaces import FAR_APART, chip, face, png
from PIL import Image, ImageOps

from labeling.fingerprints import NEAR, distances, fingerprint, nearest


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file)


CHANGES = {
    "shifted by a pixel": lambda index: chip(index, 1),
    "shifted back by a pixel": lambda index: chip(index, -1),
    "saved as JPEG": lambda index: as_jpeg(chip(index)),
    "smaller": lambda index: chip(index).resize((96, 96)),
    "grey": lambda index: chip(index).convert("L"),
    "darker": lambda index: chip(index).point(lambda value: value * 0.7),
    "mirrored": lambda index: ImageOps.mirror(chip(index)),
}


def plain(*pictures: bytes) -> np.ndarray:
    """The hashes of `pictures` as they are kept; that of the mirror image serves to ask only."""
    return np.array([fingerprint(one)[0] for one in pictures], dtype=np.int64)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near(change):
    marks = plain(*(face(index) for index in FAR_APART))
    found = [nearest(fingerprint(png(CHANGES[change](index))), marks) for index in FAR_APART]
    assert found == list(FAR_APART)


def test_different_faces_are_not_near_not_even_mirrored():
    marks = plain(*(face(index) for index in FAR_APART))
    for index in FAR_APART:
        assert nearest(fingerprint(face(index)), np.delete(marks, index)) is None


def test_the_same_picture_has_the_same_fingerprint_whatever_its_file():
    image = chip(0)
    slow, quick = io.BytesIO(), io.BytesIO()
    image.save(slow, "PNG", compress_level=9)
    image.save(quick, "PNG", compress_level=0)
    assert slow.getvalue() != quick.getvalue()
    assert fingerprint(slow.getvalue()) == fingerprint(quick.getvalue())


def test_a_fingerprint_fits_what_sqlite_can_keep():
    marks = [mark for index in FAR_APART for mark in fingerprint(face(index))]
    assert all(type(mark) is int and -(2**63) <= mark < 2**63 for mark in marks)
    assert any(mark < 0 for mark in marks) and any(mark > 0 for mark in marks)


@pytest.mark.parametrize("bits", [0, 1, NEAR, 32, 64])
def test_distances_count_the_differing_bits(bits):
    other = np.array([(1 << bits) - 1], dtype=np.uint64 if bits == 64 else np.int64).view(np.int64)
    assert distances(0, other).tolist() == [bits]


def test_the_mirror_image_of_a_picture_has_its_two_hashes_the_other_way_round():
    assert fingerprint(png(ImageOps.mirror(chip(0)))) == fingerprint(face(0))[::-1]


def test_distances_work_on_a_part_of_a_larger_array():
    marks = np.array([0, 1, 3, 7, 15], dtype=np.int64)
    assert distances(0, marks[1:4]).tolist() == [1, 2, 3]


def test_older_numpy_counts_the_bits_the_same_way(monkeypatch):
    values = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 50, dtype=np.int64)
    newer = distances(12345, values).tolist()
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert distances(12345, values).tolist() == newer


def test_the_nearest_is_the_first_that_is_near_enough():
    marks = np.array([2**40 - 1, 2 ** (NEAR + 1) - 1, 2**NEAR - 1, 0], dtype=np.int64)
    assert nearest((0,), marks) == 2
    assert nearest((0, 2 ** (NEAR + 1) - 1), marks) == 1
    assert nearest((0,), marks[:2]) is None and nearest((0,), marks[:0]) is None


@pytest.mark.data
def test_of_300_faces_of_ferplus_nine_in_ten_have_no_other_near(ferplus: Path):
    paths = sorted((ferplus / "FER2013Test").glob("*.png"))[:: 3573 // 300][:300]
    marks = plain(*(path.read_bytes() for path in paths))
    alone = [nearest(fingerprint(path.read_bytes()), np.delete(marks, index)) is None for index, path in enumerate(paths)]
    assert len(marks) == 300 and np.mean(alone) >= 0.9


@pytest.mark.data
def test_nine_in_ten_mirrored_or_shifted_faces_of_ferplus_are_found(ferplus: Path):
    paths = sorted((ferplus / "FER2013Test").glob("*.png"))[::12][:200]
    for change in (ImageOps.mirror, lambda image: image.crop((1, 0, 48, 48)).resize((48, 48))):
        near = []
        for path in paths:
            content = path.read_bytes()
            changed = png(change(Image.open(io.BytesIO(content))))
            near.append(nearest(fingerprint(changed), plain(content)) == 0)
        assert np.mean(near) >= 0.88
