"""What is shown as on the Hub is back after a kill; and the check would notice if it were not."""

from __future__ import annotations

import pytest
from copies import Copy
from hub_kills import Round, faults, run
from local_hub import LocalHub


@pytest.mark.parametrize("kept", [False, True], ids=["workspace deleted", "workspace kept"])
def test_five_kills_lose_nothing_that_was_shown_as_on_the_hub(tmp_path, kept):
    book = run(rounds=5, folder=tmp_path, longest=1.5, kept=kept)
    assert book.acknowledged > 50 and len(book.kept) > 20
    if kept:
        assert book.lost_unsent == 0


def test_what_is_missing_or_changed_is_noticed(tmp_path):
    copy = Copy(tmp_path, LocalHub())
    copy.gives(0, "r1")
    label = {"r1": ("label", "happiness")}
    assert list(faults(copy, label, label)) == []
    assert "r2 was shown" in "".join(faults(copy, {**label, "r2": ("label", "fear")}, label))
    assert "nobody said it" in "".join(faults(copy, {}, {}))
    assert "came back as" in "".join(faults(copy, {}, {"r1": ("label", "fear")}))
    next(copy.store.images.root.rglob("*.png")).unlink()
    assert "picture" in "".join(faults(copy, label, label))
    copy.close()


def test_what_was_shown_is_what_was_said_up_to_the_time_of_the_meter():
    lines = ['{"request": "r1", "kind": "label", "label": "fear", "at": "2026-01-01"}', '{"request": "r2", "at": "2026-01-03"}',
             '{"waiting": 1, "on_hub_at": "2026-01-02", "problem": null}', '{"req']  # fmt: skip
    one = Round.of(lines)
    assert one.shown() == {"r1"} and one.waiting == 1 and set(one.acknowledged) == {"r1", "r2"}
