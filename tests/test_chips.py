"""Chips: what is kept of a face, and that a network reads it as it read the photo."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, picture
from PIL import Image, PngImagePlugin

from fer.chips import Chip
from fer.faces import Face, FaceDetector
from fer.picture import UnreadablePicture, open_picture
from fer.transforms import LONGEST, REACH, Preprocess
from labeling.items import NewItem
from labeling.store import LabelStore

PHOTOS = sorted(path.name for path in SAMPLES.glob("*.jpg"))
Found = tuple[Image.Image, Face]


@pytest.fixture(scope="module")
def sample_faces() -> list[Found]:
    """Every face of every sample photo."""
    images = [open_picture(SAMPLES / name) for name in PHOTOS]
    return [(image, face) for image in images for face in FaceDetector().find(image)]


def rolled(face: Face, degrees: float) -> Face:
    """`face` with its eyes turned about the middle of its box."""
    angle, (left, top, right, bottom) = math.radians(degrees), face.box
    x, y = (left + right) / 2, (top + bottom) / 2
    points = (((right - left) * dx, (bottom - top) * dy) for dx, dy in ((-0.2, -0.1), (0.2, -0.1), (0, 0.1), (-0.15, 0.3), (0.15, 0.3)))
    turned = ((x + dx * math.cos(angle) - dy * math.sin(angle), y + dx * math.sin(angle) + dy * math.cos(angle)) for dx, dy in points)
    return Face(face.box, tuple(turned))


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.mode == other.mode and one.tobytes() == other.tobytes()


# --- what a chip is -----------------------------------------------------------------------------


def test_a_chip_is_rgb_holds_the_face_with_its_context_and_is_never_large(sample_faces):
    for image, face in sample_faces:
        large = image.resize((image.width * 4, image.height * 4))
        for photo, one in ((image, face), (large, face.scaled(4, 4))):
            chip = Chip.cut(photo, one, Preprocess())
            assert chip.image.mode == "RGB" and max(chip.image.size) <= LONGEST == 512
            left, top, right, bottom = chip.face.box
            assert -0.01 <= left < right <= chip.image.width + 0.01 and -0.01 <= top < bottom <= chip.image.height + 0.01
            assert len(chip.face.landmarks) == 5


def test_a_chip_reaches_as_far_as_it_says():
    image, face = picture((600, 500)), rolled(Face((250, 200, 350, 320)), 0)
    _, _, side = Preprocess().square(face)
    assert Chip.cut(image, face, Preprocess()).image.size == pytest.approx((REACH * side, REACH * side), abs=2)


def test_of_a_photo_taken_sideways_the_chip_is_upright(collins):
    upright = open_picture(collins)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter before it is shown
    upright.rotate(90, expand=True).save(buffer, "PNG", exif=exif)
    (face,) = FaceDetector().find(upright)
    one, other = (Chip.cut(image, face, Preprocess()) for image in (upright, open_picture(buffer.getvalue())))
    assert same_pixels(one.image, other.image)


def test_its_png_carries_no_metadata(sample_faces):
    image, face = sample_faces[0]
    noted = image.copy()
    noted.info.update(exif=b"Exif\x00\x00secret", comment=b"secret", icc_profile=b"secret", dpi=(72, 72), Author="secret")
    png = Chip.cut(noted, face, Preprocess()).png()
    assert b"secret" not in png
    kinds, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kinds.append(png[at + 4 : at + 8])
        at += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(io.BytesIO(png)) as kept:
        assert isinstance(kept, PngImagePlugin.PngImageFile) and kept.mode == "RGB" and kept.info == {}


def test_a_png_that_is_kept_is_the_chip_again(sample_faces):
    image, face = sample_faces[0]
    chip = Chip.cut(image, face, Preprocess())
    again = Chip.of(chip.png(), chip.face.box, chip.face.landmarks)
    assert same_pixels(again.image, chip.image) and again.face.box == chip.face.box
    with pytest.raises(UnreadablePicture):
        Chip.of(b"no picture", chip.face.box, None)


# --- the crop of both is the same ---------------------------------------------------------------


def assert_same_crop(image: Image.Image, face: Face) -> None:
    chip = Chip.cut(image, face, Preprocess())
    assert max(chip.image.size) < LONGEST, "this one was shrunk"
    assert same_pixels(Preprocess().crop(image, face), Preprocess().crop(chip.image, chip.face)), face


def test_the_crop_of_a_chip_is_that_of_the_photo_to_the_pixel(sample_faces):
    unshrunk = [one for one in sample_faces if max(Chip.cut(*one, Preprocess()).image.size) < LONGEST]
    assert len(unshrunk) > 10
    for image, face in unshrunk:
        assert_same_crop(image, face)


@pytest.mark.parametrize("degrees", [0, 1, 10, -30, 45, -45, 60, 90, 135, 180])
def test_so_is_that_of_a_face_turned_by_any_angle(degrees):
    for seed in range(4):
        left, top, width, height = np.random.default_rng(seed).uniform((60, 60, 40, 40), (200, 150, 150, 150))
        assert_same_crop(picture((400, 360), seed), rolled(Face((left, top, left + width, top + height)), degrees))


@pytest.mark.parametrize("box", [
    (0, 0, 80, 90), (320, 0, 400, 90), (0, 200, 80, 300), (320, 210, 400, 300), (150, 0, 260, 40), (0, 100, 30, 220),
    (0, 0, 400, 300), (399, 299, 400, 300), (1.4, 2.6, 81.3, 99.9),
])  # fmt: skip
@pytest.mark.parametrize("degrees", [0, 20, -45])
def test_so_is_that_of_a_face_at_the_border_of_the_picture(box, degrees):
    image = picture((400, 300), 7)
    assert_same_crop(image, rolled(Face(box), degrees) if degrees else Face(box))
    assert_same_crop(image, rolled(Face(box), degrees))


@pytest.mark.parametrize("side", [16, 20, 24, 32])
def test_so_is_that_of_a_small_face(side):
    for degrees in (0, 30, 45):
        assert_same_crop(picture((200, 200), side), rolled(Face((90.3, 80.7, 90.3 + side, 80.7 + side)), degrees))


# --- the prediction of both is the same ---------------------------------------------------------


def differences(recognizer, folder: Path, faces: list[Found]) -> tuple[np.ndarray, int]:
    """By face the largest difference of a probability between photo and chip as it is kept, and how many were shrunk."""
    preprocess = recognizer.bundle.preprocess
    chips = [Chip.cut(image, face, preprocess) for image, face in faces]
    store = LabelStore(folder)
    ids = store.add(NewItem("photo", str(number), one.png(), *one.image.size, one.face.box, one.face.landmarks) for number, one in enumerate(chips))
    kept = [Chip.of(store.picture(item), item.box, item.landmarks) for item in (store.item(number) for number in ids)]
    store.close()
    on_photo = recognizer.predict([preprocess(image, face) for image, face in faces])
    on_chip = recognizer.predict([preprocess(one.image, one.face) for one in kept])
    pairs = [(one.probabilities, other.probabilities) for one, other in zip(on_photo, on_chip, strict=True)]
    shrunk = sum(max(one.image.size) == LONGEST for one in chips)
    return np.array([np.abs(np.subtract(one, other)).max() for one, other in pairs]), shrunk


def test_a_photo_and_its_chip_give_the_same_prediction(recognizer, tmp_path, sample_faces):
    found, _ = differences(recognizer, tmp_path, sample_faces)
    assert len(found) >= 12 and found.max() <= 0.02, np.sort(found)[-5:]


@pytest.mark.parametrize("times", [3, 6])
def test_so_they_do_where_the_chip_had_to_be_shrunk(recognizer, tmp_path, sample_faces, times):
    chosen = [(image, face) for image, face in sample_faces if max(image.size) * times <= 9000]
    large = [(image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC), face.scaled(times, times))
             for image, face in chosen]  # fmt: skip
    found, shrunk = differences(recognizer, tmp_path, large)
    print(f"{shrunk} of {len(found)} shrunk, largest difference {found.max():.4f}")
    assert shrunk >= 5 and found.max() <= 0.02, np.sort(found)[-5:]


@pytest.mark.data
def test_so_they_do_on_hundreds_of_faces_of_any_size(recognizer, tmp_path, ferplus):
    random, faces = np.random.default_rng(0), []
    paths = sorted((ferplus / "FER2013Test").glob("*.png"))
    for at in random.choice(len(paths), 320, replace=False):
        side = int(random.integers(60, 900))
        face = open_picture(paths[at]).resize((side, side), Image.Resampling.BICUBIC).rotate(random.uniform(-25, 25), Image.Resampling.BICUBIC)
        canvas = Image.new("RGB", (side * 3 // 2, side * 3 // 2), tuple(random.integers(0, 256, 3).tolist()))
        canvas.paste(face, (int(random.integers(0, side // 2)), int(random.integers(0, side // 2))))
        faces += [(canvas, one) for one in FaceDetector(longest=320).find(canvas)[:1]]
    found, shrunk = differences(recognizer, tmp_path, faces)
    print(f"{shrunk} of {len(found)} shrunk, largest difference {found.max():.4f}")
    assert len(found) >= 280 and shrunk >= 50 and found.max() <= 0.02, np.sort(found)[-5:]
