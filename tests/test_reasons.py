"""The reasons of the review queue, the ranking they make, and the statistic that says whether it helps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fer.bench import queue
from fer.emotions import CLASSES, EXPRESSIONS, FERPLUS_COLUMNS, SYNONYMS
from labeling import reasons
from labeling.reasons import REASONS, Faces, ranking

PURE = (reasons.underlabelled, reasons.uncertain, reasons.rare, reasons.far, reasons.contradicted, reasons.disputed)


def some_faces(count: int = 400, seed: int = 0, unscored: float = 0.1, twins: float = 0.1) -> Faces:
    """Faces of every kind: with zero to six votes, some unscored, some twins."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(8, 0.4), count).astype(np.float32)
    features = random.standard_normal((count, 16)).astype(np.float32) + 5
    hidden = random.random(count) < unscored
    probabilities[hidden], features[hidden] = np.nan, np.nan
    votes = np.array([random.multinomial(random.integers(0, 7), np.full(10, 0.1)) for _ in range(count)])
    return Faces(probabilities, features, votes.reshape(-1, 10), random.random(count) < twins)


def faces(
    probabilities: list | None = None, votes: list | None = None, features: list | None = None, twin: list | None = None
) -> Faces:
    """Faces of the given rows, everything else as for a face nobody and no model has seen."""
    count = len(next(one for one in (probabilities, votes, features, twin) if one is not None))
    if probabilities is None:
        probabilities = np.full((count, 8), np.nan if features is None else 1 / 8)
    if features is None:
        features = np.where(np.isfinite(np.array(probabilities)[:, :1]), np.arange(count)[:, None], np.nan)
    return Faces(
        np.array(probabilities, np.float32), np.array(features, np.float32),
        np.array(np.zeros((count, 10)) if votes is None else votes, int),
        np.array(np.zeros(count) if twin is None else twin, bool),
    )  # fmt: skip


def sure(expression: str, of: float = 0.93) -> list[float]:
    """Probabilities of a model that gives `expression` the share `of` and the others the rest."""
    rest = (1 - of) / 7
    return [of if name == expression else rest for name in CLASSES]


def people(**labels: int) -> list[int]:
    """Votes of one face, such as people(fear=2, unknown=1)."""
    return [labels.get(name, 0) for name in FERPLUS_COLUMNS]


def rank(these: Faces, seed: int = 0, **options) -> reasons.Ranking:
    return ranking(these, np.random.default_rng(seed), **options)


def subset(these: Faces, rows: np.ndarray) -> Faces:
    return Faces(these.probabilities[rows], these.features[rows], these.votes[rows], these.twin[rows])


# --- every reason -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", PURE)
@pytest.mark.parametrize("seed", range(3))
def test_a_reason_is_one_number_from_0_to_1_for_each_face(reason, seed):
    score = reason(some_faces(seed=seed))
    assert score.shape == (400,) and np.isfinite(score).all()
    assert score.min() >= 0 and score.max() <= 1


@pytest.mark.parametrize("reason", PURE)
def test_a_reason_does_not_depend_on_the_order_of_the_faces(reason):
    these = some_faces(200)
    shuffled = np.random.default_rng(1).permutation(200)
    assert reason(subset(these, shuffled)) == pytest.approx(reason(these)[shuffled], abs=1e-3)


