"""The model that the app reads with: `Serving` loads it, and follows the registry when another is promoted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fer.registry import ModelVersion, Registry, RegistryError

if TYPE_CHECKING:
    from fer.bundle import ModelBundle
    from fer.predict import Recognizer

LOOK_SECONDS = 0.5  # between two looks at the pointer
log = logging.getLogger(__name__)


class Serving:
    """A recognizer with the active model of `registry`, or with the model `chosen` for good: a folder, a version, or
    ``hub:USER/NAME[@REVISION]``.

    A promotion, also one made by another process, is followed within a second or two: the new model is loaded and
    tried beside the old one, which answers until then; what is under way ends with the old one. `ready` is called
    after each model that was taken into service.
    """

    def __init__(self, registry: Registry, chosen: str | Path | None = None, ready: Callable[[], None] = lambda: None) -> None:
        self.registry = registry
        self._chosen, self._ready = chosen, ready
        self._loaded, self._wake, self._stopped = threading.Event(), threading.Event(), False
        self._recognizer: Recognizer | None = None
        self._problem: str | None = None  # why there is no model
        self._warning: str | None = None  # why it is not the one that was promoted
        self._seen: bytes | None = None  # the pointer as it was when the model was chosen

    def start(self) -> None:
        """Load torch and the model in the background, then watch for promotions."""
        threading.Thread(target=self._run, name="serving", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped = True
        self._wake.set()

    def recognizer(self) -> "Recognizer":
        """The model; waits while the first is being loaded. Raises BundleError when it cannot be."""
        self._loaded.wait()
        if self._recognizer is None:
            from fer.bundle import BundleError

            # A new exception each time: one that is raised again and again keeps every caller's picture alive.
            raise BundleError(self._problem)
        return self._recognizer

    def promote(self, version: str, who: str, why: str = "") -> ModelVersion:
        """As `Registry.promote`, and at once. Raises RegistryError also where the app was started with a model of its own."""
        self._allow()
        return self._noticed(self.registry.promote(version, who, why))

    def rollback(self, who: str, why: str = "") -> ModelVersion:
        """As `Registry.rollback`, and at once. Raises RegistryError also where the app was started with a model of its own."""
        self._allow()
        return self._noticed(self.registry.rollback(who, why))

    def health(self) -> dict:
        """For ``/healthz``: whether the model is in memory, which one, and what is wrong if anything is."""
        recognizer = self._recognizer
        return {
            "status": "error" if self._problem else "ok",
            "ready": recognizer is not None,
            "model": recognizer.bundle.version if recognizer else None,
            "error": self._problem,
            "warning": self._warning,
        }

    def _allow(self) -> None:
        if self._chosen:
            raise RegistryError("The app was started with --model, so its model stays; start it without to promote others.")

    def _noticed(self, version: ModelVersion) -> ModelVersion:
        self._wake.set()
        return version

    def _run(self) -> None:
        try:
            self._begin()
        except Exception as error:
            self._problem = _sentence(error, "The model could not be loaded; the log says why.")
        finally:
            self._loaded.set()
        while not self._stopped and not self._chosen:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            if not self._stopped and self._pointer() != self._seen:
                self._follow()

    def _begin(self) -> None:
        import torch
        from PIL import Image

        from fer.faces import FaceDetector

        torch.set_num_threads(1)
        self._seen = self._pointer()
        bundle, self._warning = self._load()
        # The detector's weights are read, and torch's kernels chosen, by a first look at nothing.
        FaceDetector().find(Image.new("RGB", (160, 160)))
        self._take(bundle)

    def _load(self) -> tuple["ModelBundle", str | None]:
        from fer import bundle

        if self._chosen:
            return self._load_chosen(bundle.load)
        return self.registry.load_active()

    def _load_chosen(self, load: Callable[[Path], "ModelBundle"]) -> tuple["ModelBundle", str | None]:
        from fer import exchange
        from fer.hub import HubError

        try:
            folder, warning = exchange.chosen(self.registry, self._chosen)
        except HubError as error:  # no reason to have no app
            folder, warning = self.registry.shipped, f"The model that ships serves in place of {self._chosen}. {error}"
        if warning:
            log.warning("%s", warning)
        return load(folder), warning

    def _follow(self) -> None:
        """Take the model that is active now into service, unless it serves already."""
        # Looked at before the model is chosen: what is promoted while it loads is followed next.
        self._seen = self._pointer()
        try:
            active, warning = self.registry.active(), self.registry.warning()
            if self._recognizer is None or active.version != self._recognizer.bundle.version:
                bundle, warning = self.registry.load_active()
                if self._recognizer is None or bundle.version != self._recognizer.bundle.version:
                    self._take(bundle)
            self._problem = None
        except Exception as error:
            warning = _sentence(error, "The promoted model could not be loaded; the log says why.")
        self._warning = warning
        if warning:
            log.warning("%s", warning)

    def _take(self, bundle: "ModelBundle") -> None:
        """Try `bundle` on nothing, then let it serve: one reference is replaced, and with its last reader the old model goes."""
        import torch

        from fer.predict import Recognizer

        recognizer = Recognizer(bundle)
        size = bundle.preprocess.size
        recognizer.predict([torch.zeros(3, size, size)])
        self._recognizer = recognizer
        log.info("model %s is ready", bundle.version)
        self._ready()

    def _pointer(self) -> bytes | None:
        """What the pointer's file holds; each promotion writes something else."""
        try:
            return self.registry.pointer_file.read_bytes()
        except OSError:
            return None


def _sentence(error: Exception, otherwise: str) -> str:
    """What people are told: the sentences of ValueErrors are made for them; anything else may name folders of the server."""
    known = isinstance(error, ValueError) and str(error)
    log.error("the model could not be loaded: %s", error, exc_info=not known)
    return str(error) if known else otherwise
