"""Ready-made faces keep their pixels and lose everything else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import COLLINS, picture
from label_workspaces import chip, png
from PIL import Image

from labeling import pictures
from labeling.pictures import UnreadablePicture, open_face, small_grey


def saved(image: Image.Image, kind: str = "PNG", **more) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_stays_grey_and_colour_stays_colour(mode):
    image = chip(0).convert(mode)
    opened = open_face(png(image))
    assert opened.mode == mode and opened.tobytes() == image.tobytes()
    assert pictures.png(opened) == png(image), "the same picture would be kept twice"


@pytest.mark.parametrize(
    ("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("RGBA", "RGB"), ("LA", "RGB"), ("CMYK", "RGB")]
)
def test_other_modes_become_grey_or_rgb(mode, becomes):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert open_face(saved(chip(0).convert(mode), kind)).mode == becomes


def test_transparency_is_laid_on_white_and_deep_grey_scaled():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(open_face(saved(clear))).min() == 255
    deep = Image.fromarray(np.array([[0, 65535], [257, 32768]], dtype=np.uint16))
    assert np.asarray(open_face(saved(deep))).tolist() == [[0, 255], [1, 128]]


def test_a_picture_is_turned_as_exif_says_and_loses_its_metadata():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    content = saved(picture((30, 20)), "JPEG", exif=exif, comment=b"a secret word")
    kept = pictures.png(open_face(content))
    assert open_face(content).size == (20, 30) and b"secret" in content and b"secret" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert not image.info and not image.getexif()


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "not a picture"), (b"<svg/>", "not a picture"), (png(chip(0))[:2000], "damaged or cut off")],
)
def test_what_cannot_be_opened_is_said_in_a_sentence(content, match):
    with pytest.raises(UnreadablePicture, match=rf"^It is .*{match}.*\.$"):
        open_face(content)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    with pytest.raises(UnreadablePicture, match=r"^It has more than"):
        open_face(png(chip(0)))


def test_a_small_grey_face_keeps_its_pixels_and_others_are_made_one():
    image = chip(0).convert("L").resize((48, 48))
    assert small_grey(png(image), 48).tobytes() == image.tobytes()
    assert small_grey(png(chip(0)), 48).size == (48, 48)
    wide = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8), (24, 1)))
    square = np.asarray(small_grey(png(wide), 48))
    assert (square == np.arange(48)).all(), "squeezed, or bordered with black"


def test_the_detectors_opener_and_this_one_see_the_same():
    from fer.picture import open_picture

    content = COLLINS.read_bytes()
    assert open_face(content).tobytes() == open_picture(content).tobytes()
