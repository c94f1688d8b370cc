"""Expression Studio: ``python app.py`` opens the app in the browser's reach.

    python app.py [--host H] [--port P] [--workspace DIR] [--share]
"""

from __future__ import annotations

import os

# Before gradio and torch are imported. Waiting OpenMP threads that spin starve each other on shared
# cores (one detection 1.8 s instead of 39 ms); nothing is reported to anybody.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000")
# Whom a request comes from is told by labeling.addresses, from the connection itself: uvicorn would believe what any
# program on this machine writes into X-Forwarded-For.
os.environ["FORWARDED_ALLOW_IPS"] = ""

import argparse
import importlib.util
import logging
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from fer.hub import HubError, LabelRepository, ModelAddress
from fer.serving import Serving
from fer.turns import Turns
from fer.workshop import Workshop
from labeling.limits import Limits, budgets
from labeling.people import House, is_local
from labeling.space import Space, usual_workspace
from labeling.trust import WAITS, Newcomers
from labeling.ui.doors import doors, download, enter, reached_at
from labeling.ui.gate import Gate

if TYPE_CHECKING:
    import gradio as gr

    from fer.cutter import LateCutter
    from fer.predict import Recognizer
    from fer.scorer import Scorer
    from fer.ui.services import Correction
    from labeling.queue import ReviewQueue
    from labeling.store import LabelStore
    from labeling.sync import Sync

TITLE = "Expression Studio"
SWITCH_SECONDS = 20.0  # a promotion waits at most so long for the new model to be loaded
REMOVAL_SECONDS = 20.0  # a withdrawal waits at most so long for the Hub before it answers
FLUSH_SECONDS = 10.0  # a stopped app takes at most so long to send labels to the Hub
MOST_WAITING = 500  # calls of the API: what is refused leaves the line at once, so it is long only while somebody floods it
MAX_BODY = 30_000_000  # bytes: a picture of 20 MB as a data URL inside JSON
# Gradio's own greys and blues are too pale to read for many (WCAG 2, contrast 4.5:1).
STYLE = """
.gradio-container { width: 100%; max-width: 1280px !important; margin: 0 auto !important }
#title h1 { margin-bottom: 0 }
@media (max-width: 480px) { .tab-container button { padding: 0 9px !important } }
footer > .divider:last-child { display: none }
footer, footer button, footer a { color: var(--body-text-color) !important; opacity: 1 !important }
body:not(.dark) button[role=tab][aria-selected=true] { color: #1d4ed8 }
"""
log = logging.getLogger("app")

# On ZeroGPU Spaces an app that marks nothing for the GPU is stopped as it starts, and the mark must be there before
# torch is (huggingface.co/docs/hub/spaces-zerogpu). Nothing here needs one: a face takes a processor milliseconds, and
# a visitor's minutes of GPU are few.
if importlib.util.find_spec("spaces"):
    import spaces

    @spaces.GPU(duration=5)
    def lent_gpu() -> str:
        """The name of the GPU that ZeroGPU lends."""
        import torch

        return torch.cuda.get_device_name()


