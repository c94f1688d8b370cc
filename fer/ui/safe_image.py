"""The one image input of the API: `safe_image`, a `gr.Image` that opens only what was uploaded to it.

`gr.Image` (seen in 6.31) opens any path a caller names, so a handler that shows its picture would
show every picture on the server. Here a path must lie in the upload folder, an address on the
network is refused, and the uploaded file is deleted once it has been read.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

KEPT_SECONDS = 20.0
KEPT_BYTES = 64_000_000


@dataclass(frozen=True)
class Upload:
    """An uploaded picture: its bare file `name`, and its `content`, the bytes of a file or a data URL."""

    name: str
    content: bytes | str


def safe_image(**settings: object) -> gr.Image:
    """A `gr.Image` whose handler receives an `Upload`; `settings` are those of `gr.Image`.

    Its methods are replaced on the object: for a subclass Gradio writes a .pyi file beside the source.
    """
    image = gr.Image(**settings)
    move = image.async_move_resource_to_block_cache

    async def refuse_addresses(url_or_file_path: str | Path | None) -> str | None:
        # The server fetches nothing on a caller's behalf.
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error("Send the picture itself, not its address; nothing is fetched from the network.", print_exception=False)
        return await move(url_or_file_path)

    image.async_move_resource_to_block_cache = refuse_addresses
    image.preprocess = _upload
    return image


def _upload(payload) -> Upload | None:
    """The picture in Gradio's `payload`; raises gr.Error for a path that was not uploaded."""
    if payload is None:
        return None
    name = Path(payload.orig_name or payload.path or "").name or "The picture"
    if payload.url and payload.url.startswith("data:"):
        return Upload(name, payload.url)
    if not payload.path:
        raise gr.Error("No picture was sent; choose a file.", print_exception=False)
    return Upload(name, _take(Path(payload.path)))


def _take(path: Path) -> bytes:
    """The bytes of an uploaded file, which is deleted. Raises gr.Error unless it lies in the upload folder."""
    folder = Path(get_upload_folder()).resolve()
    resolved = path.resolve()
    if folder not in resolved.parents:
        raise gr.Error("Only pictures that were uploaded can be read; upload the file.", print_exception=False)
    try:
        content = resolved.read_bytes()
    except OSError:
        content = _recent.get(resolved)
        if content is None:
            raise gr.Error("The uploaded picture is gone; upload it again.", print_exception=False) from None
        return content
    _recent.put(resolved, content)
    resolved.unlink(missing_ok=True)
    return content


class _Recent:
    """Bytes read within the last seconds, in memory.

    Gradio names an upload by its content. Two people who send the same picture at once share one
    file, and the second would find it deleted by the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Path, tuple[float, bytes]] = {}

    def put(self, path: Path, content: bytes) -> None:
        with self._lock:
            self._forget()
            self._kept.pop(path, None)
            self._kept[path] = (time.monotonic(), content)
            timer = threading.Timer(KEPT_SECONDS + 0.1, self.expire)
            timer.daemon = True
            timer.start()
            while sum(len(one) for _, one in self._kept.values()) > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]

    def get(self, path: Path) -> bytes | None:
        with self._lock:
            self._forget()
            return self._kept.get(path, (0.0, None))[1]

    def expire(self) -> None:
        """Let go of what is too old, though nobody asks."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        limit = time.monotonic() - KEPT_SECONDS
        self._kept = {path: item for path, item in self._kept.items() if item[0] > limit}


_recent = _Recent()
