"""Every way a picture can arrive: the same upright pixels, or one clear sentence."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from fer.picture import MAX_PIXELS, UnreadablePicture, open_picture

ORIENTATION = 0x0112
# What a camera held that way has stored, for each orientation that it then writes down (EXIF 2.3, 4.6.4).
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(source) -> str:
    """The sentence that `source` is refused with."""
    with pytest.raises(UnreadablePicture) as caught:
        open_picture(source)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(re.findall(r"[.!?](?=\s|$)", sentence)) == 1 and sentence.endswith("."), sentence
    assert sentence[0] not in " .,:;" and "/" not in sentence and "\\" not in sentence, sentence
    return sentence


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds one packed row."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    row = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def test_one_picture_gives_the_same_pixels_however_it_arrives(tmp_path):
    image = picture()
    data = encoded(image)
    (tmp_path / "a.png").write_bytes(data)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), data, data_url(data), np.array(image), image]
    for source in sources:
        np.testing.assert_array_equal(pixels(open_picture(source)), np.asarray(image))


def test_a_jpeg_gives_the_same_pixels_however_it_arrives(collins):
    expected = pixels(open_picture(collins))
    data = collins.read_bytes()
    with Image.open(collins) as lazy:
        for source in (data, data_url(data), lazy, np.asarray(Image.open(collins))):
            np.testing.assert_array_equal(pixels(open_picture(source)), expected)


def test_an_array_that_is_a_view_is_read_as_it_looks():
    array = np.asarray(picture())
    for view in (array[::-1], array[:, ::2], array[..., ::-1]):
        np.testing.assert_array_equal(pixels(open_picture(view)), view)


def test_grey_arrays_and_arrays_with_transparency_are_read():
    grey = np.asarray(picture().convert("L"))
    np.testing.assert_array_equal(pixels(open_picture(grey)), np.stack([grey] * 3, axis=2))
    clear = np.zeros((4, 5, 4), np.uint8)
    assert (pixels(open_picture(clear)) == 255).all()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_comes_out_upright(tmp_path, orientation, kind):
    upright = picture((40, 24))
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / f"turned.{kind.lower()}"
    stored.save(path, kind, exif=exif, **options)
    with Image.open(path) as lazy:
        for source in (path, path.read_bytes(), lazy):
            np.testing.assert_array_equal(pixels(open_picture(source)), np.asarray(upright))


def test_an_unknown_orientation_leaves_the_picture_as_it_is():
    exif = Image.Exif()
    exif[ORIENTATION] = 99
    image = picture()
    np.testing.assert_array_equal(pixels(open_picture(encoded(image, exif=exif))), np.asarray(image))


# Block of EXIF with orientation 6 and, before it, a tag whose kind is none of TIFF's.
ODD_EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02"
    b"\x01\x09\0\x02\0\0\0\x04cam\0"
    b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0MM\0*" + b"\xff" * 40, b"Exif\0\0not a TIFF header", ODD_EXIF],
    ids=["short", "no header", "odd tag"],
)
def test_damaged_exif_does_not_cost_the_picture(kind, exif):
    image = open_picture(encoded(picture(), kind, exif=exif))
    assert sorted(image.size) == [48, 64]


def test_no_metadata_travels_on(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "a camera"
    path = tmp_path / "photo.jpg"
    picture().save(path, exif=exif, comment=b"at home", icc_profile=b"x" * 200, dpi=(300, 300))
    image = open_picture(path)
    assert not image.info and not image.getexif()
    assert b"camera" not in encoded(image, "JPEG") and b"at home" not in encoded(image, "JPEG")


def test_the_given_picture_is_not_changed():
    given = Image.new("RGBA", (4, 4), (10, 20, 30, 40))
    open_picture(given)
    assert given.mode == "RGBA" and given.getpixel((0, 0)) == (10, 20, 30, 40)
    plain = picture()
    before = plain.tobytes()
    open_picture(plain).paste((0, 0, 0), (0, 0, 64, 48))
    assert plain.tobytes() == before


def test_cmyk_is_read_in_its_colours():
    data = encoded(Image.new("RGB", (32, 32), (200, 40, 90)).convert("CMYK"), "JPEG", quality=100)
    difference = pixels(open_picture(data)).astype(int) - (200, 40, 90)
    assert abs(difference).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp)
    for source in (image, encoded(image, kind)):
        np.testing.assert_array_equal(pixels(open_picture(source))[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize("value", [0, 100, 255])
def test_eight_bit_grey_keeps_its_values(value):
    assert (pixels(open_picture(encoded(Image.new("L", (3, 2), value)))) == value).all()


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 100), (128, 177)])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_white(mode, alpha, expected):
    colour = (100, alpha) if mode == "LA" else (100, 100, 100, alpha)
    found = pixels(open_picture(encoded(Image.new(mode, (3, 2), colour))))
    assert abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_becomes_white(kind):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    found = pixels(open_picture(encoded(image, kind, transparency=0)))
    assert found.tolist() == [[[255, 255, 255], [0, 0, 200]]]


def test_black_and_white_is_read():
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    assert pixels(open_picture(encoded(image))).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    with Image.open(path) as lazy:
        for source in (path, path.read_bytes(), lazy):
            assert (pixels(open_picture(source)) == (255, 0, 0)).all()


def test_one_pixel_is_a_picture():
    assert pixels(open_picture(encoded(Image.new("RGB", (1, 1), (1, 2, 3))))).tolist() == [[[1, 2, 3]]]


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


NOISE = picture((200, 150))
BAD_FILES = {
    "empty.jpg": (b"", "is an empty file"),
    "notes.jpg": (b"these are notes", "is not a picture"),
    "cut.jpg": (cut(encoded(NOISE, "JPEG")), "is damaged or cut off"),
    "cut.png": (cut(encoded(NOISE)), "is damaged or cut off"),
    "head.jpg": (encoded(NOISE, "JPEG")[:10], "is not a picture"),
    "cut.gif": (cut(encoded(NOISE, "GIF"), 0.9), "is damaged or cut off"),
    "cut.webp": (cut(encoded(NOISE, "WEBP")), "is"),
    "huge.png": (png_of(20_000, 20_000), "more than 50 million pixels"),
    "large.png": (png_of(7_100, 7_100), "more than 50 million pixels"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not a picture"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_one_sentence_with_its_name(tmp_path, name):
    content, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    sentence = refusal(tmp_path / name)
    assert sentence.startswith(name) and words in sentence
    assert refusal(str(tmp_path / name)) == sentence


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_bytes_get_the_same_sentence_without_a_name(name):
    content, words = BAD_FILES[name]
    for source in (content, data_url(content)):
        sentence = refusal(source)
        assert words in sentence and sentence.startswith("The picture")


def test_a_large_array_or_picture_is_refused_before_it_is_copied():
    flat = np.broadcast_to(np.uint8(0), (MAX_PIXELS // 5_000 + 1, 5_000))
    assert "50 million" in refusal(flat)
    with Image.open(io.BytesIO(png_of(7_000, 7_000))) as lazy:
        lazy._size = (7_100, 7_100)
        assert "50 million" in refusal(lazy)


def test_a_missing_file_is_called_missing(tmp_path):
    sentence = refusal(tmp_path / "gone.jpg")
    assert sentence.startswith("gone.jpg") and "does not exist" in sentence


def test_a_folder_is_not_called_missing(tmp_path):
    (tmp_path / "holidays").mkdir()
    sentence = refusal(tmp_path / "holidays")
    assert sentence.startswith("holidays") and "does not exist" not in sentence


@pytest.mark.parametrize("path", ["", "a\0b.jpg", "x" * 300 + ".jpg"], ids=["empty", "null", "long"])
def test_a_name_no_file_can_have_gets_a_sentence(path):
    refusal(path)


def test_a_file_that_may_not_be_read_gets_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "private.jpg"
    path.write_bytes(encoded(NOISE, "JPEG"))

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)  # the tests may run as root, who may read everything
    assert refusal(path).startswith("private.jpg")


@pytest.mark.parametrize(
    "url",
    ["data:", "data:image/png;base64", "data:image/png,abc", "data:image/png;base64,a", "data:image/png;base64,%%%%",
     "data:image/png;base64,ü"],
)  # fmt: skip
def test_a_broken_data_url_is_called_damaged(url):
    assert "data URL is damaged" in refusal(url)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_picture_is_refused(array):
    refusal(array)


def test_a_picture_without_pixels_is_refused():
    assert "no pixels" in refusal(Image.new("RGB", (0, 5)))
