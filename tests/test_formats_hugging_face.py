"""Folders for the `datasets` library in and out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exchanged import VOTES, known, part_of, studio
from label_workspaces import face

from labeling.exchange import bring_in, export
from labeling.labels import LABELS
from labeling.store import LabelStore

# In a process of its own: the library reads where it may go when it is imported.
LOAD = """
import json, sys
from datasets import load_dataset
loaded = load_dataset("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({split: [{**row, "image": [row["image"].mode, *row["image"].size]} for row in rows]
                  for split, rows in loaded.items()}))
"""


def loaded(folder: Path, cache: Path) -> dict[str, list[dict]]:
    """The folder as the `datasets` library sees it."""
    offline = {name: "1" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), str(cache)], env={**os.environ, **offline, "HF_HOME": str(cache)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def lines(folder: Path, *rows: object, pictures: tuple[str, ...] = ("a.png",)) -> Path:
    for index, picture in enumerate(pictures):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).write_bytes(face(index))
    (folder / "metadata.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return folder


def test_everything_comes_back(tmp_path):
    store, again = studio(tmp_path / "one"), LabelStore(tmp_path / "two")
    assert export(store, f"hf:{tmp_path / 'out'}").faces == 8
    assert bring_in(again, str(tmp_path / "out")).problem_count == 0
    assert known(again) == known(store)


def test_the_datasets_library_loads_an_export(tmp_path):
    store = studio(tmp_path / "labels")
    export(store, f"hf:{tmp_path / 'out'}")
    splits = loaded(tmp_path / "out", tmp_path / "cache")
    rows = [row for split in splits.values() for row in split]
    assert len(rows) == 8 and set(splits) == {"train", "validation", "test"}
    assert set(rows[0]) == {"image", "label", "votes", "annotators", "group", "split", "box", "landmarks"}
    voted = next(row for row in splits["test"] if row["label"] == "neutral")
    assert dict(zip(LABELS, voted["votes"], strict=True)) == {**dict.fromkeys(LABELS, 0), **VOTES}
    assert voted["box"] == [0, 0, 112, 112] and voted["image"] == ["RGB", 112, 112]
    assert ["L", 48, 48] in [row["image"] for row in rows] and sum(row["label"] == "" for row in rows) == 1


@pytest.mark.data
def test_the_datasets_library_loads_real_faces_with_their_sides(ferplus, tmp_path):
    store = LabelStore(tmp_path / "labels")
    bring_in(store, str(part_of(ferplus, tmp_path / "ferplus", 150)))
    export(store, f"hf:{tmp_path / 'out'}")
    splits = loaded(tmp_path / "out", tmp_path / "cache")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 150, "validation": 150, "test": 150}
    assert all(sum(row["votes"]) in (9, 10) for rows in splits.values() for row in rows)


def test_folders_of_others_are_read(tmp_path):
    rows = [{"file_name": "train/a.png", "label": "Happy", "extra": 1}, {"file_name": "train/b.png", "label": None}]
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(lines(tmp_path / "set", *rows, pictures=("train/a.png", "train/b.png"))))
    assert (report.source, report.faces, report.judgements, report.unlabelled) == ("hf:set", 2, 1, 1)
    assert (store.annotations(1)[0].annotator, store.annotations(1)[0].label) == ("set", "happiness")
    assert store.item(1).group == "hf:set/train/a.png"


def test_the_folder_is_the_side_where_the_row_is_silent(tmp_path):
    lines(tmp_path / "set" / "validation", {"file_name": "a.png", "label": "fear"})
    store = LabelStore(tmp_path / "labels")
    bring_in(store, f"hf:{tmp_path / 'set'}")
    assert store.item(1).split == "val"


@pytest.mark.parametrize(
    "row",
    [
        "{", "7", "null", "[]", {}, {"file_name": 7}, {"file_name": "gone.png", "label": "fear"},
        {"file_name": "../labels/labels.db", "label": "fear"}, {"file_name": "a.png", "label": "=1+1"},
        {"file_name": "a.png", "label": "fear", "votes": [1] * 9}, {"file_name": "a.png", "label": "fear", "box": [1]},
        {"file_name": "a.png", "annotators": "{"}, {"file_name": "a.png", "annotators": [{"name": "Ada"}]},
        {"file_name": "a.png", "annotators": '[{"annotator": "Ada", "label": "fear", "votes": {"fear": 1e999}}]'},
        {"file_name": "a.png", "label": "fear", "landmarks": "[[1, 2]]"}, "x" * 1_100_000,
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used_are_named_and_the_rest_arrives(tmp_path, row):
    lines(tmp_path / "set", row, {"file_name": "b.png", "label": "fear"}, pictures=("a.png", "b.png"))
    report = bring_in(LabelStore(tmp_path / "labels"), str(tmp_path / "set"))
    assert report.faces == 1 and report.problem_count >= 1
    assert all(one.name.startswith("metadata.jsonl line ") and one.sentence.endswith(".") for one in report.problems)


def test_letters_that_no_database_takes_do_no_harm(tmp_path):
    odd = (
        '{"file_name": "a.png", "annotators": [{"annotator": "\\ud800\\u0000x", "label": "fear"}], "group": "\\udfff"}'
    )
    store = LabelStore(tmp_path / "labels")
    bring_in(store, str(lines(tmp_path / "set", odd)))
    assert store.annotations(1)[0].annotator == "??x" and store.item(1).group == "?"
