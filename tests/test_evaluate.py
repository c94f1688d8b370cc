"""The figures of a report against scikit-learn and against loops written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from fer import evaluate
from fer.datasets import NOT_COUNTED, FaceSet, load
from fer.emotions import CLASSES, SEVEN_CLASSES
from fer.evaluate import Report, calibration_error, fit_temperature, negative_log_likelihood, softmax

CONTRACT = {"protocol", "n", "accuracy", "macro_f1", "macro_f1_50", "per_class", "confusion", "ece", "nll", "dedup"}


def labelled(labels: np.ndarray) -> FaceSet:
    """Faces of which only the labels are needed."""
    return FaceSet("random", "test", "drawn", (), np.zeros((len(labels), 8), np.float32), labels)


def drawn(seed: int, n: int = 900, absent: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 (n, 8) that are right about half of the time, and labels of uneven frequency."""
    random = np.random.default_rng(seed)
    shares = np.array([0.3, 0.25, 0.15, 0.12, 0.1, 0.02, 0.04, 0.02])
    if absent is not None:
        shares[absent] = 0
    labels = random.choice(8, size=n, p=shares / shares.sum())
    logits = random.normal(size=(n, 8)).astype(np.float32)
    logits[np.arange(n), labels] += 1.2
    return logits, labels


def report_of(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, **others) -> Report:
    return evaluate.report(logits, labelled(labels), model="a model", temperature=temperature, **others)


@pytest.mark.parametrize(("seed", "absent"), [(0, None), (1, None), (2, 5)])
def test_accuracy_f1_and_confusion_are_those_of_scikit_learn(seed, absent):
    logits, labels = drawn(seed, absent=absent)
    said, present = logits.argmax(axis=1), np.unique(labels)
    large = np.flatnonzero(np.bincount(labels, minlength=8) >= 50)
    report = report_of(logits, labels)
    assert 0 < len(large) < 8
    assert report.n == len(labels)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, said))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, said, labels=present, average="macro"))
    assert report.macro_f1_50 == pytest.approx(metrics.f1_score(labels, said, labels=large, average="macro"))
    assert report.confusion == metrics.confusion_matrix(labels, said, labels=range(8)).tolist()


@pytest.mark.parametrize(("seed", "never"), [(3, None), (4, 7)])
def test_precision_recall_and_f1_per_class_are_those_of_scikit_learn(seed, never):
    logits, labels = drawn(seed)
    if never is not None:
        logits[:, never] = -100
    expected = metrics.precision_recall_fscore_support(
        labels, logits.argmax(axis=1), labels=range(8), zero_division=0
    )
    report = report_of(logits, labels)
    assert list(report.per_class) == list(CLASSES)
    for one, values in zip(report.per_class.values(), zip(*expected), strict=True):
        assert (one.precision, one.recall, one.f1, one.n) == pytest.approx(values)


def test_the_likelihood_is_that_of_scikit_learn():
    logits, labels = drawn(5)
    report = report_of(logits, labels, temperature=1.7)
    probabilities = softmax(logits.astype(np.float64) / 1.7)
    assert report.nll == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(8)))


def error_by_hand(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """The definition of Guo et al. 2017, one bin after another."""
    total = 0.0
    for step in range(bins):
        members = [
            (max(row), int(row.argmax() == label))
            for row, label in zip(probabilities, labels)
            if step / bins <= max(row) < (step + 1) / bins or (step == bins - 1 and max(row) == 1)
        ]
        if members:
            confidence = sum(one for one, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            total += len(members) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_the_one_written_out_by_hand(bins):
    logits, labels = drawn(6)
    probabilities = softmax(logits * 2.0)
    probabilities[0] = np.eye(8)[labels[0]]
    assert calibration_error(probabilities, labels, bins) == pytest.approx(error_by_hand(probabilities, labels, bins))


@pytest.mark.parametrize(("label", "error"), [(3, 0.0), (2, 1.0)])
def test_sure_answers_are_calibrated_only_when_right(label, error):
    assert calibration_error(np.eye(8)[[3] * 20], np.full(20, label)) == error


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature):
    random = np.random.default_rng(7)
    logits = random.normal(size=(20_000, 8)) * 3 * temperature
    cumulated = softmax(logits / temperature).cumsum(axis=1)
    labels = np.minimum((random.random((len(logits), 1)) > cumulated).sum(axis=1), 7)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.03)
    for other in (fitted * 0.97, fitted * 1.03):
        assert negative_log_likelihood(logits / fitted, labels) < negative_log_likelihood(logits / other, labels)


def test_temperature_changes_calibration_and_not_the_answers():
    logits, labels = drawn(8)
    plain, sharp = report_of(logits, labels, temperature=1.0), report_of(logits, labels, temperature=0.3)
    assert plain.confusion == sharp.confusion
    assert plain.ece == plain.ece_uncalibrated == sharp.ece_uncalibrated != sharp.ece


def test_with_seven_classes_contempt_is_neither_answered_nor_counted():
    logits, labels = drawn(9)
    logits[:100, 7] = 50
    seven, kept = report_of(logits, labels, classes=SEVEN_CLASSES), labels != 7
    said = logits[kept][:, :7].argmax(axis=1)
    assert (seven.n, seven.classes) == (kept.sum(), SEVEN_CLASSES) and seven.n < len(labels)
    assert seven.confusion == metrics.confusion_matrix(labels[kept], said, labels=range(7)).tolist()
    probabilities = softmax(logits[kept][:, :7].astype(np.float64))
    assert seven.nll == pytest.approx(metrics.log_loss(labels[kept], probabilities, labels=range(7)))
    assert seven.ece == pytest.approx(error_by_hand(probabilities, labels[kept], 15))


