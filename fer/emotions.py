"""The eight expressions, their names on screen, and how other data sets number them.

The order is FER+'s and is the order of the network's outputs, of every votes column and of
every array of probabilities in this project. Sources of the other orders:

- FER+ (Barsoum et al. 2016, arXiv:1608.01041): the columns of ``label.csv``, followed there by
  "unknown" and "NF" (not a face).
- FER2013 (Goodfellow et al. 2013, arXiv:1307.0414): ``emotion`` 0..6 of ``fer2013.csv``.
- CK+ (Lucey et al. 2010): emotion labels 0..7 of the ``Emotion`` folder, contempt = 2.
- ExpW (Zhang et al. 2018, arXiv:1609.06426): ``expression_label`` 0..6 of ``label.lst``.
- RAF-DB (Li et al. 2017): single labels 1..7 of ``list_patition_label.txt``.
- AffectNet (Mollahosseini et al. 2017, arXiv:1708.03985): 0..7, followed by none, uncertain, no-face.

Every name here is the name of an expression a face *shows*, never of what a person feels.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Expression:
    """One class: `name` as in files and arrays, `title` as on screen, `key` on the keyboard (1-8)."""

    name: str
    title: str
    key: str


EXPRESSIONS: tuple[Expression, ...] = (
    Expression("neutral", "Neutral", "1"),
    Expression("happiness", "Happiness", "2"),
    Expression("surprise", "Surprise", "3"),
    Expression("sadness", "Sadness", "4"),
    Expression("anger", "Anger", "5"),
    Expression("disgust", "Disgust", "6"),
    Expression("fear", "Fear", "7"),
    Expression("contempt", "Contempt", "8"),
)

CLASSES: tuple[str, ...] = tuple(expression.name for expression in EXPRESSIONS)
SEVEN_CLASSES: tuple[str, ...] = CLASSES[:7]  # FER2013's seven: all but contempt

FERPLUS_COLUMNS: tuple[str, ...] = CLASSES + ("unknown", "NF")
FER2013_ORDER: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
CKPLUS_ORDER: tuple[str, ...] = (
    "neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise",
)  # fmt: skip
EXPW_ORDER: tuple[str, ...] = FER2013_ORDER
RAFDB_ORDER: tuple[str, ...] = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
AFFECTNET_ORDER: tuple[str, ...] = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # fmt: skip

# What people and data sets call the same eight.
SYNONYMS = MappingProxyType({
    "angry": "anger", "anger": "anger",
    "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "fearful": "fear", "afraid": "fear", "scared": "fear",
    "happy": "happiness", "happiness": "happiness", "joy": "happiness", "smile": "happiness",
    "sad": "sadness", "sadness": "sadness",
    "surprise": "surprise", "surprised": "surprise",
    "neutral": "neutral", "neutrality": "neutral",
    "contempt": "contempt",
})  # fmt: skip


def canonical(name: str) -> str:
    """The class that `name` means ("Happy" -> "happiness").

    Raises ValueError, listing what is known, for a name that means none of the eight.
    """
    key = name.strip().lower()
    if key not in SYNONYMS:
        raise ValueError(f"“{name}” is not an expression known here; use one of {', '.join(CLASSES)}.")
    return SYNONYMS[key]


def title(name: str) -> str:
    """The name on screen of the class `name` ("happiness" -> "Happiness")."""
    return EXPRESSIONS[CLASSES.index(name)].title
