"""Labels over HTTP: ``/correct`` and the page's own way to correct, the review queue, and workspaces that cannot be used."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from calls import ask, assert_sentence, call, data_url, http, upload
from conftest import picture
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from label_workspaces import face, files_in, read_only
from PIL import Image

import app
from labeling.consents import PURPOSE, code_hash
from labeling.database import NAME
from labeling.items import NewItem, UnknownItem
from labeling.labels import LABELS

HER = [180, 62, 267, 173]  # the face in the photograph of Eileen Collins, pixels
ELSEWHERE = [0, 0, 60, 60]
CODE = "API0-API0-API0-API0"
_numbers = iter(range(1_000_000))


def request() -> str:
    return f"labels over http {next(_numbers)}"


@pytest.fixture(scope="module")
def client(app_address: str) -> Client:
    return Client(app_address, verbose=False)


@pytest.fixture
def store(app_served):
    return app_served[0].labels()


@contextmanager
def running(workspace: Path) -> Iterator[tuple[app.Services, str]]:
    services = app.Services(app.Settings(host="127.0.0.1", workspace=workspace))
    page, address = app.launch(services, block=False)
    try:
        services.recognizer()
        yield services, address.rstrip("/")
    finally:
        page.close()
        services.close()


def corrected(client: Client, photo: Path, **changes: object) -> int:
    values = {"box": HER, "expression": "surprise", "annotator": "Ada", "consent": CODE, "request_id": request(), **changes}
    return client.predict(handle_file(str(photo)), *values.values(), api_name="/correct")


def rows(store) -> list[int]:
    with store.database.reading() as connection:
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("items", "judgements", "consents")]


def pictures(folder: Path) -> set[str]:
    """Files under `folder` that hold a picture, by what is in them."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return {name for name, content in files_in(folder).items() if content.startswith(starts)}


# --- /correct -----------------------------------------------------------------------------------


def test_a_correction_is_kept_with_what_the_model_said(client, store, collins):
    number = corrected(client, collins, request_id="kept")
    annotation = store.annotation("kept")
    assert type(number) is int and annotation.id == number
    assert (annotation.annotator, annotation.kind, annotation.label, annotation.suggested) == ("Ada", "label", "surprise", False)
    (read,) = client.predict(handle_file(str(collins)), api_name="/predict")["faces"]
    assert np.allclose(annotation.probabilities, list(read["scores"].values()), atol=1e-5)
    item = store.item(annotation.item)
    assert item.source == "api" and item.group.startswith("photo:") and len(item.landmarks) == 5


def test_the_same_request_is_the_same_correction(client, store, collins):
    first, before = corrected(client, collins, request_id="same"), rows(store)
    assert corrected(client, collins, request_id="same") == first
    assert corrected(client, collins, request_id="same", expression="anger") == first
    assert rows(store) == before and store.annotation("same").label == "surprise"


def test_the_same_request_from_many_at_once_is_one_correction(client, store, collins):
    jobs = [client.submit(handle_file(str(collins)), HER, "fear", "Ada", CODE, "at once", api_name="/correct") for _ in range(6)]
    assert len({job.result(60) for job in jobs}) == 1


@pytest.mark.parametrize("box", [HER, [170, 55, 270, 180], [195, 70, 275, 180], [str(one) for one in HER], {"0": 1}])
def test_a_face_is_matched_where_half_of_it_overlaps(client, store, collins, box):
    if isinstance(box, dict):
        with pytest.raises(AppError, match="The box should be left, top, right, bottom"):
            corrected(client, collins, box=box)
        return
    name = request()
    corrected(client, collins, box=box, request_id=name)
    item = store.item(store.annotation(name).item)
    assert item.box[2] - item.box[0] == pytest.approx(87, abs=3), "the detector's box is kept, not the caller's"


