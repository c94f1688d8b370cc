"""``GUIDELINES.md``, taken apart: what people look for before they give a label."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from labeling.labels import LABELS

FILE = Path(__file__).parent / "GUIDELINES.md"


@cache
def guidelines() -> dict[str, str]:
    """For each of `LABELS` what a face shows then, in a sentence or two; under "" the rules for all."""
    sections = FILE.read_text(encoding="utf-8").split("\n## ")
    parts = {"": _paragraphs(sections[0])[1]}
    for section in sections[1:]:
        name, _, text = section.partition("\n")
        parts[name.strip()] = _paragraphs(text)[0]
    if set(parts) != {"", *LABELS}:
        raise ValueError(f"{FILE.name} should have one section for each of {', '.join(LABELS)}")
    return parts


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]
