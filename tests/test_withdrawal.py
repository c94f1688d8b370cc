"""Withdrawal of faces from everything in a workspace: files, snapshots, exports; and which models learned from them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import signal
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exchanged import MiddleCutter
from label_workspaces import CODE, OTHER_CODE, child, face, files_in, says

from fer.datasets import DataError, load
from labeling import database, schema
from labeling.__main__ import main
from labeling.database import NAME, StoreError
from labeling.exchange import bring_in, export
from labeling.items import NewItem, UnknownItem
from labeling.snapshot import MANIFEST, MARK, take, trained_on
from labeling.store import LabelStore, Score
from labeling.withdrawal import finish, outgoing, withdraw

WHOLE = (0.0, 0.0, 112.0, 112.0)


def given(store: LabelStore, index: int, code: str | None = CODE, request: str | None = None) -> int:
    """A face contributed under `code`, with a reading; its number."""
    item = NewItem("live", f"clip {index}", face(index), 112, 112, WHOLE)
    number = store.contribute(item, says(request or f"r{index}"), code, "tests").item
    store.score([reading(number)])
    return number


def reading(number: int) -> Score:
    drawn = np.random.default_rng(number)
    return Score(number, "v1", drawn.dirichlet(np.ones(8)).astype(np.float32), drawn.normal(size=64).astype(np.float32))


def secrets(index: int, number: int) -> list[bytes]:
    """What must be gone: the file whole and in parts, its pixels' compressed bytes, its name, and what the model said."""
    content, one = face(index), reading(number)
    return [
        content, content[60:], content[2000:2064], hashlib.sha256(content).hexdigest().encode(),
        one.features.astype(np.float16).tobytes(), one.features.astype(np.float16).tobytes()[16:48], one.probabilities.tobytes(),
    ]  # fmt: skip


def traces(workspace: Path, *wanted: bytes) -> dict[str, int]:
    """The files in which one of `wanted` is found, those inside zips among them, and how many of them."""
    files = files_in(workspace)
    for name, content in list(files.items()):
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                files |= {f"{name}/{one}": archive.read(one) for one in archive.namelist()}
    found = {name: sum(one in content for one in wanted) for name, content in files.items()}
    return {name: count for name, count in found.items() if count}


def a_zip(folder: Path, store: LabelStore) -> Path:
    """An export as the app makes it, not fetched yet."""
    export(store, f"csv:{folder / 'faces-csv'}")
    place = outgoing(folder) / "0123456789abcdef" / "faces-csv.zip"
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as archive:
        for path in sorted((folder / "faces-csv").rglob("*")):
            archive.write(path, path.relative_to(folder))
            if path.is_file():
                path.unlink()
    return place


def backed_up(store: LabelStore) -> None:
    with closing(sqlite3.connect(store.database.path)) as connection:
        schema.backup(connection, store.database.path.with_name(f"{NAME}.before-2"), schema.version(connection))


def test_no_file_of_the_workspace_holds_a_byte_of_it_afterwards(store, tmp_path):
    logging.getLogger().addHandler(handler := logging.FileHandler(tmp_path / "app.log"))
    try:
        hers, his = given(store, 0), given(store, 1, OTHER_CODE)
        photos = tmp_path / "photos" / "fear"
        photos.mkdir(parents=True)
        (photos / "one.png").write_bytes(face(2))
        bring_in(store, f"folder:{photos.parent}")
        taken = take(store, tmp_path / "snapshots")
        backed_up(store)
        a_zip(tmp_path, store)
        store.judge(hers, says("more", "anger", "Bob"))
        before = traces(tmp_path, *secrets(0, hers))
        places = {name.split("/")[0] + "/" + name.split("/")[1] for name in before}
        assert {"labels/images", "labels/labels.db.before-2", f"snapshots/{taken.id}", "outgoing/0123456789abcdef"} <= places
        assert places & {f"labels/{NAME}", f"labels/{NAME}-wal"}
        gone = withdraw(tmp_path, store, CODE)
        assert gone.as_dict() == {"faces": 1, "snapshots": (taken.id,), "models": ()}
        assert traces(tmp_path, *secrets(0, hers)) == {}
        assert store.picture(store.item(his)) == face(1) and store.picture(store.item(3)) == face(2)
        assert any(name.startswith("labels/images") for name in traces(tmp_path, *secrets(1, his)))
        assert list(tmp_path.glob("labels/imports/*.json")), "the reports of imports stay"
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def test_snapshots_that_held_it_are_marked_and_refused_and_the_others_are_not(store, tmp_path):
    given(store, 1, OTHER_CODE)
    untouched = take(store, tmp_path / "snapshots")
    given(store, 0)
    touched = take(store, tmp_path / "snapshots")
    before = files_in(untouched.folder)
    assert withdraw(tmp_path, store, CODE).snapshots == (touched.id,)
    assert files_in(untouched.folder) == before and len(load(f"snapshot:{untouched.folder}", "all")) == 1
    with pytest.raises(DataError, match="were withdrawn; take a new snapshot"):
        load(f"snapshot:{touched.folder}", "all")
    mark = json.loads((touched.folder / MARK).read_text())
    assert mark["items"] == [2] and mark["at"].endswith("Z")
    assert len((touched.folder / MANIFEST).read_text().splitlines()) == 1
    assert take(store, tmp_path / "snapshots") == untouched


