"""The card: every figure comes from a report or from provenance, and the shipped one is what the code writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fer import bundle as bundles
from fer.bundle import CARD, SHIPPED, ModelBundle
from fer.card import LIMITS, read_reports, write_card
from fer.emotions import title


@pytest.fixture(scope="module")
def shipped() -> ModelBundle:
    return bundles.load()


@pytest.fixture
def report() -> dict:
    return json.loads((SHIPPED / "report-val.json").read_text())


def test_the_card_has_the_figures_of_its_report(shipped, report):
    card = write_card(shipped, [report], "Faces.")
    for name in ("accuracy", "macro_f1", "macro_f1_50", "ece"):
        assert f"{report[name]:.4f}" in card
    for name in ("accuracy", "macro_f1", "macro_f1_50"):
        low, high = report[name + "_interval"]
        assert f"{report[name]:.4f} [{low:.3f}, {high:.3f}] | {report['dedup'][name]:.4f} |" in card
    assert f"| faces | {report['n']} | {report['dedup']['n']} |" in card
    for name, one in report["per_class"].items():
        row = [f"{one[key]:.3f}" for key in ("precision", "recall", "f1")]
        assert f"| {title(name)} | {' | '.join(row)} | {one['n']} |" in card


def test_another_report_gives_another_card(shipped, report):
    card = write_card(shipped, [{**report, "accuracy": 0.1234}], "Faces.")
    assert "0.1234" in card and f"{report['accuracy']:.4f} [" not in card


def test_the_card_says_what_the_model_is_and_how_it_was_trained(shipped, report):
    card = write_card(shipped, [report], "Faces from somewhere.")
    provenance = shipped.provenance
    assert card.startswith(f"# {shipped.version}\n")
    assert "Faces from somewhere." in card and LIMITS.strip() in card
    assert provenance["command"] in card and provenance["date"] in card
    assert f"Kept: {provenance['kept']}" in card
    settings = json.loads(re.findall(r"```json\n(.*?)```", card, re.DOTALL)[-1])
    assert settings == provenance["config"]
    for line in provenance["epochs"]:
        assert f"| {line['epoch']} | {line['train_loss']:.4f} | {line['val_loss']:.4f} |" in card


def test_a_run_that_started_from_another_tells_of_both(shipped, report):
    before = {"version": "the-first", "provenance": {**shipped.provenance, "command": "python -m fer train --first"}}
    provenance = {**shipped.provenance, "started_from": before}
    model = replace(shipped, version="the-second", provenance=provenance)
    card = write_card(model, [report], "Faces.")
    assert "python -m fer train --first" in card and "starting from the weights above (the-first)" in card
    assert card.index("--first") < card.index(shipped.provenance["command"])


def test_a_report_of_the_training_split_has_no_column_without_copies(shipped, report):
    card = write_card(shipped, [{**report, "split": "train", "dedup": None}], "Faces.")
    assert "**ferplus train**" in card and f"| faces | {report['n']} |  |" in card


def test_a_report_without_copies_shows_no_figures_for_them(shipped, report):
    card = write_card(shipped, [{**report, "dedup": None}], "Faces.")
    assert "| nan |" not in card


def test_validation_comes_before_test(tmp_path, report):
    for split in ("test", "val"):
        (tmp_path / f"report-{split}.json").write_text(json.dumps({**report, "split": split}))
    assert [one["split"] for one in read_reports(tmp_path)] == ["val", "test"]


def test_a_folder_without_reports_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="run evaluate with --out"):
        read_reports(tmp_path)


def test_the_shipped_card_is_the_one_that_the_code_writes(shipped):
    card = (SHIPPED / CARD).read_text(encoding="utf-8")
    data = card.split("## Data\n\n")[1].split("\n\n## Figures")[0]
    assert write_card(shipped, read_reports(SHIPPED), data) == card


def test_the_reports_that_ship_are_of_the_shipped_model(shipped):
    reports = read_reports(SHIPPED)
    assert {report["model"] for report in reports} == {shipped.version}
    assert {report["temperature"] for report in reports} == {shipped.temperature}
    assert all(Path(SHIPPED / f"report-{report['split']}.png").is_file() for report in reports)
