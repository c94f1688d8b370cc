"""Pictures of figures: the curves of a run, the confusion matrix of a report.

Drawn with matplotlib on its own canvas, never through pyplot, whose global state is not thread-safe.
"""

from __future__ import annotations

from pathlib import Path

from fer.emotions import title
from fer.evaluate import Report
from fer.files import replace_file

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe & Ito's palette, told apart by colour-blind readers


def draw_curves(epochs: list[dict], path: Path) -> None:
    """Loss and accuracy of each metrics line in `epochs`, as a PNG at `path`."""
    figure = _figure(9, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    at = [line["epoch"] for line in epochs]
    loss.plot(at, [line["train_loss"] for line in epochs], color=ORANGE, marker="o", label="training (votes)")
    loss.plot(at, [line["val_loss"] for line in epochs], color=BLUE, marker="s", label="validation (majority)")
    loss.set(xlabel="epoch", ylabel="cross-entropy, nats", title="Loss")
    accuracy.plot(at, [line["val_accuracy"] for line in epochs], color=BLUE, marker="s", label="accuracy")
    accuracy.plot(at, [line["val_macro_f1_50"] for line in epochs], color=ORANGE, marker="o", label="macro-F1, classes ≥ 50")
    accuracy.set(xlabel="epoch", ylabel="share", title="Validation")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def draw_report(report: Report, path: Path) -> None:
    """The confusion matrix of `report`, counts and row percentages, as a PNG at `path`."""
    figure = _figure(8, 7)
    axes = figure.subplots()
    rows = [[count / max(sum(row), 1) for count in row] for row in report.confusion]
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    names = [title(name) for name in report.classes]
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), [f"{name} ({sum(row)})" for name, row in zip(names, report.confusion)])
    for i, row in enumerate(rows):
        for j, share in enumerate(row):
            colour = "white" if share > 0.5 else "black"
            axes.text(j, i, f"{report.confusion[i][j]}\n{share:.0%}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(
        xlabel="the model says",
        ylabel="people say",
        title=f"{report.model} on {report.data} {report.split}, n = {report.n}\n"
        f"accuracy {report.accuracy:.3f} · macro-F1 {report.macro_f1:.3f} · ECE {report.ece:.3f}",
    )
    _save(figure, path)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _save(figure, path: Path) -> None:
    replace_file(path, lambda partial: figure.savefig(partial, format="png"))