@dataclass(frozen=True)
class Settings:
    """How the app was started. `host` and `port` None leave the choice to Gradio and its environment."""

    host: str | None = None
    port: int | None = None
    workspace: Path = Path("workspace")
    share: bool = False
    model: Path | None = None  # a model folder, version or hub:USER/NAME instead of the workspace's active one
    labels_repo: str | None = None  # a private dataset on the Hub, USER/NAME, that keeps the labels too
    space: Space | None = None  # the Hugging Face Space it runs on

    @property
    def address(self) -> str:
        """The name or number of the address the app listens on."""
        return self.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the app."""
        return is_local(self.address) and not self.share and self.space is None

    @classmethod
    def from_command_line(cls, arguments: list[str] | None = None) -> "Settings":
        parser = argparse.ArgumentParser(prog="python app.py", description=f"{TITLE} in the browser.")
        parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, or GRADIO_SERVER_NAME)")
        parser.add_argument("--port", type=int, help="port (default: the first free one from 7860, or GRADIO_SERVER_PORT)")
        space = Space.here()
        parser.add_argument("--workspace", type=Path,
                            default=Path(os.environ.get("FER_WORKSPACE") or usual_workspace(space)),
                            help="folder for all that users make (default: ./workspace, or FER_WORKSPACE)")  # fmt: skip
        parser.add_argument("--labels-repo", metavar="USER/NAME", default=os.environ.get("FER_LABELS_REPO") or None,
                            help="private dataset on the Hugging Face Hub that keeps the labels too; needs HF_TOKEN "
                            "(default: none, or FER_LABELS_REPO)")  # fmt: skip
        parser.add_argument("--share", action="store_true", help="also open a public gradio.live address")
        parser.add_argument("--model", type=Path, default=os.environ.get("FER_MODEL") or None,
                            help="model folder, version of the workspace, or hub:USER/NAME[@REVISION], that is kept "
                            "whatever is promoted (default: the active one, or FER_MODEL)")  # fmt: skip
        settings = cls(**vars(parser.parse_args(arguments)), space=space)
        if settings.port is not None and not 0 < settings.port < 65536:
            parser.error(f"--port must be 1 to 65535, not {settings.port}")
        if settings.labels_repo:
            try:
                LabelRepository(settings.labels_repo)
            except ValueError as error:
                parser.error(f"--labels-repo: {error}")
        if str(settings.model or "").startswith("hub:"):
            try:
                ModelAddress.parse(str(settings.model))
            except HubError as error:
                parser.error(f"--model: {error}")
        return settings


class Services(Gate):
    """What the tabs share: settings, the model, the labels, and the table of endpoints with the right each needs."""

    def __init__(self, settings: Settings) -> None:
        house = House.given_by(os.environ, settings.local, settings.workspace / "keys.json")
        super().__init__(house, Limits(budgets(os.environ)))
        self.settings = settings
        self.newcomers = Newcomers(self.labels)
        self.turns = Turns(os.cpu_count() or 1, self.whose)
        self.workshop = Workshop(settings.workspace)
        self.serving = Serving(self.workshop.registry, settings.model, self._model_ready)
        self.offered: dict[str, Path] = {}  # files to be fetched, by what their addresses end in
        self._opening = threading.Lock()
        self._labels: tuple[LabelStore, ReviewQueue] | None = None
        self._sync: Sync | None = None
        self._scorer: Scorer | None = None

    @property
    def workspace(self) -> Path:
        """The folder for all that users make."""
        return self.settings.workspace

    def reached_at(self, address: str) -> str:
        """The address of the page as others write it; `address` is how this machine does."""
        space = self.settings.space
        return space.address if space else reached_at(self.settings.address, self.settings.share, address)

    def cutter(self) -> "LateCutter":
        """Finds faces in photos as the app does; waits for the model when it is first used, and may then raise BundleError."""
        from fer.cutter import LateCutter

        return LateCutter(lambda: self.recognizer().bundle.preprocess)

    def offer(self, path: Path) -> str:
        """An address below the page's from which `path`, alone in its folder, can be fetched once."""
        token = secrets.token_urlsafe(16)
        self.offered[token] = path
        return f"download/{token}"

    def labels(self) -> "LabelStore":
        """The labels of the workspace. Raises StoreError, in one sentence, while they cannot be opened."""
        return self._opened()[0]

    def queue(self) -> "ReviewQueue":
        """Which face to ask about next. Raises StoreError while the labels cannot be opened."""
        return self._opened()[1]

    def kept(self) -> dict:
        """Where labels are by now: {saved_at, on_hub_at, waiting, problem, …}. Raises StoreError."""
        self.labels()
        return self._sync.state().as_dict() if self._sync else {}

    def answers(self) -> list[dict]:
        """What a person can say about a face: {name, title, code of its key}."""
        from dataclasses import asdict

        from labeling.labels import ANSWERS

        return [asdict(one) for one in ANSWERS]

    def purpose(self) -> str:
        """What people agree to before a face is kept."""
        from labeling.consents import purpose

        return purpose(self.settings.labels_repo)

    def agree(self) -> str:
        """Record that somebody agreed to have faces kept; their withdrawal code. Raises StoreError."""
        from labeling.consents import new_code

        code = new_code()
        self.labels().agree(code, self.purpose())
        return code

    def agreed(self, code: str) -> bool:
        """Whether an agreement is on record under `code`. Raises StoreError."""
        from labeling.consents import CODE_LENGTH

        return len(code) >= CODE_LENGTH and self.labels().agreed(code)

    def keep(self, correction: "Correction") -> int:
        """Store a face with what somebody says it shows; the number of the judgement, once it is on disk.

        Raises ValueError, in one sentence, when something in it is wrong, and StoreError.
        """
        from labeling.items import NewItem
        from labeling.judgements import Judgement
        from labeling.labels import label_called

        chip, prediction = correction.chip, correction.prediction
        item = NewItem(correction.source, correction.group)
        if correction.pixels:
            item = NewItem(correction.source, correction.group, chip.png(), *chip.image.size, chip.face.box, chip.face.landmarks)
        judgement = Judgement(
            correction.request, correction.annotator, label_called(correction.label), suggested=correction.suggested,
            model=prediction.model, probabilities=prediction.probabilities,
        )  # fmt: skip
        self.admit(correction.annotator, correction.request)
        speaker = self.speaker()
        if item.png and speaker and speaker.limited:
            self.limits.take("bytes", speaker.who, len(item.png))
            self.limits.take("all bytes", "everybody", len(item.png))
        kept = self.labels().contribute(item, judgement, correction.code, self.purpose())
        if self._scorer:
            self._scorer.wake()
        return kept.id

    def admit(self, annotator: str, request: str = "") -> None:
        """Note that the caller labels as `annotator`. Raises ValueError where that is the name of an owner, and StoreError."""
        self.newcomers.admit(self.speaker(), annotator, request)

    def waits(self, annotator: str) -> str:
        """Why what the caller says as `annotator` is not learned from yet, in a sentence; "" where it is."""
        return WAITS if self.newcomers.holds(self.speaker(), annotator) else ""

    def check_undo(self, request: str) -> None:
        """Raise ValueError where the judgement made as `request` is somebody else's than the caller's."""
        if not self.newcomers.may_undo(self.speaker(), request):
            raise ValueError("That label is not yours; whoever gave it can take it back, or whoever runs this app.")

    def take_back(self, code: str, request: str) -> None:
        """Undo the correction made as `request` by whoever holds `code`. Raises ValueError and StoreError."""
        from labeling.items import UnknownItem

        if not self.labels().contributed(code, request):
            raise UnknownItem("There is no such correction of yours; it was withdrawn, or never arrived.")
        self.labels().undo(request)

    def withdraw(self, code: str) -> dict:
        """Remove all that was given under `code`: {faces, snapshots, models, on_hub}. Raises ValueError and StoreError.

        `on_hub` says whether it is gone there too: None where labels do not go to the Hub, False while that goes on.
        """
        from labeling.withdrawal import withdraw

        removed = withdraw(self.settings.workspace, self.labels(), code).as_dict()
        return {**removed, "on_hub": self._sync.removed(REMOVAL_SECONDS) if self._sync else None}

    def readiness(self) -> dict:
        """What a run started now would learn from. Raises StoreError."""
        from labeling.readiness import readiness

        return readiness(self.labels()).as_dict()

    def snapshot(self) -> Path:
        """The folder of a snapshot of all labels as they are now. Raises SnapshotError, StoreError."""
        from labeling.snapshot import take

        return take(self.labels(), self.settings.workspace / "snapshots").folder

    def promote(self, version: str, who: str, why: str) -> str:
        """Answer with another version from now on; its name. Raises WorkshopError, RegistryError."""
        return self._answering(self.serving.promote(self.workshop.promotable(version, why).version, who, why).version)

    def rollback(self, who: str) -> str:
        """Answer with the version that was active before; its name. Raises RegistryError."""
        return self._answering(self.serving.rollback(who).version)

    def _answering(self, version: str) -> str:
        """`version`, once the app answers with it, or has said why it does not."""
        until = time.monotonic() + SWITCH_SECONDS
        while time.monotonic() < until:
            health = self.health()
            if health["model"] in (version, None) or health["warning"]:
                break
            time.sleep(0.05)
        return version

    def desk(self, kind: str) -> str:
        """The style ("css") or script ("js") that those of all tabs but the first begin with."""
        return (Path(__file__).parent / "labeling" / "ui" / f"desk.{kind}").read_text(encoding="utf-8")

    def close(self) -> None:
        """Let go of the labels; what is under way is finished. A training run is no part of the app, and goes on."""
        self.serving.stop()
        if self._sync:
            if not self._sync.flush(FLUSH_SECONDS):
                log.warning("not all labels are on the Hub yet: %s", self._sync.state().in_words())
            self._sync.stop()
        if self._scorer:
            self._scorer.stop()
        if self._labels:
            self._labels[0].close()

    def _opened(self) -> tuple["LabelStore", "ReviewQueue"]:
        from labeling.queue import ReviewQueue
        from labeling.store import LabelStore
        from labeling.withdrawal import finish

        with self._opening:
            if self._labels is None:  # tried again each time: a disk may have been made writable
                store = LabelStore(self.settings.workspace / "labels")
                finish(self.settings.workspace, store)
                threading.Thread(target=_sweep, args=(store,), name="sweep", daemon=True).start()
                self._sync = self._start_sync(store)
                self._labels = (store, ReviewQueue(store))
            return self._labels

    def warm_up(self) -> None:
        """Load torch and the model in the background, so that the page answers before they are there; see to a run too."""
        self.serving.start()
        threading.Thread(target=self.workshop.take_up, name="take up", daemon=True).start()
        if self.settings.labels_repo:  # what is on the Hub is read before anybody opens the page
            threading.Thread(target=self._open_early, name="labels", daemon=True).start()

    def _open_early(self) -> None:
        try:
            self.labels()
        except ValueError as error:
            log.warning("the labels cannot be opened: %s", error)

    def _start_sync(self, store: "LabelStore") -> "Sync | None":
        if not self.settings.labels_repo:
            return None
        from labeling.sync import Sync

        sync = Sync(store, LabelRepository(self.settings.labels_repo), self.workspace)
        sync.start()
        return sync

    def recognizer(self) -> "Recognizer":
        """The model; waits while it is being loaded. Raises BundleError when it cannot be."""
        return self.serving.recognizer()

    def health(self) -> dict:
        """For ``/healthz``: whether the model is in memory, which one, and what is wrong if anything is."""
        return self.serving.health()

    def _model_ready(self) -> None:
        """Another model serves: what it has not read yet is read again, and what was read serves until then."""
        if self._scorer:
            self._scorer.wake()
        else:
            self._scorer = self._start_scorer()

    def _start_scorer(self) -> "Scorer":
        from fer.chips import Chip
        from fer.scorer import Scorer
        from labeling.store import Score

        unreadable: set[int] = set()
        idle_at: list[tuple[str, int]] = []  # model and newest face when there was nothing to do: looking is dear

        def pending(model: str, limit: int) -> list[tuple[int, Chip]]:
            store, found = self.labels(), []
            place = (model, store.newest())
            if place in idle_at:
                return []
            wanted = limit + len(unreadable)
            listed = store.unscored(model, wanted)
            for one in listed:
                if one.id not in unreadable:
                    try:
                        found.append((one.id, Chip.of(store.picture(one), one.box, one.landmarks)))
                    except ValueError as error:
                        unreadable.add(one.id)
                        log.warning("face %d is not scored: %s", one.id, error)
            idle_at[:] = [place] if not found and len(listed) < wanted else []
            return found[:limit]

        def keep(model: str, readings: Sequence[tuple]) -> None:
            self.labels().score(Score(number, model, shares, features) for number, shares, features in readings)

        scorer = Scorer(lambda: self.recognizer().bundle, self.turns, pending, keep)
        scorer.start()
        return scorer


