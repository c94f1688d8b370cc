"""Workspaces that earlier versions made, kept as they were: this version opens them and loses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from fer import datasets
from labeling.items import UnknownItem
from labeling.judgements import Judgement
from labeling.queue import ReviewQueue
from labeling.store import LabelStore

KEPT = sorted((ROOT / "tests" / "workspaces").glob("schema-*"))


@pytest.fixture(params=KEPT, ids=[path.name for path in KEPT])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return shutil.copytree(request.param, tmp_path / "workspace")


@pytest.fixture
def store(workspace: Path):
    one = LabelStore(workspace / "labels")
    yield one
    one.close()


def test_there_is_one_of_every_schema_so_far():
    from labeling.schema import MIGRATIONS

    assert [path.name for path in KEPT] == [f"schema-{number}" for number in range(1, len(MIGRATIONS) + 1)]


def test_faces_and_judgements_are_as_they_were(store):
    first = store.annotation("first")
    assert (first.annotator, first.label, first.second, first.suggested, first.model) == ("Ada", "fear", "surprise", True, "a-model")
    assert first.probabilities == (0.125,) * 8
    assert store.annotation("import:a").votes == {"happiness": 7, "neutral": 2, "unknown": 1}
    imported = store.item(store.annotation("import:a").item)
    assert (imported.name, imported.split, imported.source, imported.group) == ("a.png", "test", "ferplus:set", "set/a.png")
    third = store.annotation("third").item
    assert [one.kind for one in store.annotations(third)] == ["label", "label", "skip", "undo"]
    assert store.scored(third).probabilities.argmax() == 4
    for request in ("first", "import:a", "third"):
        assert store.picture(store.item(store.annotation(request).item))[:4] == b"\x89PNG"
    assert store.annotation("gone") is None and len(store.withdrawn()) == 1


def test_labeling_goes_on(store):
    third = store.annotation("third").item
    assert store.judge(third, Judgement("fifth", "Ada", "anger")).suggested
    counts = ReviewQueue(store).statistics("Ada")
    assert counts["faces"] == 3 and counts["mine"]["labels"] == 2 and counts["by_annotator"]["FER+"] == 1
    assert counts["by_label"]["happiness"] == 7


def test_the_code_still_withdraws(store):
    assert store.withdraw("KEPT-KEPT-KEPT-KEPT") == 1
    with pytest.raises(UnknownItem):
        store.withdraw("KEPT-KEPT-KEPT-KEPT")


def test_the_snapshot_still_loads(workspace):
    (folder,) = (workspace / "snapshots").iterdir()
    faces = datasets.load(f"snapshot:{folder}", "all")
    assert len(faces) == 2 and {faces.image(index).size for index in range(2)} == {(96, 96)}
