"""The card of a model: what it was made of, how good it is and where it fails, as Markdown.

Written from the bundle's provenance and from reports, so that no figure on it was typed by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fer.emotions import title
from fer.hub import ModelCard

if TYPE_CHECKING:
    from fer.bundle import ModelBundle
    from fer.origins import Origin
    from fer.registry import ModelVersion

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


# --- on the Hub ---------------------------------------------------------------------------------

BELOW = "<!-- what follows was written when the model was pushed -->"
TAGS = ["facial-expression-recognition", "emotion-recognition", "image-classification", "faces", "expression-studio"]
LICENCE = """\
The weights are under the MIT licence, as the program that made them. The pictures that they were trained on are not part of
this repository and have terms of their own: see “Data”.
"""


def hub_card(
    version: ModelVersion, description: dict, reports: list[dict], repository: str, origin: Origin | None = None
) -> ModelCard:
    """The page of `version` in `repository`: its own card with what a visitor of the Hub needs, and a head for machines.

    `description` is its bundle.json, `reports` what lies beside that, `origin` where the model it began as was fetched.
    """
    own = version.card.read_text(encoding="utf-8") if version.card else short_card(description, reports)
    made = description.get("provenance") or {}
    parts = [
        own,
        BELOW,
        "## Use",
        f"    python -m fer models pull {repository}      # into a workspace of Expression Studio\n"
        f"    python app.py --model hub:{repository}      # or start the app with it",
        f"`model.safetensors` holds the weights (SHA-256 `{description.get('sha256')}`); `bundle.json` the expressions in the "
        "network's order, how a face is cut and scaled, the temperature and the provenance. Predictions are bit by bit "
        "those of the version that was pushed. No file here can carry code, and none is a picture.",
        "## Protocol",
        *(_protocol(reports) or ["It was not measured on a data set."]),
        "## Snapshot",
        _lineage(made),
        "## Licence",
        LICENCE,
    ]
    front = {
        "license": "mit", "library_name": "expression-studio", "pipeline_tag": "image-classification",
        "tags": [*TAGS, "safetensors", str(description.get("arch"))], "metrics": ["accuracy", "f1"],
        **({"base_model": origin.repository} if origin else {}),
    }  # fmt: skip
    results = [one for report in reports for one in _results(report)]
    return ModelCard(version.version, "\n\n".join(part.strip("\n") for part in parts) + "\n", front, tuple(results))


def card_in(readme: str) -> str:
    """The card in a page on the Hub, as it may be shown: without the head, and with nothing that a browser would fetch."""
    text = re.sub(r"\A\s*---\r?\n.*?\r?\n---[ \t]*(?:\r?\n|\Z)", "", readme, count=1, flags=re.DOTALL)
    text = text.partition(BELOW)[0]
    return text.replace("![", "[").replace("<", "&lt;").strip() + "\n"


def can_be_written(report: dict) -> bool:
    """Whether a card can be written of `report`: somebody else's may hold anything."""
    try:
        if report.get("kind") != "finetune":
            _figures(report)
        return bool(_protocol([report]) and _results(report))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def short_card(description: dict, reports: list[dict]) -> str:
    """A card for a model that came without one, from its bundle.json and reports."""
    made = description.get("provenance") or {}
    head = (
        f"{description.get('arch')}, classes: {', '.join(description.get('classes') or ())}. Scores are softmax(logits / "
        f"{description.get('temperature')})."
    )
    parts = [f"# {description.get('version')}", head, "## Figures"]
    parts += [_figures(one) for one in reports if one.get("kind") != "finetune"]
    parts += ["## Limits", LIMITS, "## How it was trained", f"    {made.get('command') or 'not recorded'}"]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _protocol(reports: list[dict]) -> list[str]:
    """How the figures were measured, a line for each data set."""
    lines = [f"- {one['data']} {one['split']}, {one['n']} faces: {one['protocol']}." for one in reports if one.get("protocol")]
    for one in (one for one in reports if one.get("kind") == "finetune"):
        before = one.get("base") or "the model it started from"
        for key, name in (("benchmark", "base benchmark"), ("corrections", "held-out corrections")):
            if one.get(key):
                faces = f"{name}, {one[key]['n']} faces"
                lines.append(f"- {faces}: the same faces before ({before}) and after, none of them learned from.")
    return ["\n".join(lines)] if lines else []


def _lineage(made: dict) -> str:
    """Which snapshots of collected labels the model and those it goes back to have learned from."""
    lines, said = [], made
    while isinstance(said, dict) and len(lines) < 50:
        if said.get("snapshot"):
            lines.append(f"- `{said['snapshot']}`, on {said.get('date')}")
        before = said.get("started_from")
        said = before.get("provenance") if isinstance(before, dict) else None
    if not lines:
        return "It has learned from no collected labels."
    head = "It has learned from these snapshots of collected labels, newest first (the id is the hash of the manifest):"
    return "\n".join([head, "", *lines])


def _results(report: dict) -> list[dict]:
    """The figures of a report as evaluation results, each what `huggingface_hub.EvalResult` takes."""
    if report.get("kind") == "finetune":
        kinds = (("benchmark", "FER+ validation, base benchmark", "ferplus"),
                 ("corrections", f"held-out corrections of snapshot {report.get('snapshot')}", "snapshot"))  # fmt: skip
        return [one for key, name, data in kinds if report.get(key) for one in _compared_results(report[key], name, data)]
    name, data = f"{_known(report['data'])} {report['split']}", report["data"]
    found = [_result(name, data, report["split"], None, metric, words, report[key])
             for key, metric, words in MEASURES if report.get(key) is not None]  # fmt: skip
    apart = report.get("dedup") or {}
    name = f"{name}, without near copies of training faces"
    return found + [_result(name, data, report["split"], "without near copies", metric, words, apart[key])
                    for key, metric, words in MEASURES if apart.get(key) is not None]  # fmt: skip


MEASURES = (
    ("accuracy", "accuracy", "accuracy"), ("macro_f1_50", "f1", "macro-F1, classes with ≥ 50 faces"),
    ("macro_f1", "f1", "macro-F1, all classes"), ("ece", "ece", "expected calibration error"),
)  # fmt: skip


def _compared_results(compared: dict, name: str, data: str) -> list[dict]:
    before = "of the model it started from"
    figures = (("accuracy_after", "accuracy", "accuracy"), ("accuracy_before", "accuracy", f"accuracy {before}"),
               ("macro_f1_after", "f1", "macro-F1"), ("macro_f1_before", "f1", f"macro-F1 {before}"))  # fmt: skip
    return [_result(f"{name}, {compared['n']} faces", data, "held out", name, metric, words, compared[key])
            for key, metric, words in figures if key in compared]  # fmt: skip


def _result(name: str, data: str, split: str, config: str | None, metric: str, words: str, value: float) -> dict:
    return {
        "task_type": "image-classification", "task_name": "facial expression recognition", "dataset_name": name,
        "dataset_type": data, "dataset_split": split, "dataset_config": config, "metric_type": metric, "metric_name": words,
        "metric_value": round(value, 4),
    }  # fmt: skip


def _known(data: str) -> str:
    return {"ferplus": "FER+"}.get(data, data)
