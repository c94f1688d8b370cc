"""The line above the tabs that says where labels are by now: on this disk, and on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import gradio as gr

from labeling.people import Right
from labeling.ui.replies import said


class Services(Protocol):
    """What the line asks of the app that shows it."""

    def kept(self) -> dict:
        """{saved_at, on_hub_at, waiting, problem}: times in UTC or null, and a sentence or null."""
        ...

    def function(self, name: str, right: Right, fn: Callable[[dict], dict]) -> Callable:
        """`fn` as a server function of the page `name`, for people who have `right`."""
        ...


def build(services: Services) -> None:
    """Add the line to the current `gr.Blocks`."""

    def kept(payload: dict) -> dict:
        """{} -> {saved_at, on_hub_at, waiting, problem}."""
        return said(services.kept)

    folder = Path(__file__).parent
    gr.HTML(
        value={},
        html_template='<p class="kept" role="status" hidden></p><p class="trouble" role="alert" hidden></p>',
        css_template=(folder / "meter.css").read_text(encoding="utf-8"),
        js_on_load=(folder / "meter.js").read_text(encoding="utf-8"),
        server_functions=[services.function("meter", "public", kept)],
        apply_default_css=False,
        padding=False,
        elem_id="meter",
    )
