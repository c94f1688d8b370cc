"""What makes a face's scores less sure, and that a good face gets no remark."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from fer.faces import Face
from fer.picture import open_picture
from fer.quality import BLURRED, CUT, DARK, SMALL, TURNED, remarks, sharpness, turn


@pytest.fixture(scope="module")
def photo(collins) -> Image.Image:
    return open_picture(collins)


CHANGES = {
    "as it is": (lambda photo: photo, ()),
    "half the size": (lambda photo: photo.resize((256, 256), Image.Resampling.BICUBIC), (SMALL,)),
    "little light": (lambda photo: ImageEnhance.Brightness(photo).enhance(0.2), (DARK,)),
    "out of focus": (lambda photo: photo.filter(ImageFilter.GaussianBlur(3)), (BLURRED,)),
    "cut on the left": (lambda photo: photo.crop((200, 0, 512, 512)), (CUT,)),
    "cut on the right": (lambda photo: photo.crop((0, 0, 245, 512)), (CUT,)),
    "cut at the top": (lambda photo: photo.crop((0, 85, 512, 512)), (CUT,)),
    "cut at the bottom": (lambda photo: photo.crop((0, 0, 512, 155)), (CUT,)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_photo_made_worse_gets_its_remark_and_no_other(recognizer, photo, change):
    apply, expected = CHANGES[change]
    (face,) = recognizer.read(apply(photo)).faces
    assert face.remarks == expected


def test_several_reasons_come_together(recognizer, photo):
    worse = ImageEnhance.Brightness(photo.resize((256, 256)).crop((100, 0, 256, 256))).enhance(0.25)
    (face,) = recognizer.read(worse).faces
    assert face.remarks == (SMALL, DARK, CUT)


def test_every_remark_says_what_is_wrong_and_what_to_do():
    codes = [one.code for one in (SMALL, DARK, BLURRED, TURNED, CUT)]
    assert len(set(codes)) == 5
    for one in (SMALL, DARK, BLURRED, TURNED, CUT):
        assert one.words.startswith("The face is ") and ": " in one.words and one.words.endswith(".")


def face_with_nose(nose: tuple[float, float], turned: float = 0.0) -> Face:
    """A face with eyes 40 pixels apart, turned in the picture by `turned` radians about the left eye."""
    points = np.array([(100.0, 100.0), (140.0, 100.0), nose, (105.0, 145.0), (135.0, 145.0)]) - 100
    cos, sin = np.cos(turned), np.sin(turned)
    points = points @ np.array([[cos, sin], [-sin, cos]]) + 100
    return Face((80.0, 60.0, 170.0, 170.0), tuple(map(tuple, points.tolist())))


@pytest.mark.parametrize(("nose", "share"), [((120, 125), 0.0), ((130, 125), 0.25), ((110, 90), 0.25), ((150, 125), 0.75)])
@pytest.mark.parametrize("turned", [0.0, 0.5, -2.0])
def test_turn_is_how_far_the_nose_is_off_the_middle_in_eye_distances(nose, share, turned):
    assert turn(face_with_nose(nose, turned)) == pytest.approx(share)


def test_a_face_whose_eyes_fall_together_is_turned_and_one_without_landmarks_is_not():
    assert turn(Face((0, 0, 10, 10), ((5.0, 5.0),) * 5)) == 1.0
    assert turn(Face((0, 0, 10, 10))) == 0.0


def test_a_face_turned_away_gets_its_remark(photo):
    crop = photo.crop((150, 30, 300, 180))
    assert remarks(photo, face_with_nose((138, 125)), crop) == (TURNED,)
    assert remarks(photo, face_with_nose((121, 125)), crop) == ()


def test_sharpness_is_the_deviation_of_the_laplacian():
    flat = np.full((20, 20), 90.0)
    ramp = np.add.outer(np.arange(20.0), 3 * np.arange(20.0))
    board = 100 + 10.0 * (-1) ** np.add.outer(np.arange(20), np.arange(20))
    assert sharpness(flat) == sharpness(ramp) == 0.0
    assert sharpness(board) == pytest.approx(80.0)  # 8 times the height of the board, on either side


def test_blurring_only_lowers_sharpness(photo):
    grey = [np.asarray(photo.convert("L").filter(ImageFilter.GaussianBlur(radius)), float) for radius in (0, 1, 2, 4)]
    values = [sharpness(one) for one in grey]
    assert values == sorted(values, reverse=True) and values[0] > 4 * values[-1]


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_face_of_a_few_pixels_is_small_and_nothing_breaks(side):
    image = Image.new("RGB", (300, 300), "white")
    face = Face((100.0, 100.0, 100.0 + side, 100.0 + side))
    assert SMALL in remarks(image, face, image.crop((100, 100, 100 + side, 100 + side)))
