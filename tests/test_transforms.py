"""From a face to the network's input: one way, whatever the picture came as."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from fer.faces import Face, FaceDetector
from fer.picture import open_picture
from fer.transforms import Preprocess

GREY_MEAN, GREY_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def bicubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (IEEE ASSP 1981)."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def shrunk(grey: np.ndarray, size: int) -> np.ndarray:
    """The square `grey` (H, H) as 0..255 (size, size), a = -1/2; rounded to whole greys after each direction."""
    scale = grey.shape[0] / size
    centres = (np.arange(size) + 0.5) * scale
    weights = bicubic((np.arange(grey.shape[0]) + 0.5 - centres[:, None]) / scale, -0.5)
    weights /= weights.sum(axis=1, keepdims=True)
    across = np.clip(np.floor(grey @ weights.T + 0.5), 0, 255)
    return np.clip(np.floor(weights @ across + 0.5), 0, 255)


def enlarged(grey: np.ndarray, size: int) -> np.ndarray:
    """The square `grey` (H, H) as 0..255 (size, size), a = -1; border pixels repeat, fractions are cut off."""
    side = grey.shape[0]
    centres = (np.arange(size) + 0.5) * side / size
    around = np.arange(-2, side + 2)
    full = bicubic(around + 0.5 - centres[:, None], -1.0)
    weights = np.zeros((size, side))
    np.add.at(weights, (slice(None), np.clip(around, 0, side - 1)), full)
    return np.clip(np.floor(weights @ grey @ weights.T + 1e-6), 0, 255)


def resized(grey: np.ndarray, size: int) -> np.ndarray:
    return enlarged(grey, size) if grey.shape[0] < size else shrunk(grey, size)


def reference(rgb: np.ndarray, size: int) -> np.ndarray:
    """What `Preprocess.to_tensor` promises of (H, H, 3), computed from the definitions."""
    luma = np.floor(rgb.astype(float) @ (0.299, 0.587, 0.114) + 0.5)  # ITU-R BT.601
    grey = resized(luma, size) / 255
    return (grey[None] - GREY_MEAN[:, None, None]) / GREY_STD[:, None, None]


@pytest.fixture(scope="module")
def photo(collins) -> Image.Image:
    return open_picture(collins)


@pytest.fixture(scope="module")
def face(photo) -> Face:
    (found,) = FaceDetector().find(photo)
    return found


@pytest.mark.parametrize("side", [48, 96, 231])
def test_the_tensor_is_what_the_definitions_say(photo, side):
    crop = photo.crop((150, 30, 300, 180)).resize((side, side), Image.Resampling.LANCZOS)
    tensor = Preprocess().to_tensor(crop)
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 96, 96)
    difference = np.abs(tensor.numpy() - reference(np.asarray(crop), 96)) * GREY_STD[:, None, None] * 255
    assert difference.max() < 1.01  # one level of grey, where two roundings fell apart
    assert (difference < 0.01).mean() > 0.98


def test_a_tensor_in_colour_keeps_its_channels_apart():
    crop = Image.new("RGB", (40, 40), (255, 0, 102))
    tensor = Preprocess(grayscale=False, size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).to_tensor(crop)
    np.testing.assert_allclose(tensor.mean(dim=(1, 2)).numpy(), [1.0, -1.0, -0.2], atol=1e-6)


def test_one_picture_gives_the_same_tensor_however_it_arrives(photo, tmp_path):
    path = tmp_path / "photo.png"
    photo.save(path)
    data = path.read_bytes()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    tensors = []
    for source in (path, str(path), data, url, np.array(photo), photo):
        image = open_picture(source)
        (found,) = FaceDetector().find(image)
        tensors.append(Preprocess()(image, found))
    assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)


def test_a_grey_crop_and_its_rgb_copy_give_the_same_tensor(photo):
    grey = photo.crop((150, 30, 300, 180)).convert("L")
    assert torch.equal(Preprocess().to_tensor(grey), Preprocess().to_tensor(grey.convert("RGB")))


def test_calling_is_cropping_and_then_the_tensor(photo, face):
    tail = Preprocess()
    assert torch.equal(tail(photo, face), tail.to_tensor(tail.crop(photo, face)))


def test_the_crop_of_a_ready_made_square_is_the_square():
    image = picture((48, 48))
    crop = Preprocess().crop(image, Face.whole(image))
    assert crop.mode == "RGB" and crop.tobytes() == image.tobytes()


@pytest.mark.parametrize(("size", "middle"), [((60, 48), (6, 0, 54, 48)), ((48, 60), (0, 6, 48, 54))])
def test_of_a_ready_made_oblong_the_middle_square_is_taken(size, middle):
    image = picture(size)
    assert Preprocess().crop(image, Face.whole(image)).tobytes() == image.crop(middle).tobytes()


def test_the_crop_is_square_and_as_large_as_the_face(photo, face):
    left, top, right, bottom = face.box
    crop = Preprocess().crop(photo, face)
    assert crop.mode == "RGB" and crop.width == crop.height
    assert crop.width == pytest.approx(1.08 * math.sqrt((right - left) * (bottom - top)), abs=1)


def turned_about_the_middle(image: Image.Image, face: Face, degrees: float) -> tuple[Image.Image, Face]:
    """`image` turned clockwise by `degrees`, and the same face in it."""
    angle, middle = math.radians(degrees), np.array(image.size) / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    landmarks = (np.array(face.landmarks) - middle) @ turn.T + middle
    corner, other = np.array(face.box[:2]), np.array(face.box[2:])
    centre = turn @ ((corner + other) / 2 - middle) + middle
    box = (*(centre - (other - corner) / 2).tolist(), *(centre + (other - corner) / 2).tolist())
    return image.rotate(-degrees, Image.Resampling.BICUBIC), Face(box, tuple(map(tuple, landmarks.tolist())))


def grey_difference(one: Image.Image, other: Image.Image) -> float:
    first, second = (np.asarray(image.convert("L").resize((96, 96)), dtype=float) for image in (one, other))
    return float(np.abs(first - second).mean())


@pytest.mark.parametrize("degrees", [-170, -90, -25, -3, 10, 45, 90, 180])
def test_a_turned_picture_gives_nearly_the_same_crop(photo, face, degrees):
    tail = Preprocess(shift=0.1)
    upright = tail.crop(photo, face)
    turned, turned_face = turned_about_the_middle(photo, face, degrees)
    assert grey_difference(upright, tail.crop(turned, turned_face)) < 3


def test_the_eyes_are_level_in_the_crop(photo, face):
    for degrees in (-30, 30):
        turned, turned_face = turned_about_the_middle(photo, face, degrees)
        (found,) = FaceDetector().find(Preprocess(side=2.0).crop(turned, turned_face))
        assert abs(math.degrees(found.roll)) < 6


LEVEL = ((12.0, 15.0), (28.0, 15.0), (20.0, 22.0), (14.0, 30.0), (26.0, 30.0))


def test_beyond_the_border_the_border_pixels_repeat():
    image = picture((40, 40))
    crop = Preprocess(side=1.5, shift=0.0).crop(image, Face((0.0, 0.0, 40.0, 40.0), LEVEL))
    expected = np.pad(np.asarray(image), [(10, 10), (10, 10), (0, 0)], mode="edge")
    np.testing.assert_array_equal(np.asarray(crop), expected)


def test_a_turned_crop_repeats_the_border_too():
    tilted = ((12.0, 12.0), (28.0, 22.0), *LEVEL[2:])
    for box in ((0, 0, 40, 40), (0, 0, 8, 8), (32, 32, 40, 40), (0, 30, 40, 40)):
        crop = Preprocess(side=1.8).crop(Image.new("RGB", (40, 40), (250, 130, 10)), Face(box, tilted))
        assert (np.asarray(crop) == (250, 130, 10)).all()


def test_a_positive_shift_moves_the_crop_down_the_face():
    rows = np.repeat(np.arange(0, 240, dtype=np.uint8)[:, None], 240, axis=1)
    image = Image.fromarray(rows).convert("RGB")
    points = ((100.0, 100.0), (140.0, 100.0), (120.0, 120.0), (105.0, 140.0), (135.0, 140.0))
    face = Face((80.0, 80.0, 160.0, 160.0), points)
    higher, lower = (np.asarray(Preprocess(side=1.0, shift=shift).crop(image, face)) for shift in (0.0, 0.25))
    assert lower.astype(int).mean() - higher.mean() == pytest.approx(20, abs=1)


@pytest.mark.parametrize("size", [(48, 47), (1, 2)])
def test_a_crop_that_is_not_square_is_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]}"):
        Preprocess().to_tensor(picture(size))


@pytest.mark.parametrize(
    "tail", [Preprocess(), Preprocess(64, False, 1.3, -0.02, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))], ids=["default", "other"]
)
def test_saved_and_read_back_it_is_the_same(tail):
    import json

    assert Preprocess.from_dict(json.loads(json.dumps(tail.as_dict()))) == tail


def test_missing_and_unknown_fields_are_refused_by_name():
    values = Preprocess().as_dict()
    with pytest.raises(ValueError, match="colour"):
        Preprocess.from_dict({**values, "colour": True})
    del values["side"]
    with pytest.raises(ValueError, match="side"):
        Preprocess.from_dict(values)


@pytest.mark.parametrize("values", [{"size": 31}, {"side": 0.0}, {"side": -1.0}, {"std": (0.2, 0.0, 0.2)}])
def test_impossible_values_are_refused(values):
    with pytest.raises(ValueError, match="preprocess needs"):
        Preprocess(**values)
