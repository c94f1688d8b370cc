"""The model that ships is as good as its report, its card and the README say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import torch
from conftest import ROOT

from fer import bundle as bundles
from fer.__main__ import main
from fer.bundle import CARD, SHIPPED
from fer.emotions import CLASSES

REPORT = SHIPPED / "report-test.json"


@pytest.fixture(scope="module")
def report() -> dict:
    """What is said of the shipped model on the test split of FER+."""
    return json.loads(REPORT.read_text())


@pytest.fixture(scope="module")
def measured(ferplus, tmp_path_factory) -> Iterator[dict]:
    """The same, measured now."""
    threads, out = torch.get_num_threads(), tmp_path_factory.mktemp("measured")
    assert main(["evaluate", "--data", f"ferplus:{ferplus}", "--split", "test", "--out", str(out)]) == 0
    torch.set_num_threads(threads)
    return json.loads((out / "report-test.json").read_text())


@pytest.mark.data
def test_the_shipped_model_gives_the_figures_of_its_report(measured, report):
    assert (measured["model"], measured["n"]) == (report["model"], report["n"])
    assert measured["dedup"]["n"] == report["dedup"]["n"]
    for name in ("accuracy", "macro_f1_50", "ece"):
        assert measured[name] == pytest.approx(report[name], abs=0.002)
    assert measured["dedup"]["accuracy"] == pytest.approx(report["dedup"]["accuracy"], abs=0.002)


@pytest.mark.data
def test_the_shipped_model_is_good_enough_on_faces_it_never_saw(measured):
    assert (measured["n"], measured["dedup"]["n"]) == (3137, 2796)
    assert measured["accuracy"] >= 0.875
    assert measured["macro_f1_50"] >= 0.80
    assert measured["ece"] <= 0.03


def test_the_report_that_ships_is_of_the_shipped_model_and_the_whole_test_split(report):
    bundle = bundles.load()
    assert (report["model"], report["temperature"]) == (bundle.version, bundle.temperature)
    assert (report["data"], report["split"], tuple(report["classes"])) == ("ferplus", "test", CLASSES)
    assert (report["n"], report["dedup"]["n"]) == (3137, 2796)
    assert sum(map(sum, report["confusion"])) == report["n"]
    assert sum(report["confusion"][i][i] for i in range(8)) / report["n"] == pytest.approx(report["accuracy"])


def test_the_card_names_the_version_and_has_the_figures_of_the_test_split(report):
    card = (SHIPPED / CARD).read_text(encoding="utf-8")
    assert card.startswith(f"# {bundles.load().version}\n")
    assert "**ferplus test**" in card and f"| accuracy | {report['accuracy']:.4f} " in card


def figures_in_the_readme() -> list[str]:
    """The numbers of the table under “How good it is”, as written but for the commas in thousands."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## How good it is")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", "\n".join(rows).replace(",", ""))


def shown(value: float, numbers: list[str]) -> bool:
    """Whether `value`, a share, stands among `numbers` to three places at least, also as per cent."""
    places = [(float(number), len(number.partition(".")[2])) for number in numbers]
    return any(
        (digits >= 3 and round(value, digits) == number) or (digits >= 1 and round(100 * value, digits) == number)
        for number, digits in places
    )


@pytest.mark.parametrize("part", [(), ("dedup",)], ids=["all", "without copies"])
def test_the_figures_of_the_readme_are_those_of_the_report(report, part):
    figures, numbers = report[part[0]] if part else report, figures_in_the_readme()
    assert str(figures["n"]) in numbers
    for name in ("accuracy", "macro_f1_50"):
        assert shown(figures[name], numbers), f"{name} {figures[name]:.4f} is not in the README's table"


def leaves(value: object) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    elif isinstance(value, (int, float)):
        yield float(value)


def test_no_share_in_the_readme_is_of_another_model(report):
    known = list(leaves(report)) + list(leaves(json.loads((SHIPPED / "report-val.json").read_text())))
    shares = [number for number in figures_in_the_readme() if len(number.partition(".")[2]) >= 3]
    assert shares, "the table gives its shares to three places or more"
    for number in shares:
        assert any(round(value, len(number.partition(".")[2])) == float(number) for value in known), number
