"""Faces as rows: the same picture is one item, near-duplicates share a group."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import SAMPLES
from label_workspaces import CODE, OTHER_CODE, chip, face, files_in, png, says
from PIL import Image, ImageOps

from labeling import store as store_module
from labeling.fingerprints import NEAR
from labeling.items import Catalogue, NewItem, UnknownItem
from labeling.store import LabelStore


@pytest.fixture
def store(tmp_path: Path):
    one = LabelStore(tmp_path)
    yield one
    one.close()


def photo(content: bytes | None = None, group: str = "photo 1", **more) -> NewItem:
    return NewItem("photo", group, content, **more)


def saved_again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file)


def test_an_item_comes_back_as_it_was_given(store):
    given = NewItem("import:mine", "clip 7", face(), 112, 112, (1.23456, 2, 100, 110.5), [(1, 2), (3, 4.5)])
    (number,) = store.add([given])
    item = store.item(number)
    assert (item.source, item.group, item.width, item.height) == ("import:mine", "clip 7", 112, 112)
    assert item.box == (1.235, 2.0, 100.0, 110.5) and item.landmarks == ((1.0, 2.0), (3.0, 4.5))
    assert item.twin is None and item.added_at.endswith("Z")
    assert store.picture(item) == face()


def test_a_face_without_pixels_is_a_row_alone(store, tmp_path):
    (number,) = store.add([photo(box=(1, 2, 3, 4))])
    item = store.item(number)
    assert (item.image, item.landmarks, item.width) == (None, None, None) and item.box == (1, 2, 3, 4)
    with pytest.raises(UnknownItem, match=r"^Of that face only the label was kept, no picture\.$"):
        store.picture(item)
    assert not list(tmp_path.rglob("*.png"))


def test_the_same_picture_twice_is_one_item(store, tmp_path):
    assert store.add([photo(face()), photo(face(), "photo 2")]) == [1, 1]
    assert store.add([photo(face(), "photo 3")]) == [1]
    assert store.item(1).group == "photo 1" and len(list(tmp_path.rglob("*.png"))) == 1


def test_faces_without_pixels_are_never_the_same(store):
    assert store.add([photo(), photo()]) == [1, 2]


def test_the_same_picture_under_two_agreements_is_two_items_and_one_file(store, tmp_path):
    items = [
        store.contribute(photo(face(), f"photo {number}"), says(f"r{number}"), code, "tests").item
        for number, code in enumerate([CODE, OTHER_CODE, None, CODE, None])
    ]
    assert items == [1, 2, 3, 1, 3]
    assert len({store.item(one).image for one in items}) == 1 and len(list(tmp_path.rglob("*.png"))) == 1
    assert [store.item(one).twin for one in (1, 2, 3)] == [None, 1, 1]
    assert {store.item(one).group for one in items} == {"photo 0"}


CHANGES = {
    "shifted by a pixel": lambda: chip(0, 1),
    "saved again": lambda: saved_again(chip(0)),
    "mirrored": lambda: ImageOps.mirror(chip(0)),
    "smaller": lambda: chip(0).resize((90, 90)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("opened_again", [True, False])
def test_a_near_duplicate_names_the_first_and_joins_its_group(store, tmp_path, change, opened_again):
    other, first = store.add([photo(face(1), "other"), photo(face(0), "first")])
    again = LabelStore(tmp_path) if opened_again else store
    (copy,) = again.add([photo(png(CHANGES[change]()), "its own")])
    assert copy not in (other, first)
    assert (again.item(copy).twin, again.item(copy).group) == (first, "first")
    assert again.item(first).twin is None
    if opened_again:
        again.close()


def test_near_duplicates_of_near_duplicates_all_name_the_first(store):
    copies = [photo(png(chip(0, shift)), f"photo {shift}") for shift in range(3)]
    assert store.add(copies) == [1, 2, 3]
    assert [store.item(one).twin for one in (1, 2, 3)] == [None, 1, 1]
    assert {store.item(one).group for one in (1, 2, 3)} == {"photo 0"}


def test_along_a_chain_of_near_duplicates_the_last_names_the_first_though_it_is_far_from_it(store):
    with store.database.writing() as connection:
        known = Catalogue(connection)
        marks = (0, 2**NEAR - 1, 4**NEAR - 1)  # each within NEAR bits of the one before
        numbers = [known.add(connection, photo(group=f"photo {mark}"), None, (mark, mark), None) for mark in marks]
    assert [store.item(one).twin for one in numbers] == [None, 1, 1]
    assert {store.item(one).group for one in numbers} == {"photo 0"}


def test_different_faces_keep_their_own_groups(store):
    numbers = store.add([photo(face(index), f"photo {index}") for index in range(8)])
    assert numbers == list(range(1, 9))
    assert [store.item(one).twin for one in numbers] == [None] * 8
    assert [store.item(one).group for one in numbers] == [f"photo {index}" for index in range(8)]


def test_faces_of_one_group_stay_in_it_though_they_differ(store):
    assert store.add([photo(face(0), "clip"), photo(face(1), "clip")]) == [1, 2]
    assert [store.item(one).twin for one in (1, 2)] == [None, None]


def test_duplicates_are_found_across_the_chunks_of_a_large_import(store, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 2)
    numbers = store.add(iter([*(photo(face(index), f"photo {index}") for index in range(5)), photo(face(0)), photo(png(chip(3, 1)))]))
    assert numbers == [1, 2, 3, 4, 5, 1, 6]
    assert store.item(6).twin == 4


def test_a_withdrawal_in_the_midst_of_a_large_import_does_not_disturb_it(store, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 1)
    store.contribute(photo(face(0), "theirs"), says("r1"), CODE, "tests")

    def faces():
        yield photo(face(1), "mine 1")
        store.withdraw(CODE)  # as another person would, meanwhile
        yield photo(png(chip(0, 1)), "mine 2")

    numbers = store.add(faces())
    assert len(numbers) == 2 and store.item(numbers[1]).twin is None


def test_a_file_that_is_no_picture_is_not_kept(store, tmp_path):
    before = set(files_in(tmp_path))
    for given in (b"no picture", b""):
        with pytest.raises((ValueError, OSError)):
            store.contribute(photo(given), says("r1"), None, "tests")
        with pytest.raises((ValueError, OSError)):
            store.add([photo(given)])
    assert set(files_in(tmp_path)) == before and store.annotation("r1") is None
    with pytest.raises(UnknownItem):
        store.item(1)


def test_items_are_given_in_the_order_asked_for_without_those_that_are_not_here(store):
    store.add([photo(group=f"photo {index}") for index in range(4)])
    assert [one.id for one in store.items([3, 99, 1, 3])] == [3, 1, 3]
    assert store.items([]) == []


@pytest.mark.parametrize("number", [0, 1, -1, 2**62])
def test_an_item_that_is_not_here_is_said_not_to_be(store, number):
    with pytest.raises(UnknownItem, match=rf"^There is no face {number} here; it was withdrawn, or never was\.$"):
        store.item(number)


def test_a_photo_of_many_pixels_is_kept_byte_for_byte(store):
    with Image.open(SAMPLES / "oath-ceremony.jpg") as image:
        content = png(image.convert("RGB"))
    (number,) = store.add([photo(content)])
    assert store.picture(store.item(number)) == content
