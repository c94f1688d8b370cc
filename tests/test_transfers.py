"""Files that pages send in parts, and imports under way in the app."""

from __future__ import annotations

import logging
import threading
import time
import zipfile
from pathlib import Path

import pytest
from calls import assert_sentence
from exchanged import MiddleCutter
from label_workspaces import face, fill, small_disk

from labeling import transfers as module
from labeling.database import StoreError
from labeling.store import LabelStore
from labeling.transfers import LARGEST, PART, Import, Transfers

UPLOAD = "0123456789abcdef"


@pytest.fixture
def transfers(tmp_path: Path) -> Transfers:
    return Transfers(tmp_path)


def finished(one: Import) -> Import:
    one.thread.join(60)
    assert not one.thread.is_alive()
    return one


def started(transfers: Transfers, store: LabelStore, source: object, key: str = UPLOAD, cutter=MiddleCutter) -> Import:
    return finished(transfers.start(key, lambda: store, str(source), cutter))


def send(transfers: Transfers, content: bytes, name: str = "faces.zip", upload: str = UPLOAD, part: int = 10_000) -> Path:
    """Send `content` as a page does; where it lies."""
    at = 0
    while at < len(content):
        at = transfers.take(upload, name, at, content[at : at + part])
    return transfers.uploaded(upload, name)


def faces_zip(folder: Path, **files: bytes) -> bytes:
    """A zip of class folders with three real faces, and `files`."""
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        for index, name in enumerate(("happiness", "fear", "anger")):
            archive.writestr(f"{name}/{index}.png", face(index))
        for name, content in files.items():
            archive.writestr(name, content)
    return (folder / "made.zip").read_bytes()


# --- parts --------------------------------------------------------------------------------------


def test_parts_in_order_are_the_file(transfers, tmp_path):
    content = bytes(range(256)) * 200
    path = send(transfers, content, part=7777)
    assert path.read_bytes() == content and path.name == "faces.zip"
    assert path.is_relative_to(tmp_path / "incoming" / UPLOAD)


def test_a_part_that_comes_again_is_not_added_again(transfers):
    assert transfers.take(UPLOAD, "a.zip", 0, b"first") == 5
    assert transfers.take(UPLOAD, "a.zip", 5, b"second") == 11
    for at, content in ((5, b"second"), (0, b"first"), (3, b"xx"), (-2, b"xx")):
        assert transfers.take(UPLOAD, "a.zip", at, content) == 11
    assert transfers.uploaded(UPLOAD, "a.zip").read_bytes() == b"firstsecond"


def test_a_missing_part_is_said_and_nothing_is_added(transfers):
    transfers.take(UPLOAD, "a.zip", 0, b"first")
    with pytest.raises(ValueError, match="A part of a.zip is missing; choose the file again.") as caught:
        transfers.take(UPLOAD, "a.zip", 6, b"third")
    assert_sentence(str(caught.value))
    assert transfers.uploaded(UPLOAD, "a.zip").read_bytes() == b"first"


def test_the_same_part_from_two_requests_at_once_is_added_once(transfers, monkeypatch):
    content, go, real = b"x" * 100_000, threading.Event(), Path.open
    monkeypatch.setattr(Path, "open", lambda *values, **more: time.sleep(0.05) or real(*values, **more))

    def take() -> None:
        go.wait()
        transfers.take(UPLOAD, "a.zip", 0, content)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for one in threads:
        one.start()
    go.set()
    for one in threads:
        one.join()
    assert len(transfers.uploaded(UPLOAD, "a.zip").read_bytes()) == 100_000