def _sweep(store: "LabelStore") -> None:
    """Remove pictures that a killed process left without a row; whoever labels does not wait for it."""
    try:
        store.sweep()
    except ValueError as error:
        log.warning("abandoned pictures were not looked for: %s", error)


def build(services: Services) -> "gr.Blocks":
    """The page: a header and the tabs."""
    import gradio as gr

    from fer.ui import models_tab, train_tab, try_tab
    from labeling.ui import banner, data_tab, label_tab, meter

    # Uploads that nobody asked a prediction of are deleted after half an hour.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 1800)) as page:
        gr.Markdown(f"# {TITLE}\nReads the expression that faces show, is corrected, and learns.", elem_id="title")
        come_in(services.house)
        banner.build(services.settings.space, services.workspace, services.settings.labels_repo)
        if services.settings.labels_repo:
            meter.build(services)
        with gr.Tabs():
            with gr.Tab("Try", id="try"):
                try_tab.build(services)
            with gr.Tab("Label", id="label"):
                label_tab.build(services)
            with gr.Tab("Data", id="data"):
                data_tab.build(services)
            with gr.Tab("Train", id="train"):
                train_tab.build(services)
            with gr.Tab("Models", id="models"):
                models_tab.build(services)
    return page


def come_in(house: House) -> None:
    """Add what people come in by to the current `gr.Blocks`: on a Space the sign-in, elsewhere the way to the password."""
    import gradio as gr

    if house.sign_in is not None:
        gr.LoginButton(size="sm", elem_id="sign-in")
    elif house.passwords and not house.local:
        gr.HTML('<a href="enter">Come in with a password</a>', padding=False, elem_id="come-in")


