"""The Try tab: photos, camera and video in, every face boxed, eight scores each. Also the API's ``/predict``.

The page is one `gr.HTML` with its own script; the functions it calls are here. They bypass Gradio's
queue, so each checks what it was sent, and answers {error: sentence} instead of raising. Modules that
need torch are imported by the functions that use them: the page answers before torch is loaded.
"""

from __future__ import annotations

import base64
import hashlib
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
from fer.ui.replies import said
from fer.ui.safe_image import Upload, safe_image
from fer.ui.services import Correction, Services

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

    def correct(payload: dict) -> dict:
        """{picture, box, label, request, annotator, code, pixels, source} -> {kept: number}, once it is on disk."""
        return said(lambda: _correct(services, payload))

    def agree(payload: dict) -> dict:
        """{} -> {code}: somebody agreed that faces are kept, and can withdraw them with the code."""
        return said(lambda: {"code": services.agree()})

    def take_back(payload: dict) -> dict:
        """{code, request} -> {}: the correction made as `request` no longer counts."""
        return said(lambda: services.take_back(str(payload["code"]), str(payload["request"])) or {})

    def withdraw(payload: dict) -> dict:
        """{code} -> {faces, …}: all that was given under the code is removed for good."""
        return said(lambda: services.withdraw(str(payload["code"])))

    folder = Path(__file__).parent
    functions = (read_picture, read_frame, explain, leave, correct, agree, take_back, withdraw)
    scripts = ("try_tab.js", "live.js", "teach.js")
    gr.HTML(
        value={"samples": samples(), "expressions": [[one.name, one.title] for one in EXPRESSIONS],
               "max_upload": MAX_UPLOAD, "answers": services.answers(), "purpose": services.purpose()},
        html_template=(folder / "try_tab.html").read_text(encoding="utf-8"),
        css_template=(folder / "try_tab.css").read_text(encoding="utf-8"),
        js_on_load="\n".join((folder / name).read_text(encoding="utf-8") for name in scripts),
        server_functions=[services.function("try", "public", one) for one in functions],
        apply_default_css=False,
        elem_id="try",
    )  # fmt: skip

    def predict_picture(picture: Upload | None) -> dict:
        return _predict(services, picture)

    def correct_face(
        picture: Upload | None, box: object, expression: str, annotator: str, consent: object, request_id: str
    ) -> int:
        return _correct_by_api(services, picture, box, expression, annotator, consent, request_id)

    services.endpoint(
        "predict",
        "public",
        predict_picture,
        [safe_image(label="Picture", visible=False)],
        [gr.JSON(label="Faces and scores", visible=False)],
    )
    services.endpoint(
        "correct",
        "public",
        correct_face,
        [safe_image(label="Picture", visible=False), gr.JSON(label="Box", visible=False),
         gr.Textbox(label="Expression", visible=False), gr.Textbox(label="Annotator", visible=False),
         gr.JSON(label="Consent", visible=False), gr.Textbox(label="Request id", visible=False)],
        [gr.Number(label="Annotation", precision=0, visible=False)],
    )  # fmt: skip


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


def _correct(services: Services, payload: dict) -> dict:
    picture = payload.get("picture")
    if not isinstance(picture, str) or not picture.startswith("data:"):
        raise UnreadablePicture("The page sent no picture; choose the photo again.")
    live = payload.get("source") == "live"
    code = str(payload.get("code") or "")
    if not services.agreed(code):
        return {"error": "What was given under this code was withdrawn; to go on, agree anew.", "agree": True}
    # What one camera shows is mostly one person: all under one code is one group.
    owner = hashlib.sha256(code.encode()).hexdigest()[:16]
    correction = _correction(
        services, picture, payload.get("box"),
        label=str(payload.get("label")), annotator=str(payload.get("annotator", "")), request=str(payload.get("request", "")),
        code=code, pixels=payload.get("pixels") is not False, source="live" if live else "photo",
        group=f"live:{owner}" if live else None,
    )  # fmt: skip
    kept, waits = services.keep(correction), services.waits(correction.annotator)
    return {"kept": kept, "waits": waits} if waits else {"kept": kept}


def _correct_by_api(
    services: Services, upload: Upload | None, box: object, expression: str, annotator: str, consent: object, request: str
) -> int:
    """``/correct``: `consent` is a withdrawal code, or true where agreement was taken elsewhere."""
    if upload is None:
        raise gr.Error("No picture was sent; choose a file.", print_exception=False)
    try:
        agreed = consent is True or (isinstance(consent, str) and consent.strip().lower() == "true")
        if not agreed and not (isinstance(consent, str) and consent.strip()):
            raise ValueError(
                "Nothing is kept without agreement: send consent as a withdrawal code, or as true once the person has "
                f"agreed to this: {services.purpose()}"
            )
        return services.keep(_correction(
            services, upload.content, box, label=expression, annotator=annotator, request=request,
            code=None if agreed else consent, source="api", group=None, suggested=False,
        ))  # fmt: skip
    except ValueError as error:
        log.info("refused: %s", error)
        raise gr.Error(_named(str(error), upload.name), print_exception=False) from error
    except Exception as error:
        log.exception("correct failed")
        raise gr.Error("The correction could not be kept because of a fault in the app; its log says more.") from error


def _correction(services: Services, picture: bytes | str, box: object, group: str | None, **said: object) -> Correction:
    """The correction of the face at `box`, with what the model says of it now. Raises ValueError in one sentence."""
    from fer.chips import Chip

    recognizer = services.recognizer()
    with services.turns.turn():
        image = open_picture(picture)
        face = _face_at(recognizer, image, box)
        (prediction,) = recognizer.predict([recognizer.bundle.preprocess(image, face)])
        chip = Chip.cut(image, face, recognizer.bundle.preprocess)
    group = group or "photo:" + hashlib.sha256(image.tobytes()).hexdigest()[:16]
    return Correction(chip, prediction, group=group, **said)


def _face_at(recognizer: Recognizer, image: Image.Image, box: object) -> Face:
    """The face that overlaps `box` by half or more: one the detector finds, or else one it can follow there."""
    gone = "That face is not in the picture; choose the photo again."
    try:
        wanted = Face(tuple(float(value) for value in box))
        left, top, right, bottom = wanted.box
        if not (all(map(math.isfinite, wanted.box)) and right - left >= 1 and bottom - top >= 1):
            raise ValueError(gone)
    except (TypeError, ValueError):
        raise ValueError(f"The box should be left, top, right, bottom in pixels. {gone}") from None
    wanted = Face((max(left, 0.0), max(top, 0.0), min(right, float(image.width)), min(bottom, float(image.height))))
    if wanted.box[2] - wanted.box[0] < 1 or wanted.box[3] - wanted.box[1] < 1:
        raise ValueError(gone)
    found = recognizer.detector.find(image)
    near = max(found, key=lambda one: overlap(one, wanted), default=None)
    if near is None or overlap(near, wanted) < 0.5:
        # Live video is searched with other settings than a photo.
        (near,) = recognizer.detector.follow(image, [wanted])
    if near is None or overlap(near, wanted) < 0.5:
        raise ValueError(gone)
    return near


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