WRONG = {
    "a place without a face": ({"box": ELSEWHERE}, "not in the picture"),
    "a box that only touches it": ({"box": [180, 62, 215, 110]}, "not in the picture"),
    "a box of no size": ({"box": [180, 62, 180, 62]}, "The box should be"),
    "a box upside down": ({"box": [267, 173, 180, 62]}, "The box should be"),
    "three numbers": ({"box": [1, 2, 3]}, "The box should be"),
    "words for a box": ({"box": ["left", 2, 3, 4]}, "The box should be"),
    "no box": ({"box": None}, "The box should be"),
    "not numbers": ({"box": ["nan", 0, "inf", 9]}, "The box should be"),
    "a box larger than any picture": ({"box": [0, 0, 10_000_000, 10_000_000]}, "not in the picture"),
    "a box beyond reason": ({"box": [0, 0, 1e300, 1e300]}, "not in the picture"),
    "a box that far exceeds the photo": ({"box": [-5000, -5000, 9000, 9000]}, "not in the picture"),
    "no consent": ({"consent": None}, "without agreement"),
    "consent that is none": ({"consent": False}, "without agreement"),
    "an empty consent": ({"consent": ""}, "without agreement"),
    "a short code": ({"consent": "ABCD-EFGH"}, "at least 16 letters"),
    "an expression nobody has": ({"expression": "hungry"}, "is not a label; use one of neutral, happiness"),
    "no expression": ({"expression": ""}, "is not a label"),
    "nobody's name": ({"annotator": "  "}, "A name of 1 to 60 letters"),
    "a name without end": ({"annotator": "A" * 61}, "A name of 1 to 60 letters"),
    "no request": ({"request_id": ""}, "A request id of 1 to 200 letters"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_correction_is_said_in_a_sentence_and_nothing_is_kept(client, store, collins, what):
    changes, words = WRONG[what]
    before = rows(store)
    with pytest.raises(AppError) as caught:
        corrected(client, collins, **changes)
    assert words in str(caught.value)
    if "consent" in what:
        assert PURPOSE in str(caught.value)
    else:
        assert_sentence(str(caught.value))
    assert rows(store) == before


def test_a_picture_that_is_none_is_refused(client, store, tmp_path, app_address):
    (tmp_path / "notes.jpg").write_text("notes")
    before = rows(store)
    with pytest.raises(AppError, match="notes.jpg is not a picture"):
        corrected(client, tmp_path / "notes.jpg")
    event, sentence = call(app_address, "correct", None, HER, "fear", "Ada", CODE, request())
    assert event == "error" and "No picture" in sentence
    picture((64, 48)).save(tmp_path / "noise.png")
    with pytest.raises(AppError, match="not in the picture"):
        corrected(client, tmp_path / "noise.png", box=[0, 0, 60, 40])
    assert rows(store) == before


def test_consent_taken_elsewhere_needs_no_code(client, store, collins):
    for consent in (True, "true"):
        name = request()
        corrected(client, collins, consent=consent, request_id=name)
        with store.database.reading() as connection:
            query = "SELECT code, purpose FROM judgements JOIN consents ON consents.id = consent WHERE request = ?"
            assert tuple(connection.execute(query, (name,)).fetchone()) == (None, PURPOSE)


@pytest.mark.parametrize("code", ["abcd efgh jklm npqr", "1234567890123456", "0000-0000-0000-0000"])
def test_a_code_counts_by_its_letters_and_digits_also_when_it_is_all_digits(client, store, collins, code):
    name = request()
    corrected(client, collins, consent=code, request_id=name)
    assert store.contributed(code, name)
    assert client.predict(code, api_name="/withdraw")["faces"] == 1
    assert store.annotation(name) is None
    with pytest.raises(AppError, match="Nothing is kept under this code"):
        client.predict(code, api_name="/withdraw")


def test_where_a_photo_was_taken_is_not_kept(tmp_path, collins):
    exif = Image.Exif()
    exif[0x010E], exif[0x0131] = "ImageDescription-4711", "Software-4711"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 4711.0), 29: "2026:04:71"})
    photo = io.BytesIO()
    Image.open(collins).save(photo, "JPEG", quality=95, exif=exif, comment=b"comment-4711")
    assert b"Software-4711" in photo.getvalue()
    with running(tmp_path) as (services, address):
        event, number = call(address, "correct", upload(address, photo.getvalue(), "holiday-4711.jpg"), HER, "fear", "Ada", CODE, "one")
        assert (event, number) == ("complete", 1), number
        (code,) = ask(address, "try.agree", {}).values()
        payload = {"picture": data_url(photo.getvalue()), "box": HER, "label": "fear", "request": "two", "annotator": "Ada", "code": code, "source": "photo"}
        assert ask(address, "try.correct", payload) == {"kept": 2}
        everything = files_in(tmp_path)
        (one,) = [content for name, content in everything.items() if name.endswith(".png")]
        assert not [name for name, content in everything.items() if b"4711" in content or b"Exif" in content]
    kinds = [one[at + 4 : at + 8] for at in chunk_starts(one)]
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


