"""The Try tab: a photo in, every face boxed, eight scores each. Also the API's ``/predict``."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path

import gradio as gr

from fer.bundle import BundleError
from fer.emotions import EXPRESSIONS
from fer.picture import UnreadablePicture, open_picture
from fer.ui.safe_image import SafeImage, Upload
from fer.ui.services import Services

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

    def read_picture(payload: dict) -> dict:
        """Called by the page with {name, picture: data URL, preview: bool}; {reading} or {error}."""
        return _answer(services, payload)

    folder = Path(__file__).parent
    gr.HTML(
        value={"samples": samples(), "expressions": [[one.name, one.title] for one in EXPRESSIONS],
               "max_upload": MAX_UPLOAD},
        html_template=(folder / "try_tab.html").read_text(encoding="utf-8"),
        css_template=(folder / "try_tab.css").read_text(encoding="utf-8"),
        js_on_load=(folder / "try_tab.js").read_text(encoding="utf-8"),
        server_functions=[read_picture],
        apply_default_css=False,
        elem_id="try",
    )  # fmt: skip
    services.endpoint(
        "predict",
        "public",
        lambda upload: _predict(services, upload),
        [SafeImage(label="Picture", visible=False)],
        [gr.JSON(label="Faces and scores", visible=False)],
    )


def _predict(services: Services, upload: Upload | None) -> dict:
    if upload is None:
        raise gr.Error("No picture was sent; choose a file.")
    try:
        return services.recognizer().read(upload.content).as_dict(upload.name)
    except (UnreadablePicture, BundleError) as error:
        raise gr.Error(_named(str(error), upload.name)) from error
    except Exception as error:
        log.exception("predict failed")
        raise gr.Error("The picture could not be read because of a fault in the app; its log says more.") from error


def _answer(services: Services, payload: dict) -> dict:
    try:
        name, picture = str(payload["name"]), payload["picture"]
        if not isinstance(picture, str) or not picture.startswith("data:"):
            return {"error": "The page sent no picture; choose a file."}
    except (KeyError, TypeError):
        return {"error": "The page sent no picture; choose a file."}
    try:
        answer = {"reading": services.recognizer().read(picture).as_dict(name)}
        if payload.get("preview"):
            answer["preview"] = _preview(picture)
        return answer
    except (UnreadablePicture, BundleError) as error:
        return {"error": _named(str(error), Path(name).name)}
    except Exception:
        # Gradio would hand the page `undefined`; the person gets a sentence and the log the trace.
        log.exception("reading a picture failed")
        return {"error": "The picture could not be read because of a fault in the app; its log says more."}


def _named(sentence: str, name: str) -> str:
    """`sentence` about the picture called `name`: bytes and data URLs come without one."""
    return sentence.replace("The picture", name, 1) if sentence.startswith("The picture") else sentence


def _preview(picture: str) -> str:
    """The upright picture as a JPEG data URL, for formats that browsers do not draw (TIFF, PPM)."""
    image = open_picture(picture)
    image.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
