"""The card: every figure comes from a report or from provenance, and the shipped one is what the code writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fer import bundle as bundles
from fer.bundle import CARD, SHIPPED, ModelBundle
from fer.card import LIMITS, card_in, hub_card, read_reports, write_card
from fer.emotions import title
from fer.origins import Origin
from fer.registry import ModelVersion


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


# --- on the Hub ---------------------------------------------------------------------------------


def row(**changed: object) -> ModelVersion:
    return ModelVersion(**{"version": "fer-2", "folder": SHIPPED, "card": SHIPPED / CARD, **changed})


def described(**provenance: object) -> dict:
    return {"version": "fer-2", "arch": "mobilenet_v2", "classes": ["fear"], "temperature": 0.7, "sha256": "ab" * 32, "provenance": provenance}


def test_the_page_on_the_hub_is_the_card_with_what_a_visitor_needs(report):
    page = hub_card(row(), described(), [report], "ada/faces")
    own = (SHIPPED / CARD).read_text(encoding="utf-8").strip()
    assert page.name == "fer-2" and page.text.startswith(own)
    for part in ("hub:ada/faces", "models pull ada/faces", report["protocol"], "ab" * 32, "MIT", "learned from no collected labels"):
        assert part in page.text.removeprefix(own), part
    assert page.front["pipeline_tag"] == "image-classification" and "base_model" not in page.front


def test_every_result_on_the_page_is_a_figure_of_the_report(report):
    results = hub_card(row(), described(), [report], "ada/faces").results
    whole = {one["metric_name"]: one["metric_value"] for one in results if one["dataset_config"] is None}
    apart = {one["metric_name"]: one["metric_value"] for one in results if one["dataset_config"]}
    names = {"accuracy": "accuracy", "macro_f1_50": "macro-F1, classes with ≥ 50 faces", "macro_f1": "macro-F1, all classes"}
    for key, name in names.items():
        assert (whole[name], apart[name]) == (round(report[key], 4), round(report["dedup"][key], 4))
    assert whole["expected calibration error"] == round(report["ece"], 4)
    assert {one["dataset_split"] for one in results} == {"val"} and {one["dataset_type"] for one in results} == {"ferplus"}


def test_the_page_names_every_snapshot_that_was_learned_from_and_what_it_was_made_of():
    before = {"version": "fer-1", "provenance": {"snapshot": "1111", "date": "2026-11-20", "started_from": None}}
    made = described(snapshot="2222", date="2026-11-21", started_from=before)
    origin = Origin("fer-1", "bob/faces", "main", "a" * 40, "")
    page = hub_card(row(parent="fer-1"), made, [], "ada/faces", origin)
    lineage = page.text.partition("## Snapshot")[2]
    assert lineage.index("`2222`, on 2026-11-21") < lineage.index("`1111`, on 2026-11-20") and page.front["base_model"] == "bob/faces"


def test_a_model_without_a_card_gets_a_short_one(report):
    page = hub_card(row(card=None), described(command="python -m fer train"), [report], "ada/faces").text
    assert page.startswith("# fer-2\n") and LIMITS in page and f"{report['accuracy']:.4f}" in page and "python -m fer train" in page


def test_the_card_comes_back_from_the_page_and_nothing_a_browser_would_fetch():
    page = "---\nlicense: mit\n---\n\n" + hub_card(row(), described(), [], "ada/faces").text
    assert card_in(page) == (SHIPPED / CARD).read_text(encoding="utf-8").strip() + "\n"
    assert card_in("# A\r\n![x](http://a/b.png) [![y](c)](d) <img src=e> <!-- f") == "# A\r\n[x](http://a/b.png) [[y](c)](d) &lt;img src=e> &lt;!-- f\n"
    assert card_in("---\na: b\n") == "---\na: b\n" and card_in("") == "\n"
