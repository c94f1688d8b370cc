"""The Label tab: one face, one key. Also the API's ``/next``, ``/label``, ``/skip``, ``/undo``, ``/stats``.

The page is one `gr.HTML` whose script keeps faces ahead and labels in a box until the server has them;
the functions it calls are here. They answer {error: sentence} instead of raising, with {final: true}
where sending the same again would not help.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import gradio as gr

from labeling.database import StoreError
from labeling.guidelines import guidelines
from labeling.judgements import LONGEST_NAME, Annotation, Judgement
from labeling.labels import ANSWERS, LABELS, label_called
from labeling.people import Right
from labeling.queue import Candidate, ReviewQueue
from labeling.store import LabelStore
from labeling.ui.replies import api_call, said

MOST_AHEAD = 32  # faces one call hands out at most
log = logging.getLogger(__name__)


class Services(Protocol):
    """What the tab asks of the app that shows it."""

    def labels(self) -> LabelStore:
        """The labels of the workspace. Raises StoreError while they cannot be opened."""
        ...

    def queue(self) -> ReviewQueue:
        """Which face to ask about next. Raises StoreError while the labels cannot be opened."""
        ...

    def withdraw(self, code: str) -> dict:
        """Remove all that was given under `code`: {faces, snapshots, models}. Raises ValueError in one sentence."""
        ...

    def admit(self, annotator: str, request: str = "") -> None:
        """Note that the caller labels as `annotator`, with the id `request`. Raises ValueError where either is somebody else's."""
        ...

    def waits(self, annotator: str) -> str:
        """Why what the caller says as `annotator` is not learned from yet, in a sentence; "" where it is."""
        ...

    def check_undo(self, request: str) -> None:
        """Raise ValueError where the judgement made as `request` is somebody else's than the caller's."""
        ...

    def desk(self, kind: str) -> str:
        """The style ("css") or script ("js") that those of all tabs but the first begin with."""
        ...

    def function(self, name: str, right: Right, fn: Callable[[dict], dict]) -> Callable:
        """`fn` as a server function of the page `name`, for people who have `right`."""
        ...

    def endpoint(
        self, name: str, right: Right, fn: Callable, inputs: Sequence[gr.components.Component],
        outputs: Sequence[gr.components.Component],
    ) -> None:  # fmt: skip
        """Register `fn` as ``/name`` of the API, for people who have `right`."""
        ...


def build(services: Services) -> None:
    """Add the tab's content to the current `gr.Blocks`, and register its endpoints."""

    visits: dict[str, object] = {}  # by annotator the visit that began last

    def begin(payload: dict) -> dict:
        """{annotator, visit} -> counts, and who labels; what the page held before it was opened anew goes back to the queue."""
        return said(lambda: _begin(services, visits, _name(payload["annotator"]), payload.get("visit")))

    def leave(payload: dict) -> dict:
        """{annotator, visit} -> {}: the page was closed; what it held goes back to the queue."""
        return said(lambda: _leave(services, visits, _name(payload["annotator"]), payload.get("visit")))

    def more(payload: dict) -> dict:
        """{annotator, count} -> {faces, waiting}."""
        return said(lambda: _more(services, _name(payload["annotator"]), payload.get("count", 1)))

    def judge(payload: dict) -> dict:
        """{request, item, annotator, label or null, second} -> what was kept, and what model and people say."""
        return said(lambda: _judged(services, _judge(services, payload)))

    def undo(payload: dict) -> dict:
        """{request} -> {}: the judgement made as `request` no longer counts."""
        return said(lambda: _undo(services, str(payload["request"])))

    def counts(payload: dict) -> dict:
        """{annotator} -> counts and agreement."""
        return said(lambda: services.queue().statistics(_name(payload["annotator"])))

    folder = Path(__file__).parent
    advice = guidelines()
    gr.HTML(
        value={
            "answers": [{"name": one.name, "title": one.title, "code": one.code, "advice": advice[one.name]} for one in ANSWERS],
            "rules": advice[""], "longest_name": LONGEST_NAME,
        },
        html_template=(folder / "label_tab.html").read_text(encoding="utf-8"),
        css_template=services.desk("css") + (folder / "label_tab.css").read_text(encoding="utf-8"),
        js_on_load=services.desk("js") + (folder / "label_tab.js").read_text(encoding="utf-8"),
        server_functions=[services.function("label", "label", one) for one in (begin, leave, more, judge, undo, counts)],
        apply_default_css=False,
        elem_id="labeling",
    )  # fmt: skip
    _build_api(services)


