"""Snapshots: what is in them, on which side, by what name, and disks and processes that fail half-way."""

from __future__ import annotations

import hashlib
import json
import signal
from collections import Counter
from pathlib import Path

import pytest
from label_workspaces import CODE, assert_one_sentence, child, chip, face, files_in, fill, png, said_by, says, small_disk
from queued import made_up

from labeling import snapshot
from labeling.database import StoreError
from labeling.items import NewItem
from labeling.snapshot import SnapshotError, take
from labeling.splits import SIDES, side_of
from labeling.store import LabelStore
from labeling.withdrawal import finish, withdraw

WHOLE = (0.0, 0.0, 112.0, 112.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def new(index: int, group: str | None = None, **more) -> NewItem:
    """A real face, in a group of its own unless one is named."""
    return NewItem("test", group or f"clip {index}", face(index), 112, 112, WHOLE, **more)


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / snapshot.MANIFEST).read_text(encoding="utf-8").splitlines()]


def by_item(folder: Path) -> dict[int, dict]:
    return {line["item"]: line for line in manifest(folder)}


def group_on(side: str) -> str:
    """The name of a group that is on `side`."""
    return next(name for name in map("group {}".format, range(1000)) if side_of(name) == side)


def three(store: LabelStore) -> list[int]:
    """Three labelled faces."""
    items = store.add(new(index) for index in range(3))
    for item, label in zip(items, ("happiness", "fear", "anger"), strict=True):
        store.judge(item, says(f"r{item}", label))
    return items


# --- name and content ---------------------------------------------------------------------------


def test_the_id_is_the_hash_of_the_manifest_and_names_the_folder(store, root):
    three(store)
    taken = take(store, root)
    content = (taken.folder / snapshot.MANIFEST).read_bytes()
    assert taken.id == hashlib.sha256(content).hexdigest()[:16] == taken.folder.name
    assert taken.folder.parent == root and [one.name for one in root.iterdir()] == [taken.id]
    assert taken.as_dict() == {"id": taken.id, "folder": str(taken.folder), **taken.faces, "left_out": 0}
    assert sum(taken.faces.values()) == 3 and set(taken.faces) == set(SIDES)


def test_the_same_labels_give_the_same_snapshot_which_is_not_written_twice(store, root):
    items = three(store)
    first = take(store, root)
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    store.judge(items[0], says("skipped", None, "Bob"))  # says nothing
    assert take(store, root) == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == written


def test_a_changed_label_gives_another_one_beside_it(store, root):
    items = three(store)
    first = take(store, root)
    kept = files_in(first.folder)
    store.judge(items[0], says("second thoughts", "sadness"))
    second = take(store, root)
    assert second.id != first.id and files_in(first.folder) == kept
    assert by_item(second.folder)[items[0]]["votes"] == {"sadness": 1.0}
    store.undo("second thoughts")
    assert take(store, root).id == first.id


def test_pictures_are_named_by_their_hash_and_are_those_of_the_store(store, root):
    items = three(store)
    folder = take(store, root).folder
    pictures = files_in(folder / snapshot.IMAGES)
    assert all(hashlib.sha256(content).hexdigest() + ".png" == name for name, content in pictures.items())
    assert set(pictures.values()) == {store.picture(store.item(item)) for item in items}
    assert [line["image"] for line in manifest(folder)] == sorted(name.removesuffix(".png") for name in pictures)


def test_a_line_tells_all_that_training_needs(store, root):
    landmarks = [(30.5, 40.25), (70.0, 41.0), (50.0, 60.0), (35.0, 80.0), (66.0, 81.0)]
    (item,) = store.add([NewItem("photo", "Straße", face(0), 112, 112, (10.0, 12.0, 100.0, 104.5), landmarks)])
    store.judge(item, says("r"))
    (line,) = manifest(take(store, root).folder)
    assert line == {
        "image": store.item(item).image, "box": [10.0, 12.0, 100.0, 104.5], "landmarks": [list(one) for one in landmarks],
        "votes": {"happiness": 1.0}, "group": "Straße", "split": side_of("Straße"), "item": item, "source": "photo",
    }  # fmt: skip


def test_a_second_expression_is_half_a_vote_and_imported_votes_count_each(store, root):
    one, other, imported = store.add(new(index) for index in range(3))
    store.judge(one, says("a", "happiness", second="surprise"))
    store.judge(one, says("b", "surprise", "Bob"))
    store.judge(other, says("c", "NF"))
    store.judge(imported, says("d", "neutral", "FER+", votes={"neutral": 6, "sadness": 3, "NF": 1}))
    store.judge(imported, says("e", "sadness"))
    votes = {item: line["votes"] for item, line in by_item(take(store, root).folder).items()}
    assert votes == {one: {"happiness": 1.0, "surprise": 1.5}, other: {"NF": 1.0}, imported: {"neutral": 6, "sadness": 4.0, "NF": 1}}