def chunk_starts(png: bytes) -> Iterator[int]:
    at = 8
    while at < len(png):
        yield at
        at += 12 + int.from_bytes(png[at : at + 4], "big")


# --- the page's own way -------------------------------------------------------------------------


def test_of_label_and_scores_only_no_picture_is_kept(app_served, collins):
    services, address = app_served
    folder = services.settings.workspace
    (code,) = ask(address, "try.agree", {}).values()
    before = pictures(folder)
    photo = io.BytesIO()
    Image.open(collins).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photo, "JPEG")
    width = Image.open(collins).width
    payload = {"picture": data_url(photo.getvalue()), "box": [width - HER[2], HER[1], width - HER[0], HER[3]], "label": "fear",
               "request": "no pixels", "annotator": "Ada", "code": code, "pixels": False, "source": "live"}  # fmt: skip
    assert isinstance(ask(address, "try.correct", payload)["kept"], int)
    annotation = services.labels().annotation("no pixels")
    item = services.labels().item(annotation.item)
    assert (item.image, item.width, item.box, item.landmarks) == (None,) * 4
    assert annotation.model and sum(annotation.probabilities) == pytest.approx(1, abs=1e-4) and annotation.suggested
    with services.labels().database.reading() as connection:
        assert connection.execute("SELECT fingerprint FROM items WHERE id = ?", (item.id,)).fetchone()[0] is None
    assert pictures(folder) == before
    assert code.encode() not in b"".join(files_in(folder).values()), "the code itself is known to its holder alone"
    assert ask(address, "try.withdraw", {"code": code})["faces"] == 1


def test_agreement_is_recorded_with_purpose_and_date_before_anything_is_given(app_served):
    services, address = app_served
    code = ask(address, "try.agree", {})["code"]
    with services.labels().database.reading() as connection:
        row = connection.execute("SELECT * FROM consents WHERE code = ?", (code_hash(code),)).fetchone()
    assert row["purpose"] == PURPOSE and row["agreed_at"].endswith("Z")


def test_only_who_gave_a_correction_takes_it_back(app_served, collins):
    services, address = app_served
    mine, other = (ask(address, "try.agree", {})["code"] for _ in range(2))
    payload = {"picture": data_url(collins), "box": HER, "label": "fear", "request": "mine", "annotator": "Ada", "code": mine, "source": "photo"}
    item = services.labels().annotation("mine") or ask(address, "try.correct", payload) and services.labels().annotation("mine")
    assert_sentence(ask(address, "try.take_back", {"code": other, "request": "mine"})["error"])
    assert [one.kind for one in services.labels().annotations(item.item)] == ["label"]
    assert ask(address, "try.take_back", {"code": mine, "request": "mine"}) == {}
    assert [one.kind for one in services.labels().annotations(item.item)] == ["label", "undo"]


@pytest.mark.parametrize("function", ["try.correct", "try.take_back", "try.withdraw", "label.begin", "label.more", "label.judge",
                                      "label.undo", "label.counts"])  # fmt: skip
@pytest.mark.parametrize("nonsense", [{}, None, [], "text", 7, {"annotator": None, "request": [], "item": {}, "code": 5, "count": "x"}])
def test_nonsense_from_a_page_is_answered_in_a_sentence(app_served, function, nonsense):
    services, address = app_served
    before = rows(services.labels())
    answer = ask(address, function, nonsense)
    if "error" in answer:
        assert answer["error"].endswith(".") and "\n" not in answer["error"] and "literal" not in answer["error"]
    assert rows(services.labels()) == before


