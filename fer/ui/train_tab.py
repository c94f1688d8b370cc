"""The Train tab: what there is to learn from, a run and its curves, and what came of it. Also the API's
``/readiness``, ``/train_start``, ``/train_status``, ``/train_stop`` and ``/train_resume``.

The page is one `gr.HTML` that asks again and again how the newest run is: all state is in the run's folder, so a
page that was reloaded, or an app that was started anew, shows the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from PIL import Image

from fer.emotions import EXPRESSIONS
from fer.ui.replies import api_call, said
from fer.ui.services import Right, Services
from fer.workshop import SECONDS

THUMBNAIL = 192  # pixels, longer side of a flipped face on the page
MOST_PICTURES = 48  # a call gives at most


def build(services: Services) -> None:
    """Add the tab's content to the current `gr.Blocks`, and register its endpoints."""
    workshop = services.workshop

    def readiness(payload: dict) -> dict:
        """{} -> what a run would learn from, whether it can start, {estimates: {speed: seconds}}."""
        return said(lambda: _readiness(services))

    def look(payload: dict) -> dict:
        """{log} -> {newest, active}: the newest run as `Workshop.status` gives it, with its log where asked for; the version in use."""
        return said(lambda: {"newest": workshop.status(bool(payload.get("log"))), "active": workshop.registry.active().version})

    def start(payload: dict) -> dict:
        """{speed} -> the run that has begun."""
        return said(lambda: _start(services, str(payload["speed"])))

    def stop(payload: dict) -> dict:
        """{} -> the run that was stopped."""
        return said(lambda: {"run": workshop.stop().id})

    def resume(payload: dict) -> dict:
        """{} -> the run that goes on."""
        return said(lambda: {"run": workshop.resume().id})

    def pictures(payload: dict) -> dict:
        """{run, names} -> {pictures: {name: data URL}} of faces that the run's report lists."""
        return said(lambda: _pictures(services, str(payload["run"]), payload["names"]))

    def use(payload: dict) -> dict:
        """{version, who, why} -> {version}: it answers from now on."""
        return said(lambda: {"version": services.promote(
            str(payload["version"]), str(payload.get("who") or ""), str(payload.get("why") or ""))})  # fmt: skip

    rights: dict[Callable[[dict], dict], Right] = {
        readiness: "train", look: "train", start: "train", stop: "train", resume: "train", pictures: "train", use: "own",
    }  # fmt: skip

    def joined(kind: str) -> str:
        return "".join((Path(__file__).parent / f"{name}.{kind}").read_text(encoding="utf-8") for name in ("promotion", "train_tab"))

    gr.HTML(
        value={"expressions": [[one.name, one.title] for one in EXPRESSIONS], "speeds": list(SECONDS)},
        html_template=joined("html"),
        css_template=services.desk("css") + joined("css"),
        js_on_load=services.desk("js") + joined("js"),
        server_functions=[services.function("train", right, fn) for fn, right in rights.items()],
        apply_default_css=False,
        elem_id="train",
    )
    _build_api(services)


def _build_api(services: Services) -> None:
    workshop = services.workshop

    def register(name: str, fn: Callable, inputs: list[gr.components.Component], output: str) -> None:
        services.endpoint(name, "train", api_call(fn), inputs, [gr.JSON(label=output, visible=False)])

    def readiness() -> dict:
        return _readiness(services)

    def train_start(speed: str) -> dict:
        return _start(services, speed)

    def train_status() -> dict:
        return workshop.status()

    def train_stop() -> dict:
        return {"run": workshop.stop().id}

    def train_resume() -> dict:
        return {"run": workshop.resume().id}

    register("readiness", readiness, [], "What there is to learn from")
    register("train_start", train_start, [gr.Textbox(label="Speed: quick or full", visible=False)], "Run")
    register("train_status", train_status, [], "Newest run")
    register("train_stop", train_stop, [], "Run")
    register("train_resume", train_resume, [], "Run")


def _readiness(services: Services) -> dict:
    counted = services.readiness()
    faces = counted["to_learn"] + counted["to_test"]
    estimates = {speed: round(services.workshop.estimated_seconds(speed, faces)) for speed in SECONDS}
    return {**counted, "estimates": estimates}


def _start(services: Services, speed: str) -> dict:
    if speed not in SECONDS:
        raise ValueError(f"“{speed[:40]}” is not a speed; use {' or '.join(SECONDS)}.")
    counted = services.readiness()
    if not counted["ready"]:
        raise ValueError(counted["words"])
    return {"run": services.workshop.start(services.snapshot(), speed).id}


def _pictures(services: Services, run: str, names: object) -> dict:
    wanted = [str(name) for name in names][:MOST_PICTURES] if isinstance(names, list) else []
    found = services.workshop.pictures(run, wanted)
    return {"pictures": {name: _thumbnail(content) for name, content in found.items()}}


def _thumbnail(content: bytes) -> str | None:
    """The face as a data URL, made smaller where it is large; None where it is no picture (any more)."""
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError):
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