def launch(services: Services, block: bool = True) -> tuple["gr.Blocks", str]:
    """Start serving; returns the page and its local address, after the server ends when `block` is set."""
    import gradio as gr
    from PIL import Image
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from fer.picture import MAX_PIXELS
    from fer.ui.body_limit import BodyLimit
    from fer.ui.try_tab import MAX_UPLOAD, SAMPLES
    from labeling.ui import banner
    from labeling.ui.upload_limit import UploadLimit

    # Our own input decodes nothing larger (fer.picture); this is for whatever Gradio itself may open.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    page = build(services)
    services.warm_up()
    routes = [
        Route("/healthz", lambda request: JSONResponse(services.health())),
        Route("/download/{token}", download(services.offered)),
        Route("/enter", enter(lambda: services.house), methods=["GET", "POST"]),
        Mount("/samples", StaticFiles(directory=SAMPLES)),
    ]
    middleware = [
        Middleware(BodyLimit, limit=MAX_BODY),
        Middleware(UploadLimit, limits=services.limits, caller=services.caller_of),
    ]
    # Fonts by name, not from a font server: the page asks nothing of anybody but this server.
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="slate",
        font=("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
        font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
    )  # fmt: skip
    _, address, _ = page.queue(max_size=MOST_WAITING, default_concurrency_limit=os.cpu_count() or 1).launch(
        server_name=services.settings.host,
        server_port=services.settings.port,
        share=services.settings.share,
        app_kwargs={"routes": routes, "middleware": middleware},
        max_file_size=MAX_UPLOAD,
        run_history=False,
        state_session_capacity=100,  # a call that names no session makes one, of 0.1 MB; nothing of ours lives in them
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        footer_links=["api"],
        theme=theme,
        css=STYLE + banner.STYLE,
        prevent_thread_lock=True,
        quiet=not block,
    )
    if not services.settings.local:
        print(doors(services.house, services.reached_at(address)), flush=True)
    if block:
        page.block_thread()
    return page, address


def log_to(workspace: Path) -> None:
    """Log to ``workspace/logs/app.log``, three files of a megabyte at most, and to stderr."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem = None
    try:
        (workspace / "logs").mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(workspace / "logs" / "app.log", maxBytes=1_000_000, backupCount=2))
    except OSError as error:
        problem = error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", handlers=handlers, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks its own server at start
    if problem:
        log.warning("%s cannot be written (%s); logging to the screen only. Choose another --workspace.", workspace, problem)


def main(arguments: list[str] | None = None) -> int:
    settings = Settings.from_command_line(arguments)
    log_to(settings.workspace)
    try:
        services = Services(settings)
    except ValueError as error:  # a variable that cannot be meant
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A folder of our own, so that what Gradio keeps of uploads leaves with us.
    uploads = tempfile.mkdtemp(prefix="expression-studio-")
    os.environ["GRADIO_TEMP_DIR"] = uploads
    # What stops a server politely is to leave through the door below, which tidies up.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        launch(services)
    except OSError as error:
        taken = f"port {settings.port} is in use; choose another with --port" if "empty port" in str(error) else str(error)
        print(f"error: {taken}", file=sys.stderr)
        return 1
    finally:
        services.close()
        shutil.rmtree(uploads, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