def test_a_picture_that_somebody_else_gave_too_stays_in_the_snapshot(store, tmp_path):
    given(store, 0)
    given(store, 0, OTHER_CODE, "the same picture")
    taken = take(store, tmp_path / "snapshots")
    withdraw(tmp_path, store, CODE)
    assert list(files_in(taken.folder / "images").values()) == [face(0)]
    withdraw(tmp_path, store, OTHER_CODE)
    assert traces(tmp_path, face(0)[2000:2064]) == {}


def test_a_model_trained_on_such_a_snapshot_is_named(store, tmp_path):
    given(store, 0)
    taken = take(store, tmp_path / "snapshots")
    for name, provenance in {
        "learned": {"snapshot": taken.id}, "another": {"snapshot": "0" * 16}, "shipped": {}, "started here": {
            "snapshot": "0" * 16, "started_from": {"version": "learned", "provenance": {"snapshot": taken.id}}},
    }.items():  # fmt: skip
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "bundle.json").write_text(json.dumps({"provenance": provenance}))
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "bundle.json").write_text("{")
    assert set(withdraw(tmp_path, store, CODE).models) == {"learned", "started here"}
    assert trained_on(tmp_path / "nothing here", [taken.id]) == []


@pytest.mark.parametrize("bundle", ["[]", '{"provenance": null}'])
def test_a_model_of_an_odd_form_does_not_stop_a_withdrawal(store, tmp_path, bundle):
    given(store, 0)
    take(store, tmp_path / "snapshots")
    (tmp_path / "models" / "odd").mkdir(parents=True)
    (tmp_path / "models" / "odd" / "bundle.json").write_text(bundle)
    assert withdraw(tmp_path, store, CODE).faces == 1


def test_a_second_withdrawal_says_that_nothing_is_kept(store, tmp_path):
    given(store, 0)
    withdraw(tmp_path, store, CODE)
    with pytest.raises(UnknownItem, match="Nothing is kept under this code; it was mistyped, or all was withdrawn before."):
        withdraw(tmp_path, store, CODE)
    with pytest.raises(ValueError, match="at least 16 letters and digits"):
        withdraw(tmp_path, store, "ABCD")


# --- what fails half-way ------------------------------------------------------------------------

KILLED = """
import os, pathlib, signal
from labeling import snapshot, withdrawal
from labeling.store import LabelStore
workspace, where = pathlib.Path(sys.argv[1]), sys.argv[2]
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
if where == "before the snapshots":
    snapshot.forget = die
else:
    real = snapshot._replace
    snapshot._replace = lambda path, text: die() if path.name == snapshot.MANIFEST else real(path, text)
withdrawal.withdraw(workspace, LabelStore(workspace / "labels"), sys.argv[3])
"""


@pytest.mark.parametrize("where", ["before the snapshots", "before the manifest"])
def test_a_kill_half_way_is_made_good_when_the_app_starts(store, tmp_path, where):
    hers = given(store, 0)
    given(store, 1, OTHER_CODE)
    taken = take(store, tmp_path / "snapshots")
    a_zip(tmp_path, store)
    store.close()
    assert child(KILLED, tmp_path, where, CODE).wait(timeout=60) == -signal.SIGKILL
    assert traces(tmp_path, *secrets(0, hers)) != {}
    again = LabelStore(tmp_path / "labels")
    finish(tmp_path, again)
    assert traces(tmp_path, *secrets(0, hers)) == {}
    with pytest.raises(DataError, match="were withdrawn"):
        load(f"snapshot:{taken.folder}", "all")
    assert list(files_in(taken.folder / "images").values()) == [face(1)] and not list(tmp_path.rglob("*.partial"))
    before = files_in(tmp_path / "snapshots")
    finish(tmp_path, again)
    assert files_in(tmp_path / "snapshots") == before
    again.close()


def test_a_kill_half_way_is_made_good_on_the_command_line_too(store, tmp_path, capsys):
    hers = given(store, 0)
    take(store, tmp_path / "snapshots")
    store.close()
    assert child(KILLED, tmp_path, "before the snapshots", CODE).wait(timeout=60) == -signal.SIGKILL
    main(["withdraw", CODE, "--workspace", str(tmp_path)])
    assert traces(tmp_path, *secrets(0, hers)) == {}, capsys.readouterr()