def test_chosen_classes_keep_their_names_in_any_order():
    logits, labels = drawn(10)
    classes = ("happiness", "neutral")
    two, kept = report_of(logits, labels, classes=classes), labels < 2
    right = (logits[kept][:, :2].argmax(axis=1) == labels[kept]).mean()
    assert two.accuracy == pytest.approx(right)
    assert two.per_class["happiness"].n == (labels == 1).sum()


def test_faces_that_the_protocol_leaves_out_change_nothing():
    logits, labels = drawn(11, n=300)
    more = np.concatenate([logits, drawn(12, n=50)[0]])
    assert report_of(more, np.concatenate([labels, np.full(50, NOT_COUNTED)])) == report_of(logits, labels)


def test_a_split_without_a_face_to_count_is_refused():
    logits, labels = drawn(13, n=5)
    with pytest.raises(ValueError, match="no face of contempt in the test split of random"):
        report_of(logits, labels * 0, classes=("contempt",))


def test_without_copies_the_figures_are_those_of_the_remaining_faces():
    logits, labels = drawn(14)
    copies = np.random.default_rng(14).random(len(labels)) < 0.3
    dedup, rest = report_of(logits, labels, copies=copies).dedup, report_of(logits[~copies], labels[~copies])
    assert (dedup.n, dedup.accuracy, dedup.macro_f1) == pytest.approx((rest.n, rest.accuracy, rest.macro_f1))


def test_without_copies_the_same_classes_are_averaged():
    logits, labels = drawn(15)
    fives = np.flatnonzero(labels == 4)
    copies = np.zeros(len(labels), bool)
    copies[fives[:-10]] = True
    assert len(fives) >= 50
    large = np.flatnonzero(np.bincount(labels, minlength=8) >= 50)
    expected = metrics.f1_score(labels[~copies], logits[~copies].argmax(axis=1), labels=large, average="macro")
    assert report_of(logits, labels, copies=copies).dedup.macro_f1_50 == pytest.approx(expected)


def test_copies_are_matched_to_faces_also_where_some_are_not_counted():
    logits, labels = drawn(16, n=400)
    labels[:40] = 7
    copies = np.arange(400) < 200
    left = (labels != 7) & ~copies
    right = logits[left][:, :7].argmax(axis=1) == labels[left]
    dedup = report_of(logits, labels, copies=copies, classes=SEVEN_CLASSES).dedup
    assert (dedup.n, dedup.accuracy) == (left.sum(), pytest.approx(right.mean()))


def test_intervals_hold_their_figure_and_shrink_with_more_faces():
    few, many = report_of(*drawn(17, n=300)), report_of(*drawn(17, n=30_000))
    for name in ("accuracy", "macro_f1", "macro_f1_50"):
        widths = []
        for report in (few, many):
            low, high = getattr(report, name + "_interval")
            assert low < getattr(report, name) < high
            widths.append(high - low)
        assert widths[1] < widths[0] / 4


def test_the_interval_of_accuracy_is_close_to_the_normal_one():
    report = report_of(*drawn(18, n=2000))
    low, high = report.accuracy_interval
    half = 1.96 * np.sqrt(report.accuracy * (1 - report.accuracy) / report.n)
    assert (low, high) == pytest.approx((report.accuracy - half, report.accuracy + half), abs=0.004)


def test_a_report_in_json_has_the_keys_that_scripts_rely_on():
    logits, labels = drawn(19)
    copies = np.arange(len(labels)) % 5 == 0
    text = report_of(logits, labels, copies=copies).as_json()
    values = json.loads(text)
    assert "\n" not in text
    assert CONTRACT <= set(values)
    assert {"n", "accuracy", "macro_f1_50"} <= set(values["dedup"])
    assert list(values["per_class"]) == list(CLASSES)
    assert set(values["per_class"]["fear"]) == {"precision", "recall", "f1", "n"}
    assert sum(map(sum, values["confusion"])) == values["n"] == len(labels)


def test_a_report_in_words_has_the_figures():
    report = report_of(*drawn(20), copies=np.arange(900) % 5 == 0)
    words = report.in_words()
    for value in (report.accuracy, report.macro_f1, report.macro_f1_50, report.ece, report.dedup.accuracy):
        assert f"{value:.4f}" in words
    assert all(name in words for name in CLASSES)


def test_logits_do_not_depend_on_how_faces_are_batched(recognizer, face_folder, monkeypatch):
    bundle, faces = recognizer.bundle, load(f"folder:{face_folder}", "train")
    together = evaluate.read_logits(bundle.network, bundle.preprocess, faces)
    monkeypatch.setattr(evaluate, "BATCH", 5)
    apart = evaluate.read_logits(bundle.network, bundle.preprocess, faces)
    assert together.shape == (12, 8) and together.dtype == np.float32
    assert apart == pytest.approx(together, abs=1e-4)


def test_evaluation_and_prediction_give_the_same_probabilities(recognizer, face_folder):
    from fer.faces import Face

    bundle, faces = recognizer.bundle, load(f"folder:{face_folder}", "val")
    logits = evaluate.read_logits(bundle.network, bundle.preprocess, faces)
    images = [faces.image(index) for index in range(len(faces))]
    predictions = recognizer.predict([bundle.preprocess(image, Face.whole(image)) for image in images])
    expected = np.array([one.probabilities for one in predictions])
    assert softmax(logits / bundle.temperature) == pytest.approx(expected, abs=1e-5)
