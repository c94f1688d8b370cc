"""The card of a model: what it was made of, how good it is and where it fails, as Markdown.

Written from the bundle's provenance and from reports, so that no figure on it was typed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

from fer.bundle import ModelBundle
from fer.emotions import title

LIMITS = """\
- It names the expression a face *shows* in one picture, as taggers would. It does not know what anybody
  feels, and must not be used to infer emotions of people at work or in education (EU AI Act, Art. 5(1)(f)).
- Rare expressions are its weakest: see the recall of disgust, fear and contempt, and their small n.
- FER2013's pictures were scraped from the web. Whoever is rare there is likely read worse; nobody has
  measured it by age, sex or skin, because the data carry no such labels.
- Faces turned far to the side, covered, very dark, blurred, or under about 32 pixels are read badly or missed.
- People themselves agree on these expressions only so far; the scores imitate the spread of their votes.
"""


def write_card(bundle: ModelBundle, reports: list[dict], data: str) -> str:
    """The card of `bundle` with the figures of `reports` (as `Report` gives them in JSON).

    `data` says in words where the training data come from.
    """
    provenance = bundle.provenance
    if not provenance.get("epochs"):
        raise ValueError(f"{bundle.version} does not say how it was trained; only bundles made by train have a card")
    parts = [
        f"# {bundle.version}",
        f"{bundle.arch}, {sum(p.numel() for p in bundle.network.parameters()) / 1e6:.2f} million parameters, input "
        f"{bundle.preprocess.size}×{bundle.preprocess.size} "
        f"{'grey' if bundle.preprocess.grayscale else 'RGB'}, {len(bundle.classes)} classes: {', '.join(bundle.classes)}. "
        f"Scores are softmax(logits / {bundle.temperature}); the temperature was fitted on the validation split.",
        "## Data",
        data,
        "## Figures",
        *(_figures(report) for report in reports),
        "## Limits",
        LIMITS,
        "## How it was trained",
        *_training(provenance),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def write_taught_card(bundle: ModelBundle, report: dict) -> str:
    """The card of a fine-tuned `bundle` with the figures of its run's `report`."""
    from fer.comparison import Comparison

    provenance = bundle.provenance
    compared = [Comparison.from_dict(report[key]).in_words() for key in ("corrections", "benchmark") if report[key]]
    parts = [
        f"# {bundle.version}",
        f"A fine-tune of {report['base']} ({report['speed']}), on {provenance['date']} with torch {provenance['torch']}. "
        f"Input, classes and limits are those of {report['base']}. Scores are softmax(logits / {bundle.temperature}); the "
        "temperature was fitted after the fine-tune, on faces it did not learn from.",
        "## Data",
        f"{report['learned_from']} labelled faces of the snapshot {report['snapshot']}; {report['held_out']} more are held out. "
        f"Of what was learned, {report['blend']:.0%} is kept: the weights are averaged with the old ones.",
        "## Before and after",
        report["verdict"]["words"],
        *("```\n" + one + "\n```" for one in compared),
        "## Limits",
        LIMITS,
        "## How it was trained",
        f"    {provenance['command']}",
        "```json\n" + json.dumps(provenance["config"], indent=1) + "\n```",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _training(provenance: dict) -> list[str]:
    """The run in words and tables, after the run that it started from if there was one."""
    before = provenance.get("started_from")
    return [
        *(_training(before["provenance"]) if before and before["provenance"].get("epochs") else []),
        f"On {provenance['date']} with torch {provenance['torch']}"
        + (f", starting from the weights above ({before['version']}):" if before else ":"),
        f"    {provenance['command']}",
        "All settings:",
        "```json\n" + json.dumps(provenance["config"], indent=1) + "\n```",
        _kept(provenance),
        _epochs(provenance["epochs"]),
    ]


def _figures(report: dict) -> str:
    low, high = report["macro_f1_interval"]
    low_50, high_50 = report["macro_f1_50_interval"]
    lines = [
        f"**{report['data']} {report['split']}**, {report['n']} faces. {report['protocol']}. One forward pass, "
        "no test-time augmentation; intervals are 95 % bootstrap intervals.",
        "",
        "| | all | without near copies of training faces |",
        "| --- | --- | --- |",
    ]
    dedup = report["dedup"] or {}

    def without(name: str) -> str:
        return f"{dedup[name]:.4f}" if dedup else ""

    lines += [
        f"| faces | {report['n']} | {dedup.get('n', '')} |",
        f"| accuracy | {report['accuracy']:.4f} [{report['accuracy_interval'][0]:.3f}, "
        f"{report['accuracy_interval'][1]:.3f}] | {without('accuracy')} |",
        f"| macro-F1, classes with ≥ 50 faces | {report['macro_f1_50']:.4f} [{low_50:.3f}, {high_50:.3f}] "
        f"| {without('macro_f1_50')} |",
        f"| macro-F1, all classes | {report['macro_f1']:.4f} [{low:.3f}, {high:.3f}] | {without('macro_f1')} |",
        f"| expected calibration error | {report['ece']:.4f} (before temperature {report['ece_uncalibrated']:.4f}) | |",
        "",
        "| | precision | recall | F1 | n |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in report["per_class"].items():
        lines.append(f"| {title(name)} | {one['precision']:.3f} | {one['recall']:.3f} | {one['f1']:.3f} | {one['n']} |")
    return "\n".join(lines)


def _kept(provenance: dict) -> str:
    if "candidates" not in provenance:
        return f"The weights of epoch {provenance['selected_epoch']} are kept, the most accurate on the validation split."
    measured = ", ".join(f"{name} {accuracy:.4f}" for name, accuracy in provenance["candidates"].items())
    return f"Kept: {provenance['kept']}, the most accurate on the validation split ({measured})."


def _epochs(epochs: list[dict]) -> str:
    lines = [
        "| epoch | training loss | validation loss | validation accuracy | macro-F1, classes ≥ 50 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for line in epochs:
        lines.append(
            f"| {line['epoch']} | {line['train_loss']:.4f} | {line['val_loss']:.4f} | {line['val_accuracy']:.4f} "
            f"| {line['val_macro_f1_50']:.4f} |"
        )
    return "\n".join(lines)


def read_reports(folder: Path) -> list[dict]:
    """The reports ``report-*.json`` in `folder`, validation first. Raises ValueError when there is none."""
    paths = sorted(folder.glob("report-*.json"), key=lambda path: "val" not in path.name)
    if not paths:
        raise ValueError(f"{folder} has no report-val.json or report-test.json; run evaluate with --out {folder} first")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