@pytest.mark.parametrize(
    "upload", ["", "..", "../../labels", "0123", "0123456789ABCDEF", "0123456789abcdef/..", "0123456789abcdef\n", "f" * 65, "０" * 16]
)
def test_an_odd_number_of_an_upload_is_refused(transfers, tmp_path, upload):
    for call in (lambda: transfers.take(upload, "a.zip", 0, b"x"), lambda: transfers.uploaded(upload, "a.zip")):
        with pytest.raises(ValueError, match="The page sent no file; choose it again."):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../labels/labels.db", "labels.db"), ("/etc/passwd", "passwd"), ("C:\\Users\\Ada\\faces.zip", "faces.zip"),
        ("..", "file"), ("", "file"), (".", "file"), (".hidden", "hidden"), ("a\0b.zip", "a_b.zip"), ("a\nb.zip", "a_b.zip"),
        ("<img src=x onerror=alert(1)>.zip", "_img src_x onerror_alert_1__.zip"), ("Gesichter ä 漢字.zip", "Gesichter ä 漢字.zip"),
        ("a" * 300 + ".zip", "a" * 96 + ".zip"), ("con:stream", "con_stream"),
    ],
)  # fmt: skip
def test_whatever_a_file_is_called_it_stays_in_its_folder(transfers, tmp_path, name, kept):
    path = send(transfers, b"content", name)
    assert path == tmp_path / "incoming" / UPLOAD / kept
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


@pytest.mark.parametrize("letter", ["漢", "ä", "😀"])
def test_a_long_name_in_any_script_is_taken(transfers, letter):
    assert send(transfers, b"content", letter * 90 + ".zip").read_bytes() == b"content"


def test_what_is_too_large_is_refused_with_the_way_that_works(transfers):
    for at, size in ((LARGEST, 1), (0, PART + 1)):
        with pytest.raises(ValueError, match="a.zip is larger than 8 GB; import it with python -m labeling import.") as caught:
            transfers.take(UPLOAD, "a.zip", at, b"x" * size)
    assert_sentence(str(caught.value))


def test_what_did_not_arrive_is_not_imported(transfers):
    with pytest.raises(ValueError, match="a.zip did not arrive; choose it again.") as caught:
        transfers.uploaded(UPLOAD, "a.zip")
    assert_sentence(str(caught.value))