def _build_api(services: Services) -> None:
    def text(label: str) -> gr.Textbox:
        return gr.Textbox(label=label, visible=False)

    def number(label: str) -> gr.Number:
        return gr.Number(label=label, precision=0, visible=False)

    def next(annotator: str) -> dict | None:
        return _next(services, annotator)

    def label(item: int, label: str, annotator: str, request_id: str) -> dict:
        return _kept(_judge(services, {"item": item, "label": label, "annotator": annotator, "request": request_id}))

    def skip(item: int, annotator: str, request_id: str) -> dict:
        return _kept(_judge(services, {"item": item, "label": None, "annotator": annotator, "request": request_id}))

    def undo(request_id: str) -> dict:
        services.check_undo(request_id)
        return _kept(services.labels().undo(request_id))

    def stats() -> dict:
        return services.queue().statistics()

    def register(right: Right, fn: Callable, inputs: list[gr.components.Component], output: str) -> None:
        services.endpoint(fn.__name__, right, api_call(fn), inputs, [gr.JSON(label=output, visible=False)])

    register("label", next, [text("Annotator")], "Face and reason")
    register("label", label, [number("Item"), text("Label"), text("Annotator"), text("Request id")], "Annotation")
    register("label", skip, [number("Item"), text("Annotator"), text("Request id")], "Annotation")
    register("label", undo, [text("Request id")], "Annotation")
    register("label", stats, [], "Counts")


def _name(annotator: object) -> str:
    """Who labels, as the store keeps it. Raises ValueError."""
    name = annotator.strip() if isinstance(annotator, str) else ""
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"A name of 1 to {LONGEST_NAME} letters is needed; say who labels.")
    return name


def _leave(services: Services, visits: dict[str, object], annotator: str, visit: object) -> dict:
    # A page that is opened anew may have begun before the word of the old one's end arrives.
    if visits.get(annotator) == visit:
        visits.pop(annotator, None)
        services.queue().release(annotator)
    return {}


def _begin(services: Services, visits: dict[str, object], annotator: str, visit: object) -> dict:
    services.admit(annotator)
    visits[annotator] = visit if isinstance(visit, str) and len(visit) <= LONGEST_NAME else None
    services.queue().release(annotator)
    return {**services.queue().statistics(annotator), "annotator": annotator}


def _more(services: Services, annotator: str, count: object) -> dict:
    wanted = min(max(count, 1), MOST_AHEAD) if isinstance(count, int) else 1
    faces = _faces(services, services.queue().next(annotator, wanted))
    return {"faces": faces, "waiting": services.queue().waiting(annotator)}


def _next(services: Services, annotator: str) -> dict | None:
    name = _name(annotator)
    for _ in range(3):
        candidates = services.queue().next(name)
        faces = _faces(services, candidates)
        if faces or not candidates:
            break
    return faces[0] if faces else None


def _faces(services: Services, candidates: Sequence[Candidate]) -> list[dict]:
    """What a page or a script needs to ask about `candidates`; what the model says is not among it."""
    store, faces = services.labels(), []
    reasons = {one.item: one.reason for one in candidates}
    for item in store.items(list(reasons)):
        try:
            picture = base64.b64encode(store.picture(item)).decode()
        except StoreError as error:
            log.warning("face %d is not asked about: %s", item.id, error)
            continue
        faces.append({
            "item": item.id, "chip": f"data:image/png;base64,{picture}", "width": item.width, "height": item.height,
            "box": item.box, "ready_made": item.landmarks is None, "source": item.source, "reason": reasons[item.id],
        })  # fmt: skip
    return faces


def _judge(services: Services, payload: dict) -> Annotation:
    label, second = payload.get("label"), payload.get("second")
    judgement = Judgement(
        str(payload.get("request") or ""), str(payload.get("annotator") or ""),
        None if label is None else label_called(label), None if second is None else label_called(second),
    )  # fmt: skip
    try:
        item = int(payload["item"])
        if not 0 < item < 2**63:
            raise ValueError(item)
    except (KeyError, TypeError, ValueError):
        raise ValueError("The number of a face is needed; take it from what next answers.") from None
    services.admit(judgement.annotator, judgement.request)
    annotation = services.labels().judge(item, judgement)
    services.queue().returned(item, annotation.annotator)
    return annotation


def _undo(services: Services, request: str) -> dict:
    services.check_undo(request)
    back = services.labels().undo(request)
    services.queue().hold(back.item, back.annotator)  # the page shows the face again
    return {}


def _kept(annotation: Annotation) -> dict:
    """A judgement for scripts; the same whenever it is asked for."""
    scores = annotation.probabilities and dict(zip(LABELS, (round(one, 6) for one in annotation.probabilities), strict=False))
    return {
        "annotation": annotation.id, "item": annotation.item, "kind": annotation.kind, "label": annotation.label,
        "second": annotation.second, "annotator": annotation.annotator, "at": annotation.at,
        "suggested": annotation.suggested, "model": annotation.model, "scores": scores,
    }  # fmt: skip


def _judged(services: Services, annotation: Annotation) -> dict:
    """`_kept`, and what other people said: shown once the person has answered."""
    others = services.labels().said_by_others(annotation.item, annotation.annotator)
    waits = services.waits(annotation.annotator)
    return {**_kept(annotation), "others": others, **({"waits": waits} if waits else {})}
