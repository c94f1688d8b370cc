"""Finding faces, and following them from one frame to the next."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import picture
from PIL import Image, ImageChops

from fer.faces import Face, FaceDetector
from fer.picture import open_picture

HEAD = (150, 30, 300, 180)  # of the photograph of Eileen Collins


@pytest.fixture(scope="module")
def photo(collins) -> Image.Image:
    return open_picture(collins)


@pytest.fixture(scope="module")
def face(photo) -> Face:
    (found,) = FaceDetector().find(photo)
    return found


def crowd(photo: Image.Image, columns: int, rows: int) -> Image.Image:
    head = photo.crop(HEAD)
    image = Image.new("RGB", (columns * head.width, rows * head.height))
    for index in range(columns * rows):
        image.paste(head, (index % columns * head.width, index // columns * head.height))
    return image


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one.box, other.box)]
    return common / (sum(areas) - common)


def test_her_face_is_found_where_it_is(face):
    assert overlap(face, Face((180, 62, 267, 173))) > 0.85
    assert face.score > 0.9


def test_landmarks_are_eyes_nose_and_mouth_as_seen_in_the_picture(face):
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    left, top, right, bottom = face.box
    assert all(left < x < right and top < y < bottom for x, y in face.landmarks)


def test_the_same_picture_gives_the_same_face_twice(photo, face):
    assert FaceDetector().find(photo) == [face]


def test_a_large_photo_gives_the_face_in_its_own_pixels(photo, face):
    large = photo.resize((2048, 2048), Image.Resampling.BICUBIC)
    (found,) = FaceDetector().find(large)
    assert overlap(found, Face(tuple(4 * value for value in face.box))) > 0.8


@pytest.mark.parametrize("image", [picture((300, 200)), Image.new("RGB", (640, 480)), Image.new("RGB", (640, 480), "white")])
def test_where_there_is_no_face_the_list_is_empty(image):
    assert FaceDetector().find(image) == []


@pytest.mark.parametrize("size", [(1, 1), (31, 31), (31, 500), (500, 31), (32, 32), (33, 40), (32, 960), (5000, 40)])
def test_a_picture_too_small_for_a_face_has_none(size):
    assert FaceDetector().find(picture(size)) == []


def test_a_face_much_smaller_than_the_smallest_is_not_looked_for(photo):
    fifth = photo.resize((102, 102), Image.Resampling.BICUBIC)  # her face is 18 pixels wide there
    assert FaceDetector(smallest=64).find(fifth) == []
    assert len(FaceDetector(smallest=20).find(fifth)) == 1


def test_a_crowd_of_sixty_is_found_by_left_edge(photo):
    faces = FaceDetector().find(crowd(photo, 10, 6))
    assert 55 <= len(faces) <= 60
    assert [one.box[0] for one in faces] == sorted(one.box[0] for one in faces)


@pytest.mark.parametrize(
    "border",
    [(200, 0, 512, 512), (0, 0, 245, 512), (0, 85, 512, 512), (0, 0, 512, 155)],
    ids=["left", "right", "top", "bottom"],
)
def test_the_box_of_a_face_cut_by_the_border_stays_inside(photo, border):
    cut = photo.crop(border)
    (found,) = FaceDetector().find(cut)
    left, top, right, bottom = found.box
    assert 0 <= left < right <= cut.width and 0 <= top < bottom <= cut.height
    assert min(left, top, cut.width - right, cut.height - bottom) == 0


@pytest.mark.parametrize("degrees", [-20, 20])
def test_roll_grows_clockwise_with_the_picture(photo, face, degrees):
    (turned,) = FaceDetector().find(photo.rotate(-degrees, Image.Resampling.BICUBIC))
    assert math.degrees(turned.roll - face.roll) == pytest.approx(degrees, abs=8)


@pytest.mark.parametrize(
    ("right_eye", "degrees"), [((20, 0), 0), ((20, 20), 45), ((20, -20), -45), ((0, 20), 90), ((-20, 0), 180)]
)
def test_roll_is_the_turn_of_the_line_between_the_eyes(right_eye, degrees):
    points = ((0.0, 0.0), tuple(map(float, right_eye)), (10.0, 10.0), (5.0, 20.0), (15.0, 20.0))
    assert math.degrees(Face((0, 0, 30, 30), points).roll) == pytest.approx(degrees)


def test_the_face_of_a_ready_made_crop_is_all_of_it():
    whole = Face.whole(Image.new("RGB", (48, 40)))
    assert whole.box == (0, 0, 48, 40) and whole.landmarks is None and whole.roll == 0.0 and whole.score == 1.0


@pytest.mark.parametrize("shift", [(0, 0), (8, 5), (-20, 10), (25, 0), (0, -20)])
def test_a_face_that_moved_is_followed_to_where_it_would_be_found(photo, face, shift):
    moved = ImageChops.offset(photo, *shift)
    (followed,) = FaceDetector().follow(moved, [face])
    (found,) = FaceDetector().find(moved)
    assert np.abs(np.subtract(followed.box, found.box)).max() < 8
    assert np.abs(np.subtract(followed.landmarks, found.landmarks)).max() < 5
    assert followed.score > 0.9


def test_a_face_that_is_gone_is_lost_and_the_others_keep_their_places(photo, face):
    elsewhere = Face((350.0, 350.0, 450.0, 450.0))
    beside = Face((-200.0, 0.0, -100.0, 100.0))
    lost, kept, outside = FaceDetector().follow(photo, [elsewhere, face, beside])
    assert lost is None and outside is None and overlap(kept, face) > 0.85


@pytest.mark.parametrize("image", [picture((512, 512)), Image.new("RGB", (512, 512), "grey"), Image.new("RGB", (1, 1))])
def test_in_a_picture_without_faces_none_is_followed(image, face):
    assert FaceDetector().follow(image, [face, face]) == [None, None]


def test_nobody_to_follow_is_nobody_followed(photo):
    assert FaceDetector().follow(photo, []) == []


def test_following_on_a_still_picture_does_not_drift(photo, face):
    faces = [face]
    for _ in range(50):
        faces = FaceDetector().follow(photo, faces)
        assert faces[0] is not None and overlap(faces[0], face) > 0.85


def test_following_a_face_at_the_border_does_not_drift(photo):
    cut = photo.crop((195, 0, 512, 512))
    faces = (start,) = FaceDetector().find(cut)
    for _ in range(50):
        faces = FaceDetector().follow(cut, faces)
        assert faces[0] is not None and overlap(faces[0], start) > 0.7
        assert faces[0].box[0] >= 0


def test_a_walk_is_followed_from_frame_to_frame(photo, face):
    faces = [face]
    for step in range(1, 16):
        faces = FaceDetector().follow(ImageChops.offset(photo, 10 * step, 6 * step), faces)
        assert faces[0] is not None, step
    expected = Face(tuple(np.add(face.box, (150, 90, 150, 90)).tolist()))
    assert overlap(faces[0], expected) > 0.85


def test_threads_that_share_a_detector_find_the_same(photo, face):
    from concurrent.futures import ThreadPoolExecutor

    detector = FaceDetector(smallest=33)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: detector.find(photo), range(3)))
    assert len(answers[0]) == 1 and answers[0] == answers[1] == answers[2]