# --- the queue over the API ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def queue_app(tmp_path_factory) -> Iterator[tuple[app.Services, str, Client]]:
    with running(tmp_path_factory.mktemp("queue")) as (services, address):
        yield services, address, Client(address, verbose=False)


@pytest.fixture
def faces(queue_app) -> list[int]:
    """Three faces nobody has judged; two are there from the start."""
    seed = next(_numbers)
    return queue_app[0].labels().add(
        NewItem("folder", f"{seed}:{one}", noise(seed * 10 + one), 64, 64, (0, 0, 64, 64)) for one in range(3)
    )


def noise(seed: int) -> bytes:
    file = io.BytesIO()
    picture((64, 64), seed).save(file, "PNG")
    return file.getvalue()


def test_next_gives_a_face_with_its_reason_and_not_what_the_model_says(queue_app, faces):
    services, _, client = queue_app
    found = client.predict("Ann", api_name="/next")
    assert set(found) == {"item", "chip", "width", "height", "box", "ready_made", "source", "reason"}
    assert found["chip"].startswith("data:image/png;base64,") and found["reason"].endswith(".")
    assert not any(name in str({**found, "chip": ""}) for name in LABELS)
    services.queue().release("Ann")


def test_label_skip_and_undo_answer_with_what_was_kept(queue_app, faces):
    services, _, client = queue_app
    names = [request() for _ in range(2)]
    said = client.predict(faces[0], "Happy", "Ann", names[0], api_name="/label")
    assert (said["item"], said["kind"], said["label"], said["annotator"]) == (faces[0], "label", "happiness", "Ann")
    assert client.predict(faces[0], "anger", "Ann", names[0], api_name="/label") == said, "the same request is the same label"
    skipped = client.predict(faces[1], "Ann", names[1], api_name="/skip")
    assert (skipped["kind"], skipped["label"]) == ("skip", None)
    undone = client.predict(names[0], api_name="/undo")
    assert (undone["kind"], undone["item"]) == ("undo", faces[0])
    assert client.predict(names[0], api_name="/undo") == undone
    assert [one.kind for one in services.labels().annotations(faces[0])] == ["label", "undo"]


def test_a_person_goes_through_all_faces_once_and_then_there_is_none(queue_app, faces):
    services, _, client = queue_app
    seen = []
    while found := client.predict("Walker", api_name="/next"):
        seen.append(found["item"])
        client.predict(found["item"], "cannot tell", "Walker", request(), api_name="/label")
    assert len(seen) == len(set(seen)) and set(faces) <= set(seen)


def test_two_spellings_of_blanks_around_a_name_are_one_person(queue_app, faces):
    services, address, client = queue_app
    for item in faces:
        client.predict(item, "fear", " Blank ", request(), api_name="/label")
    for name in ("Blank", " Blank", "Blank "):
        got = [one["item"] for one in ask(address, "label.more", {"annotator": name, "count": 32})["faces"]]
        services.queue().release(name)
        services.queue().release(name.strip())
        assert not set(faces) & set(got), f"“{name}” is asked about a face they have labelled"


def test_the_end_of_an_earlier_page_takes_nothing_from_the_one_that_is_open(queue_app, faces):
    services, address, _ = queue_app

    def asked(name: str, **more: object) -> set[int]:
        return {one["item"] for one in ask(address, "label.more", {"annotator": name, "count": 32, **more})["faces"]}

    for visit in ("old", "new"):
        ask(address, "label.begin", {"annotator": "Reloader", "visit": visit})
        held = asked("Reloader")
    assert held
    ask(address, "label.leave", {"annotator": "Reloader", "visit": "old"})  # the word of it comes late
    assert not held & asked("Neighbour")
    ask(address, "label.leave", {"annotator": "Reloader", "visit": "new"})
    assert held <= asked("Neighbour")
    services.queue().release("Neighbour")


@pytest.mark.parametrize("name", ["", "   ", "A" * 61])
def test_a_page_without_a_usable_name_is_handed_nothing(queue_app, faces, name):
    services, address, _ = queue_app
    answer = ask(address, "label.more", {"annotator": name, "count": 3})
    services.queue().release(name)
    assert "name" in answer.get("error", "").lower(), "faces are held for nobody"


