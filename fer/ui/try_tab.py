"""The Try tab: photos, camera and video in, every face boxed, eight scores each. Also the API's ``/predict``.

The page is one `gr.HTML` with its own script; the functions it calls are here. They bypass Gradio's
queue, so each checks what it was sent, and answers {error: sentence} instead of raising. Modules that
need torch are imported by the functions that use them: the page answers before torch is loaded.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from PIL import Image

from fer.emotions import EXPRESSIONS
from fer.faces import Face, overlap
from fer.picture import UnreadablePicture, open_picture
from fer.ui.safe_image import Upload, safe_image
from fer.ui.services import Services

if TYPE_CHECKING:
    from fer.live import LiveReader
    from fer.predict import Recognizer

log = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent.parent / "samples"
MAX_UPLOAD = 20_000_000  # bytes of one picture
PREVIEW = 1280  # pixels, longer side of the picture sent back when a browser cannot draw the file itself


def samples() -> list[dict]:
    """The sample pictures that ship, with their credits: file, title, author, year, licence, source."""
    credits = json.loads((SAMPLES / "credits.json").read_text(encoding="utf-8"))
    return [{"file": name, **credit} for name, credit in credits.items()]


def build(services: Services) -> None:
    """Add the tab's content to the current `gr.Blocks`, and register ``/predict``."""

    making = threading.Lock()

    @cache
    def made() -> LiveReader:
        from fer.live import LiveReader

        return LiveReader(services.recognizer, services.turns)

    def live() -> LiveReader:
        with making:  # two first callers would each get a reader of their own
            return made()

    def read_picture(payload: dict) -> dict:
        """{name, picture: data URL, preview: bool} -> {reading, preview?}."""
        return _answer(payload, lambda picture: _read_picture(services, payload, picture))

    def read_frame(payload: dict) -> dict:
        """{viewer, picture: data URL, smoothing: seconds} -> the faces of the frame."""
        return _answer(payload, lambda picture: _read_frame(live(), payload, picture))

    def explain(payload: dict) -> dict:
        """{picture: data URL, box, expression} -> {crop, map}, both data URLs of PNGs."""
        return _answer(payload, lambda picture: _explain(services, payload, picture))

    def leave(payload: dict) -> dict:
        """{viewer}: its camera was switched off."""
        live().leave(str(payload.get("viewer", "")) if isinstance(payload, dict) else "")
        return {}

    folder = Path(__file__).parent
    scripts = ("try_tab.js", "live.js")
    gr.HTML(
        value={"samples": samples(), "expressions": [[one.name, one.title] for one in EXPRESSIONS],
               "max_upload": MAX_UPLOAD},
        html_template=(folder / "try_tab.html").read_text(encoding="utf-8"),
        css_template=(folder / "try_tab.css").read_text(encoding="utf-8"),
        js_on_load="\n".join((folder / name).read_text(encoding="utf-8") for name in scripts),
        server_functions=[read_picture, read_frame, explain, leave],
        apply_default_css=False,
        elem_id="try",
    )  # fmt: skip
    services.endpoint(
        "predict",
        "public",
        lambda upload: _predict(services, upload),
        [safe_image(label="Picture", visible=False)],
        [gr.JSON(label="Faces and scores", visible=False)],
    )


def _predict(services: Services, upload: Upload | None) -> dict:
    if upload is None:
        raise gr.Error("No picture was sent; choose a file.", print_exception=False)
    from fer.bundle import BundleError

    try:
        recognizer = services.recognizer()
        with services.turns.turn():
            return recognizer.read(upload.content).as_dict(upload.name)
    except (UnreadablePicture, BundleError) as error:
        log.info("refused: %s", error)
        raise gr.Error(_named(str(error), upload.name), print_exception=False) from error
    except Exception as error:
        log.exception("predict failed")
        raise gr.Error("The picture could not be read because of a fault in the app; its log says more.") from error


def _answer(payload: object, work: Callable[[str], dict]) -> dict:
    """What `work` makes of the payload's picture, or {error: one sentence}.

    An exception would reach the page as `undefined`; so the person gets a sentence and the log the trace.
    """
    picture = payload.get("picture") if isinstance(payload, dict) else None
    if not isinstance(picture, str) or not picture.startswith("data:"):
        return {"error": "The page sent no picture; choose a file."}
    from fer.bundle import BundleError

    try:
        return work(picture)
    except (UnreadablePicture, BundleError) as error:
        return {"error": _named(str(error), Path(str(payload.get("name", "The picture"))).name)}
    except Exception:
        log.exception("answering the page failed")
        return {"error": "The picture could not be read because of a fault in the app; its log says more."}


def _read_picture(services: Services, payload: dict, picture: str) -> dict:
    recognizer = services.recognizer()
    with services.turns.turn():
        answer = {"reading": recognizer.read(picture).as_dict(str(payload.get("name", "picture")))}
        return {**answer, "preview": _preview(picture)} if payload.get("preview") else answer


def _read_frame(live: LiveReader, payload: dict, picture: str) -> dict:
    smoothing = min(max(_number(payload.get("smoothing"), 0.3), 0.0), 5.0)
    scale = min(max(_number(payload.get("scale"), 1.0), 1.0), 16.0)
    return live.read(str(payload.get("viewer", ""))[:64], picture, smoothing, scale)


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else otherwise


def _explain(services: Services, payload: dict, picture: str) -> dict:
    """The crop the network is given for the face nearest to `box`, and where it looked for `expression`."""
    recognizer = services.recognizer()
    with services.turns.turn():
        return _explained(recognizer, payload, open_picture(picture))


def _explained(recognizer: Recognizer, payload: dict, image: Image.Image) -> dict:
    from fer.activation import activation_map, overlaid

    faces = recognizer.detector.find(image)
    expression = payload.get("expression")
    try:
        wanted = Face(tuple(float(value) for value in payload["box"]))
        face = max(faces, key=lambda one: overlap(one, wanted))
        if expression not in recognizer.bundle.classes or overlap(face, wanted) < 0.5:
            raise ValueError(f"no such face or expression: {expression}")
    except (KeyError, TypeError, ValueError, IndexError):
        return {"error": "That face is not in the picture; choose the photo again."}
    tensor = recognizer.bundle.preprocess(image, face)
    seen = recognizer.bundle.preprocess.to_image(tensor)
    heat = activation_map(recognizer.bundle, tensor, expression)
    return {"crop": _png(seen), "map": _png(overlaid(seen, heat))}


def _named(sentence: str, name: str) -> str:
    """`sentence` about the picture called `name`: bytes and data URLs come without one."""
    name = name or "The picture"
    return sentence.replace("The picture", name, 1) if sentence.startswith("The picture") else sentence


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _preview(picture: str) -> str:
    """The upright picture as a JPEG data URL, for formats that browsers do not draw (TIFF, PPM)."""
    image = open_picture(picture)
    image.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
