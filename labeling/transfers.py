"""Imports under way in the app, and the files that pages send for them: `Transfers`."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labeling.database import StoreError, sentences
from labeling.exchange import Cutter, ExchangeError, bring_in
from labeling.store import LabelStore

PART = 6_000_000  # bytes of a file that a page sends at once, at most
LARGEST = 8_000_000_000  # bytes of a whole file
log = logging.getLogger(__name__)


@dataclass
class Import:
    """One import: how far it is, and in the end its `report` or the sentence that says why there is none."""

    source: str
    done: int = 0
    total: int | None = None
    report: dict | None = None
    error: str | None = None
    thread: threading.Thread | None = field(default=None, repr=False)

    def progress(self, many: Iterable) -> Iterator:
        """Wraps what is gone through, and counts."""
        self.total = len(many) if hasattr(many, "__len__") else None
        for one in many:
            yield one
            self.done += 1

    def as_dict(self) -> dict:
        """How far it is, as plain JSON values."""
        running = self.thread is not None and self.thread.is_alive()
        return {"source": self.source, "running": running, "done": self.done, "total": self.total,
                "report": self.report, "error": self.error}  # fmt: skip


class Transfers:
    """Files come in parts into a folder of `workspace`, are imported, and are deleted; what a stopped app left goes first."""

    def __init__(self, workspace: Path) -> None:
        folder = self._folder = workspace / "incoming"
        self._imports: dict[str, Import] = {}
        self._turn = threading.Lock()  # the same part may come twice at once
        shutil.rmtree(folder, ignore_errors=True)

    def take(self, upload: str, name: str, at: int, content: bytes) -> int:
        """Add a part of the file called `name`, which begins `at` bytes from its start; the bytes that are here now.

        A part that was here before is not added again. Raises ValueError and StoreError.
        """
        path = self._path(upload, name)
        with self._turn:
            return self._append(path, at, content)

    def _append(self, path: Path, at: int, content: bytes) -> int:
        if len(content) > PART or at + len(content) > LARGEST:
            raise ValueError(f"{path.name} is larger than {LARGEST // 1_000_000_000} GB; import it with python -m labeling import.")
        with sentences():
            path.parent.mkdir(parents=True, exist_ok=True)
            here = path.stat().st_size if path.exists() else 0
            if at > here:
                raise ValueError(f"A part of {path.name} is missing; choose the file again.")
            if at == here:
                with path.open("ab") as file:
                    file.write(content)
                here += len(content)
        return here

    def start(self, key: str, store: Callable[[], LabelStore], source: str, cutter: Callable[[], Cutter]) -> Import:
        """Import `source` in the background; the one that runs already where it was begun as `key`."""
        if key not in self._imports:
            one = self._imports[key] = Import(Path(source).name)
            one.thread = threading.Thread(target=self._run, args=(one, store, source, cutter), name="import", daemon=True)
            one.thread.start()
        return self._imports[key]

    def uploaded(self, upload: str, name: str) -> Path:
        """The file that was sent as `upload`. Raises ValueError where it did not arrive."""
        path = self._path(upload, name)
        if not path.is_file():
            raise ValueError(f"{path.name} did not arrive; choose it again.")
        return path

    def known(self) -> dict[str, dict]:
        """All imports since the app was started, by key."""
        return {key: one.as_dict() for key, one in self._imports.items()}

    def _run(self, one: Import, store: Callable[[], LabelStore], source: str, cutter: Callable[[], Cutter]) -> None:
        try:
            one.report = bring_in(store(), source, cutter(), one.progress).as_dict()
        except (ExchangeError, StoreError, ValueError) as error:
            one.error = str(error)
        except Exception:
            log.exception("an import failed")
            one.error = "The import failed because of a fault in the app; its log says more. What had arrived is kept."
        finally:
            path = Path(source)
            if self._folder in path.parents:
                shutil.rmtree(path.parent, ignore_errors=True)

    def _path(self, upload: str, name: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16,64}", upload):
            raise ValueError("The page sent no file; choose it again.")
        safe = re.sub(r"[^\w. -]", "_", Path(name.replace("\\", "/")).name).encode()[-100:].decode(errors="ignore")
        return self._folder / upload / (safe.strip(". ") or "file")
