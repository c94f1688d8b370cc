"""From a picture to the expressions its faces show."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch
from conftest import SAMPLES, picture
from PIL import Image

from fer.bundle import BundleError
from fer.emotions import CLASSES
from fer.faces import FaceDetector
from fer.picture import UnreadablePicture, open_picture
from fer.predict import BATCH, CLOSE, UNSURE, Prediction, Reading, Recognizer
from fer.quality import CUT, SMALL


@pytest.fixture(scope="module")
def photo(collins) -> Image.Image:
    return open_picture(collins)


@pytest.fixture(scope="module")
def reading(recognizer, collins) -> Reading:
    return recognizer.read(collins)


@pytest.fixture(scope="module")
def group(recognizer) -> Reading:
    return recognizer.read(SAMPLES / "oath-ceremony.jpg")


def prediction(*probabilities: float) -> Prediction:
    return Prediction(probabilities, CLASSES[: len(probabilities)], "v1")


def test_her_smile_is_read_as_happiness(reading):
    (face,) = reading.faces
    assert face.prediction.expression == "happiness" and face.prediction.confidence > 0.9
    assert not face.prediction.unclear and face.remarks == ()


def test_the_object_has_the_shape_that_scripts_rely_on(reading):
    answer = reading.as_dict("a folder/eileen-collins.jpg")
    assert list(answer) == ["image", "width", "height", "ms", "model", "faces"]
    assert (answer["image"], answer["width"], answer["height"]) == ("eileen-collins.jpg", 512, 512)
    assert answer["ms"] > 0 and answer["model"] == reading.model
    (face,) = answer["faces"]
    assert {"box", "score", "expression", "confidence", "scores"} <= set(face)
    assert list(face["scores"]) == list(CLASSES)
    assert face["confidence"] == face["scores"][face["expression"]] == max(face["scores"].values())
    assert sum(face["scores"].values()) == pytest.approx(1, abs=1e-5)
    left, top, right, bottom = face["box"]
    assert 0 <= left < right <= 512 and 0 <= top < bottom <= 512 and 0 < face["score"] <= 1
    assert json.loads(json.dumps(answer)) == answer


def test_remarks_travel_in_the_object(recognizer, photo):
    answer = recognizer.read(photo.resize((256, 256)).crop((100, 0, 256, 256))).as_dict("x.png")
    assert answer["faces"][0]["remarks"] == [
        {"code": SMALL.code, "words": SMALL.words},
        {"code": CUT.code, "words": CUT.words},
    ]


def test_faces_come_by_left_edge(group):
    lefts = [face.box[0] for face in group.faces]
    assert len(lefts) >= 7 and lefts == sorted(lefts)


def test_probabilities_of_every_face_sum_to_one(group):
    for face in group.faces:
        values = face.prediction.probabilities
        assert sum(values) == pytest.approx(1, abs=1e-5) and min(values) >= 0
        assert face.prediction.classes == CLASSES and face.prediction.model == group.model


def test_one_picture_is_read_the_same_however_it_arrives(recognizer, collins, reading):
    data = collins.read_bytes()
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    for source in (str(collins), data, url, np.asarray(Image.open(collins)), Image.open(collins)):
        assert recognizer.read(source).faces == reading.faces


def test_forty_faces_at_once_are_read_as_one_by_one(recognizer, photo):
    tail, (face,) = recognizer.bundle.preprocess, recognizer.detector.find(photo)
    random = np.random.default_rng(0)
    crops = [tail.crop(photo.rotate(random.uniform(-25, 25)), face) for _ in range(40)]
    tensors = [tail.to_tensor(crop) for crop in crops]
    assert len(tensors) > BATCH
    together = recognizer.predict(tensors)
    alone = [recognizer.predict([tensor])[0] for tensor in tensors]
    assert len(together) == 40 and len({one.probabilities for one in together}) > 30
    np.testing.assert_allclose([one.probabilities for one in together], [one.probabilities for one in alone], atol=1e-5)


def test_a_reading_is_what_detector_crop_and_model_give(recognizer, photo, reading):
    (face,) = FaceDetector().find(photo)
    tensor = recognizer.bundle.preprocess(photo, face)
    assert reading.faces[0].face == face
    expected = recognizer.bundle.probabilities(torch.stack([tensor]))[0].numpy()
    np.testing.assert_allclose(reading.faces[0].prediction.probabilities, expected, atol=1e-6)


def test_no_face_is_a_reading_without_faces(recognizer):
    reading = recognizer.read(picture((300, 200)))
    assert (reading.width, reading.height, reading.faces) == (300, 200, ())
    assert reading.as_dict("x")["faces"] == []
    assert recognizer.predict([]) == []


def test_a_photo_stored_on_its_side_is_read_upright(recognizer, photo, reading, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    assert recognizer.read(tmp_path / "side.png").faces == reading.faces


def test_a_file_that_is_no_picture_is_refused(recognizer, tmp_path):
    (tmp_path / "notes.jpg").write_text("notes")
    with pytest.raises(UnreadablePicture, match=r"^notes\.jpg "):
        recognizer.read(tmp_path / "notes.jpg")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(BundleError, match="bundle.json"):
        Recognizer.load(tmp_path)


def test_the_expression_is_the_most_probable_class():
    one = prediction(0.2, 0.7, 0.1)
    assert (one.expression, one.confidence) == ("happiness", 0.7)
    assert one.scores == {"neutral": 0.2, "happiness": 0.7, "surprise": 0.1}


@pytest.mark.parametrize(
    ("probabilities", "unclear"),
    [
        ((0.9, 0.1), False),
        ((UNSURE + 0.01, 0.25, 0.29), False),
        ((UNSURE - 0.01, 0.28, 0.28), True),
        ((0.5 + CLOSE / 2 + 0.01, 0.5 - CLOSE / 2 - 0.01), False),
        ((0.5 + CLOSE / 2 - 0.01, 0.5 - CLOSE / 2 + 0.01), True),
        ((0.5, 0.5), True),
        ((0.125,) * 8, True),
    ],
)
def test_a_face_is_unclear_when_the_first_is_weak_or_the_second_close(probabilities, unclear):
    assert prediction(*probabilities).unclear is unclear


def test_threads_may_share_a_recognizer(recognizer, collins, reading):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(recognizer.read, [collins] * 6))
    assert all(answer.faces == reading.faces for answer in answers)