@pytest.mark.parametrize("reason", PURE)
def test_a_reason_leaves_its_faces_as_they_were(reason):
    these = some_faces()
    before = [array.copy() for array in (these.probabilities, these.features, these.votes, these.twin)]
    reason(these)
    for old, new in zip(before, (these.probabilities, these.features, these.votes, these.twin), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("reason", (reasons.uncertain, reasons.rare, reasons.far, reasons.contradicted))
def test_what_needs_the_model_does_not_apply_to_faces_it_has_not_seen(reason):
    these = some_faces(unscored=0.5)
    assert (reason(these)[~these.scored] == 0).all()


@pytest.mark.parametrize("reason", PURE)
def test_no_faces_have_no_reasons(reason):
    assert reason(some_faces(0)).shape == (0,)


def test_rows_that_do_not_belong_together_are_refused():
    these = some_faces(5)
    with pytest.raises(ValueError, match="a row per face"):
        Faces(these.probabilities, these.features[:4], these.votes, these.twin)
    with pytest.raises(ValueError, match="a row per face"):
        Faces(these.probabilities, these.features, these.votes[:, :8], these.twin)


# --- one by one ---------------------------------------------------------------------------------


def test_nobody_yet_is_more_underlabelled_than_one_yet():
    these = faces(votes=[people(), people(fear=1), people(fear=1, NF=1), people(fear=3)])
    assert reasons.underlabelled(these).tolist() == [1, 0.5, 0, 0]
    assert reasons.underlabelled(these, wanted=4).tolist() == [1, 0.75, 0.5, 0.25]


def test_an_even_model_is_most_uncertain_and_a_sure_one_least():
    even, two, sure_one = [1 / 8] * 8, [0.5, 0.5] + [0] * 6, sure("fear", 1)
    score = reasons.uncertain(faces([even, two, sure("fear", 0.8), sure_one]))
    assert score[0] == pytest.approx(1) and score[3] == pytest.approx(0, abs=1e-6)
    assert (np.diff(score) < 0).all()


def test_a_class_with_few_labels_is_rarer_than_one_with_many():
    labelled = [people(neutral=50), people(fear=3)]
    these = faces([sure("neutral", 1), sure("fear", 1), sure("disgust", 1)], [*labelled, people()])
    neutral, fear, disgust = reasons.rare(these)
    assert neutral == pytest.approx(1 / 51) and fear == pytest.approx(1 / 4) and disgust == 1


def test_cannot_tell_and_not_a_face_do_not_count_as_labels_of_a_class():
    votes = [people(neutral=9), people(unknown=9, NF=9)]
    assert reasons.rare(faces([sure("neutral", 1), sure("fear", 1)], votes))[1] == 1


def test_distance_is_measured_from_the_nearest_labelled_face():
    these = faces(features=[[0.0, 0], [0.1, 0], [9, 9], [9, 0]], votes=[people(fear=1)] + [people()] * 3)
    score = reasons.far(these)
    assert score[0] == pytest.approx(0, abs=1e-3)
    assert 0 < score[1] < 0.1 and score[2] == 1 and score[1] < score[3] <= score[2]


def test_distance_has_no_unit():
    these = some_faces()
    larger = Faces(these.probabilities, these.features * 1000 - 7, these.votes, these.twin)
    assert reasons.far(larger) == pytest.approx(reasons.far(these), abs=1e-3)


def test_nothing_is_far_while_nothing_is_labelled():
    assert not reasons.far(faces(features=[[0.0], [5.0]])).any()


def test_with_many_labels_distance_is_measured_from_some_of_them(monkeypatch):
    monkeypatch.setattr(reasons, "CHUNK", 7)
    these = some_faces(300, unscored=0)
    exact = reasons.far(these)
    monkeypatch.setattr(reasons, "ANCHORS", 20)
    assert (reasons.far(these) >= exact - 1e-6).all()


def test_equal_features_are_not_far_from_each_other():
    these = faces(features=[[3.0, 3.0]] * 4, votes=[people(fear=1)] + [people()] * 3)
    assert reasons.far(these) == pytest.approx(0)


def test_a_sure_model_contradicts_a_person_more_than_an_unsure_one():
    votes = [people(fear=1)] * 3
    score = reasons.contradicted(faces([sure("anger", 0.9), sure("anger", 0.4), sure("fear")], votes))
    assert score[0] == pytest.approx(0.9 - 0.1 / 7) and 0 < score[1] < score[0] and score[2] == 0


def test_a_sure_model_contradicts_people_who_see_no_face_or_cannot_tell():
    score = reasons.contradicted(faces([sure("anger", 0.9)] * 2, [people(NF=1), people(unknown=2)]))
    assert score == pytest.approx([0.9, 0.9])


def test_three_people_who_agree_outweigh_the_model():
    votes = [people(fear=count) for count in range(5)]
    assert (reasons.contradicted(faces([sure("anger")] * 5, votes)) > 0).tolist() == [False, True, True, False, False]


def test_a_model_that_sides_with_one_of_two_people_contradicts_neither():
    assert reasons.contradicted(faces([sure("anger")], [people(anger=1, fear=1)])).tolist() == [0]


def test_people_disagree_until_one_label_leads_by_two():
    votes = [people(fear=count, anger=1) for count in range(4)] + [people(fear=2, NF=2)]
    assert reasons.disputed(faces(votes=votes)).tolist() == [0, 1, 0.5, 0, 1]


def test_the_control_is_a_random_share():
    these = some_faces(10_000)
    drawn = reasons.control(these, np.random.default_rng(0), 0.2)
    assert set(drawn) == {0, 1} and drawn.mean() == pytest.approx(0.2, abs=0.02)
    assert not reasons.control(these, np.random.default_rng(0), 0).any()


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_words_are_one_sentence(reason):
    assert reason.words.endswith(".") and reason.words.count(".") == 1
    assert reason.words[0].isupper() and len(reason.words) <= 70


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_words_do_not_name_an_expression(reason):
    names = {*CLASSES, *SYNONYMS, *(one.title.lower() for one in EXPRESSIONS), "not a face", "cannot tell"}
    assert not [name for name in names if name in reason.words.lower()]


def test_every_reason_has_its_own_name_and_words():
    assert len({reason.name for reason in REASONS}) == len({reason.words for reason in REASONS}) == len(REASONS)
    assert {reason.name for reason in REASONS} == {*reasons.WEIGHTS, "control"}


# --- the ranking --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_every_face_worth_a_question_is_asked_about_once(seed):
    these = some_faces(seed=seed)
    found = rank(these, seed)
    assert len(np.unique(found.rows)) == len(found)
    assert set(np.flatnonzero(these.people < 2)) <= set(found.rows)
    assert len(found.rows) == len(found.reasons) == len(found.scores)
    assert found.scores.min() >= 0 and found.scores.max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_reason_shown_applies(seed):
    these = some_faces(seed=seed)
    found = rank(these, seed)
    named = np.array([found.reason(place).name for place in range(len(found))])
    for reason in PURE[1:]:
        rows = found.rows[named == reason.__name__]
        assert (reason(these)[rows] > 0).all(), reason.__name__
        assert found.scores[named == reason.__name__] == pytest.approx(reason(these)[rows], abs=1e-6)


def test_nothing_settled_is_asked_about():
    agreed = [people(fear=2), people(fear=3, anger=1), people(NF=2)]
    ambiguous = [people(fear=2, anger=3), people(fear=1, anger=1, sadness=1, NF=2)]
    assert len(rank(faces(votes=agreed + ambiguous))) == 0
    assert len(rank(faces([sure("fear")] * 2, [people(fear=2), people(fear=5)]))) == 0
    assert len(rank(faces([sure("anger")], [people(fear=3)]))) == 0


def test_disagreement_reopens_a_face_that_has_enough_votes():
    votes = [people(fear=1, anger=1), people(fear=2), people(fear=2, anger=1), people(fear=2)]
    found = rank(faces([sure("fear"), sure("anger"), sure("fear"), sure("fear")], votes), control_share=0)
    assert dict(zip(found.rows, map(found.reason, range(3)), strict=True)) == {
        0: reasons.DISPUTED, 1: reasons.CONTRADICTED, 2: reasons.DISPUTED,
    }  # fmt: skip


def test_a_model_that_hardly_prefers_another_class_reopens_nothing():
    probabilities = [[0.3, 0, 0, 0, 0.35, 0, 0.35, 0]]
    assert len(rank(faces(probabilities, [people(neutral=2)]))) == 0


def test_a_face_is_asked_about_until_as_many_as_wanted_have_labelled_it():
    these = faces(votes=[people(fear=count) for count in range(6)])
    assert sorted(rank(these, wanted=4).rows) == [0, 1, 2, 3]
    assert sorted(rank(these, wanted=1).rows) == [0]


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_come_last(seed):
    these = some_faces(seed=seed)
    twin = these.twin[rank(these, seed).rows]
    assert twin.any() and not twin.all() and (np.diff(twin.astype(int)) >= 0).all()


def test_each_stretch_of_the_ranking_has_its_share_of_controls():
    these = some_faces(3000, twins=0)
    found = rank(these)
    drawn = found.reasons == REASONS.index(reasons.CONTROL)
    asked_again = np.isin(found.reasons, reasons.SECOND_LOOK)
    stretches = drawn[:2000].reshape(-1, 50).sum(axis=1)
    assert asked_again.any() and stretches.min() >= 4 and stretches.max() <= 6
    assert not (rank(these, control_share=0).reasons == REASONS.index(reasons.CONTROL)).any()


def test_controls_are_drawn_from_all_open_faces_alike():
    these = some_faces(300, twins=0)
    drawn = np.zeros(300)
    for seed in range(200):
        found = rank(these, seed)
        drawn[found.rows[found.reasons == REASONS.index(reasons.CONTROL)]] += 1
    asked = rank(these).rows
    assert drawn[asked].min() >= 5 and drawn[asked].max() <= 40
    assert np.corrcoef(drawn[asked], reasons.uncertain(these)[asked])[0, 1] == pytest.approx(0, abs=0.2)


def test_the_order_does_not_depend_on_the_order_of_the_faces(monkeypatch):
    monkeypatch.setattr(reasons, "JITTER", 0)
    these = some_faces(200, unscored=0)
    shuffled = np.random.default_rng(1).permutation(200)
    one = rank(these, control_share=0)
    other = rank(subset(these, shuffled), control_share=0)
    assert (shuffled[other.rows] == one.rows).mean() > 0.9
    assert set(shuffled[other.rows]) == set(one.rows)


def test_the_same_random_numbers_give_the_same_ranking():
    these = some_faces()
    one, same, other = rank(these, 1), rank(these, 1), rank(these, 2)
    assert one.rows.tolist() == same.rows.tolist() != other.rows.tolist()


def test_disagreement_does_not_fill_the_queue():
    fresh, disputed = faces([sure("fear", 0.5)] * 200), people(fear=1, anger=1)
    votes = fresh.votes.copy()
    votes[:100] = disputed
    features = np.random.default_rng(0).standard_normal((200, 4), dtype=np.float32)
    these = Faces(fresh.probabilities, features, votes, fresh.twin)
    second = np.isin(rank(these).reasons[:50], reasons.SECOND_LOOK)
    assert 12 <= second.sum() <= 18
    assert np.isin(rank(subset(these, np.arange(100))).reasons[:50], reasons.SECOND_LOOK).sum() >= 40


def test_fifty_look_alikes_do_not_come_first_together():
    random = np.random.default_rng(0)
    places = random.standard_normal((500, 16)).astype(np.float32)
    places[:60] = places[0] + 0.01 * random.standard_normal((60, 16))
    probabilities = random.dirichlet(np.full(8, 0.2), 500)
    probabilities[:60] = 1 / 8
    assert (reasons.uncertain(faces(probabilities)).argsort()[::-1][:60] < 60).all()
    first = rank(faces(probabilities, features=places), control_share=0).rows[:50]
    assert 1 <= (first < 60).sum() <= 3


def test_the_first_fifty_are_not_all_of_one_predicted_class():
    random = np.random.default_rng(0)
    probabilities = np.array([sure("fear", 0.45)] * 100 + [sure("anger", 0.6)] * 100 + [sure("neutral", 0.7)] * 100)
    probabilities += random.uniform(0, 0.01, probabilities.shape)
    these = faces(probabilities, features=random.standard_normal((300, 16)))
    counts = np.bincount(these.probabilities[rank(these).rows[:50]].argmax(axis=1), minlength=8)
    assert counts[[0, 4, 6]].min() >= 5 and counts.max() <= 30


def test_without_a_model_faces_with_fewest_votes_come_first_in_random_order():
    these = faces(votes=[people(fear=1)] * 50 + [people()] * 50)
    found = rank(these, control_share=0)
    assert (found.rows[:50] >= 50).all() and (np.diff(found.rows[:50]) < 0).any()
    assert {found.reason(place) for place in range(100)} == {reasons.UNDERLABELLED}


def test_faces_the_model_has_not_seen_are_not_lost():
    these = some_faces(twins=0)
    found = rank(these)
    unseen = np.flatnonzero(~these.scored & (these.people < 2))
    assert len(unseen) and set(unseen) <= set(found.rows)
    named = {found.reason(place).name for place in np.flatnonzero(np.isin(found.rows, unseen))}
    assert named <= {"underlabelled", "control", "disputed", "contradicted"} and "underlabelled" in named


def test_before_the_first_label_the_model_alone_orders():
    these = some_faces(300, unscored=0, twins=0)
    these = Faces(these.probabilities, these.features, np.zeros((300, 10), int), these.twin)
    found = rank(these, control_share=0)
    uncertain = reasons.uncertain(these)[found.rows]
    assert len(found) == 300 and uncertain[:50].mean() > uncertain[-50:].mean() + 0.2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_smallest_sets_have_a_ranking(count):
    these = faces(votes=np.zeros((count, 10)))
    assert sorted(rank(these).rows) == list(range(count))
    assert len(rank(faces(np.full((count, 8), 1 / 8), features=np.zeros((count, 3))))) == count


def test_ranking_leaves_its_faces_as_they_were():
    these, same = some_faces(), some_faces()
    rank(these)
    np.testing.assert_array_equal(these.probabilities, same.probabilities)
    np.testing.assert_array_equal(these.features, same.features)
    np.testing.assert_array_equal(these.votes, same.votes)


# --- the bench ----------------------------------------------------------------------------------


def test_the_interval_is_students():
    mean, low, high = queue.interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    half = 2.776 * math.sqrt(2.5) / math.sqrt(5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half))