def test_a_withdrawal_that_a_reader_held_up_reaches_the_snapshots_when_asked_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    hers = given(store, 0)
    taken = take(store, tmp_path / "snapshots")
    with store.database.reading() as connection:
        connection.execute("SELECT * FROM items").fetchall()
        with pytest.raises(StoreError, match="withdraw again to remove the last traces"):
            withdraw(tmp_path, store, CODE)
    assert withdraw(tmp_path, store, CODE).snapshots == (taken.id,)
    assert traces(tmp_path, *secrets(0, hers)) == {}


@pytest.mark.parametrize("content", ["", "{", "[]\n", "{}\n"])
def test_a_manifest_that_cannot_be_read_stops_neither_a_withdrawal_nor_the_app(store, tmp_path, content):
    hers = given(store, 0)
    taken = take(store, tmp_path / "snapshots")
    damaged = tmp_path / "snapshots" / "0000000000000000"
    damaged.mkdir()
    (damaged / MANIFEST).write_text(content)
    assert withdraw(tmp_path, store, CODE).snapshots == (taken.id,)
    assert traces(tmp_path, *secrets(0, hers)) == {}
    finish(tmp_path, store)


def test_a_picture_that_the_manifest_no_longer_names_is_found_all_the_same(store, tmp_path):
    hers = given(store, 0)
    given(store, 1, OTHER_CODE)
    manifest = take(store, tmp_path / "snapshots").folder / MANIFEST
    manifest.write_text("".join(line for line in manifest.open() if json.loads(line)["item"] != hers))
    withdraw(tmp_path, store, CODE)
    assert traces(tmp_path, *secrets(0, hers)) == {}


@pytest.mark.parametrize("step", ["export", "shutil.make_archive"])
def test_a_zip_that_is_being_made_meanwhile_does_not_hold_it(store, tmp_path, monkeypatch, step):
    from labeling.ui import data_tab

    hers = given(store, 0)
    given(store, 1, OTHER_CODE)
    real = data_tab.export if step == "export" else data_tab.shutil.make_archive

    def meanwhile(*values):
        made = real(*values)
        withdraw(tmp_path, store, CODE)
        return made

    monkeypatch.setattr(f"labeling.ui.data_tab.{step}", meanwhile)
    services = SimpleNamespace(workspace=tmp_path, labels=lambda: store, cutter=MiddleCutter, offer=lambda path: "download/x")
    try:
        data_tab._hand_out(services, "csv")
    except ValueError:
        pass  # may be refused
    assert traces(tmp_path, *secrets(0, hers)) == {}


# --- the command line ---------------------------------------------------------------------------


def labeling(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command_line_says_what_was_removed_and_who_learned_from_it(store, tmp_path, capsys):
    given(store, 0)
    taken = take(store, tmp_path / "snapshots")
    (tmp_path / "models" / "faces-2").mkdir(parents=True)
    (tmp_path / "models" / "faces-2" / "bundle.json").write_text(json.dumps({"provenance": {"snapshot": taken.id}}))
    code, out, _ = labeling(capsys, "withdraw", CODE.lower().replace("-", " "), "--workspace", tmp_path)
    assert code == 0 and out == (
        f"removed for good: 1 face, with all labels on them; also from the snapshots {taken.id}, which can no longer be "
        "trained on; these models were trained on them and keep what they learned: faces-2\n"
    )
    code, out, err = labeling(capsys, "withdraw", CODE, "--workspace", tmp_path)
    assert (code, out) == (1, "") and err == "error: Nothing is kept under this code; it was mistyped, or all was withdrawn before.\n"


def test_the_command_line_answers_one_json_object(store, tmp_path, capsys):
    given(store, 0)
    given(store, 1, request="another")
    taken = take(store, tmp_path / "snapshots")
    code, out, _ = labeling(capsys, "withdraw", CODE, "--json", "--workspace", tmp_path)
    assert code == 0 and json.loads(out) == {"faces": 2, "snapshots": [taken.id], "models": []}


def test_the_command_line_makes_no_workspace_where_there_is_none(tmp_path, capsys):
    code, _, err = labeling(capsys, "withdraw", CODE, "--workspace", tmp_path / "nowhere")
    assert code == 1 and "holds no labels" in err and not list(tmp_path.iterdir())


def test_a_model_that_was_trained_anywhere_on_the_snapshot_is_named(store, tmp_path):
    from fer.datasets import note_training

    given(store, 0)
    taken = take(store, tmp_path / "snapshots")
    note_training(f"snapshot:{taken.folder}", "a-model-of-mine")
    note_training("ferplus:somewhere", "another")
    assert withdraw(tmp_path, store, CODE).models == ("a-model-of-mine",)
