"""Two models on the same faces, and whether the newer one may take over."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from fer.comparison import ENOUGH, P_LIMIT, Comparison, ComparisonError, compare, mcnemar, side_by_side, verdict
from fer.emotions import CLASSES


def changed(n: int, mended: int, broken: int, kept: int = 30, name: str = "corrections") -> Comparison:
    """`n` faces: `kept` right in both models, `mended` by the second, `broken` by it."""
    before, after = np.ones(n, dtype=int), np.ones(n, dtype=int)
    before[: kept + broken] = 0
    after[:kept] = 0
    after[kept + broken : kept + broken + mended] = 0
    return compare(name, np.zeros(n, dtype=int), before, after, CLASSES)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (400,) of five of the eight classes, and probabilities (400, 8) of two models, the second the better one."""
    random = np.random.default_rng(5)
    labels = random.choice(5, size=400, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    models = [random.dirichlet(np.ones(8), size=400) + sharp * np.eye(8)[labels] for sharp in (0.15, 0.35)]
    return labels, *(one / one.sum(axis=1, keepdims=True) for one in models)


# --- the test of chance -------------------------------------------------------------------------


@pytest.mark.parametrize(("mended", "broken"), [(0, 0), (1, 0), (8, 0), (25, 2), (7, 7), (0, 9), (61, 40), (300, 250)])
def test_mcnemar_is_the_tail_of_the_binomial_exactly(mended, broken):
    tosses = mended + broken
    tail = Fraction(sum(comb(tosses, k) for k in range(mended, tosses + 1)), 2**tosses)
    assert mcnemar(mended, broken) == float(tail)


@pytest.mark.parametrize(("mended", "broken"), [(12, 3), (40, 21), (5, 6), (900, 800)])
def test_mcnemar_agrees_with_scipy(mended, broken):
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar(mended, broken) == pytest.approx(stats.binomtest(mended, mended + broken, alternative="greater").pvalue)


def test_mcnemar_of_many_faces_and_of_none():
    assert mcnemar(0, 0) == 1.0 and mcnemar(0, 5000) == 1.0
    assert 0 <= mcnemar(5000, 0) < 1e-300
    with pytest.raises(ComparisonError, match="-1"):
        mcnemar(-1, 2)


def test_few_models_pass_by_chance():
    # Each changed face is a coin's toss: the limit is the share of such models that pass, or a little less.
    mended = np.random.default_rng(0).binomial(40, 0.5, size=20_000)
    passed = np.mean([mcnemar(int(one), 40 - int(one)) <= P_LIMIT for one in mended])
    assert 0 < passed <= P_LIMIT * 1.2


# --- the comparison -----------------------------------------------------------------------------


def test_counts_and_accuracies(drawn):
    labels, before, after = drawn
    found = compare("faces", labels, before, after, CLASSES)
    right = before.argmax(1) == labels, after.argmax(1) == labels
    assert (found.n, found.mended, found.broken) == (400, (~right[0] & right[1]).sum(), (right[0] & ~right[1]).sum())
    assert (found.accuracy_before, found.accuracy_after) == (right[0].mean(), right[1].mean())
    assert found.change == pytest.approx(found.accuracy_after - found.accuracy_before) and found.change > 0.05
    assert found.p == mcnemar(found.mended, found.broken) < 0.01


def test_the_figures_of_classes_agree_with_scikit_learn(drawn):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, before, after = drawn
    found = compare("faces", labels, before, after, CLASSES)
    assert list(found.per_class) == list(CLASSES[:5])  # the others do not occur
    for model, when in ((before, "before"), (after, "after")):
        _, recall, f1, n = metrics.precision_recall_fscore_support(
            labels, model.argmax(1), labels=range(5), zero_division=0
        )
        for index, one in enumerate(found.per_class.values()):
            assert (one["n"], one[f"recall_{when}"], one[f"f1_{when}"]) == pytest.approx((n[index], recall[index], f1[index]))
        assert getattr(found, f"macro_f1_{when}") == pytest.approx(f1.mean())


def test_intervals_are_those_of_resampled_faces(drawn):
    labels, before, after = drawn
    found = compare("faces", labels, before, after, CLASSES)
    right = np.stack([before.argmax(1) == labels, after.argmax(1) == labels]).astype(float)
    random = np.random.default_rng(9)
    drawn_again = np.array([right[:, random.integers(0, 400, 400)].mean(axis=1) for _ in range(4000)])
    for interval, values in (
        (found.interval_before, drawn_again[:, 0]), (found.interval_after, drawn_again[:, 1]),
        (found.change_interval, drawn_again[:, 1] - drawn_again[:, 0]),
    ):  # fmt: skip
        assert interval == pytest.approx(np.quantile(values, (0.025, 0.975)), abs=0.008)
    alone = (found.interval_after[1] - found.interval_after[0]) + (found.interval_before[1] - found.interval_before[0])
    assert found.change_interval[1] - found.change_interval[0] < alone  # paired


def test_the_same_faces_give_the_same_intervals_from_probabilities_and_from_classes(drawn):
    labels, before, after = drawn
    first = compare("faces", labels, before, after, CLASSES)
    assert first == compare("faces", labels, before.argmax(1), after.argmax(1), CLASSES)


def test_a_model_compared_with_itself(drawn):
    labels, before, _ = drawn
    found = compare("faces", labels, before, before, CLASSES)
    assert (found.change, found.change_interval, found.mended, found.broken, found.p) == (0, (0, 0), 0, 0, 1)


def test_a_comparison_goes_through_json(drawn):
    found = compare("faces", *drawn, CLASSES)
    assert Comparison.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    with pytest.raises(ComparisonError, match="mended"):
        Comparison.from_dict({key: value for key, value in found.as_dict().items() if key != "mended"})


@pytest.mark.parametrize(
    ("labels", "before", "after", "words"),
    [
        ([], np.zeros((0, 8)), np.zeros((0, 8)), "no face"),
        ([0, 1], [0, 1], [0], "after have the shape"),
        ([0, 1], np.zeros((2, 7)), [0, 1], "before have the shape"),
        ([0, 1], np.full((2, 8), np.nan), [0, 1], "before are not all numbers"),
        ([0, -1], [0, 1], [0, 1], "labels go from -1 to 0"),
        ([0, 1], [0, 8], [0, 1], "before go from 0 to 8"),
        ([0, 1], [0.2, 0.4], [0, 1], "before have the shape"),
    ],
)
def test_what_does_not_fit_is_one_sentence(labels, before, after, words):
    with pytest.raises(ComparisonError, match=words):
        compare("corrections", np.array(labels, dtype=int), np.array(before), np.array(after), CLASSES)


def test_in_words_the_comparison_names_what_changed(drawn):
    words = compare("corrections", *drawn, CLASSES).in_words()
    assert "corrections: 400 faces" in words and "mended" in words and "contempt" not in words and "neutral" in words
    assert "-0.0 points" not in changed(100, 0, 0).in_words()


# --- the verdict --------------------------------------------------------------------------------

STEADY = changed(3000, 0, 3, kept=2600, name="benchmark")  # −0.1 points


def test_a_better_model_that_forgets_nothing_is_promoted():
    said = verdict(changed(120, 25, 2, kept=59), STEADY)
    assert (said.code, said.promote) == ("better", True)
    assert said.words == (
        "Better: of 120 held-out corrections 84 are read rightly, 61 before (+19.2 points, p below 0.0001), "
        "and the base benchmark moved by −0.1 points."
    )


@pytest.mark.parametrize(("n", "words"), [(None, "no corrections are"), (1, "1 correction is"), (23, "23 corrections are"), (59, "59 c")])
def test_too_few_held_out_corrections_tell_nothing(n, words):
    corrections = None if n is None else changed(n, n - 1, 0, kept=0)
    said = verdict(corrections, STEADY)
    assert (said.code, said.promote) == ("not enough to tell", False)
    assert words in said.words and f"{ENOUGH} are needed" in said.words


def test_sixty_are_enough():
    assert verdict(changed(60, 8, 0), STEADY).code == "better"


def test_a_model_that_forgets_is_not_promoted_however_good():
    lost = changed(3000, 0, 16, kept=2600, name="benchmark")  # 0.53 points
    said = verdict(changed(120, 60, 0), lost)
    assert (said.code, said.promote) == ("forgets", False)
    assert said.words.startswith("It forgets: the base benchmark moved by −0.53 points, and may fall by 0.5 at most; ") and "90 are read rightly" in said.words
    assert verdict(changed(120, 60, 0), changed(3000, 0, 15, kept=2600)).promote  # half a point exactly


@pytest.mark.parametrize(
    ("corrections", "words"),
    [
        (changed(100, 0, 0), "a rise of 3 points"),
        (changed(100, 3, 30), "a rise of 3 points"),
        (changed(1000, 29, 0), "a rise of 3 points"),  # sure, and too small to matter
        (changed(60, 7, 0), "may be chance"),
        (changed(100, 30, 20), "may be chance"),
    ],
)
def test_a_model_that_is_not_better_is_not_promoted(corrections, words):
    said = verdict(corrections, STEADY)
    assert (said.code, said.promote) == ("not better", False) and said.words.startswith("Not better: of ") and words in said.words


def test_three_points_are_a_rise_of_three_points():
    assert verdict(changed(1000, 30, 0), STEADY).promote


def test_without_a_base_benchmark_nothing_is_promoted():
    said = verdict(changed(120, 60, 0), None)
    assert (said.code, said.promote) == ("not enough to tell", False)
    assert "90 are read rightly" in said.words and "without a base benchmark" in said.words


def test_every_verdict_is_one_sentence():
    for corrections in (None, changed(100, 0, 0), changed(100, 40, 0), changed(100, 7, 0)):
        for base in (None, STEADY, changed(100, 0, 9)):
            words = verdict(corrections, base).words
            assert words.endswith(".") and "\n" not in words and not re.search(r"[.!?] ", words), words


# --- reports side by side -----------------------------------------------------------------------


def test_reports_stand_side_by_side():
    from fer.bundle import SHIPPED

    reports = [json.loads((SHIPPED / f"report-{split}.json").read_text()) for split in ("val", "test")]
    head, *lines = side_by_side(reports).splitlines()
    assert "accuracy" in head and [line.split()[3] for line in lines] == ["val", "test"]
    assert f"{reports[1]['accuracy']:.4f}" in lines[1]


@pytest.mark.parametrize("other", [{}, [], {"model": "a", "data": "b", "split": "c", "n": None}])
def test_what_is_no_report_is_one_sentence(other):
    with pytest.raises(ComparisonError, match="no report of evaluate"):
        side_by_side([other])