def test_macro_f1_averages_the_classes_that_occur(monkeypatch):
    monkeypatch.setattr(queue, "ENOUGH", 3)
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 2, 1, 0])
    neutral, happiness = 2 * 2 / (3 + 3), 2 * 1 / (2 + 1)
    assert queue.macro_f1(predicted, labels) == pytest.approx(((neutral + happiness) / 2, neutral))


def test_the_summary_pairs_the_seeds():
    curves = np.zeros((2, 2, 20, 2))
    curves[:, 1] = np.array([0.3, 0.6])[:, None, None]
    curves[:, 0] = curves[:, 1] + np.array([0.05, 0.07])[:, None, None]
    answer = queue.summary(curves)
    assert answer["final_difference"] == answer["curve_difference"] == pytest.approx(0.06)
    assert answer["final_differences"] == [0.05, 0.07] and answer["final_random"] == pytest.approx(0.45)
    assert [row[0] for row in answer["curve_per_100"]] == list(range(100, 1001, 100))


def blobs(count: int = 600) -> queue.Pool:
    """Eight clouds of points, the first four with nearly all of them."""
    random = np.random.default_rng(0)
    labels = random.choice(8, count, p=[0.23] * 4 + [0.02] * 4)
    centres = 2 * random.standard_normal((8, 12))
    points = (centres[labels] + random.standard_normal((count, 12))).astype(np.float32)
    half = count // 2
    return queue.make_pool(points[:half], labels[:half], points[half:], labels[half:])


@pytest.mark.parametrize("choose", [queue.from_queue, queue.at_random])
def test_both_arms_ask_about_new_faces_only(choose):
    pool, labelled = blobs(), np.arange(100)
    head = queue.fit_head(pool.features[labelled], pool.labels[labelled])
    rows = choose(pool, labelled, head, np.random.default_rng(0))
    assert len(np.unique(rows)) == 50 and rows.min() >= 100


def test_both_arms_start_from_the_same_labels_and_learn(monkeypatch):
    monkeypatch.setattr(queue, "END", 150)
    pool = blobs()
    queued, drawn = (queue.learning_curve(pool, choose, 3) for choose in (queue.from_queue, queue.at_random))
    assert queued.shape == drawn.shape == (3, 2)
    assert queued[0].tolist() == drawn[0].tolist() and queued[-1, 0] > 0.4


def test_the_head_does_not_depend_on_where_its_fit_starts():
    pool = blobs()
    cold = queue.fit_head(pool.features, pool.labels)
    warm = queue.fit_head(pool.features, pool.labels, np.ones_like(cold))
    assert queue.read_head(warm, pool.features) == pytest.approx(queue.read_head(cold, pool.features), abs=0.01)
