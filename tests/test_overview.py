"""What the labels look like as a whole: counts, agreement with its interval, pairs people part on, what is missing."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from label_workspaces import CODE
from queued import add, made_up, random_judgements, say

from labeling import agreement, overview as module
from labeling.agreement import alpha, alpha_interval
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.labels import LABELS
from labeling.overview import ENOUGH, PAIRS, Votes, overview
from labeling.queue import ReviewQueue
from labeling.store import LabelStore


def seen(store: LabelStore) -> dict:
    return overview(store, ReviewQueue(store).votes())


def votes_of(*rows: dict[str, int]) -> Votes:
    """The votes of items 1, 2, … that no model has read."""
    table = np.array([[row.get(name, 0) for name in LABELS] for row in rows], dtype=int).reshape(-1, len(LABELS))
    return Votes(np.arange(1, len(rows) + 1), table, np.full((len(rows), 8), np.nan, np.float32), np.ones(len(rows), bool))


def drawn(seed: int, items: int = 200, people: int = 4, noise: float = 0.4) -> np.ndarray:
    """Votes (items, 10) of people who mostly see the same."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 10, items)
    said = np.where(random.random((people, items)) < noise, random.integers(0, 10, (people, items)), truth)
    return np.stack([(said == label).sum(axis=0) for label in range(10)], axis=1)


# --- counts -------------------------------------------------------------------------------------


def test_an_empty_workspace_has_nothing_and_lacks_everything(store):
    found = seen(store)
    assert (found["by_source"], found["by_day"], found["saved_at"], found["withdrawn"], found["parting"]) == ([], [], None, 0, [])
    assert found["alpha"] == {"value": None, "low": None, "high": None, "items": 0}
    assert found["missing"] == [[name, 0, ENOUGH] for name in LABELS[:8]]


def test_sources_and_days_are_counted_as_the_judgements_say(store):
    first, second, third = add(store, 3)
    store.add([NewItem("photo", "p", made_up(9).png, 16, 16, (0, 0, 16, 16))])
    say(store, first, "Ada", at="2026-01-02T03:04:05.678Z")
    say(store, first, "Bob", "fear", at="2026-01-02T23:59:59.999Z")
    say(store, second, "Ada", at="2026-01-03T00:00:00.000Z")
    store.undo(say(store, third, "Ada", at="2026-01-03T01:00:00.000Z"))
    say(store, third, "Bob", None, at="2026-01-04T00:00:00.000Z")
    found = seen(store)
    assert found["by_source"] == [["folder", 3, 2], ["photo", 1, 0]]
    assert found["by_day"] == [["2026-01-02", 2], ["2026-01-03", 2]], "labels given a day, also those taken back"
    with store.database.reading() as connection:
        assert found["saved_at"] == max(row["at"] for row in connection.execute("SELECT at FROM judgements"))


def test_withdrawn_faces_are_counted_and_nothing_else_of_them(store):
    store.contribute(made_up(1), Judgement("r", "Ada", "fear"), CODE, "tests")
    store.withdraw(CODE)
    found = seen(store)
    assert found["withdrawn"] == 1 and found["by_source"] == found["by_day"] == []


def test_faces_people_part_on_come_by_pair_the_most_disputed_first():
    votes = votes_of(
        {"fear": 1, "surprise": 1}, {"fear": 9, "surprise": 1}, {"fear": 3, "surprise": 2}, {"fear": 5}, {"surprise": 2, "anger": 2},
        {"fear": 2, "surprise": 4},
    )  # fmt: skip
    assert votes.parted("fear", "surprise").tolist() == votes.parted("surprise", "fear").tolist() == [3, 6, 1, 2]
    assert votes.parted("anger", "NF").tolist() == []
    assert votes.in_words(3) == "fear 3, surprise 2" and votes.in_words(6) == "surprise 4, fear 2"
    with pytest.raises(ValueError):
        votes.parted("fear", "<script>")