def test_stats_count_what_was_labelled(queue_app, faces):
    _, _, client = queue_app
    before = client.predict(api_name="/stats")
    client.predict(faces[0], "disgust", "Counter", request(), api_name="/label")
    after = client.predict(api_name="/stats")
    assert after["by_label"]["disgust"] == before["by_label"]["disgust"] + 1
    assert after["by_annotator"]["Counter"] == before["by_annotator"].get("Counter", 0) + 1
    assert set(after) == {"faces", "labelled", "labels_without_picture", "by_label", "by_annotator", "wanted", "agreement"}


BAD_CALLS = {
    "next for nobody": ("/next", ["  "], "name"),
    "a name without end asks": ("/next", ["A" * 61], "name"),
    "a face that is not there": ("/label", [999_999, "fear", "Ann", "bad 1"], "There is no face 999999"),
    "no face": ("/label", [None, "fear", "Ann", "bad 2"], "number of a face"),
    "a number beyond the database": ("/label", [2**63, "fear", "Ann", "bad 3"], "face"),
    "a label nobody has": ("/label", [1, "hungry", "Ann", "bad 4"], "is not a label"),
    "no name": ("/label", [1, "fear", "", "bad 5"], "A name of 1 to 60"),
    "no request": ("/label", [1, "fear", "Ann", ""], "A request id"),
    "a request without end": ("/skip", [1, "Ann", "x" * 201], "A request id"),
    "skipping what is not there": ("/skip", [999_999, "Ann", "bad 6"], "There is no face"),
    "undoing what never was": ("/undo", ["never was"], "no such label"),
    "undoing nothing": ("/undo", [""], "no such label"),
    "a short code": ("/withdraw", ["ABC"], "at least 16 letters"),
    "a code nobody has": ("/withdraw", ["NOBODY-HAS-THIS-CODE-0"], "Nothing is kept under this code"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_CALLS)
def test_what_is_wrong_with_a_call_is_said_in_a_sentence(queue_app, faces, what):
    services, _, client = queue_app
    endpoint, values, words = BAD_CALLS[what]
    before = rows(services.labels())
    with pytest.raises(AppError) as caught:
        client.predict(*values, api_name=endpoint)
    assert_sentence(str(caught.value))
    assert words in str(caught.value) and rows(services.labels()) == before


def test_a_withdrawn_face_is_gone_for_those_who_hold_it(queue_app, collins):
    services, address, client = queue_app
    code = ask(address, "try.agree", {})["code"]
    name = request()
    corrected(client, collins, consent=code, request_id=name)
    item = services.labels().annotation(name).item
    assert client.predict(code, api_name="/withdraw")["faces"] == 1
    with pytest.raises(AppError, match=f"no face {item} here; it was withdrawn"):
        client.predict(item, "fear", "Ann", request(), api_name="/label")
    answer = ask(address, "label.judge", {"request": request(), "item": item, "annotator": "Ann", "label": "fear"})
    assert answer["final"] is True and "withdrawn" in answer["error"]
    with pytest.raises(UnknownItem):
        services.labels().item(item)


def test_a_corrected_face_is_scored_and_asked_about(queue_app, collins):
    services, _, client = queue_app
    name = request()
    corrected(client, collins, consent="SCOR-SCOR-SCOR-SCOR", request_id=name)
    item = services.labels().annotation(name).item
    until = threading.Event()
    for _ in range(200):
        if services.labels().scored(item):
            break
        until.wait(0.1)
    scored = services.labels().scored(item)
    assert np.abs(scored.probabilities - services.labels().annotation(name).probabilities).max() <= 0.02
    assert item in [one.item for one in services.queue().next("Reviewer", 100)]


# --- workspaces that cannot be used --------------------------------------------------------------

LABEL_CALLS = {"next": ["Ada"], "label": [1, "fear", "Ada", "r"], "skip": [1, "Ada", "r"], "undo": ["r"], "stats": [], "withdraw": [CODE]}
PAGE_CALLS = {
    "label.begin": {"annotator": "Ada"}, "label.more": {"annotator": "Ada", "count": 1}, "label.undo": {"request": "r"},
    "label.judge": {"request": "r", "item": 1, "annotator": "Ada", "label": "fear"}, "label.counts": {"annotator": "Ada"},
    "try.agree": {}, "try.withdraw": {"code": CODE}, "try.take_back": {"code": CODE, "request": "r"},
}  # fmt: skip


def assert_all_say(address: str, photo: Path, workspace: Path, words: str) -> None:
    """Try still predicts, and whatever needs the labels answers the same clear sentence."""
    event, reading = call(address, "predict", upload(address, photo))
    assert event == "complete" and reading["faces"][0]["expression"] == "happiness"
    correction = {"picture": data_url(photo), "box": HER, "label": "fear", "request": "r", "annotator": "Ada", "code": CODE}
    said = {name: ask(address, name, payload).get("error") for name, payload in {**PAGE_CALLS, "try.correct": correction}.items()}
    for name, values in {**LABEL_CALLS, "correct": [upload(address, photo), HER, "fear", "Ada", CODE, "r"]}.items():
        event, said[name] = call(address, name, *values)
        assert event == "error", (name, said[name])
    for name, sentence in said.items():
        assert_sentence(sentence, workspace)
        assert words in sentence, (name, sentence)
    assert http(f"{address}/")[0] == 200


@pytest.mark.parametrize("used", [False, True])
def test_in_a_read_only_workspace_try_predicts_and_labels_say_why_not(tmp_path, collins, used):
    if used:
        with running(tmp_path) as (services, address):
            assert call(address, "correct", upload(address, collins), HER, "fear", "Ada", CODE, "before")[0] == "complete"
    before = files_in(tmp_path)
    with read_only(tmp_path), running(tmp_path) as (_, address):
        assert_all_say(address, collins, tmp_path, "make the workspace writable or choose another --workspace")
    assert files_in(tmp_path) == before


def test_labels_of_a_newer_version_are_left_alone(tmp_path, collins):
    with running(tmp_path) as (_, address):
        assert call(address, "correct", upload(address, collins), HER, "fear", "Ada", CODE, "before")[0] == "complete"
    with closing(sqlite3.connect(tmp_path / "labels" / NAME)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 99")
    before = files_in(tmp_path)
    with running(tmp_path) as (_, address):
        assert_all_say(address, collins, tmp_path, "written by a newer version of Expression Studio")
    assert files_in(tmp_path) == before


def test_a_damaged_database_is_named(tmp_path, collins):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / NAME).write_bytes(b"this is no database" * 100)
    with running(tmp_path) as (_, address):
        assert_all_say(address, collins, tmp_path, f"{NAME} in the workspace is damaged")


def test_a_workspace_made_writable_is_used_without_a_restart(tmp_path, collins):
    with read_only(tmp_path):
        services = app.Services(app.Settings(host="127.0.0.1", workspace=tmp_path))
        page, address = app.launch(services, block=False)
        address = address.rstrip("/")
        assert "writable" in str(call(address, "stats")[1])
    try:
        assert call(address, "correct", upload(address, collins), HER, "fear", "Ada", CODE, "now")[0] == "complete"
    finally:
        page.close()
        services.close()


def test_a_face_whose_picture_was_altered_is_passed_over(queue_app, faces):
    services, _, client = queue_app
    store = services.labels()
    path = store.images.path(store.item(faces[0]).image)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-20])
        got = set()
        while found := client.predict("Careful", api_name="/next"):
            got.add(found["item"])
        assert {*faces[1:]} <= got and faces[0] not in got
    finally:
        path.write_bytes(whole)
        services.queue().release("Careful")


def test_a_face_png_is_what_next_shows(queue_app):
    services, address, _ = queue_app
    (item,) = services.labels().add([NewItem("folder", "whole", face(4), 112, 112, (0, 0, 112, 112))])
    found = {one["item"]: one for one in ask(address, "label.more", {"annotator": "Looker", "count": 32})["faces"]}
    assert found[item]["chip"] == data_url(face(4), "png") and found[item]["ready_made"] is True