def test_on_a_full_disk_a_part_is_refused_in_a_sentence_and_the_rest_can_follow(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        transfers = Transfers(disk)
        transfers.take(UPLOAD, "a.zip", 0, b"first")
        ballast = fill(disk)
        content = b"x" * 50_000
        with pytest.raises(StoreError, match="The disk of the workspace is full") as caught:
            transfers.take(UPLOAD, "a.zip", 5, content)
        assert_sentence(str(caught.value), disk)
        ballast.unlink()
        here = transfers.take(UPLOAD, "a.zip", 5, content)  # what had arrived of the part is known
        while here < 50_005:
            here = transfers.take(UPLOAD, "a.zip", here, content[here - 5 :])
        assert transfers.uploaded(UPLOAD, "a.zip").read_bytes() == b"first" + content


def test_what_a_stopped_app_left_goes_first(transfers, tmp_path):
    send(transfers, b"content")
    assert (tmp_path / "incoming").exists()
    assert Transfers(tmp_path).known() == {} and not (tmp_path / "incoming").exists()


# --- imports ------------------------------------------------------------------------------------


def test_a_zip_that_a_page_sent_is_imported_whole_and_deleted(transfers, store, tmp_path):
    path = send(transfers, faces_zip(tmp_path, **{"fear/broken.png": face(3)[:500]}))
    one = started(transfers, store, path)
    assert one.error is None and one.as_dict() == transfers.known()[UPLOAD]
    assert (one.report["faces"], one.report["judgements"], one.report["problem_count"]) == (3, 3, 1)
    assert one.report["problems"][0]["name"] == "fear/broken.png"
    assert (one.done, one.total) == (4, 4) and one.as_dict()["running"] is False and one.source == "faces.zip"
    assert {store.picture(item) for item in store.items(range(1, 4))} == {face(index) for index in range(3)}
    assert not path.parent.exists()


def test_how_far_an_import_is_can_be_asked_while_it_runs(transfers, store, tmp_path, monkeypatch):
    gate, real = threading.Event(), module.bring_in

    def slow(store, source, cutter, progress):
        def gated(many):
            for number, one in enumerate(progress(many)):
                if number == 2:
                    gate.wait(20)
                yield one

        class Kept:
            def __init__(self, many):
                self.many = many

            def __len__(self):
                return len(self.many)

            def __iter__(self):
                return gated(self.many)

        return real(store, source, cutter, lambda many: Kept(many))

    monkeypatch.setattr(module, "bring_in", slow)
    one = transfers.start(UPLOAD, lambda: store, str(send(transfers, faces_zip(tmp_path))), MiddleCutter)
    until = time.monotonic() + 20
    while one.done < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert one.as_dict() == {"source": "faces.zip", "running": True, "done": 2, "total": 3, "report": None, "error": None}
    gate.set()
    assert finished(one).as_dict()["running"] is False and (one.done, one.report["faces"]) == (3, 3)


def test_an_import_begun_twice_runs_once(transfers, store, tmp_path):
    path = send(transfers, faces_zip(tmp_path))
    first = transfers.start(UPLOAD, lambda: store, str(path), MiddleCutter)
    assert transfers.start(UPLOAD, lambda: store, str(path), MiddleCutter) is first
    finished(first)
    assert started(transfers, store, path) is first and list(transfers.known()) == [UPLOAD]


def test_a_folder_on_the_server_is_imported_and_stays(transfers, store, tmp_path):
    (tmp_path / "mine" / "fear").mkdir(parents=True)
    (tmp_path / "mine" / "fear" / "a.png").write_bytes(face())
    one = started(transfers, store, f"folder:{tmp_path / 'mine'}")
    assert one.report["faces"] == 1 and (tmp_path / "mine" / "fear" / "a.png").exists() and one.source == "mine"


def test_an_import_that_cannot_be_done_leaves_its_sentence_and_no_file(transfers, store, tmp_path):
    path = send(transfers, b"this is no zip")
    one = started(transfers, store, path)
    assert one.report is None and not one.as_dict()["running"] and not path.parent.exists()
    assert_sentence(one.error, tmp_path)
    other = started(transfers, store, tmp_path / "nowhere", key="another")
    assert_sentence(other.error, tmp_path)
    assert "does not exist" in other.error


def test_what_the_store_or_the_model_says_is_said(transfers, store, tmp_path):
    def closed() -> LabelStore:
        raise StoreError("labels.db cannot be written; make the workspace writable.")

    def no_model():
        raise ValueError("The model could not be loaded; the log says why.")

    path = send(transfers, faces_zip(tmp_path))
    assert finished(transfers.start("a", closed, str(path), MiddleCutter)).error == "labels.db cannot be written; make the workspace writable."
    path = send(transfers, faces_zip(tmp_path))
    assert finished(transfers.start("b", lambda: store, str(path), no_model)).error == "The model could not be loaded; the log says why."


def test_a_fault_is_logged_and_told_in_a_sentence(transfers, store, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "bring_in", lambda *values: {}["/home/ada/secret"])
    with caplog.at_level(logging.ERROR):
        one = started(transfers, store, send(transfers, faces_zip(tmp_path)))
    assert one.error.startswith("The import failed because of a fault in the app") and "secret" not in one.error
    assert "secret" in caplog.text and not (tmp_path / "incoming" / UPLOAD).exists()


def test_two_imports_at_once_bring_every_face_once(transfers, store, tmp_path):
    content = faces_zip(tmp_path)
    running = [
        transfers.start(upload, lambda: store, str(send(transfers, content, upload=upload)), MiddleCutter)
        for upload in ("a" * 16, "b" * 16)
    ]  # fmt: skip
    reports = [finished(one).report for one in running]
    assert sum(one["faces"] for one in reports) == 3 and sum(one["known"] for one in reports) == 3
    assert sum(one["judgements"] for one in reports) == 3
