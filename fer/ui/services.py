"""What a tab may ask of the app that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from fer.turns import Turns

if TYPE_CHECKING:
    from gradio.components import Component

    from fer.chips import Chip
    from fer.predict import Prediction, Recognizer
    from fer.workshop import Workshop

Right = Literal["public", "label", "train", "own"]


@dataclass(frozen=True)
class Correction:
    """What somebody says about a face they see, and what is needed to keep it."""

    chip: "Chip"
    prediction: "Prediction"  # of the model, on the picture the chip was cut from
    label: str  # the name of one of `Services.answers`
    annotator: str  # who says so
    request: str  # made up by the sender, names this correction for good
    code: str | None  # withdrawal code of who agreed; None where agreement was taken elsewhere
    source: str  # photo, live, api
    group: str  # pictures of one group are never divided between training and test
    pixels: bool = True  # False keeps the label and the scores only
    suggested: bool = True  # whether the model's answer was on screen


class Services(Protocol):
    """Built once by ``app.py`` and handed to every tab's `build`."""

    turns: Turns  # taken around everything that decodes a picture or runs a network
    workshop: "Workshop"  # the runs and models of the workspace

    def recognizer(self) -> "Recognizer":
        """The active model; waits while it is being loaded. Raises BundleError when it cannot be."""
        ...

    def health(self) -> dict:
        """{model: the version in memory or None, …}."""
        ...

    def answers(self) -> list[dict]:
        """What a person can say about a face: {name, title, code of its key}."""
        ...

    def purpose(self) -> str:
        """What people agree to before a face is kept."""
        ...

    def agree(self) -> str:
        """Record that somebody agreed to have faces kept; their withdrawal code. Raises ValueError in one sentence."""
        ...

    def agreed(self, code: str) -> bool:
        """Whether an agreement is on record under `code`; not any more once it was withdrawn."""
        ...

    def keep(self, correction: Correction) -> int:
        """Store a correction; its number, once it is on disk. Raises ValueError in one sentence."""
        ...

    def waits(self, annotator: str) -> str:
        """Why what the caller says as `annotator` is not learned from yet, in a sentence; "" where it is."""
        ...

    def take_back(self, code: str, request: str) -> None:
        """Undo the correction `request` made under `code`. Raises ValueError in one sentence."""
        ...

    def withdraw(self, code: str) -> dict:
        """Remove all that was given under `code`: {faces, snapshots, models}. Raises ValueError in one sentence."""
        ...

    def readiness(self) -> dict:
        """What a run started now would learn from: {learn, held_out: {expression: faces}, to_learn, to_test, ready, words, …}.

        Raises ValueError in one sentence.
        """
        ...

    def snapshot(self) -> Path:
        """The folder of a snapshot of all labels as they are now. Raises ValueError in one sentence."""
        ...

    def promote(self, version: str, who: str, why: str) -> str:
        """Answer with another version from now on; its name. Raises ValueError in one sentence."""
        ...

    def rollback(self, who: str) -> str:
        """Answer with the version that was active before; its name. Raises ValueError in one sentence."""
        ...

    def desk(self, kind: str) -> str:
        """The style ("css") or script ("js") that those of all tabs but the first begin with."""
        ...

    def function(self, name: str, right: Right, fn: Callable[[dict], dict]) -> Callable:
        """`fn` as a server function of the page `name`, for people who have `right`."""
        ...

    def endpoint(
        self, name: str, right: Right, fn: Callable, inputs: Sequence["Component"], outputs: Sequence["Component"]
    ) -> None:
        """Register `fn` as ``/name`` of the API, for people who have `right`."""
        ...
