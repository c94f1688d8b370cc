"""The Data tab: what there is, where people part, which labels look wrong, files in and out, withdrawal.

Also the API's ``/import``, ``/export``, ``/snapshot`` and ``/withdraw``. The page is one `gr.HTML`; the
functions it calls answer {error: sentence} instead of raising.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import gradio as gr
import numpy as np

from labeling.doubts import doubts
from labeling.exchange import WRITERS, Cutter, export
from labeling.labels import ANSWERS
from labeling.overview import overview
from labeling.people import Caller, Right
from labeling.snapshot import learned_by, take
from labeling.transfers import PART, Transfers
from labeling.trust import Contributor, decide, faces_of, weighed
from labeling.withdrawal import outgoing
from labeling.ui import label_tab
from labeling.ui.replies import api_call, said

SHOWN = 24  # faces of one list
FORMATS = {"csv": "CSV with pictures", "ferplus": "FER+ folder", "fer2013": "FER2013 csv", "folder": "Class folders",
           "hf": "Hugging Face imagefolder", "labelstudio": "Label Studio JSON"}  # fmt: skip


class Services(label_tab.Services, Protocol):
    """What the tab asks of the app that shows it."""

    workspace: Path

    def speaker(self) -> Caller | None:
        """Whose call is being answered."""
        ...

    def cutter(self) -> Cutter:
        """Finds faces in photos; waits for the model. Raises ValueError when there is none."""
        ...

    def offer(self, path: Path) -> str:
        """An address below the page's from which `path` can be fetched; it is deleted afterwards."""
        ...


def build(services: Services) -> None:
    """Add the tab's content to the current `gr.Blocks`, and register its endpoints."""
    transfers = Transfers(services.workspace)
    newcomers = _Newcomers(services)

    def counts(payload: dict) -> dict:
        """{} -> everything counted, where people part, and whose labels wait."""
        return said(lambda: {**services.queue().statistics(), **overview(services.labels(), services.queue().votes()),
                             "newcomers": newcomers.listed()})  # fmt: skip

    def faces(payload: dict) -> dict:
        """{newcomer} -> {faces}: what somebody whose labels wait has said, the newest first."""
        return said(lambda: {"faces": newcomers.faces(str(payload["newcomer"]))})

    def release(payload: dict) -> dict:
        """{newcomer, release: bool} -> {newcomers}: from now on training uses their labels, or none of them."""
        return said(lambda: newcomers.decide(str(payload["newcomer"]), payload["release"] is True))

    def parted(payload: dict) -> dict:
        """{one, other} -> {faces}: those for which some people say the one and some the other."""
        return said(lambda: _parted(services, str(payload["one"]), str(payload["other"])))

    def doubtful(payload: dict) -> dict:
        """{} -> {faces, total}: labels that are probably wrong; they go to the front of the queue."""
        return said(lambda: _doubtful(services))

    def part(payload: dict) -> dict:
        """{upload, name, at, data: base64} -> {here}: bytes of the file that have arrived."""
        return said(lambda: {"here": transfers.take(
            str(payload["upload"]), str(payload["name"]), int(payload["at"]), base64.b64decode(payload["data"]))})  # fmt: skip

    def bring(payload: dict) -> dict:
        """{upload, name} or {upload, source} -> the import, which runs on by itself."""
        return said(lambda: _bring(services, transfers, payload))

    def imports(payload: dict) -> dict:
        """{} -> {imports}: how far each is."""
        return said(lambda: {"imports": transfers.known()})

    def hand_out(payload: dict) -> dict:
        """{kind} -> {address, words}: a zip of all labelled faces, to be fetched once."""
        return said(lambda: _hand_out(services, str(payload["kind"])))

    def snapshot(payload: dict) -> dict:
        """{} -> what training would be given, written down."""
        return said(lambda: take(services.labels(), services.workspace / "snapshots").as_dict())

    def withdraw(payload: dict) -> dict:
        """{code} -> {faces, snapshots, models}."""
        return said(lambda: services.withdraw(str(payload["code"])))

    rights: dict[Callable[[dict], dict], Right] = {
        counts: "label", parted: "label", doubtful: "label", part: "own", bring: "own", imports: "own", hand_out: "own",
        snapshot: "train", withdraw: "public", faces: "own", release: "own",
    }  # fmt: skip
    folder = Path(__file__).parent
    gr.HTML(
        value={"answers": [[one.name, one.title] for one in ANSWERS], "formats": FORMATS, "part": PART},
        html_template=(folder / "data_tab.html").read_text(encoding="utf-8"),
        css_template=services.desk("css") + (folder / "data_tab.css").read_text(encoding="utf-8"),
        js_on_load=services.desk("js") + (folder / "data_tab.js").read_text(encoding="utf-8"),
        server_functions=[services.function("data", right, fn) for fn, right in rights.items()],
        apply_default_css=False,
        elem_id="data",
    )
    _build_api(services)


