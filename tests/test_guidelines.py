"""The guidelines people read before they answer."""

from __future__ import annotations

import pytest

from labeling import guidelines as module
from labeling.guidelines import FILE, guidelines
from labeling.labels import LABELS


@pytest.fixture
def fresh():
    guidelines.cache_clear()
    yield
    guidelines.cache_clear()


def test_every_answer_has_its_advice_in_a_sentence_or_two():
    advice = guidelines()
    assert list(advice) == ["", *LABELS]
    for name, text in advice.items():
        assert text.endswith(".") and "\n" not in text and "#" not in text, name
        assert 20 < len(text) < (600 if name == "" else 160), name


def test_the_advice_beside_a_button_is_the_first_paragraph_alone():
    assert "Taken for" not in " ".join(guidelines()[name] for name in LABELS if name != "contempt")
    assert "Crying with a wide mouth" in FILE.read_text(encoding="utf-8")
    assert "Crying" not in guidelines()["sadness"]


def test_the_rules_for_all_say_that_it_is_about_what_a_face_shows():
    assert "shows" in guidelines()[""] and "cannot tell" in guidelines()[""]


@pytest.mark.parametrize(("before", "after"), [("## fear", "## dread"), ("## NF\n", ""), ("## NF", "## NF2\nx\n\n## NF")])
def test_a_file_that_does_not_fit_the_labels_is_refused(fresh, monkeypatch, tmp_path, before, after):
    altered = tmp_path / "GUIDELINES.md"
    altered.write_text(FILE.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    monkeypatch.setattr(module, "FILE", altered)
    with pytest.raises(ValueError, match="one section for each of neutral"):
        guidelines()
