"""Label Studio's JSON in and out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from exchanged import known, studio
from label_workspaces import face

from labeling.exchange import ExchangeError, bring_in, export
from labeling.formats.records import Problem
from labeling.labels import LABELS
from labeling.store import LabelStore

# The example of labelstud.io/guide/task_format with the choices of its image classification template.
PUBLISHED = {
    "id": 1, "created_at": "2021-03-09T21:52:49.513742Z", "updated_at": "2021-03-09T22:16:08.746926Z", "project": 83,
    "data": {"image": "https://example.com/opensource/label-studio/1.jpg"},
    "annotations": [{
        "id": "1001",
        "result": [{"from_name": "choice", "id": "Dx_aB91ISN", "source": "$image", "to_name": "image",
                    "type": "choices", "value": {"choices": ["Happy"]}}],
        "was_cancelled": False, "ground_truth": False, "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z", "lead_time": 4.288, "result_count": 0, "task": 1,
        "completed_by": 10,
    }],
    "predictions": [{
        "created_ago": "3 hours", "model_version": "model 1",
        "result": [{"from_name": "choice", "id": "t5sp3TyXPo", "source": "$image", "to_name": "image",
                    "type": "choices", "value": {"choices": ["Sad"]}}],
    }],
}  # fmt: skip


def tasks(folder: Path, *given: object, pictures: tuple[str, ...] = ("1.jpg",)) -> Path:
    for index, picture in enumerate(pictures):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).write_bytes(face(index))
    folder.mkdir(exist_ok=True)
    (folder / "export.json").write_text(json.dumps(given))
    return folder / "export.json"


def annotated(image: str, *choices: str, **more) -> dict:
    result = [{"type": "choices", "from_name": "c", "to_name": "i", "value": {"choices": list(choices)}}]
    return {"id": 5, "data": {"image": image}, "annotations": [{"result": result, **more}]}


def test_the_published_example_is_read(tmp_path):
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(tasks(tmp_path / "set", PUBLISHED)))
    assert (report.source, report.faces, report.judgements, report.problem_count) == ("labelstudio:export", 1, 1, 0)
    (said,) = store.annotations(1)
    assert (said.annotator, said.label, said.second) == ("annotator 10", "happiness", None)
    assert said.at == "2021-03-09T22:16:08.728Z" and said.model is None


def test_an_export_has_the_structure_of_the_published_example(tmp_path):
    store = studio(tmp_path / "labels")
    export(store, f"labelstudio:{tmp_path / 'out'}")
    written = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    assert [task["id"] for task in written] == list(range(1, 9))
    optional = {"created_at", "updated_at", "project"}  # of a task; Label Studio sets them itself
    example, example_result = PUBLISHED["annotations"][0], PUBLISHED["annotations"][0]["result"][0]
    for task in written:
        assert set(PUBLISHED) - optional <= set(task) and task["predictions"] == []
        assert isinstance(task["data"]["image"], str)
        for annotation in task["annotations"]:
            assert set(example) <= set(annotation) and annotation["task"] == task["id"]
            assert isinstance(annotation["completed_by"], int) and annotation["was_cancelled"] is False
            (result,) = annotation["result"]
            assert set(example_result) - {"source"} <= set(result) and result["type"] == "choices"
            assert set(result["value"]["choices"]) <= set(LABELS)
    people = {one["annotator"]: one["completed_by"] for task in written for one in task["annotations"]}
    assert len(set(people.values())) == len(people) == 6


def test_the_configuration_beside_knows_every_choice_and_its_names(tmp_path):
    export(studio(tmp_path / "labels"), f"labelstudio:{tmp_path / 'out'}")
    view = ElementTree.parse(tmp_path / "out" / "labeling_config.xml").getroot()
    assert tuple(one.get("value") for one in view.iter("Choice")) == LABELS
    assert view.find("Choices").get("name") == "expression" and view.find("Choices").get("toName") == "image"
    assert view.find("Image").get("name") == "image"


def test_everything_comes_back(tmp_path):
    store, again = studio(tmp_path / "one"), LabelStore(tmp_path / "two")
    assert export(store, f"labelstudio:{tmp_path / 'out'}").faces == 8
    assert bring_in(again, str(tmp_path / "out")).problem_count == 0
    assert known(again) == known(store)


@pytest.mark.parametrize(
    ("image", "lies_at"),
    [
        ("/data/upload/3/5f2a1b3c-smile.png", "5f2a1b3c-smile.png"), ("/data/upload/3/5f2a1b3c-smile.png", "smile.png"),
        ("/data/upload/3/5f2a1b3c-smile.png", "images/smile.png"),
        ("/data/local-files/?d=faces/smile.png", "faces/smile.png"),
        ("/data/local-files/?d=a%20b/smile%20c.png", "smile c.png"), ("s3://bucket/faces/smile.png", "faces/smile.png"),
        ("images/smile.png", "images/smile.png"), ("http://localhost:8080/data/upload/smile.png?x=1", "smile.png"),
    ],
)  # fmt: skip
def test_a_picture_is_looked_for_beside_the_json_by_name_and_tail(tmp_path, image, lies_at):
    path = tasks(tmp_path / "set", annotated(image, "fear"), pictures=(lies_at,))
    report = bring_in(LabelStore(tmp_path / "labels"), str(path))
    assert (report.faces, report.judgements) == (1, 1)


def test_web_addresses_are_named_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", None)
    path = tasks(tmp_path / "set", annotated("https://example.com/a.png", "fear"), annotated("1.jpg", "fear"))
    report = bring_in(LabelStore(tmp_path / "labels"), str(path))
    far = "Pictures at web addresses are not fetched; put it beside the JSON."
    problem = Problem("export.json task 5", f"Its picture https://example.com/a.png is not here. {far}")
    assert report.faces == 1 and report.problems == (problem,)


def test_annotators_are_called_as_the_file_knows_them(tmp_path):
    whos = [7, "Ada", {"id": 3, "email": "eve@example.com"}, {"first_name": "Bob", "last_name": "Ross"}, None]
    task = annotated("1.jpg", "fear")
    task["annotations"] = [{**task["annotations"][0], "completed_by": who} for who in whos]
    store = LabelStore(tmp_path / "labels")
    bring_in(store, str(tasks(tmp_path / "set", task)))
    names = ["annotator 7", "Ada", "eve@example.com", "Bob Ross", "Label Studio"]
    assert [one.annotator for one in store.annotations(1)] == names


def test_cancelled_annotations_and_other_tags_say_nothing_and_a_second_choice_is_the_second(tmp_path):
    skipped = annotated("1.jpg", "fear", was_cancelled=True)
    both = annotated("2.jpg", "fear", "surprised")
    both["annotations"][0]["result"].insert(
        0, {"type": "rectanglelabels", "value": {"rectanglelabels": ["Moonwalker"]}}
    )
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(tasks(tmp_path / "set", skipped, both, pictures=("1.jpg", "2.jpg"))))
    assert (report.faces, report.unlabelled, report.judgements) == (2, 1, 1)
    assert (store.annotations(2)[0].label, store.annotations(2)[0].second) == ("fear", "surprise")


@pytest.mark.parametrize(
    "task",
    [
        7, None, {}, {"data": {"text": "hello"}}, {"data": {"image": 5}}, annotated("1.jpg", "<b>odd</b>"),
        {"data": {"image": "1.jpg"}, "annotations": 7}, {"data": {"image": "1.jpg"}, "annotations": [{"result": "x"}]},
        {"data": {"image": "1.jpg"}, "annotations": [{"result": [{"type": "choices"}]}]},
        {"data": {"image": "1.jpg", "box": [1, 2]}}, {"data": {"image": "1.jpg", "landmarks": "x"}},
        annotated("1.jpg", "fear", "sad", votes=7),
    ],
)  # fmt: skip
def test_tasks_of_any_other_form_are_named_and_the_rest_arrives(tmp_path, task):
    path = tasks(tmp_path / "set", task, annotated("2.jpg", "fear"), pictures=("1.jpg", "2.jpg"))
    report = bring_in(LabelStore(tmp_path / "labels"), f"labelstudio:{path}")
    assert (report.faces, report.problem_count) == (1, 1)
    assert report.problems[0].sentence.endswith(".")


@pytest.mark.parametrize("content", ["", "{}", "[", "[1, 2]", '[{"data": ', '{"data": []}'])
def test_other_json_is_a_sentence(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    for source in (tmp_path / "x.json", f"labelstudio:{tmp_path / 'x.json'}"):
        with pytest.raises(ExchangeError, match=r"\.( |$)"):
            bring_in(LabelStore(tmp_path / "labels"), str(source))
