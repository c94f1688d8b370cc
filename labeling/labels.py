"""What a person can say about a face: eight expressions, "cannot tell", "not a face"."""

from __future__ import annotations

from dataclasses import dataclass

from fer.emotions import CLASSES, EXPRESSIONS, FERPLUS_COLUMNS, canonical

CANNOT_TELL, NOT_A_FACE = FERPLUS_COLUMNS[len(CLASSES) :]  # under the names of FER+'s last two columns
LABELS: tuple[str, ...] = FERPLUS_COLUMNS  # the order of every array of votes, (…, 10)


@dataclass(frozen=True)
class Answer:
    """One button: `name` as in files, `title` as on screen, `code` of its key as browsers name it."""

    name: str
    title: str
    code: str


ANSWERS: tuple[Answer, ...] = (
    *(Answer(one.name, one.title, f"Digit{one.key}") for one in EXPRESSIONS),
    Answer(CANNOT_TELL, "Cannot tell", "Digit9"),
    Answer(NOT_A_FACE, "Not a face", "Digit0"),
)

_OTHER_NAMES = {"unknown": CANNOT_TELL, "cannot tell": CANNOT_TELL, "unsure": CANNOT_TELL,
                "nf": NOT_A_FACE, "not a face": NOT_A_FACE, "no face": NOT_A_FACE}  # fmt: skip


def label_called(name: object) -> str:
    """The label that `name` means: an expression under any of its names, "cannot tell" or "not a face".

    Raises ValueError, listing what can be said, for anything else.
    """
    text = str(name).strip().lower().replace("_", " ")
    if text in _OTHER_NAMES:
        return _OTHER_NAMES[text]
    try:
        return canonical(text)
    except ValueError:
        raise ValueError(
            f"“{str(name)[:40]}” is not a label; use one of {', '.join(CLASSES)}, cannot tell, not a face."
        ) from None


def title(label: str) -> str:
    """The words on screen for the label `label`."""
    return ANSWERS[LABELS.index(label)].title