def test_pairs_are_counted_once_and_the_commonest_come_first(store):
    items = add(store, 30)
    random_judgements(store, items, 150, seed=3)
    votes = ReviewQueue(store).votes()
    pairs = seen(store)["parting"]
    assert len(pairs) == PAIRS and all(one != other for one, other, _ in pairs)
    assert len({frozenset(pair[:2]) for pair in pairs}) == PAIRS
    assert [count for *_, count in pairs] == sorted((count for *_, count in pairs), reverse=True)
    for one, other, count in pairs:
        assert count == len(votes.parted(one, other)) > 0


def test_what_is_missing_makes_every_expression_fifty(monkeypatch):
    monkeypatch.setattr(module, "ENOUGH", 3)
    votes = votes_of(*[{"happiness": 2, "fear": 1}] * 4, {"fear": 1}, {"NF": 1}, {"unknown": 3, "anger": 1}, {})
    assert module._missing(votes.votes) == [
        [name, {"happiness": 4, "fear": 1}.get(name, 0), {"happiness": 0, "fear": 2}.get(name, 3)] for name in LABELS[:8]
    ]


def test_labels_without_a_picture_do_not_make_up_for_faces_to_train_on(store):
    for number in range(ENOUGH):
        store.contribute(NewItem("live", f"p{number}"), Judgement(f"r{number}", "Ada", "fear"), CODE, "tests")
    assert ["fear", 0, ENOUGH] in seen(store)["missing"]


# --- agreement ----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.1, 0.4, 0.8])
def test_the_interval_holds_the_library_s_value(noise):
    for seed in range(5):
        votes = drawn(seed, noise=noise)
        low, high = alpha_interval(votes)
        assert -1 <= low < alpha(votes) < high <= 1


class EveryItemOnce:
    """Draws that take each item once."""

    def multinomial(self, count: int, shares: np.ndarray, size: int) -> np.ndarray:
        return np.ones((size, len(shares)), int)


@pytest.mark.parametrize("seed", range(5))
def test_with_every_item_taken_once_it_is_the_library_s_formula(monkeypatch, seed):
    votes = drawn(seed, items=80, people=seed + 2)
    votes[::7] = np.eye(10, dtype=int)[3]  # one vote each: says nothing
    votes[3] = 0
    monkeypatch.setattr(agreement.np.random, "default_rng", lambda seed: EveryItemOnce())
    expected = krippendorff.alpha(value_counts=votes[votes.sum(axis=1) > 1], level_of_measurement="nominal")
    assert alpha_interval(votes, draws=2) == pytest.approx((expected, expected))


def test_it_is_what_drawing_items_again_gives_with_the_library():
    votes, random = drawn(1, items=60), np.random.default_rng(5)
    values = [alpha(votes[random.integers(0, 60, 60)]) for _ in range(400)]
    assert alpha_interval(votes, draws=2000) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.03)


def test_it_is_wider_with_fewer_items():
    widths = [np.subtract(*alpha_interval(drawn(2, items=items))[::-1]) for items in (30, 120, 480, 1920)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / widths[2] == pytest.approx(4, rel=0.5), "sixteen times the items, a quarter of the width"


def test_it_is_the_same_whenever_it_is_asked():
    assert alpha_interval(drawn(3)) == alpha_interval(drawn(3))


def test_full_agreement_has_no_width_and_one_item_no_chance():
    assert alpha_interval(np.eye(10, dtype=int)[np.arange(40) % 10] * 3) == (1.0, 1.0)
    low, high = alpha_interval(np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]]))
    assert np.isfinite([low, high]).all()


def test_the_overview_gives_value_and_interval_of_the_same_faces(store):
    for part in store.bring(
        (made_up(seed), [Judgement(f"r{seed}", "FER+", LABELS[row.argmax()], votes={LABELS[k]: int(n) for k, n in enumerate(row) if n})])
        for seed, row in enumerate(drawn(4, items=40))
    ):
        assert part.fresh
    found = seen(store)["alpha"]
    assert found["items"] == 40 and found["low"] < found["value"] == alpha(drawn(4, items=40)) < found["high"]
