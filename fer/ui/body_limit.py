"""No request may be larger than a photo: `BodyLimit`, which also counts bodies that do not say their size."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware that answers 413, in one sentence, to a body of more than `limit` bytes.

    Gradio's own limit covers uploaded files only, not pictures inside JSON bodies.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.limit:
            return await self._refuse(scope, receive, send)
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise _TooLarge
            return message

        async def unless_too_large(message: Message) -> None:
            # Frameworks turn an exception while reading a body into an answer of their own.
            nonlocal started
            if seen <= self.limit:
                started = True
                await send(message)

        try:
            await self.app(scope, counted, unless_too_large)
        except _TooLarge:
            pass
        if seen > self.limit and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._drain(receive)
        sentence = f"The request is larger than {self.limit // 1_000_000} MB; send a smaller picture."
        await JSONResponse({"error": sentence, "detail": sentence}, status_code=413)(scope, receive, send)

    async def _drain(self, receive: Receive) -> None:
        """Read on, at most as much again: a sender that is cut off in the middle never sees the answer."""
        seen = 0
        while seen <= self.limit:
            message = await receive()
            seen += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