def test_what_was_skipped_undone_or_kept_without_a_picture_is_not_in_it(store, root):
    labelled, skipped, undone, nobodys = store.add(new(index) for index in range(4))
    store.judge(labelled, says("a"))
    store.judge(skipped, says("b", None))
    store.judge(undone, says("c"))
    store.undo("c")
    store.contribute(NewItem("live", "no pixels"), says("d"), CODE, "tests")
    folder = take(store, root).folder
    assert list(by_item(folder)) == [labelled]
    assert list(files_in(folder / snapshot.IMAGES)) == [f"{store.item(labelled).image}.png"]


# --- sides --------------------------------------------------------------------------------------


def test_no_face_changes_side_when_others_come(store, root):
    def label(seeds: range) -> dict[int, str]:
        for item in store.add(made_up(seed) for seed in seeds):
            store.judge(item, says(f"r{item}"))
        return {item: line["split"] for item, line in by_item(take(store, root).folder).items()}

    before = label(range(40))
    after = label(range(40, 80))
    assert len(before) == 40 and len(after) == 80 and set(after.values()) == set(SIDES)
    assert {item: after[item] for item in before} == before
    assert all(side == side_of(store.item(item).group) for item, side in after.items())


def test_the_side_that_a_set_gave_stands(store, root):
    for number, side in enumerate(SIDES):
        (item,) = store.add([new(number, group_on(SIDES[number - 1]), split=side)])
        store.judge(item, says(f"r{item}"))
    taken = take(store, root)
    assert {line["item"]: line["split"] for line in manifest(taken.folder)} == {1: "train", 2: "val", 3: "test"}
    assert taken.faces == {"train": 1, "val": 1, "test": 1} and taken.left_out == 0


def test_what_would_tell_training_of_a_held_out_face_is_left_out_and_counted(store, root):
    near = NewItem("test", "elsewhere", png(chip(0, 1)), 112, 112, WHOLE, split="train")
    shared = group_on("train")
    items = store.add([
        new(0, shared, split="test"), near,  # a near copy of a held-out face
        new(1, shared, split="train"), new(2, shared),  # in one group with it
        new(3, "another", split="train"),
    ])  # fmt: skip
    assert store.item(items[1]).twin == items[0]
    for item in items:
        store.judge(item, says(f"r{item}"))
    taken = take(store, root)
    assert list(sorted(by_item(taken.folder))) == [items[0], items[4]]
    assert taken.faces == {"train": 1, "val": 0, "test": 1} and taken.left_out == 3
    assert take(store, root).left_out == 3, "also when it is there already"


def test_the_faces_that_a_model_or_one_it_began_as_has_learned_from_are_those_of_their_training_sides(store, tmp_path):
    assert snapshot.learned_by(tmp_path, "shipped") == set()
    three(store)
    taken = take(store, tmp_path / "snapshots")
    lines = manifest(taken.folder)
    learned = {line["item"] for line in lines if line["split"] == "train"}
    assert learned and learned != {line["item"] for line in lines}
    begun = {"version": "first", "provenance": {"snapshot": taken.id}}
    for version, provenance in {"first": begun["provenance"], "second": {"snapshot": "gone", "started_from": begun}}.items():
        (tmp_path / "models" / version).mkdir(parents=True)
        (tmp_path / "models" / version / "bundle.json").write_text(json.dumps({"version": version, "provenance": provenance}))
        assert snapshot.learned_by(tmp_path, version) == learned


def test_no_group_is_on_both_sides(store, root):
    for number, (seed, side) in enumerate((seed, side) for seed in range(8) for side in (*SIDES, None)):
        (item,) = store.add([NewItem("test", f"clip {seed}", made_up(number).png, 16, 16, (0, 0, 16, 16), split=side)])
        store.judge(item, says(f"r{item}"))
    lines = manifest(take(store, root).folder)
    held_out = {line["group"] for line in lines if line["split"] != "train"}
    assert held_out.isdisjoint(line["group"] for line in lines if line["split"] == "train")


# --- nothing, and what fails half-way -----------------------------------------------------------


@pytest.mark.parametrize("faces", [[], [0]])
def test_without_a_label_there_is_nothing_to_take(store, root, faces):
    store.add(map(new, faces))
    with pytest.raises(SnapshotError, match="No face has a label yet; label some, or import labelled ones.") as caught:
        take(store, root)
    assert_one_sentence(caught.value)
    assert not root.exists()


KILLED = """
import os, pathlib, signal
from labeling import snapshot
from labeling.store import LabelStore
workspace, where = pathlib.Path(sys.argv[1]), sys.argv[2]
store = LabelStore(workspace / "labels")
def die(*arguments, **more): os.kill(os.getpid(), signal.SIGKILL)
if where == "pictures":
    real, left = snapshot._put, [2]
    def put(*paths):
        left[0] -= 1
        real(*paths) if left[0] else die()
    snapshot._put = put
elif where == "manifest":
    pathlib.Path.write_text = die
else:
    snapshot.os.replace = die
snapshot.take(store, workspace / "snapshots")
"""