def _build_api(services: Services) -> None:
    def register(name: str, right: Right, fn: Callable, inputs: Sequence[gr.components.Component], output: str) -> None:
        services.endpoint(name, right, api_call(fn), inputs, [gr.JSON(label=output, visible=False)])

    def import_source(source: str) -> dict:
        from labeling.exchange import bring_in

        return bring_in(services.labels(), source, services.cutter()).as_dict()

    def export_target(target: str) -> dict:
        return export(services.labels(), target, services.cutter()).as_dict()

    def snapshot() -> dict:
        return take(services.labels(), services.workspace / "snapshots").as_dict()

    def withdraw(code: str) -> dict:
        return services.withdraw(code)

    def text(label: str) -> gr.Textbox:
        return gr.Textbox(label=label, visible=False)

    register("import", "own", import_source, [text("Source: KIND:PATH on the server")], "Report")
    register("export", "own", export_target, [text("Target: KIND:PATH on the server")], "Report")
    register("snapshot", "train", snapshot, [], "Snapshot")
    register("withdraw", "public", withdraw, [text("Withdrawal code")], "Removed")  # who holds the code gave the faces


class _Newcomers:
    """Those whose labels are looked at, under made-up names: a page is not told what is kept of a visitor's code."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._secret = secrets.token_bytes(16)

    def listed(self) -> list[dict]:
        """All of them, who has most waiting first."""
        found = sorted(weighed(self._services.labels()).contributors, key=lambda one: (-one.held, one.name))
        return [{name: value for name, value in one.as_dict().items() if name != "key"} | {"id": self._id(one)} for one in found]

    def faces(self, number: str) -> list[dict]:
        """Faces with what the newcomer `number` says of them."""
        said = faces_of(self._services.labels(), self._key(number), SHOWN)
        shown = [{"item": item, "chip": _picture(self._services, item), "words": label} for item, label in said]
        return [face for face in shown if face["chip"]]

    def decide(self, number: str, release: bool) -> dict:
        """Use the labels of the newcomer `number` from now on, or none of them."""
        speaker = self._services.speaker()
        decide(self._services.labels(), self._key(number), release, (speaker and speaker.name) or "owner")
        return {"newcomers": self.listed()}

    def _key(self, number: str) -> str:
        keys = {self._id(one): one.key for one in weighed(self._services.labels()).contributors}
        if number not in keys:
            raise ValueError("There is no such newcomer (any more); look at the list again.")
        return keys[number]

    def _id(self, one: Contributor) -> str:
        return hmac.new(self._secret, one.key.encode(), hashlib.sha256).hexdigest()[:16]


def _picture(services: Services, number: int) -> str | None:
    """The face `number` as a data URL; None where it has no picture (any more)."""
    store = services.labels()
    try:
        return "data:image/png;base64," + base64.b64encode(store.picture(store.item(number))).decode()
    except ValueError:
        return None


def _parted(services: Services, one: str, other: str) -> dict:
    votes = services.queue().votes()
    faces = []
    for number in votes.parted(one, other)[:SHOWN].tolist():
        picture = _picture(services, number)
        if picture:
            faces.append({"item": number, "chip": picture, "words": votes.in_words(number)})
    return {"faces": faces}


def _doubtful(services: Services) -> dict:
    votes = services.queue().votes()
    learned = _learned(services, votes.ids)
    # What a model has learned it believes: a wrong label among it would look right.
    found = doubts(votes.votes, np.where(learned[:, None], np.nan, votes.probabilities))
    services.queue().look_again(int(votes.ids[one.row]) for one in found)
    faces = [{"item": int(votes.ids[one.row]), "chip": _picture(services, int(votes.ids[one.row])), "words": one.reason}
             for one in found[:SHOWN]]  # fmt: skip
    read = int(np.isfinite(votes.probabilities).all(axis=1).sum())
    return {"faces": [face for face in faces if face["chip"]], "total": len(found), "read": read,
            "unread": int(votes.pixels.sum()) - read, "learned": int(learned.sum())}  # fmt: skip


def _learned(services: Services, ids: np.ndarray) -> np.ndarray:
    """bool (N,): the model that read the item with that id has learned from it."""
    found: set[int] = set()
    for model, read in services.labels().read_by().items():
        found |= learned_by(services.workspace, model).intersection(read)
    return np.isin(ids, sorted(found))


def _bring(services: Services, transfers: Transfers, payload: dict) -> dict:
    upload = str(payload["upload"])
    source = str(payload["source"]).strip() if payload.get("source") else str(transfers.uploaded(upload, str(payload["name"])))
    return transfers.start(upload, services.labels, source, services.cutter).as_dict()


def _hand_out(services: Services, kind: str) -> dict:
    if kind not in WRITERS:
        raise ValueError(f"“{kind}” is not a format; use one of {', '.join(WRITERS)}.")
    before, alone = services.labels().withdrawn(), outgoing(services.workspace) / secrets.token_hex(8)
    folder = alone / "files" / f"faces-{kind}"
    try:
        report = export(services.labels(), f"{kind}:{folder}", services.cutter())
        archive = shutil.make_archive(str(alone / folder.name), "zip", folder.parent, folder.name)
        if services.labels().withdrawn() != before:
            raise ValueError("A face was withdrawn while the zip was being made; make it again.")
    except BaseException as error:
        shutil.rmtree(alone, ignore_errors=True)
        if isinstance(error, OSError):
            raise ValueError("The zip could not be made, perhaps because a face was withdrawn meanwhile or the disk is full; make it again.") from error
        raise
    shutil.rmtree(folder.parent, ignore_errors=True)
    return {"address": services.offer(Path(archive)), "words": report.in_words()}
