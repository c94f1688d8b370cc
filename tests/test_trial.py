"""Two models on the same faces: which faces, the base benchmark where it fits, and when the gate is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_runs import snapshot
from model_versions import write_model

from fer import bundle, rehearsal
from fer.comparison import FALL
from fer.datasets import DataError
from fer.emotions import CLASSES
from fer.rehearsal import RehearsalError
from fer.trial import TrialError, try_both


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list:
    """The shipped model, and one that says the first class of everything."""
    return [bundle.load(), bundle.load(write_model(tmp_path_factory.mktemp("made") / "first", "first", tilt=1000.0))]


def test_held_out_corrections_and_the_benchmark_make_the_verdict(models, short_benchmark, tmp_path):
    sides = "train " + "test " * 60
    tried = try_both(*models, f"snapshot:{snapshot(tmp_path, sides, label=CLASSES[0])}")
    assert (tried.after, tried.comparison.name, tried.comparison.n) == ("first", "held-out corrections", 60)
    assert tried.comparison.accuracy_after == 1.0 and tried.benchmark.n == short_benchmark and tried.no_benchmark is None
    labels = rehearsal.read().sides["benchmark"].labels
    assert tried.benchmark.accuracy_after == pytest.approx((labels == 0).mean()) and tried.benchmark.change < -FALL
    assert tried.verdict.code == "forgets" and not tried.verdict.promote
    assert tried.as_dict()["benchmark"] == tried.benchmark.as_dict() and "no_benchmark" in tried.as_dict()
    for words in ("the base benchmark: 40 faces", "held-out corrections: 60 faces", tried.verdict.words):
        assert words in tried.in_words()


def test_the_benchmark_reads_as_the_whole_network_would(models, short_benchmark, face_folder):
    """The shipped model read the benchmark's faces when they were kept; here it answers from half-way up."""
    tried = try_both(models[0], models[0], f"folder:{face_folder}")
    assert tried.benchmark.accuracy_before == tried.benchmark.accuracy_after > 0.75
    assert (tried.benchmark.mended, tried.benchmark.broken) == (0, 0)


def test_other_faces_ask_no_gate(models, short_benchmark, face_folder, tmp_path):
    assert try_both(*models, f"folder:{face_folder}").verdict is None
    taken = f"snapshot:{snapshot(tmp_path)}"
    tried = try_both(*models, taken, "test")
    assert tried.verdict is None and tried.comparison.name == f"{taken} test" and tried.comparison.n == 2


def test_where_the_benchmark_does_not_fit_it_says_why(models, short_benchmark, tmp_path, monkeypatch):
    taken = f"snapshot:{snapshot(tmp_path, 'train ' + 'test ' * 60)}"
    other = bundle.load()
    with torch.no_grad():
        next(other.network.features[0].parameters()).mul_(1.01)
    tried = try_both(models[0], replace(other, version="deep"), taken)
    assert tried.benchmark is None
    assert tried.no_benchmark == "There is no base benchmark for deep: its lower layers are not those of the model that ships."
    assert tried.verdict.code == "not enough to tell" and tried.no_benchmark in tried.in_words()

    def missing():
        raise RehearsalError("rehearsal.safetensors is missing; restore it.")

    monkeypatch.setattr(rehearsal, "read", missing)
    assert try_both(*models, taken).no_benchmark == "There is no base benchmark: rehearsal.safetensors is missing; restore it."


def test_what_cannot_be_tried_is_said(models, face_folder, tmp_path):
    with pytest.raises(TrialError, match="No labelled face is held out"):
        try_both(*models, f"snapshot:{snapshot(tmp_path / 'a', 'train train')}")
    with pytest.raises(TrialError, match="first knows other expressions"):
        try_both(models[0], replace(models[1], classes=CLASSES[::-1]), f"folder:{face_folder}")
    with pytest.raises(DataError):
        try_both(*models, f"folder:{tmp_path / 'nowhere'}")