@pytest.mark.parametrize("where", ["pictures", "manifest", "name"])
def test_what_a_kill_leaves_half_written_is_no_snapshot_and_goes_when_the_app_starts(store, tmp_path, root, where):
    three(store)
    killed = child(KILLED, tmp_path, where)
    assert killed.wait(timeout=60) == -signal.SIGKILL, killed.stderr.read()
    assert all(one.name.endswith(".partial") for one in root.iterdir()) and len(list(root.iterdir())) == 1
    finish(tmp_path, store)
    taken = take(store, root)
    assert len(manifest(taken.folder)) == len(files_in(taken.folder / snapshot.IMAGES)) == 3
    assert [one.name for one in root.iterdir()] == [taken.id], "faces lie in a folder that nothing will ever remove"


@pytest.mark.parametrize("where", ["manifest", "name"])
def test_a_face_of_a_half_written_snapshot_does_not_outlive_its_withdrawal(store, tmp_path, root, where):
    store.contribute(new(0), says("r"), CODE, "tests")
    assert child(KILLED, tmp_path, where).wait(timeout=60) == -signal.SIGKILL
    assert withdraw(tmp_path, store, CODE).snapshots == (), "what is half-written has no name to be told"
    assert [name for name, content in files_in(tmp_path).items() if face(0)[2000:2064] in content] == []


def test_on_a_full_disk_it_says_so_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        store = LabelStore(disk / "labels")
        three(store)
        ballast = fill(disk)
        with pytest.raises(StoreError, match="The disk of the workspace is full") as caught:
            take(store, disk / "snapshots")
        assert_one_sentence(caught.value, disk)
        assert not list((disk / "snapshots").glob("*"))
        ballast.unlink()
        assert len(manifest(take(store, disk / "snapshots").folder)) == 3
        store.close()


def test_on_a_disk_that_knows_no_links_pictures_are_copied(store, root, monkeypatch):
    three(store)
    monkeypatch.setattr(snapshot.os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError("no links")))
    folder = take(store, root).folder
    pictures = files_in(folder / snapshot.IMAGES)
    assert len(pictures) == 3 and all(hashlib.sha256(content).hexdigest() + ".png" == name for name, content in pictures.items())


TAKING = """
import pathlib, time
from labeling import snapshot
from labeling.store import LabelStore
workspace = pathlib.Path(sys.argv[1])
store = LabelStore(workspace / "labels")
print("ready", flush=True)
while not (workspace / "go").exists(): time.sleep(0.001)
taken = snapshot.take(store, workspace / "snapshots")
print(taken.id, sum(taken.faces.values()))
"""


def test_two_processes_at_once_take_the_same(store, tmp_path, root):
    for item in store.add(made_up(seed) for seed in range(60)):
        store.judge(item, says(f"r{item}"))
    processes = [child(TAKING, tmp_path) for _ in range(2)]
    for one in processes:
        assert one.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    said = [said_by(one) for one in processes]
    taken = take(store, root)
    assert said == [f"{taken.id} {sum(taken.faces.values())}"] * 2
    assert [one.name for one in root.iterdir()] == [taken.id]
    assert len(files_in(taken.folder / snapshot.IMAGES)) == sum(taken.faces.values())


@pytest.mark.parametrize("step", ["_put", "os.replace"])
def test_a_face_withdrawn_while_a_snapshot_is_taken_is_not_in_it(store, tmp_path, root, monkeypatch, step):
    three(store)
    made = store.contribute(new(3), says("r"), CODE, "tests")
    real, calls = (snapshot._put, 4) if step == "_put" else (snapshot.os.replace, 1)
    count = iter(range(1, 100))

    def meanwhile(source, target) -> None:
        if step == "_put":
            real(source, target)
        if next(count) == calls:
            withdraw(tmp_path, store, CODE)
        if step != "_put":
            real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(f"labeling.snapshot.{step}", meanwhile)
        try:
            take(store, root)
        except ValueError:
            pass  # may be refused, but nothing of the face may stay
    assert [name for name, content in files_in(tmp_path).items() if face(3)[2000:2064] in content] == []
    assert all(made.item not in by_item(path.parent) for path in root.glob("*/manifest.jsonl"))


@pytest.mark.parametrize("what", ["manifest", "picture gone", "picture altered"])
def test_a_damaged_snapshot_is_made_whole_by_taking_it_again_as_its_sentence_says(store, root, what):
    three(store)
    taken = take(store, root)
    picture = next((taken.folder / snapshot.IMAGES).iterdir())
    before = files_in(taken.folder)
    if what == "manifest":
        (taken.folder / snapshot.MANIFEST).write_text("{}\n")
    else:
        picture.unlink()  # a link of the store's own file: that one stays
        if what == "picture altered":
            picture.write_bytes(face(7))
    assert take(store, root) == taken
    assert sorted(name for name, content in files_in(taken.folder).items() if before.get(name) != content) == []
    assert files_in(taken.folder).keys() == before.keys()


def test_each_face_is_a_line_and_every_line_has_its_picture(store, root):
    three(store)
    store.contribute(new(0), says("again"), CODE, "tests")  # the same picture under an agreement of its own
    folder = take(store, root).folder
    images = Counter(line["image"] for line in manifest(folder))
    assert sorted(images.values()) == [1, 1, 2] and len(files_in(folder / snapshot.IMAGES)) == 3
