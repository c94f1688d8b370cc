"""What a tab may ask of the app that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from fer.turns import Turns

if TYPE_CHECKING:
    from gradio.components import Component

    from fer.predict import Recognizer

Right = Literal["public", "label", "train", "own"]


class Services(Protocol):
    """Built once by ``app.py`` and handed to every tab's `build`."""

    turns: Turns  # taken around everything that decodes a picture or runs a network

    def recognizer(self) -> "Recognizer":
        """The active model; waits while it is being loaded. Raises BundleError when it cannot be."""
        ...

    def endpoint(
        self, name: str, right: Right, fn: Callable, inputs: Sequence["Component"], outputs: Sequence["Component"]
    ) -> None:
        """Register `fn` as ``/name`` of the API, for people who have `right`."""
        ...
