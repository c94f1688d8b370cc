"""The Models tab: versions, which of them answers, what each can do beside another. Also the API's ``/models``,
``/compare``, ``/promote`` and ``/rollback``.

A comparison reads some hundred faces twice; it goes on in the background, taking turns with whoever wants an answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import gradio as gr

from fer.emotions import EXPRESSIONS
from fer.ui.replies import FAULT, api_call, said, sentence
from fer.ui.services import Right, Services

log = logging.getLogger(__name__)


def build(services: Services) -> None:
    """Add the tab's content to the current `gr.Blocks`, and register its endpoints."""
    workshop, comparing = services.workshop, Comparing(services)

    def listing(payload: dict) -> dict:
        """{} -> {versions, history, warning, answering}: all there is, newest first, and the version in memory."""
        return said(lambda: _listing(services))

    def card(payload: dict) -> dict:
        """{version} -> {card}: Markdown."""
        return said(lambda: {"card": workshop.card(str(payload["version"]))})

    def compare(payload: dict) -> dict:
        """{one, other} -> a comparison that goes on in the background."""
        return said(lambda: comparing.start(str(payload["one"]), str(payload["other"])))

    def compared(payload: dict) -> dict:
        """{} -> the newest comparison: {one, other, running, error} and, once done, what `Trial.as_dict` gives."""
        return said(comparing.known)

    def promote(payload: dict) -> dict:
        """{version, who, why} -> {version}: it answers from now on."""
        return said(lambda: {"version": services.promote(
            str(payload["version"]), str(payload.get("who") or ""), str(payload.get("why") or ""))})  # fmt: skip

    def rollback(payload: dict) -> dict:
        """{who} -> {version}: the one that answered before does so again."""
        return said(lambda: {"version": services.rollback(str(payload.get("who") or ""))})

    rights: dict[Callable[[dict], dict], Right] = {
        listing: "train", card: "train", compare: "train", compared: "train", promote: "own", rollback: "own",
    }  # fmt: skip

    def joined(kind: str) -> str:
        return "".join((Path(__file__).parent / f"{name}.{kind}").read_text(encoding="utf-8") for name in ("promotion", "models_tab"))

    gr.HTML(
        value={"expressions": [[one.name, one.title] for one in EXPRESSIONS]},
        html_template=joined("html"),
        css_template=services.desk("css") + joined("css"),
        js_on_load=services.desk("js") + joined("js"),
        server_functions=[services.function("models", right, fn) for fn, right in rights.items()],
        apply_default_css=False,
        elem_id="models",
    )
    _build_api(services)


def _build_api(services: Services) -> None:
    def text(label: str) -> gr.Textbox:
        return gr.Textbox(label=label, visible=False)

    def register(name: str, right: Right, fn: Callable, inputs: list[gr.components.Component], output: str) -> None:
        services.endpoint(name, right, api_call(fn), inputs, [gr.JSON(label=output, visible=False)])

    def models() -> dict:
        return _listing(services)

    def compare(version: str, other: str) -> dict:
        return services.workshop.compare(version, other, services.snapshot(), _in_turns(services)).as_dict()

    def promote(version: str, who: str, why: str) -> dict:
        return {"version": services.promote(version, who, why)}

    def rollback(who: str) -> dict:
        return {"version": services.rollback(who)}

    register("models", "train", models, [], "Versions")
    register("compare", "train", compare, [text("Version before"), text("Version after")], "Comparison")
    register("promote", "own", promote, [text("Version"), text("Who"), text("Why")], "Version")
    register("rollback", "own", rollback, [text("Who")], "Version")


class Comparing:
    """One comparison at a time, in the background, and the last that was made."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._state: dict = {}

    def known(self) -> dict:
        """{one, other, running, error} of the newest, and the values of its `Trial` once done; {} before the first."""
        with self._lock:
            return dict(self._state)

    def start(self, one: str, other: str) -> dict:
        """Begin to compare `other` with `one`. Raises ValueError while another comparison goes on."""
        with self._lock:
            if self._state.get("running"):
                raise ValueError("Another comparison is under way; wait until it is done.")
            self._state = {"one": one, "other": other, "running": True, "error": None}
        threading.Thread(target=self._run, args=(one, other), name="compare", daemon=True).start()
        return self.known()

    def _run(self, one: str, other: str) -> None:
        try:
            found = self._services.workshop.compare(one, other, self._services.snapshot(), _in_turns(self._services))
            ended = found.as_dict()
        except ValueError as error:
            ended = {"error": sentence(error)}
        except Exception:
            log.exception("comparing failed")
            ended = {"error": FAULT}
        with self._lock:
            self._state |= {**ended, "running": False}


def _in_turns(services: Services) -> Callable[[Iterable], Iterable]:
    """Wraps an iterable of batches so that each is worked on in a turn."""

    def wrapped(batches: Iterable) -> Iterator:
        for batch in batches:
            with services.turns.turn():
                yield batch

    return wrapped


def _listing(services: Services) -> dict:
    registry, health = services.workshop.registry, services.health()
    return {
        "versions": services.workshop.models(), "history": registry.history()[::-1],
        "warning": health.get("warning") or registry.warning(), "answering": health["model"],
    }  # fmt: skip
