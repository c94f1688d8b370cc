"""Uploads wait on the disk until they are read or half an hour old: `UploadLimit` keeps one visitor from filling it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from labeling.limits import LimitReached, Limits
from labeling.people import Caller

PATHS = ("/gradio_api/upload", "/upload")
# Gradio's recorder of screens takes videos from anybody, runs ffmpeg on them and leaves them on the disk; nothing here uses it.
CLOSED = ("/gradio_api/process_recording",)
SMALLEST = 10_000  # bytes an upload counts at least: many empty files fill a disk too
UNREAD = 30_000_000  # bytes of a refused upload that are read, so that its sender sees the answer


class UploadLimit:
    """ASGI middleware that answers 429, in one sentence, to whoever has uploaded enough for now.

    `caller` tells who somebody is by the scope of their request. An upload says how long it is, as browsers and
    clients do: it is refused before anything of it lies on the disk.
    """

    def __init__(self, app: ASGIApp, limits: Limits, caller: Callable[[Scope], Caller]) -> None:
        self.app = app
        self.limits = limits
        self.caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/") in (*PATHS, *CLOSED):
            refused = self._refused(scope)
            if refused is not None:
                await _read(receive)
                return await refused(scope, receive, send)
        await self.app(scope, receive, send)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        """The answer to an upload that is not taken."""
        if scope["path"].rstrip("/") in CLOSED:
            return _sentence("There is nothing of that name here.", 404)
        caller = self.caller(scope)
        if not caller.limited:
            return None
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if not declared.isdigit():
            return _sentence("An upload has to say how long it is; send it with a Content-Length.", 411)
        amount = max(SMALLEST, int(declared))
        try:
            self.limits.take("uploads", caller.who, amount)
            self.limits.take("all uploads", "everybody", amount)
        except LimitReached as error:
            return _sentence(str(error), 429, {"Retry-After": str(error.seconds)})
        return None


def _sentence(text: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text, "detail": text}, status, headers)


async def _read(receive: Receive) -> None:
    """Read on: a sender that is cut off in the middle never sees the answer."""
    seen = 0
    while seen <= UNREAD:
        message = await receive()
        seen += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
