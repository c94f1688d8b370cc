"""A batch as a file: the same for the same content, refused when damaged, and what is left after a withdrawal."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
from label_workspaces import face
from test_records import CONSENT, GONE, HASH, ITEM, JUDGEMENT, TRUST, UID

from labeling.batches import Batch, DamagedBatch, is_batch, new_name
from labeling.consents import mark_of

PNG = face(0)
NAME = hashlib.sha256(PNG).hexdigest()
OTHER = "12" * 16
AGREED, LATER = CONSENT["agreed_at"], "2026-12-01T08:00:00.000Z"


def batch() -> Batch:
    """A face under a code with a label, and one without."""
    return Batch((CONSENT, {**ITEM, "image": NAME}, {**ITEM, "uid": OTHER, "image": None, "consent": None}, JUDGEMENT,
                  {**JUDGEMENT, "request": "r2", "item": OTHER}, TRUST, GONE), {NAME: PNG})  # fmt: skip


def test_it_comes_back_as_it_was_and_is_the_same_file_each_time():
    content = batch().packed()
    assert Batch.unpacked(content) == batch() and batch().packed() == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["records.jsonl", f"images/{NAME}.png"] and archive.testzip() is None
        assert all(one.compress_type == zipfile.ZIP_STORED for one in archive.infolist())


def test_names_are_never_the_same_and_sort_by_time():
    names = [new_name("abcd", number) for number in range(3)]
    assert len({*names, new_name("abcd", 0)}) == 4 and sorted(names) == names and all(map(is_batch, names))
    for name in ("batches/", "batches/a/b.zip", "batches/../a.zip", "x/a.zip", "batches/a.json", "batches/a.zip\n"):
        assert not is_batch(name)


def test_words_with_other_ends_of_lines_stay_in_one_line():
    one = Batch(({**JUDGEMENT, "annotator": "A\u2028\x85\x0bda"},))
    assert Batch.unpacked(one.packed()) == one


def rewritten(change) -> bytes:
    """The file with other entries: `change` gets and gives {name: content}."""
    with zipfile.ZipFile(io.BytesIO(batch().packed())) as archive:
        entries = change({name: archive.read(name) for name in archive.namelist()})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK", batch().packed()[:-30], batch().packed()[:200], rewritten(lambda all: {}),
        rewritten(lambda all: {**all, "records.jsonl": b""}), rewritten(lambda all: {**all, "records.jsonl": b'{"version": 2}\n'}),
        rewritten(lambda all: {**all, "records.jsonl": all["records.jsonl"][:-10]}),
        rewritten(lambda all: {**all, "records.jsonl": all["records.jsonl"].replace(b'"fear"', b'"hungry"')}),
        rewritten(lambda all: {**all, f"images/{NAME}.png": PNG[:-1]}), rewritten(lambda all: {"records.jsonl": all["records.jsonl"]}),
        rewritten(lambda all: {**all, "images/../../x.png": PNG}),
    ],
)  # fmt: skip
def test_a_damaged_one_is_refused_with_the_reason(content):
    with pytest.raises(DamagedBatch) as caught:
        Batch.unpacked(content)
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("at", range(0, len(batch().packed()), 997))
def test_no_single_wrong_byte_gets_through_or_breaks_anything(at):
    content = bytearray(batch().packed())
    content[at] ^= 0xFF
    try:
        assert Batch.unpacked(bytes(content)) == batch()  # a byte that nobody reads
    except DamagedBatch:
        pass


def test_a_packed_bomb_is_refused_unread():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records.jsonl", b"\n" * 50_000_000)
    with pytest.raises(DamagedBatch, match="packed as no batch is"):
        Batch.unpacked(file.getvalue())


def test_nothing_is_taken_out_where_nothing_was_withdrawn():
    assert batch().withdrawn({}) == () and batch().without({"9" * 32: LATER}) == batch()


def test_a_face_goes_with_its_picture_and_all_that_was_said_about_it():
    left = batch().without({UID: LATER})
    assert [one["kind"] for one in left.records] == ["consent", "item", "judgement", "trust", "gone"] and left.pictures == {}


def test_a_code_takes_along_its_faces_its_labels_and_itself():
    left = batch().without({mark_of(HASH): LATER})
    assert left.records == batch().without({UID: LATER}).records[1:] and left.pictures == {}


def test_who_agrees_again_under_the_same_code_begins_anew():
    assert batch().without({mark_of(HASH): "2026-11-20T08:00:00.000Z"}) == batch()
    assert batch().withdrawn({mark_of(HASH): AGREED})


def test_a_withdrawn_visitors_trust_goes_too():
    visitor = {**TRUST, "contributor": f"a visitor#{HASH[:16]}", "at": AGREED}
    assert Batch((visitor,)).without({mark_of(HASH[:16]): LATER}).records == ()


def test_several_as_one_hold_everything_once():
    more = Batch(({**ITEM, "uid": "77" * 16, "image": NAME},), {NAME: PNG})
    both = Batch.of([batch(), more, batch()])
    assert both.records == (*batch().records, *more.records) and both.pictures == {NAME: PNG}
