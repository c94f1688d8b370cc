"""Imports and exports as wholes: begun again, two at once, killed, on a full disk, with bad parts."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest
from conftest import picture
from exchanged import HTML, MiddleCutter, grey, known, pixels, studio, whole_photo
from label_workspaces import CODE, child, face, files_in, fill, png, said_by, says, small_disk
from PIL import Image, PngImagePlugin

from labeling import exchange
from labeling.exchange import ExchangeError, bring_in, export
from labeling.formats.records import Problem
from labeling.items import NewItem
from labeling.store import LabelStore

KINDS = ("ferplus", "fer2013", "csv", "labelstudio", "hf", "folder")


def many(folder: Path, count: int, size: int = 16) -> Path:
    """A folder of `count` tiny pictures in two classes, all different."""
    for name in ("fear", "anger"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        (folder / ("fear", "anger")[number % 2] / f"{number:05d}.png").write_bytes(png(picture((size, size), number)))
    return folder


def whole(store: LabelStore) -> None:
    """Every row has its picture, and no part of a file is left."""
    names = set(store.images.names())
    assert set(known(store)) <= names and all(store.images.get(name) for name in names)
    assert not [path for path in store.database.path.parent.rglob("*") if path.name.endswith(".partial")]


# --- what is recognised -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_recognised_in_a_folder_and_in_a_zip(tmp_path, store, kind):
    export(studio(tmp_path / "one"), f"{kind}:{tmp_path / 'out'}", MiddleCutter())
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        for path in sorted((tmp_path / "out").rglob("*")):
            archive.write(path, Path("inside") / path.relative_to(tmp_path / "out"))
    first = bring_in(store, str(tmp_path / "out"))
    assert first.source == f"{kind}:out" and first.faces >= 5
    again = bring_in(store, f"zip:{tmp_path / 'out.zip'}")
    assert (again.source, again.faces, again.judgements, again.known) == (f"{kind}:out", 0, 0, first.faces)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("nowhere", r"^nowhere does not exist; check the name and the folder\.$"),
        ("csv:nowhere", "nowhere does not exist"),
        ("coco:nowhere", "does not exist"), ("", "names no files"), ("ferplus:", "names no files"),
        ("empty", r"^empty holds no faces in any form known here"),
        ("ferplus:empty", r"^empty holds nothing of the kind ferplus: "),
        ("text.txt", r"^text holds no faces in any form"), ("cut.zip", r"^cut holds no faces in any form"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_read_it_is_said(tmp_path, store, monkeypatch, source, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(ExchangeError, match=match) as caught:
        bring_in(store, source)
    assert str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)


# --- again, and with what is here ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "labelstudio", "hf"])
def test_an_export_that_comes_back_to_its_workspace_adds_nothing(tmp_path, kind):
    store = studio(tmp_path / "labels")
    before = known(store)
    export(store, f"{kind}:{tmp_path / 'out'}")
    report = bring_in(store, str(tmp_path / "out"))
    assert (report.faces, report.judgements, report.known) == (0, 0, 8)
    assert known(store) == before


def test_a_label_that_was_taken_back_or_changed_stays_so(tmp_path, store):
    (number,) = store.add([NewItem("photo", "g", face(), 112, 112, (0, 0, 112, 112))])
    store.judge(number, says("r1", "fear"))
    store.judge(number, says("r2", "anger", "Bob"))
    export(store, f"csv:{tmp_path / 'out'}")
    store.undo("r1")
    store.judge(number, says("r3", "disgust", "Bob"))
    assert bring_in(store, str(tmp_path / "out")).judgements == 0
    assert {said[:2] for face in known(store).values() for said in face["said"]} == {("Bob", "disgust")}


def test_the_report_can_be_looked_up(tmp_path, store):
    report = bring_in(store, str(many(tmp_path / "set", 4)))
    (path,) = (tmp_path / "labels" / "imports").glob("*-folder.json")
    assert json.loads(path.read_text(encoding="utf-8")) == report.as_dict()
    assert report.in_words() == "folder:set: 4 new faces, 4 new labels"


def test_a_report_that_cannot_be_written_does_not_undo_the_import(tmp_path, store):
    (tmp_path / "labels" / "imports").write_text("in the way")
    assert bring_in(store, str(many(tmp_path / "set", 4))).faces == 4


def test_near_duplicates_are_counted(tmp_path, store):
    folder = many(tmp_path / "set", 1)
    image = picture((16, 16), 0)
    image.putpixel((3, 3), (1, 2, 3))
    (folder / "fear" / "again.png").write_bytes(png(image))
    report = bring_in(store, str(folder))
    assert (report.faces, report.near_duplicates) == (2, 1)


def test_progress_is_told_how_many_there_are(tmp_path, store):
    seen = []

    def progress(many):
        seen.append(len(many))
        for one in many:
            seen.append(one.name)
            yield one

    bring_in(store, str(many(tmp_path / "set", 3)), progress=progress)
    export(store, f"csv:{tmp_path / 'out'}", progress=lambda many: seen.append(len(many)) or many)
    assert seen == [3, "anger/00001.png", "fear/00000.png", "fear/00002.png", 3]


def test_grey_pictures_stay_grey_and_lose_their_metadata(tmp_path, store):
    (tmp_path / "set" / "joy").mkdir(parents=True)
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "a secret name")
    with Image.open(io.BytesIO(grey(0))) as image:
        image.save(tmp_path / "set" / "joy" / "a.png", pnginfo=info)
        given = image.tobytes()
    bring_in(store, str(tmp_path / "set"))
    ((name, kept),) = pixels(store).items()
    assert kept.ndim == 2 and kept.tobytes() == given and b"secret" not in store.images.get(name)


# --- bad parts ----------------------------------------------------------------------------------


def test_of_ten_thousand_pictures_the_three_broken_ones_are_named(tmp_path, store):
    path, drawn = tmp_path / "many.zip", random.Random(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_000):
            broken = number in (17, 4_321, 9_999)
            archive.writestr(f"fear/{number:05d}.pgm", b"broken" if broken else b"P5 4 4 255\n" + drawn.randbytes(16))
    report = bring_in(store, str(path))
    assert (report.faces, report.judgements, report.problem_count) == (9_997, 9_997, 3)
    sentence = "It is not a picture that can be read here; use JPEG, PNG or WebP."
    assert report.problems == tuple(Problem(f"fear/{number:05d}.pgm", sentence) for number in (17, 4_321, 9_999))
    assert "3 parts passed over:\n  fear/00017.pgm: It is not" in report.in_words()


def test_a_zip_that_means_harm_brings_its_good_part_and_names_the_rest(tmp_path, store):
    link = zipfile.ZipInfo("fear/link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fear/good.png", face(0))
        for name in ("../fear/out.png", "/fear/root.png", "C:/fear/drive.png"):
            archive.writestr(name, face(1))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("fear/bomb.png", bytes(20_000_000))
    before = files_in(tmp_path)
    report = bring_in(store, str(tmp_path / "evil.zip"))
    assert (report.faces, report.problem_count) == (1, 5)
    names = {one.name for one in report.problems}
    assert names == {"../fear/out.png", "/fear/root.png", "C:/fear/drive.png", "fear/link.png", "fear/bomb.png"}
    outside = {name for name in files_in(tmp_path).keys() - before.keys() if not name.startswith("labels/")}
    assert outside == set()


def test_a_zip_of_nothing_but_harm_says_so(tmp_path, store):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../fear/out.png", face(1))
    with pytest.raises(
        ExchangeError, match=r"^evil holds no faces .*\. \.\./fear/out\.png: Its name leads out of the folder"
    ):
        bring_in(store, str(tmp_path / "evil.zip"))


def test_only_the_first_problems_are_listed_and_all_are_counted(tmp_path, store):
    folder = tmp_path / "set"
    (folder / "fear").mkdir(parents=True)
    (folder / "fear" / "good.png").write_bytes(face())
    (folder / "labels.csv").write_text("image,label\n" + f"gone.png,{HTML}\n" * 500 + "fear/good.png,fear\n")
    report = bring_in(store, f"csv:{folder}")
    assert (report.faces, report.problem_count, len(report.problems)) == (1, 500, 200)
    assert report.in_words().endswith("  and 490 more; the report names the first 200")


def test_labels_without_any_picture_are_one_sentence(tmp_path, store):
    (tmp_path / "labels.csv").write_text("image,label\na.png,fear\n")
    with pytest.raises(
        ExchangeError,
        match=r"^No face could be brought in .* row 2: There is a label for a.png, but no such picture\.$",
    ):
        bring_in(store, str(tmp_path / "labels.csv"))


# --- several at once, and cut off ---------------------------------------------------------------

IMPORT = """
import sys
from labeling.exchange import bring_in
from labeling.store import LabelStore
from pathlib import Path
print(bring_in(LabelStore(Path(sys.argv[1])), sys.argv[2]).faces)
"""


def test_two_imports_at_once_in_threads_bring_each_face_once(tmp_path, store):
    folder, reports = many(tmp_path / "set", 1200), []
    threads = [threading.Thread(target=lambda: reports.append(bring_in(store, str(folder)))) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(report.faces for report in reports) == sum(report.judgements for report in reports) == 1200
    assert sum(report.known for report in reports) == 1200
    assert len(known(store)) == 1200 and len(list((tmp_path / "labels" / "imports").iterdir())) == 2
    whole(store)


def test_two_imports_at_once_in_processes_bring_each_face_once(tmp_path, store):
    folder = many(tmp_path / "set", 1200)
    both = [child(IMPORT, tmp_path / "labels", folder) for _ in range(2)]
    assert sum(int(said_by(one)) for one in both) == 1200
    assert all(len(face["said"]) == 1 for face in known(store).values())
    whole(store)


def test_an_import_that_was_killed_is_begun_again(tmp_path, store):
    folder = many(tmp_path / "set", 2500)
    process = child(IMPORT, tmp_path / "labels", folder)
    until = time.monotonic() + 60
    while not known(store) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    arrived = len(known(store))
    assert 0 < arrived < 2500 and all(len(face["said"]) == 1 for face in known(store).values())
    report = bring_in(store, str(folder))
    assert (report.faces, report.known, report.judgements) == (2500 - arrived, arrived, 2500 - arrived)
    assert set(known(store)) == set(store.images.names())


def test_on_a_full_disk_it_is_said_and_what_arrived_is_whole(tmp_path):
    folder = many(tmp_path / "set", 1500)
    with small_disk(tmp_path / "disk", "5m"):
        store = LabelStore(tmp_path / "disk" / "labels")
        with pytest.raises(ExchangeError) as caught:
            bring_in(store, str(folder))
        arrived = len(known(store))
        assert str(caught.value) == (
            "The disk of the workspace is full; free some space and try again. "
            f"{arrived} new faces had arrived and are kept; import again for the rest."
        )
        assert 0 < arrived < 1500
        whole(store)
        store.close()


def test_an_export_to_a_full_disk_leaves_nothing(tmp_path, store):
    bring_in(store, str(many(tmp_path / "set", 50, 100)))
    with small_disk(tmp_path / "disk"):
        ballast = fill(tmp_path / "disk")
        for kind in KINDS:
            with pytest.raises(
                ExchangeError, match=r"^out could not be written \(No space left on device\); nothing was exported\.$"
            ):
                export(store, f"{kind}:{tmp_path / 'disk' / 'out'}")
        ballast.unlink()
        assert list((tmp_path / "disk").iterdir()) == []


# --- export -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_goes_to_a_new_folder_only(tmp_path, store, kind):
    (number,) = store.add([NewItem("photo", "g", face(), 112, 112, (0, 0, 112, 112))])
    store.judge(number, says("r"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for place in ("full", "full/mine.txt"):
        with pytest.raises(ExchangeError, match=r"is there already and not empty; choose a new folder\.$"):
            export(store, f"{kind}:{tmp_path / place}")
    assert export(store, f"{kind}:{tmp_path / 'empty'}").faces == 1
    assert (
        export(store, f"{kind}:{tmp_path / 'new' / 'deep'}").in_words()
        == f"1 face in {kind}:{tmp_path / 'new' / 'deep'}"
    )
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "full", "labels", "new"]
    assert files_in(tmp_path / "full") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("target", ["photo:out", "out", "snapshot:out", "csv:", ""])
def test_an_export_to_an_unknown_kind_is_a_sentence(store, target):
    with pytest.raises(ExchangeError, match=r"KIND one of ferplus, fer2013, labelstudio, hf, csv, folder\.$"):
        export(store, target)


def test_where_there_is_nothing_to_export_it_is_said(tmp_path, store):
    with pytest.raises(ExchangeError, match=r"^There is no face to export; nothing was written\.$"):
        export(store, f"csv:{tmp_path / 'out'}")
    store.add([NewItem("photo", "g", face(), 112, 112, (0, 0, 112, 112)), NewItem("live", "h")])
    with pytest.raises(ExchangeError, match=r"\(1 without a picture, 1 without a label\); nothing was written\.$"):
        export(store, f"ferplus:{tmp_path / 'out'}")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["labels"]


@pytest.mark.parametrize("kind", ["labelstudio", "hf", "folder", "ferplus", "fer2013"])
def test_faces_without_pixels_are_counted_and_left_out(tmp_path, kind):
    store = studio(tmp_path / "labels", chips=False)
    store.contribute(NewItem("live", "clip"), says("x"), None, "tests")
    report = export(store, f"{kind}:{tmp_path / 'out'}")
    assert report.left_out["without a picture"] == 1 and report.faces + sum(report.left_out.values()) == 8


@pytest.mark.parametrize(("kind", "sizes"), [("folder", {(68, 96)}), ("ferplus", {(48, 48)})])
def test_a_chip_is_cropped_for_formats_of_ready_made_faces(tmp_path, store, kind, sizes):
    (number,) = store.add([whole_photo()])
    store.judge(number, says("r", "fear"))
    with pytest.raises(ExchangeError, match=r"^Faces cut from photos are among these, .* not at hand here\.$"):
        export(store, f"{kind}:{tmp_path / 'out'}")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["labels"]
    box = store.item(number).box
    export(store, f"{kind}:{tmp_path / 'out'}", MiddleCutter())
    again = LabelStore(tmp_path / "two")
    bring_in(again, str(tmp_path / "out"))
    item = again.item(1)
    expected = (round(box[2] - box[0]), round(box[3] - box[1])) if kind == "folder" else next(iter(sizes))
    assert (item.width, item.height) == expected and item.landmarks is None


def test_what_was_withdrawn_is_not_in_an_export_even_if_it_goes_while_it_runs(tmp_path, store):
    for index in range(3):
        store.contribute(
            NewItem("photo", f"g{index}", face(index), 112, 112), says(f"r{index}"), (CODE, None, None)[index], "t"
        )

    def late(many):
        for number, one in enumerate(many):
            if number == 0:
                store.withdraw(CODE)
            yield one

    report = export(store, f"csv:{tmp_path / 'one'}", progress=late)
    assert (report.faces, report.left_out) == (2, {"without a picture": 1})
    assert export(store, f"csv:{tmp_path / 'two'}").faces == 2
    assert all(face(0) not in files_in(tmp_path / out).values() for out in ("one", "two"))


def test_a_picture_altered_on_disk_is_left_out_and_counted(tmp_path):
    store = studio(tmp_path / "labels", chips=False)
    store.images.path(store.item(1).image).write_bytes(b"altered")
    report = export(store, f"csv:{tmp_path / 'out'}")
    assert (report.faces, report.left_out) == (6, {"with a picture that cannot be read": 1})


def test_the_kinds_are_those_that_the_command_line_names():
    assert set(exchange.WRITERS) | {"video", "photo"} == set(exchange.KINDS)
