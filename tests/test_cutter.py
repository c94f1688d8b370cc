"""Photos into faces for imports, and kept faces into ready-made ones for exports, as the app does both."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, picture
from label_workspaces import png
from PIL import Image

from fer.chips import Chip
from fer.cutter import Cutter
from fer.picture import open_picture


@pytest.fixture(scope="module")
def cutter(recognizer) -> Cutter:
    return Cutter(recognizer.bundle.preprocess, recognizer.detector)


@pytest.mark.parametrize("name", ["eileen-collins.jpg", "oath-ceremony.jpg"])
def test_faces_of_a_photo_are_those_the_app_finds_and_read_the_same_once_kept(recognizer, cutter, name):
    photo = (SAMPLES / name).read_bytes()
    read = recognizer.read(photo).faces
    chips = cutter.faces(cutter.open(photo))
    assert len(chips) == len(read) > 0
    kept = [Chip.of(one.png(), one.face.box, one.face.landmarks) for one in chips]
    crops = [cutter.crop(one.image, one.face.box, one.face.landmarks) for one in kept]
    said = recognizer.predict([recognizer.bundle.preprocess.to_tensor(crop) for crop in crops])
    for now, before in zip(said, read, strict=True):
        assert list(now.scores.values()) == pytest.approx(list(before.prediction.scores.values()), abs=0.02)


def test_a_photo_without_a_face_has_none(cutter):
    assert cutter.faces(cutter.open(png(picture((200, 150))))) == []


def test_a_photo_is_turned_upright_and_loses_what_it_told(cutter, collins):
    with Image.open(collins) as photo:
        turned, exif = photo.rotate(90, expand=True), photo.getexif()
    exif[0x0112], exif[0x010E] = 6, "where she lives"
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif, quality=95)
    upright = cutter.open(file.getvalue())
    assert upright.mode == "RGB" and not upright.getexif() and len(cutter.faces(upright)) == 1
    (chip,) = cutter.faces(upright)
    with Image.open(io.BytesIO(chip.png())) as kept:
        assert not kept.info and max(kept.size) <= 512
    assert b"where she lives" not in chip.png()


@pytest.mark.parametrize("content", [b"", b"no picture", png(picture())[:200]])
def test_what_is_no_picture_is_refused_in_a_sentence(cutter, content):
    with pytest.raises(ValueError) as caught:
        cutter.open(content)
    assert "\n" not in str(caught.value) and "/" not in str(caught.value)


def test_a_ready_made_face_is_cut_as_it_is(cutter):
    image = picture((48, 48))
    crop = cutter.crop(image, (0.0, 0.0, 48.0, 48.0), None)
    np.testing.assert_array_equal(np.asarray(crop), np.asarray(image))


def test_it_brings_its_own_detector(recognizer, collins: Path):
    own = Cutter(recognizer.bundle.preprocess)
    (one,) = own.faces(own.open(collins.read_bytes()))
    (other,) = recognizer.detector.find(open_picture(collins))
    assert one.face.score == pytest.approx(other.score, abs=1e-4)
