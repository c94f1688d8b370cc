"""Tables of any make in, and one that holds everything out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from exchanged import FORMULA, HTML, known, part_of, studio, whole_photo
from label_workspaces import face, says

from labeling.exchange import ExchangeError, bring_in, export
from labeling.formats.records import Problem
from labeling.formats.rows import quoted, unquoted
from labeling.items import NewItem
from labeling.store import LabelStore


def table(folder: Path, text: str, *pictures: str, name: str = "mine.csv", encoding: str = "utf-8") -> Path:
    for index, picture in enumerate(pictures):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).write_bytes(face(index))
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "image,label\na.png,happy\n", "Path;Class\na.png;joy\n", "filename\temotion\t\na.png\tSmile\t\n",
        "\ufefffile,expression\r\n./a.png,HAPPINESS\r\n", "id,image_path,label\n7,/home/me/set/a.png,happy\n",
    ],
)  # fmt: skip
def test_tables_as_people_write_them_are_understood(tmp_path, text):
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(table(tmp_path / "set", text, "a.png")))
    assert (report.source, report.faces, report.problem_count) == ("csv:mine", 1, 0)
    (said,), item = store.annotations(1), store.item(1)
    assert (said.annotator, said.label, item.name, item.split) == ("mine", "happiness", "a.png", None)
    assert item.box == (0, 0, 112, 112) and item.group == "csv:mine/a.png"


def test_all_columns_are_read_and_rows_of_one_picture_are_one_face(tmp_path):
    text = (
        "image,label,second,annotator,at,split,group,left,top,right,bottom,landmarks\n"
        'a.png,fear,surprise,Ada,2026-01-02T03:04:05Z,valid,clip 1,1,2,100,110.5,"[[1,2],[3,4],[5,6],[7,8],[9,10]]"\n'
        "a.png,anger,,Bob,,,,,,,,\nb.png,,,,,,,,,,,\n"
    )
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(table(tmp_path / "set", text, "a.png", "b.png").parent))
    assert (report.faces, report.judgements, report.unlabelled, report.repeated) == (2, 2, 1, 0)
    item, (ada, bob) = store.item(1), store.annotations(1)
    assert (item.split, item.group, item.box) == ("val", "clip 1", (1, 2, 100, 110.5)) and item.landmarks[4] == (9, 10)
    assert (ada.annotator, ada.label, ada.second, ada.at) == ("Ada", "fear", "surprise", "2026-01-02T03:04:05.000Z")
    assert (bob.annotator, bob.label) == ("Bob", "anger") and store.annotations(2) == []


def test_rows_that_cannot_be_used_are_named_and_the_others_of_the_same_picture_count(tmp_path):
    text = (
        f"image,label,annotator,left,top,right,bottom\na.png,happy,Ada,,,,\na.png,{HTML},Bob,,,,\n"
        "gone.png,fear,Ada,,,,\n,anger,Ada,,,,\nb.png,fear,Ada,5,5,5,9\nc.png,fear,Ada,500,0,600,9\nd.txt,fear,Ada,,,,\n"
        "../a.png,sad,Eve,,,,\n"
    )
    path = table(tmp_path / "set", text, "a.png", "b.png", "c.png")
    (tmp_path / "set" / "d.txt").write_text("not a picture")
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(path))
    assert (report.faces, report.judgements, report.repeated) == (1, 2, 1)
    labels = "neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, cannot tell, not a face"
    assert report.problems == (
        Problem("mine.csv row 3: a.png", f"“{HTML}” is not a label; use one of {labels}."),
        Problem("mine.csv row 4", "There is a label for gone.png, but no such picture."),
        Problem("mine.csv row 5", "A label without a picture."),
        Problem(
            "mine.csv row 6: b.png",
            "The box (5.0, 5.0, 5.0, 9.0) encloses nothing; give left, top, right, bottom in pixels.",
        ),
        Problem("c.png", "The box (500.0, 0.0, 600.0, 9.0) lies outside the picture of 112×112 pixels."),
        Problem("d.txt", "It is not a picture that can be read here; use JPEG, PNG or WebP."),
    )


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_a_sentence(tmp_path, encoding):
    path = table(tmp_path / "set", "image,label,annotator\na.png,happy,Zoë\n", "a.png", encoding=encoding)
    with pytest.raises(
        ExchangeError, match=r"^mine holds nothing of the kind csv: a table in UTF-8 with .* is needed\.$"
    ):
        bring_in(LabelStore(tmp_path / "labels"), f"csv:{path}")


def test_everything_comes_back(tmp_path):
    store, again = studio(tmp_path / "one"), LabelStore(tmp_path / "two")
    report = export(store, f"csv:{tmp_path / 'out'}")
    assert (report.faces, report.left_out) == (8, {})
    assert bring_in(again, f"csv:{tmp_path / 'out'}").problem_count == 0
    assert known(again) == known(store) and len(known(store)) == 8


def test_a_face_without_pixels_is_a_row_with_an_empty_image(tmp_path):
    store = LabelStore(tmp_path / "labels")
    store.contribute(NewItem("live", "clip"), says("a"), None, "tests")
    assert export(store, f"csv:{tmp_path / 'out'}").faces == 1
    (row,) = csv.DictReader((tmp_path / "out" / "labels.csv").open(newline="", encoding="utf-8"))
    assert (row["image"], row["label"], row["annotator"], row["group"]) == ("", "happiness", "Ada", "clip")


def test_no_cell_can_be_run_by_a_spreadsheet(tmp_path):
    store = studio(tmp_path / "labels")
    export(store, f"csv:{tmp_path / 'out'}")
    cells = [
        cell for row in csv.reader((tmp_path / "out" / "labels.csv").open(newline="", encoding="utf-8")) for cell in row
    ]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "'" + FORMULA in cells and "'=1+1" in cells and HTML in cells


@pytest.mark.parametrize("cell", ["", "Ada", "=1", "+1", "-1", "@x", "\tx", "'", "'=1", "''=1", "'x", "＝1", "a'=1"])
def test_quoting_is_undone(cell):
    assert unquoted(quoted(cell)) == cell and not quoted(cell).startswith(("=", "+", "-", "@", "\t"))


def test_what_a_table_of_another_program_quotes_itself_is_left_alone():
    assert unquoted("'happy'") == "'happy'"


def test_a_chip_keeps_its_box_and_landmarks(tmp_path):
    store, again = LabelStore(tmp_path / "one"), LabelStore(tmp_path / "two")
    store.add([whole_photo()])
    export(store, f"csv:{tmp_path / 'out'}")
    bring_in(again, f"csv:{tmp_path / 'out'}")
    assert again.item(1).landmarks == store.item(1).landmarks is not None and again.item(1).box == store.item(1).box


@pytest.mark.data
@pytest.mark.parametrize("kind", ["csv", "labelstudio", "hf"])
def test_real_faces_with_their_votes_come_back(ferplus, tmp_path, kind):
    store, again = LabelStore(tmp_path / "one"), LabelStore(tmp_path / "two")
    bring_in(store, str(part_of(ferplus, tmp_path / "ferplus", 100)))
    assert export(store, f"{kind}:{tmp_path / 'out'}").faces == 300
    assert bring_in(again, str(tmp_path / "out")).source == f"{kind}:out"
    assert known(again) == known(store) and len(known(again)) == 300
