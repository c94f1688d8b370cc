"""Near copies: what counts as the same photograph, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fer.datasets import NOT_COUNTED, FaceSet, load
from fer.duplicates import near_copies


def faces_of(root: Path, images: list[Image.Image], suffix: str = ".png", **options) -> FaceSet:
    (root / "test" / "neutral").mkdir(parents=True)
    for index, image in enumerate(images):
        image.save(root / "test" / "neutral" / f"{index}{suffix}", **options)
    return load(f"folder:{root}", "test")


@pytest.fixture(scope="module")
def originals(face_folder: Path) -> list[Image.Image]:
    faces = load(f"folder:{face_folder}", "train")
    return [faces.image(index) for index in range(len(faces))]


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "untouched": lambda face: face,
    "mirrored": ImageOps.mirror,
    "enlarged": lambda face: face.resize((131, 131), Image.Resampling.BICUBIC),
    "shrunk": lambda face: face.resize((32, 32), Image.Resampling.BICUBIC),
    "darker": lambda face: face.point(lambda value: value * 0.7),
    "grey": lambda face: face.convert("L"),
    "mirrored and shrunk": lambda face: ImageOps.mirror(face).resize((40, 40)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(tmp_path, originals, change):
    known = faces_of(tmp_path / "known", originals)
    changed = faces_of(tmp_path / "changed", [CHANGES[change](face) for face in originals])
    assert near_copies(changed, known).all()


def test_a_copy_saved_again_as_jpeg_is_found(tmp_path, originals):
    known = faces_of(tmp_path / "known", originals)
    assert near_copies(faces_of(tmp_path / "jpeg", originals, ".jpg", quality=60), known).all()


def test_another_face_is_no_copy(tmp_path, originals):
    for index, face in enumerate(originals[:4]):
        others = faces_of(tmp_path / f"others-{index}", originals[:index] + originals[index + 1 : 4])
        assert not near_copies(faces_of(tmp_path / f"one-{index}", [face]), others).any()


def test_only_the_copy_among_others_is_marked(tmp_path, originals):
    known = faces_of(tmp_path / "known", [originals[0]])
    mixed = faces_of(tmp_path / "mixed", [originals[1], ImageOps.mirror(originals[0]), originals[2]])
    assert near_copies(mixed, known).tolist() == [False, True, False]


def test_plain_pictures_are_no_copies_of_faces(tmp_path, originals):
    plain = faces_of(tmp_path / "plain", [Image.new("L", (48, 48), 0), Image.new("L", (48, 48), 200)])
    assert not near_copies(plain, faces_of(tmp_path / "known", originals)).any()


@pytest.mark.data
def test_402_test_faces_of_ferplus_have_a_copy_in_training_and_2796_counted_ones_have_none(ferplus):
    faces = load(f"ferplus:{ferplus}", "test")
    copies = near_copies(faces, load(f"ferplus:{ferplus}", "train"))
    assert (len(faces), int(copies.sum())) == (3573, pytest.approx(402, abs=4))
    assert int(np.count_nonzero(~copies[faces.labels != NOT_COUNTED])) == pytest.approx(2796, abs=4)
