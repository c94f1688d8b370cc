"""Pictures of figures: they are written whole, and they show what they were given."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer.bundle import SHIPPED
from fer.evaluate import ClassFigures, Figures, Report
from fer.plots import draw_curves, draw_report


@pytest.fixture(scope="module")
def report() -> Report:
    values = json.loads((SHIPPED / "report-val.json").read_text())
    figures = {name: ClassFigures(**one) for name, one in values.pop("per_class").items()}
    return Report(**{**values, "per_class": figures, "dedup": Figures(**values["dedup"])})


def epochs(accuracy: float, count: int = 3) -> list[dict]:
    line = {"train_loss": 1.0, "val_loss": 1.1, "val_accuracy": accuracy, "val_macro_f1_50": 0.4}
    return [{"epoch": epoch, **line} for epoch in range(1, count + 1)]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_curves_are_a_wide_picture_with_both_colours(tmp_path):
    draw_curves(epochs(0.8), tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape[1] > 2 * picture.shape[0]
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (picture == colour).all(axis=2).sum() > 100


def test_other_numbers_give_other_curves(tmp_path):
    draw_curves(epochs(0.8), tmp_path / "one.png")
    draw_curves(epochs(0.5), tmp_path / "other.png")
    draw_curves(epochs(0.8), tmp_path / "same.png")
    assert np.array_equal(pixels(tmp_path / "one.png"), pixels(tmp_path / "same.png"))
    assert not np.array_equal(pixels(tmp_path / "one.png"), pixels(tmp_path / "other.png"))


def test_a_single_epoch_is_drawn(tmp_path):
    draw_curves(epochs(0.8, count=1), tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").std() > 0


def test_the_picture_of_a_report_follows_its_confusion(tmp_path, report):
    draw_report(report, tmp_path / "report.png")
    turned = [row[::-1] for row in report.confusion]
    draw_report(replace(report, confusion=turned), tmp_path / "turned.png")
    assert pixels(tmp_path / "report.png").shape == pixels(tmp_path / "turned.png").shape
    assert not np.array_equal(pixels(tmp_path / "report.png"), pixels(tmp_path / "turned.png"))


def test_a_class_without_faces_is_drawn(tmp_path, report):
    empty = [[0] * 8 if row == 7 else counts for row, counts in enumerate(report.confusion)]
    draw_report(replace(report, confusion=empty), tmp_path / "report.png")
    assert pixels(tmp_path / "report.png").std() > 0


def test_pictures_are_put_in_place_whole_and_new_folders_are_made(tmp_path, report):
    draw_report(report, tmp_path / "new" / "report.png")
    draw_curves(epochs(0.8), tmp_path / "new" / "curves.png")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["curves.png", "report.png"]


def test_several_threads_draw_the_same_as_one(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: draw_curves(epochs(0.8), tmp_path / f"{index}.png"), range(8)))
    first = pixels(tmp_path / "0.png")
    assert all(np.array_equal(first, pixels(tmp_path / f"{index}.png")) for index in range(1, 8))
