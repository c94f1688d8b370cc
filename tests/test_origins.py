"""Where versions were fetched: noted once, found again, and no damage to the file hides the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fer.origins import FILE, Origin, Origins

ONE = Origin("mine", "ada/faces", "main", "a" * 40, "2026-11-21T12:00:00+00:00")
LATER = replace(ONE, version="newer", commit="b" * 40, at="2026-11-22T12:00:00+00:00")


def noted(root: Path, *origins: Origin) -> Origins:
    found = Origins(root)
    for one in origins:
        found.note(one)
    return found


def test_before_the_first_fetch_there_is_none_and_no_file(tmp_path):
    assert Origins(tmp_path).all() == [] and Origins(tmp_path).of("mine") is None and list(tmp_path.iterdir()) == []


def test_the_last_fetch_is_found_by_version_commit_and_revision(tmp_path):
    origins = noted(tmp_path, ONE, LATER)
    assert origins.all() == [ONE, LATER]
    assert (origins.of("mine"), origins.of("newer"), origins.of("other")) == (ONE, LATER, None)
    assert origins.by_commit("ada/faces", "a" * 40) == ONE and origins.by_commit("bob/faces", "a" * 40) is None
    assert origins.by_revision("ada/faces", "main") == LATER and origins.by_revision("ada/faces", "a" * 40) == ONE
    assert origins.by_revision("ada/faces", "v1") is None and str(ONE) == "ada/faces@aaaaaaa"


def test_the_same_fetch_again_is_one_line_with_its_newest_time(tmp_path):
    origins = noted(tmp_path, ONE, LATER, again := replace(ONE, at="2026-11-23T12:00:00+00:00"))
    assert origins.all() == [LATER, again] and origins.by_revision("ada/faces", "main") == again


def test_damaged_lines_are_passed_over(tmp_path):
    noted(tmp_path, ONE)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"version": 7}\n[]\n{"version": "x", "repo\n')
    assert Origins(tmp_path).all() == [ONE] and noted(tmp_path, LATER).all() == [ONE, LATER]
    assert list(tmp_path.iterdir()) == [tmp_path / FILE]
